//! Nothing that a service started outlives it, and nothing outlives the watchdog.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use common::{Watchdog, is_alive, pid_in, script, until};
use nix::sys::signal::{Signal, kill};

#[test]
fn a_child_of_a_service_that_died_dies_too() {
    let mut watchdog = Watchdog::start(&script("parent", "sleep 3600 & echo child $!; wait"));
    let parent = watchdog.starts("parent");
    let child = pid_in(&watchdog.prints("child "));
    assert!(is_alive(child));
    kill(parent, Signal::SIGKILL).unwrap();
    watchdog.starts("parent");
    until("the child is gone", || !is_alive(child));
    watchdog.stop();
}

#[test]
fn a_daemon_that_left_the_session_of_its_service_dies_with_it() {
    // Two levels, so that the second is found only after the first is gone.
    let daemon = "setsid sh -c 'setsid sleep 3600 & echo second $!; echo first $$; wait' & wait";
    let mut watchdog = Watchdog::start(&script("parent", daemon));
    let parent = watchdog.starts("parent");
    let second = pid_in(&watchdog.prints("second "));
    let first = pid_in(&watchdog.prints("first "));
    kill(parent, Signal::SIGKILL).unwrap();
    watchdog.starts("parent");
    until("the daemons are gone", || !is_alive(first) && !is_alive(second));
    watchdog.stop();
}

#[test]
fn a_stop_leaves_nothing_behind_not_even_what_ignores_sigterm() {
    let stubborn = "trap '' TERM; setsid sh -c 'sleep 3600 & wait' & sleep 3600 & echo begun; while :; do wait; done";
    let config = script("stubborn", stubborn) + "stop-timeout = \"200ms\"\n";
    let mut watchdog = Watchdog::start(&config);
    watchdog.prints("begun");
    watchdog.signal(Signal::SIGTERM);
    watchdog.logs("stubborn: did not stop within 200ms: killing it");
    assert_eq!(watchdog.ends().code(), Some(0));
}

#[test]
fn services_die_with_a_watchdog_that_is_killed() {
    let mut watchdog = Watchdog::start(&script("orphan", "echo begun; exec sleep 3600"));
    let service = watchdog.starts("orphan");
    watchdog.prints("begun");
    watchdog.signal(Signal::SIGKILL);
    watchdog.ends();
    until("the service is gone", || !is_alive(service));
}

#[test]
fn orphans_of_a_running_service_are_reaped_and_it_goes_on() {
    let orphan = "sh -c '(sleep 0.1; echo orphan ends) & echo pid $!'; exec sleep 3600";
    let mut watchdog = Watchdog::start(&script("parent", orphan));
    let parent = watchdog.starts("parent");
    let orphan = pid_in(&watchdog.prints("pid "));
    watchdog.prints("orphan ends");
    // Gone altogether, and not a zombie that nobody waits for.
    until("the orphan is reaped", || !std::path::Path::new(&format!("/proc/{orphan}")).exists());
    assert!(is_alive(parent));
    watchdog.stop();
}
