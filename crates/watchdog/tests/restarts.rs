//! A service that ends is started again, with growing pauses.

mod common;

use common::{Watchdog, example_service, script};
use nix::sys::signal::{Signal, kill};

#[test]
fn a_service_that_crashes_is_started_again_with_growing_pauses() {
    let mut watchdog = Watchdog::start(&script("crasher", "echo run; exit 3"));
    watchdog.line("run");
    watchdog.line("crasher: exited with code 3; failure 1 in a row, starting again in 50ms");
    watchdog.line("run");
    watchdog.line("failure 2 in a row, starting again in 100ms");
    watchdog.line("failure 3 in a row, starting again in 200ms");
    watchdog.stop();
}

#[test]
fn a_service_that_is_killed_is_started_again_as_another_process() {
    let mut watchdog = Watchdog::start(&example_service("agent", &["ready", "beat"]));
    let first = watchdog.started("agent");
    watchdog.line("agent: up after");
    kill(first, Signal::SIGKILL).unwrap();
    watchdog.line("agent: ended by SIGKILL; failure 1 in a row");
    let second = watchdog.started("agent");
    assert_ne!(first, second);
    watchdog.line("agent: up after");
    watchdog.stop();
}

#[test]
fn failures_are_forgotten_after_a_stable_time() {
    let config = example_service("agent", &["ready", "beat"]) + "stable-after = \"1s\"\n";
    let mut watchdog = Watchdog::start(&config);
    for failure in ["failure 1 in a row", "failure 2 in a row"] {
        kill(watchdog.started("agent"), Signal::SIGKILL).unwrap();
        watchdog.line(failure);
    }
    let pid = watchdog.started("agent");
    watchdog.line("agent: stable again after 2 failure(s)");
    kill(pid, Signal::SIGKILL).unwrap();
    watchdog.line("failure 1 in a row, starting again in 50ms");
    watchdog.stop();
}

#[test]
fn a_service_that_ends_on_purpose_stays_ended_and_disturbs_no_other() {
    let config =
        script("once", "exit 0") + "restart = \"on-failure\"\n" + &script("other", "sleep 60");
    let mut watchdog = Watchdog::start(&config);
    watchdog.line("once: finished on purpose");
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
    watchdog.line("exited with code 1");
    watchdog.line(&format!("could not be started: {gone}"));
    std::fs::copy("/bin/true", &program).unwrap();
    watchdog.line("volatile: exited with code 0");
    watchdog.stop();
}
