//! A service that is there and does not work is noticed.

mod common;

use common::{Watchdog, example_service, is_alive};
use nix::sys::signal::{Signal, kill};

#[test]
fn a_missed_heartbeat_is_a_restart_with_the_last_words_in_the_log() {
    let steps = ["ready", "status=counting sheep", "beats=1", "hang"];
    let mut watchdog = Watchdog::start(&example_service("sleeper", &steps));
    let first = watchdog.starts("sleeper");
    watchdog.logs("sleeper: up after");
    let line = watchdog.logs("sleeper: no heartbeat for 2s");
    assert!(line.contains("it says \"counting sheep\": killing it"), "{line}");
    watchdog.logs("sleeper: no heartbeat for 2s; failure 1 in a row");
    assert!(!is_alive(first));
    watchdog.starts("sleeper");
    watchdog.stop();
}

#[test]
fn a_stopped_process_is_noticed() {
    let mut watchdog = Watchdog::start(&example_service("agent", &["ready", "beat"]));
    let first = watchdog.starts("agent");
    watchdog.logs("agent: up after");
    kill(first, Signal::SIGSTOP).unwrap();
    watchdog.logs("agent: no heartbeat for 2s");
    watchdog.starts("agent");
    watchdog.logs("agent: up after");
    assert!(!is_alive(first));
    watchdog.stop();
}

#[test]
fn heartbeats_in_time_are_no_reason_for_anything() {
    let mut watchdog = Watchdog::start(&example_service("agent", &["ready", "beats=5", "exit=7"]));
    // Five heartbeats, each of half the time allowed: longer than the limit altogether.
    watchdog.logs("agent: exited with code 7");
    assert_eq!(watchdog.times_logged("no heartbeat"), 0);
    watchdog.stop();
}

#[test]
fn a_service_that_is_alive_and_gets_nothing_done_is_started_again() {
    let steps = ["ready", "status=deadlocked", "idle=6", "work=6", "stuck"];
    let config = example_service("agent", &steps) + "progress-timeout = \"5s\"\n";
    let mut watchdog = Watchdog::start(&config);
    let first = watchdog.starts("agent");
    let line = watchdog.logs("agent: alive, but none of the work that is due was done for 5s");
    assert!(line.contains("it says \"deadlocked\": killing it"), "{line}");
    watchdog.starts("agent");
    assert!(!is_alive(first));
    assert_eq!(watchdog.times_logged("no heartbeat"), 0);
    watchdog.stop();
}

#[test]
fn having_nothing_to_do_and_doing_something_are_no_hang() {
    let steps = ["ready", "idle=7", "work=7", "idle=7", "exit=7"];
    let config = example_service("agent", &steps) + "progress-timeout = \"5s\"\n";
    let mut watchdog = Watchdog::start(&config);
    watchdog.logs("agent: exited with code 7");
    assert_eq!(watchdog.times_logged("killing"), 0);
    watchdog.stop();
}

#[test]
fn a_service_that_asks_for_patience_gets_it() {
    // Ready after four seconds though it has two, and then silent for three of two.
    let steps =
        ["extend=20000", "sleep=4000", "ready", "extend=20000", "sleep=3000", "beats=1", "exit=7"];
    let config = example_service("slow", &steps).replace("\"30s\"", "\"2s\"");
    let mut watchdog = Watchdog::start(&config);
    watchdog.logs("slow: up after");
    watchdog.logs("slow: exited with code 7");
    assert_eq!(watchdog.times_logged("killing"), 0);
    watchdog.stop();
}

#[test]
fn a_service_that_never_gets_ready_is_started_again() {
    let config = example_service("slow", &["beat"]).replace("\"30s\"", "\"300ms\"");
    let mut watchdog = Watchdog::start(&config);
    watchdog.logs("slow: not ready within 300ms: killing it");
    watchdog.logs("slow: not ready within 300ms; failure 1 in a row");
    watchdog.starts("slow");
    watchdog.stop();
}

#[test]
fn a_service_may_ask_to_be_restarted() {
    let mut watchdog = Watchdog::start(&example_service("agent", &["ready", "trigger", "hang"]));
    watchdog.logs("agent: asked to be restarted (WATCHDOG=trigger)");
    watchdog.starts("agent");
    watchdog.stop();
}

#[test]
fn a_service_that_says_it_ends_and_does_not_is_killed() {
    let config = example_service("agent", &["ready", "stopping", "hang"]);
    let mut watchdog = Watchdog::start(&(config + "stop-timeout = \"200ms\"\n"));
    watchdog.logs("agent: said STOPPING=1 and did not end in 200ms");
    watchdog.starts("agent");
    watchdog.stop();
}
