//! A service that ends is started again, with growing pauses.

mod common;

use common::{Watchdog, example_service, script};
use nix::sys::signal::{Signal, kill};

#[test]
fn a_service_that_crashes_is_started_again_with_growing_pauses() {
    let mut watchdog = Watchdog::start(&script("crasher", "echo run; exit 3"));
    watchdog.prints("run");
    watchdog.logs("crasher: exited with code 3; failure 1 in a row, starting again in 50ms");
    watchdog.prints("run");
    watchdog.logs("failure 2 in a row, starting again in 100ms");
    watchdog.logs("failure 3 in a row, starting again in 200ms");
    watchdog.stop();
}

#[test]
fn a_service_that_is_killed_is_started_again_as_another_process() {
    let mut watchdog = Watchdog::start(&example_service("agent", &["ready", "beat"]));
    let first = watchdog.starts("agent");
    watchdog.logs("agent: up after");
    kill(first, Signal::SIGKILL).unwrap();
    watchdog.logs("agent: ended by SIGKILL; failure 1 in a row");
    let second = watchdog.starts("agent");
    assert_ne!(first, second);
    watchdog.logs("agent: up after");
    watchdog.stop();
}

#[test]
fn failures_are_forgotten_after_a_stable_time() {
    let config = example_service("agent", &["ready", "beat"]) + "stable-after = \"1s\"\n";
    let mut watchdog = Watchdog::start(&config);
    for failure in ["failure 1 in a row", "failure 2 in a row"] {
        kill(watchdog.starts("agent"), Signal::SIGKILL).unwrap();
        watchdog.logs(failure);
    }
    let pid = watchdog.starts("agent");
    watchdog.logs("agent: stable again after 2 failure(s)");
    kill(pid, Signal::SIGKILL).unwrap();
    watchdog.logs("failure 1 in a row, starting again in 50ms");
    watchdog.stop();
}

#[test]
fn a_service_that_ends_on_purpose_stays_ended_and_disturbs_no_other() {
    let config =
        script("once", "exit 0") + "restart = \"on-failure\"\n" + &script("other", "sleep 60");
    let mut watchdog = Watchdog::start(&config);
    watchdog.logs("once: finished on purpose");
    watchdog.stop();
}

#[test]
fn a_program_that_vanishes_while_running_is_a_failure_like_any_other() {
    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().join("program");
    std::fs::copy("/bin/sh", &program).unwrap();
    let gone = format!("{}: No such file", program.display());
    let config = common::service(
        "volatile",
        &[program.to_str().unwrap(), "-c", &format!("rm {}; exit 1", program.display())],
    );
    let mut watchdog = Watchdog::start(&config);
    watchdog.logs("exited with code 1");
    watchdog.logs(&format!("could not be started: {gone}"));
    std::fs::copy("/bin/true", &program).unwrap();
    watchdog.logs("volatile: exited with code 0");
    watchdog.stop();
}
