//! `measure recovery` gives its figures of this machine: a watchdog with the image's configuration,
//! whose agent is killed and stopped while a page plays it. What they are is for a quiet machine to
//! say; what they are in guests is measured every night.

use std::{process::Command, time::Duration};

use peercam_testbed::{Bed, Process, programs};
use serde_json::Value;

#[tokio::test]
async fn recovery_is_measured() {
    let bed = Bed::new("recovery-is-measured").unwrap();
    let mut command = Command::new(programs::workspace("measure").unwrap());
    command.args(["recovery", "--json", "--place", "here", "--transport", "rtp"]);
    command.args(["--times", "1", "--seconds", "1"]);
    // The programs are built: `scripts/test` does that first.
    command.env_remove("CARGO");
    let mut measure = Process::spawn("measure", command, &bed.file("measure.log")).unwrap();
    let report: Value = measure
        .wait_for_output("its report", 0, Duration::from_secs(300), |output| {
            output.lines().find_map(|line| serde_json::from_str(line).ok())
        })
        .await
        .unwrap();

    let figure = |what: &str, name: &str| {
        let mut rows = report["rows"].as_array().unwrap().iter();
        let row = rows.find(|row| row["what"].as_str().unwrap().starts_with(what));
        let row = row.unwrap_or_else(|| panic!("no row {what:?} in {report}"));
        assert_eq!(row["place"], "here");
        let mut figures = row["figures"].as_array().unwrap().iter();
        let figure = figures.find(|figure| figure["name"] == name);
        figure.and_then(|it| it["value"].as_f64()).unwrap_or_else(|| panic!("{name}: {report}"))
    };
    let killed = "agent killed";
    assert!(figure(killed, "noticed") >= 0.0);
    // The pause before a new start, which the image's configuration has.
    assert!(figure(killed, "up again worst") >= 0.5);
    assert!(figure(killed, "playing worst") >= figure(killed, "playing p50"));
    let stopped = "agent stopped";
    assert!(figure(stopped, "noticed") > 1.0);
    assert!(figure(stopped, "up again") >= figure(stopped, "noticed"));
    assert!(figure(stopped, "playing") > 1.0);
    assert!(figure("camera gone", "playing after it was in its room") >= 0.0);
    let watchdog = "the watchdog itself";
    assert!(figure(watchdog, "resident") > 0.1);
    assert!(figure(watchdog, "processor") >= 0.0);
    assert!(figure(watchdog, "program") > 0.1);
}
