//! The hardware watchdog that is missing, comes, fails, or is to be disarmed.

mod common;

use common::{Hardware, Watchdog, script};
use nix::sys::signal::Signal;

#[test]
fn sigterm_and_sigint_disarm_the_hardware() {
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let hardware = Hardware::new();
        let config = hardware.config() + &script("agent", "exec sleep 3600");
        let mut watchdog = Watchdog::start(&config);
        watchdog.logs("agent: up");
        hardware.next();
        watchdog.signal(signal);
        assert_eq!(watchdog.ends().code(), Some(0));
        assert_eq!(watchdog.times_logged("disarmed"), 1);
        while hardware.next() != b'V' {}
        assert_eq!(hardware.drain(), [], "the V is the last byte");
    }
}

#[test]
fn a_watchdog_that_is_killed_leaves_the_hardware_armed() {
    let hardware = Hardware::new();
    let config = hardware.config() + &script("agent", "exec sleep 3600");
    let mut watchdog = Watchdog::start(&config);
    watchdog.logs("agent: up");
    hardware.next();
    watchdog.signal(Signal::SIGKILL);
    watchdog.ends();
    assert!(!hardware.drain().contains(&b'V'));
}

#[test]
fn without_a_device_there_is_one_warning_and_supervision_goes_on() {
    let config = "[hardware]\ndevice = \"/nonexistent/watchdog\"\n".to_owned()
        + &script("agent", "exit 1")
        + "broken-failures = 2\n";
    let mut watchdog = Watchdog::start(&config);
    watchdog.logs("/nonexistent/watchdog: there is none (is its driver loaded?): going on without");
    watchdog.logs("stays broken (failed 2 times in a row); there is no hardware watchdog");
    watchdog.logs("failure 4 in a row");
    watchdog.stop();
}

#[test]
fn a_device_that_comes_later_is_fed() {
    let folder = tempfile::tempdir().unwrap();
    let device = folder.path().join("watchdog");
    let config = format!("[hardware]\ndevice = {device:?}\ntimeout = \"1s\"\n");
    let mut watchdog = Watchdog::start(&(config + &script("agent", "exec sleep 3600")));
    watchdog.logs("going on without a hardware watchdog");
    std::fs::write(&device, "").unwrap();
    watchdog.logs("armed");
    watchdog.stop();
    assert!(std::fs::read(&device).unwrap().ends_with(b"\0V"));
}

#[test]
fn a_device_that_refuses_is_named_once_and_supervision_goes_on() {
    let config = "[hardware]\ndevice = \"/dev/full\"\ntimeout = \"1s\"\n".to_owned();
    let mut watchdog = Watchdog::start(&(config + &script("agent", "sleep 1; exit 1")));
    watchdog.logs("/dev/full: not fed: No space left on device");
    watchdog.logs("failure 2 in a row");
    assert_eq!(watchdog.times_logged("not fed"), 1);
    watchdog.signal(Signal::SIGTERM);
    watchdog.logs("/dev/full: could not be disarmed");
    assert_eq!(watchdog.ends().code(), Some(0));
}

#[test]
fn a_pre_timeout_that_the_device_has_not_is_one_line_and_it_is_fed_all_the_same() {
    let hardware = Hardware::new();
    let config = hardware.config().replace("\"1s\"", "\"2s\"\npretimeout = \"1s\"");
    let mut watchdog = Watchdog::start(&(config + &script("agent", "exec sleep 3600")));
    watchdog.logs("armed (no watchdog driver), resets after 2s");
    watchdog.logs("it has no pre-timeout: going on without");
    watchdog.logs("agent: up");
    assert_eq!((hardware.next(), hardware.next()), (0, 0));
    assert_eq!(watchdog.times_logged("pre-timeout"), 1);
    watchdog.stop();
}
