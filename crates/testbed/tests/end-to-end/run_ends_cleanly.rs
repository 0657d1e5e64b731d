//! `scripts/run --board host`: prints the link, and whatever ends it, nothing keeps running.

use std::{fs, process::Command, time::Duration};

use nix::sys::signal::Signal;
use peercam_testbed::{Bed, Process, programs, wait};

use crate::scene::SOON;

/// Starts it and waits for the link.
async fn start(bed: &Bed) -> (Process, String) {
    let mut command = Command::new(programs::workspace("peercam-run").unwrap());
    command.args(["--board", "host"]);
    let mut run = Process::spawn("scripts/run", command, &bed.file("run.log")).unwrap();
    let link = run
        .wait_for_output("the link", 0, SOON, |output| {
            output.lines().find(|line| line.starts_with("http://")).map(str::to_owned)
        })
        .await
        .unwrap();
    assert!(link.contains("/r/host#k=") && link.contains("&t="), "{link}");
    (run, link)
}

/// Its programs that run; each has the link's port or its folder on the command line.
fn left(link: &str) -> Vec<String> {
    let (server, _) = link.trim_start_matches("http://").split_once("/r/host").unwrap();
    let config = programs::repository().join("out/host/run/host.toml").display().to_string();
    fs::read_dir("/proc")
        .unwrap()
        .flatten()
        .filter_map(|process| fs::read(process.path().join("cmdline")).ok())
        .map(|line| String::from_utf8_lossy(&line).replace('\0', " "))
        .filter(|line| line.contains(server) || line.contains(&config))
        .collect()
}

async fn nothing_is_left(link: &str) {
    wait::until("everything to end", Duration::from_secs(10), async || {
        let left = left(link);
        Ok(if left.is_empty() {
            wait::Look::Done(())
        } else {
            wait::Look::NotYet(format!("{left:#?}"))
        })
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn ctrl_c_ends_all_of_it() {
    let bed = Bed::new("run").unwrap();
    let (run, link) = start(&bed).await;
    assert_eq!(left(&link).len(), 2, "a rendezvous and an agent: {:#?}", left(&link));
    run.signal(Signal::SIGINT).unwrap();
    let mut run = run;
    wait::until("it to end", Duration::from_secs(10), async || {
        Ok(if run.check().is_err() {
            wait::Look::Done(())
        } else {
            wait::Look::NotYet(String::new())
        })
    })
    .await
    .unwrap();
    let error = run.check().unwrap_err().to_string();
    assert!(error.contains("exit status: 0"), "{error}");
    nothing_is_left(&link).await;
}

#[tokio::test]
async fn killed_without_a_word_it_still_leaves_nothing() {
    let bed = Bed::new("run").unwrap();
    let (run, link) = start(&bed).await;
    run.signal(Signal::SIGKILL).unwrap();
    nothing_is_left(&link).await;
}

#[tokio::test]
async fn a_second_one_at_the_same_time_is_refused() {
    let bed = Bed::new("run").unwrap();
    let (_run, _link) = start(&bed).await;
    let second = Command::new(programs::workspace("peercam-run").unwrap())
        .args(["--board", "host"])
        .output()
        .unwrap();
    let error = String::from_utf8(second.stderr).unwrap();
    assert_eq!(second.status.code(), Some(1), "{error}");
    assert!(error.contains("already being run"), "{error}");
}
