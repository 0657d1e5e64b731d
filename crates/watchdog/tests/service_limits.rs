//! A service that passes its limits is ended, and the reason is said and recorded.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::fs;

use common::{Watchdog, example_service, script};
use nix::sys::signal::Signal;

#[test]
fn a_service_that_reaches_its_memory_limit_is_started_again_with_that_reason() {
    let folder = tempfile::tempdir().unwrap();
    let config = format!("state-dir = {:?}\n", folder.path())
        + &example_service("leak", &["ready", "grow=96", "beat"])
        + "memory = \"64MiB\"\n"
        + &script("good", "exec sleep 3600");
    let mut watchdog = Watchdog::start(&config);
    watchdog.logs("good: up");
    watchdog.logs("leak: memory limit 64 MiB reached; failure 1 in a row");
    watchdog.starts("leak");
    watchdog.logs("leak: memory limit 64 MiB reached");
    assert_eq!(watchdog.times_logged("good: "), 2, "started and up");
    watchdog.stop();
    let record = fs::read_to_string(folder.path().join("record.toml")).unwrap();
    assert!(record.contains("cause = \"memory limit 64 MiB reached\""), "{record}");
}

#[test]
fn a_service_below_its_memory_limit_is_left_alone() {
    let steps = ["ready", "grow=16", "beats=6", "status=done", "exit=0"];
    let config =
        example_service("modest", &steps) + "memory = \"128MiB\"\nrestart = \"on-failure\"\n";
    let mut watchdog = Watchdog::start(&config);
    watchdog.logs("modest: finished on purpose");
    watchdog.stop();
}

#[test]
fn a_service_gets_the_files_that_it_may_open_and_no_more() {
    let config = script("agent", "ulimit -Sn; ulimit -Hn; exec sleep 3600") + "open-files = 77\n";
    let mut watchdog = Watchdog::start(&config);
    watchdog.prints("77");
    watchdog.prints("77");
    watchdog.signal(Signal::SIGTERM);
    assert_eq!(watchdog.ends().code(), Some(0));
}
