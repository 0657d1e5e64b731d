//! A stop ends services one after the other, the last first.

mod common;

use common::{Watchdog, script};
use nix::sys::signal::Signal;

#[test]
fn each_service_ends_before_the_one_before_it_is_asked_to() {
    let polite = |name: &str| {
        let goodbye = format!("trap 'echo {name} asked; sleep 0.2; echo {name} gone; exit' TERM;");
        script(name, &format!("{goodbye} echo {name} begun; while :; do sleep 0.05; done"))
    };
    let mut watchdog = Watchdog::start(&(polite("one") + &polite("two") + &polite("three")));
    for _ in 0..3 {
        watchdog.prints("begun");
    }
    watchdog.signal(Signal::SIGTERM);
    for name in ["three", "two", "one"] {
        watchdog.prints(&format!("{name} asked"));
        watchdog.prints(&format!("{name} gone"));
        watchdog.logs(&format!("{name}: stopped"));
    }
    assert_eq!(watchdog.ends().code(), Some(0));
}

#[test]
fn a_stop_in_the_middle_of_a_pause_starts_nothing_more() {
    let config = script("crasher", "exit 1").replace("50ms", "10s");
    let mut watchdog = Watchdog::start(&config);
    watchdog.logs("starting again in 10s");
    watchdog.signal(Signal::SIGTERM);
    assert_eq!(watchdog.ends().code(), Some(0));
    assert_eq!(watchdog.times_logged("started as process"), 1);
}

#[test]
fn a_stopped_service_hears_sigterm_all_the_same() {
    let config = script("frozen", "trap 'echo thawed; exit' TERM; kill -STOP $$; sleep 3600");
    let mut watchdog = Watchdog::start(&(config + "stop-timeout = \"1m\"\n"));
    let service = watchdog.starts("frozen");
    common::until("it is stopped", || {
        let stat = std::fs::read_to_string(format!("/proc/{service}/stat")).unwrap();
        stat.rsplit(") ").next().unwrap().starts_with('T')
    });
    watchdog.signal(Signal::SIGTERM);
    watchdog.prints("thawed");
    watchdog.ends();
}
