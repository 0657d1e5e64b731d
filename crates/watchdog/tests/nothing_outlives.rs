//! Nothing that a service started outlives it, and nothing outlives the watchdog.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::io::{Write, stderr};

use common::{Watchdog, is_alive, pid_in, script, until};
use nix::{
    sys::signal::{Signal, kill},
    unistd::getsid,
};

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

/// A daemon that is never the same process for long, and in no session that anybody knows.
const HOPPING: &str = "hop() { setsid sh -c \"$1\" hop \"$1\" & exit; }; hop \
                       'sleep 0.01; setsid sh -c \"$1\" hop \"$1\" & exit'";

#[test]
fn a_daemon_that_hops_from_process_to_process_dies_with_its_service() {
    // Each of its processes holds the output: it ends only when none is left.
    let config = script("parent", &format!("({HOPPING}); echo begun; exec sleep 3600"));
    let mut watchdog = Watchdog::start(&config);
    let parent = watchdog.starts("parent");
    watchdog.prints("begun");
    kill(parent, Signal::SIGKILL).unwrap();
    watchdog.starts("parent");
    watchdog.prints("begun");
    watchdog.stop();
}

#[test]
fn what_a_killed_watchdog_left_behind_ends_when_the_next_one_starts() {
    let daemon = "setsid sleep 3600 & echo daemon $!; exec sleep 3600";
    let mut first = Watchdog::start(&script("parent", daemon));
    let service = first.starts("parent");
    let daemon = pid_in(&first.prints("daemon "));
    until("the daemon has a session of its own", || getsid(Some(daemon)) == Ok(daemon));
    let groups = std::fs::read_to_string(format!("/proc/{daemon}/cgroup")).unwrap();
    if !groups.contains(&format!("peercam-watchdog-{}/parent", first.pid())) {
        let _ = writeln!(stderr(), "not tested: this machine has no cgroup2 to be written to");
        kill(daemon, Signal::SIGKILL).unwrap();
        return;
    }
    first.signal(Signal::SIGKILL);
    until("the service is gone", || !is_alive(service));
    assert!(is_alive(daemon), "nobody was there to end it");
    first.reap();
    let mut second = Watchdog::start(&script("parent", "exec sleep 3600"));
    second.starts("parent");
    until("the daemon is gone", || !is_alive(daemon));
    first.ends();
    second.stop();
}
