//! When restarts of a service don't help: all services, then the device, then no more than that.
//! The reboot command is a script that writes down that it ran: no test resets anything.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::{fs, os::unix::fs::PermissionsExt, path::Path, time::Duration};

use common::{Hardware, Watchdog, script};
use nix::sys::signal::Signal;
use tempfile::TempDir;

/// A device: its state, and its way to reboot.
struct Device {
    folder: TempDir,
    /// For its state: how long a busy disk takes is nobody's to say.
    memory: TempDir,
}

impl Device {
    /// `reboot` is what its reboot command does beside taking note.
    fn new(reboot: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("reboot");
        let rebooted = folder.path().join("rebooted");
        let text = format!("#!/bin/sh\necho reboot >>{}\n{reboot}\n", rebooted.display());
        fs::write(&program, text).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        let memory = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
        Self { folder, memory }
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    fn state_dir(&self) -> String {
        self.memory.path().join("state").display().to_string()
    }

    fn record(&self) -> String {
        self.state_dir() + "/record.toml"
    }

    fn state(&self) -> String {
        format!("state-dir = {:?}\n", self.state_dir())
    }

    fn escalation(&self) -> String {
        format!("[escalation]\nreboot-command = [{:?}]\n", self.path("reboot"))
    }

    /// All of it, with a hardware watchdog.
    fn escalates_with(&self, hardware: &Hardware) -> String {
        self.state() + &hardware.config() + &self.escalation()
    }

    /// Waits until this start is recorded.
    fn is_recorded(&self) {
        let path = self.record();
        common::until("this start is recorded", || {
            fs::read_to_string(&path).is_ok_and(|record| record.contains(own_boot().trim()))
        });
    }

    fn reboots(&self) -> usize {
        fs::read_to_string(self.path("rebooted")).map_or(0, |text| text.lines().count())
    }

    /// As a start of the device leaves it: the next one has another name.
    fn is_reset(&self) {
        let path = self.record();
        let record = fs::read_to_string(&path).unwrap();
        let own = own_boot();
        assert!(record.contains(own.trim()), "{record}");
        fs::write(&path, record.replace(own.trim(), "another start")).unwrap();
    }
}

fn own_boot() -> String {
    fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap()
}

const BROKEN: &str = "broken-failures = 2\n";

#[test]
fn all_services_are_restarted_then_the_device_is_rebooted_with_the_reason_kept() {
    let device = Device::new("");
    let hardware = Hardware::new();
    let config = device.escalates_with(&hardware)
        // Not at once, so that the other one has set its trap.
        + &script("agent", "sleep 2; exit 1")
        + BROKEN
        + &script("other", "trap 'echo asked; exit' TERM; while :; do sleep 0.05; done");
    let mut watchdog = Watchdog::start(&config);
    watchdog.logs("agent: stays broken (failed 2 times in a row): restarting all services");
    watchdog.prints("asked");
    watchdog.logs("other: stopped");
    watchdog.logs("agent: started");
    watchdog.logs("other: started");
    let line = watchdog.logs("also after a restart of all services: rebooting");
    assert!(line.contains("agent: stays broken (failed 2 times in a row)"), "{line}");
    watchdog.prints("asked");
    watchdog.logs("other: stopped");
    common::until("the device is told to reboot", || device.reboots() == 1);
    // Whatever becomes of that, the hardware sees to it: the last feed was just before.
    std::thread::sleep(Duration::from_millis(300));
    hardware.drain();
    assert!(!hardware.is_fed_within(Duration::from_secs(2)));
    // As init does on the way down.
    watchdog.signal(Signal::SIGTERM);
    watchdog.logs("stays armed until the device is reset");
    assert_eq!(watchdog.ends().code(), Some(0));
    assert!(!hardware.drain().contains(&b'V'));

    device.is_reset();
    let mut watchdog = Watchdog::start(&(device.state() + &script("agent", "exec sleep 60")));
    let line = watchdog.logs("start 2 of this device: the one before ended by the watchdog");
    assert!(line.contains("(agent: stays broken (failed 2 times in a row), also after"), "{line}");
    assert!(line.ends_with("; 1 in a row"), "{line}");
    watchdog.stop();
}

#[test]
fn a_reboot_command_that_fails_is_said_and_the_hardware_does_it() {
    let device = Device::new("exit 3");
    let hardware = Hardware::new();
    let config = device.escalates_with(&hardware) + &script("agent", "exit 1") + BROKEN;
    let mut watchdog = Watchdog::start(&config);
    watchdog.logs("the reboot command exited with code 3");
    // The last feed was just before.
    std::thread::sleep(Duration::from_millis(300));
    hardware.drain();
    assert!(!hardware.is_fed_within(Duration::from_secs(2)));
    watchdog.signal(Signal::SIGTERM);
    watchdog.ends();
}

#[test]
fn after_too_many_resets_services_are_tried_again_and_the_device_is_left_alone() {
    let device = Device::new("");
    let hardware = Hardware::new();
    let config = device.escalates_with(&hardware)
        + "resets-per-day = 0\n"
        + &script("agent", "exit 1")
        + BROKEN;
    let mut watchdog = Watchdog::start(&config);
    watchdog.logs("agent: stays broken (failed 2 times in a row): restarting all services");
    let line = watchdog.logs("restarting all services in 60s");
    assert!(line.contains("escalation.resets-per-day"), "{line}");
    hardware.drain();
    for _ in 0..5 {
        assert_eq!(hardware.next(), 0, "it is fed");
    }
    assert_eq!(device.reboots(), 0);
    watchdog.stop();
    assert_eq!(device.reboots(), 0);
}

#[test]
fn a_reset_that_cannot_be_recorded_is_not_made() {
    let device = Device::new("");
    // Nobody, not even root, makes a folder there.
    let state = "state-dir = \"/proc/peercam-watchdog\"\n".to_owned();
    let config = state + &device.escalation() + &script("agent", "exit 1") + BROKEN;
    let mut watchdog = Watchdog::start(&config);
    watchdog.logs("record.toml: not written: ");
    watchdog.logs("not rebooting: that can't be recorded");
    watchdog
        .logs("restarting all services in 60s (the device is not reset: that can't be recorded");
    watchdog.stop();
    assert_eq!(device.reboots(), 0);
}

#[test]
fn the_hardware_is_fed_while_storage_hangs() {
    let device = Device::new("");
    fs::create_dir(device.state_dir()).unwrap();
    // Whoever opens it for writing waits for a reader.
    let draft = device.record().replace(".toml", ".new");
    nix::unistd::mkfifo(draft.as_str(), nix::sys::stat::Mode::S_IRUSR).unwrap();
    let hardware = Hardware::new();
    let config = device.escalates_with(&hardware) + &script("agent", "exit 1") + BROKEN;
    let mut watchdog = Watchdog::start(&config);
    watchdog.logs("also after a restart of all services: rebooting");
    hardware.drain();
    let line = watchdog.logs("not rebooting: that can't be recorded");
    assert!(line.ends_with("the storage takes longer than 3s"), "{line}");
    let feeds = hardware.drain().len();
    assert!(feeds >= 4, "{feeds} in 3 s, with a timeout of one");
    watchdog.logs("restarting all services in 60s");
    assert_eq!(hardware.next(), 0, "it is fed from then on");
    watchdog.stop();
    assert_eq!(device.reboots(), 0);
}

#[test]
fn a_record_that_cannot_be_read_is_left_alone_and_nothing_is_reset() {
    // As on a camera whose /data is a tmpfs: a file where the folder should be.
    let blocked = Device::new("");
    fs::write(blocked.state_dir(), "").unwrap();
    // As with storage that gives errors: every way to read it fails, and none to replace it.
    let damaged = Device::new("");
    fs::create_dir(damaged.state_dir()).unwrap();
    let record = damaged.record();
    std::os::unix::fs::symlink("record.toml", &record).unwrap();
    for device in [&blocked, &damaged] {
        let config = device.state() + &device.escalation() + &script("agent", "exit 1") + BROKEN;
        let mut watchdog = Watchdog::start(&config);
        let line = watchdog.logs("record.toml can't be read: ");
        assert!(line.ends_with("resets are not recorded, and none is made"), "{line}");
        watchdog.logs("not rebooting: that can't be recorded");
        let line = watchdog.logs("restarting all services in 60s (the device is not reset: ");
        assert!(line.contains("record.toml can't be read"), "{line}");
        watchdog.stop();
        assert_eq!(device.reboots(), 0);
    }
    assert!(fs::symlink_metadata(&record).unwrap().is_symlink(), "it was written over");
}

#[test]
fn resets_in_a_row_lead_to_safe_mode_and_a_stable_time_out_of_it() {
    let device = Device::new("");
    let service = script("agent", "echo normal; exec sleep 60");
    for _ in 0..2 {
        let mut watchdog = Watchdog::start(&(device.state() + &service));
        watchdog.prints("normal");
        device.is_recorded();
        watchdog.signal(Signal::SIGKILL);
        watchdog.ends();
        device.is_reset();
    }
    let config = device.state()
        + &device.escalation()
        + "safe-mode-after = 2\nstable-after = \"1s\"\n"
        + &service
        + "safe-command = [\"/bin/sh\", \"-c\", \"echo safe, $PEERCAM_SAFE_MODE; exec sleep 60\"]\n";
    let mut watchdog = Watchdog::start(&config);
    watchdog.logs("ended for no known reason");
    watchdog.logs("safe mode, after 2 resets in a row");
    watchdog.prints("safe, 2 resets in a row");
    watchdog.logs("well for long enough in safe mode: starting all services normally");
    watchdog.prints("normal");
    watchdog.stop();

    device.is_reset();
    let mut watchdog = Watchdog::start(&config);
    watchdog.logs("the one before ended on purpose (shut down or rebooted)");
    watchdog.prints("normal");
    assert_eq!(watchdog.times_logged("safe mode"), 0);
    watchdog.stop();
}

#[test]
fn a_record_that_makes_no_sense_begins_anew_and_holds_nothing_up() {
    let device = Device::new("");
    fs::create_dir(device.state_dir()).unwrap();
    let path = device.record();
    for nonsense in
        [&b"\0\xff"[..], b"", b"version = 99\nboots = 1\nboot-id = \"\"", &[b'x'; 100_000]]
    {
        fs::write(&path, nonsense).unwrap();
        let mut watchdog = Watchdog::start(&(device.state() + &script("agent", "exec sleep 60")));
        watchdog.logs("record.toml: ");
        watchdog.logs("agent: up");
        watchdog.stop();
        assert!(fs::read_to_string(&path).unwrap().contains("boots = 1"));
    }
    assert!(!Path::new(&device.record().replace(".toml", ".new")).exists());
}

#[test]
fn failures_and_last_words_are_kept() {
    let device = Device::new("");
    let agent = common::example_service("agent", &["ready", "status=counting sheep", "exit=7"]);
    let mut watchdog = Watchdog::start(&(device.state() + &agent));
    watchdog.logs("failure 2 in a row");
    watchdog.stop();
    let record = fs::read_to_string(device.record()).unwrap();
    let service = record.split("[services.agent]").nth(1).unwrap();
    assert!(service.contains("cause = \"exited with code 7\""), "{record}");
    assert!(service.contains("last-words = \"counting sheep\""), "{record}");
    assert!(!service.contains("failures = 0"), "{record}");
    let mode = fs::metadata(device.record()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn a_person_may_end_safe_mode() {
    let device = Device::new("");
    let run_dir = format!("runtime-dir = {:?}\n", device.path("run"));
    let service = script("agent", "echo normal; exec sleep 60");
    let mut watchdog = Watchdog::start(&(device.state() + &service));
    watchdog.prints("normal");
    device.is_recorded();
    watchdog.signal(Signal::SIGKILL);
    watchdog.ends();
    device.is_reset();
    let config =
        device.state() + &run_dir + &device.escalation() + "safe-mode-after = 1\n" + &service;
    let mut watchdog = Watchdog::start(&config);
    let file = watchdog.folder.path().join("watchdog.toml").display().to_string();
    watchdog.logs("safe mode, after 1 resets in a row");
    common::until("it is shown", || {
        let (code, said) = common::run(&["status", "--config", &file]);
        code == Some(0) && said.contains("safe mode, after 1 resets in a row")
    });
    let (code, said) = common::run(&["leave-safe-mode", "--config", &file]);
    assert_eq!((code, said.as_str()), (Some(0), ""));
    watchdog.logs("safe mode ends on request: starting all services normally");
    watchdog.logs("agent: started");
    common::until("it is shown", || {
        let (code, said) = common::run(&["status", "--config", &file]);
        code == Some(0) && !said.contains("safe mode")
    });
    let (code, said) = common::run(&["leave-safe-mode", "--config", &file]);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("services don't run in safe mode"), "{said}");
    watchdog.stop();
    let (code, said) = common::run(&["leave-safe-mode", "--config", &file]);
    assert_eq!(code, Some(2), "the folder is gone with its configuration: {said}");
}

#[test]
fn what_stays_critical_escalates_where_it_is_to() {
    let device = Device::new("");
    let config = device.state()
        + &device.escalation()
        + "[[monitor]]\nwhat = \"descriptors\"\ncritical = 1\nescalate = true\nhold = \"1s\"\n"
        + &script("agent", "ulimit -n 20; exec sleep 60");
    let mut watchdog = Watchdog::start(&config);
    let first = watchdog.starts("agent");
    let line = watchdog.logs("descriptors stays critical");
    assert!(line.ends_with("for 1s or longer): restarting all services"), "{line}");
    assert_ne!(watchdog.starts("agent"), first);
    let line = watchdog.logs("also after a restart of all services: rebooting");
    assert!(line.contains("descriptors stays critical"), "{line}");
    common::until("the device is told to reboot", || device.reboots() == 1);
    watchdog.signal(Signal::SIGTERM);
    watchdog.ends();
}
