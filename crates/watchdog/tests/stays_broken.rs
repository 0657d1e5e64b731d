//! The hardware watchdog is fed while every critical service is well or may come back, and not
//! when one stays broken.

mod common;

use std::time::Duration;

use common::{Hardware, Watchdog, example, example_service, script};

/// Twice the hardware's timeout, and six times as long as between two feeds.
const LONG: Duration = Duration::from_secs(2);

#[test]
fn a_well_service_keeps_the_hardware_fed() {
    let hardware = Hardware::new();
    let config = hardware.config() + &example_service("agent", &["ready", "beat"]);
    let mut watchdog = Watchdog::start(&config);
    watchdog.logs("armed");
    for _ in 0..5 {
        assert_eq!(hardware.next(), 0);
    }
    watchdog.stop();
}

#[test]
fn a_crash_loop_ends_the_feeding() {
    let hardware = Hardware::new();
    let config = hardware.config() + &script("agent", "exit 1") + "broken-failures = 3\n";
    let mut watchdog = Watchdog::start(&config);
    assert_eq!(hardware.next(), 0, "armed and fed at first");
    let line = watchdog.logs("agent: stays broken (failed 3 times in a row)");
    assert!(line.contains("no longer fed, and resets the device within 1s"), "{line}");
    hardware.drain();
    assert!(!hardware.is_fed_within(LONG));
    watchdog.logs("failure 4 in a row");
    watchdog.stop();
}

#[test]
fn a_service_that_is_never_up_ends_the_feeding() {
    let hardware = Hardware::new();
    let config = hardware.config()
        + &example_service("agent", &["hang"]).replace("\"30s\"", "\"400ms\"")
        + "broken-after = \"1s\"\n";
    let mut watchdog = Watchdog::start(&config);
    watchdog.logs("agent: stays broken (not up for 1 s)");
    hardware.drain();
    assert!(!hardware.is_fed_within(LONG));
    watchdog.stop();
}

#[test]
fn a_service_that_recovers_is_reason_to_feed_again() {
    let hardware = Hardware::new();
    let folder = tempfile::tempdir().unwrap();
    let cure = folder.path().join("cure");
    let command = format!("test -e {} && exec {} ready beat; exit 1", cure.display(), example());
    let config = hardware.config()
        + &script("agent", &command)
        + "ready-timeout = \"900ms\"\nheartbeat = \"2s\"\nbroken-after = \"1s\"\n"
        + "restart-delay-max = \"100ms\"\nbroken-failures = 10000\n";
    let mut watchdog = Watchdog::start(&config);
    watchdog.logs("agent: stays broken (not up for 1 s)");
    hardware.drain();
    std::fs::write(&cure, "").unwrap();
    watchdog.logs("feeding again");
    assert_eq!(hardware.next(), 0);
    watchdog.stop();
}

#[test]
fn a_service_that_is_not_critical_never_ends_the_feeding() {
    let hardware = Hardware::new();
    let config = hardware.config()
        + &script("helper", "exit 1")
        + "critical = false\nbroken-failures = 2\nbroken-after = \"1s\"\n";
    let mut watchdog = Watchdog::start(&config);
    watchdog.logs("failure 5 in a row");
    hardware.drain();
    for _ in 0..5 {
        assert_eq!(hardware.next(), 0);
    }
    assert_eq!(watchdog.times_logged("stays broken"), 0);
    watchdog.stop();
}

#[test]
fn a_configuration_error_is_no_reason_for_a_reset() {
    let hardware = Hardware::new();
    let config = hardware.config()
        + &script("agent", "echo try; exit 2")
        + "broken-failures = 2\nbroken-after = \"1s\"\nno-reset-exit-codes = [2]\n";
    let mut watchdog = Watchdog::start(&config);
    watchdog.logs("agent: exited with code 2, which a reset would not cure");
    for _ in 0..4 {
        watchdog.prints("try");
    }
    hardware.drain();
    for _ in 0..5 {
        assert_eq!(hardware.next(), 0);
    }
    assert_eq!(watchdog.times_logged("stays broken"), 0);
    watchdog.stop();
}
