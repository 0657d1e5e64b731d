//! `measure rendezvous` gives all its figures, of one server and of a cluster. What they are is for a quiet machine and a release
//! build to say.

use std::{process::Command, time::Duration};

use peercam_testbed::{Bed, Process, programs};
use serde_json::Value;

#[tokio::test]
async fn rendezvous_is_measured() {
    let bed = Bed::new("rendezvous-is-measured").unwrap();
    let mut command = Command::new(programs::workspace("measure").unwrap());
    command.args(["rendezvous", "--json", "--cameras", "30", "--seconds", "1"]);
    // The programs are built: `scripts/test` does that first.
    command.env_remove("CARGO");
    let mut measure = Process::spawn("measure", command, &bed.file("measure.log")).unwrap();
    let report: Value = measure
        .wait_for_output("its report", 0, Duration::from_secs(180), |output| {
            output.lines().find_map(|line| serde_json::from_str(line).ok())
        })
        .await
        .unwrap();

    let figure = |nodes: u64, row: &str, name: &str| {
        let rows = report["rows"].as_array().unwrap().iter();
        let mut rows =
            rows.filter(|it| it["nodes"] == nodes && it["row"].as_str().unwrap().contains(row));
        let figures = rows.next().unwrap_or_else(|| panic!("no row {row:?} in {report}"));
        let mut figures = figures["figures"].as_array().unwrap().iter();
        let figure = figures.find(|it| it["name"] == name);
        figure.and_then(|it| it["value"].as_f64()).unwrap_or_else(|| panic!("{row}: {report}"))
    };
    for nodes in [1, 3] {
        assert!(figure(nodes, "memory for each of 30", "resident") >= 0.0);
        assert!(figure(nodes, "30 idle cameras, pings", "processor") >= 0.0);
        assert!(figure(nodes, "cameras that come", "came") > 1.0);
        assert!(figure(nodes, "messages of 2048 bytes", "messages") > 100.0);
        let steady = "of them a second";
        assert!(figure(nodes, steady, "messages") > 50.0);
        let (p50, p99) = (figure(nodes, steady, "p50"), figure(nodes, steady, "p99"));
        assert!(0.0 < p50 && p50 <= p99, "{nodes}: {p50} {p99}");
    }
    assert!(figure(3, "memory for each of 30", "at each other node") >= 0.0);
    assert!(figure(3, "cameras that come", "known to all nodes after") > 0.0);
}
