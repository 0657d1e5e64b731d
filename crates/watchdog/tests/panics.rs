//! A kernel that panicked and left a dump: the next start tells why, keeps it, and makes room.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::{fs, path::PathBuf};

use common::{Watchdog, script};
use tempfile::TempDir;

/// A device whose kernel keeps what it says at its end.
struct Device {
    folder: TempDir,
}

impl Device {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("pstore")).unwrap();
        Self { folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn start(&self) -> Watchdog {
        let (state, pstore) = (self.path("state"), self.path("pstore"));
        let config = format!("state-dir = {state:?}\npstore-dir = {pstore:?}\n");
        Watchdog::start(&(config + &script("agent", "exec sleep 60")))
    }

    /// Its kernel ends, and leaves `dump`.
    fn is_reset(&self, dump: Option<&[u8]>) {
        let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
        let record = fs::read_to_string(self.path("state/record.toml")).unwrap();
        fs::write(self.path("state/record.toml"), record.replace(boot.trim(), "another")).unwrap();
        if let Some(dump) = dump {
            fs::write(self.path("pstore/dmesg-ramoops-0"), dump).unwrap();
        }
    }

    fn dumps(&self) -> usize {
        fs::read_dir(self.path("pstore")).unwrap().count()
    }
}

const PANIC: &[u8] = b"Panic#1 Part1\n<6>[ 9.0] sysrq: Trigger a crash\n\
    <0>[ 9.1] Kernel panic - not syncing: sysrq triggered crash\xff\x1b[2J\n<4>[ 9.2] CPU: 0\n";

#[test]
fn its_reason_is_recorded_and_all_of_it_kept_before_it_is_removed() {
    let device = Device::new();
    let mut watchdog = device.start();
    watchdog.logs("agent: up");
    watchdog.stop();
    for (start, kept) in [(2, PANIC), (3, &[PANIC, b"and more\n"].concat())] {
        device.is_reset(Some(kept));
        let mut watchdog = device.start();
        let said = watchdog.logs("the one before ended by the kernel");
        assert!(said.contains(&format!("start {start} of this device")), "{said}");
        assert!(said.contains("(kernel panic: sysrq triggered crash\u{fffd} [2J);"), "{said}");
        assert_eq!(watchdog.times_logged("what the kernel said at its end is in "), 1);
        assert_eq!(device.dumps(), 0);
        let copy = fs::read_to_string(device.path("state/panic.txt")).unwrap();
        assert_eq!(copy, String::from_utf8_lossy(kept));
        watchdog.logs("agent: up");
        watchdog.stop();
    }
    device.is_reset(None);
    let mut watchdog = device.start();
    watchdog.logs("start 4 of this device: the one before ended on purpose");
    watchdog.stop();
}

#[test]
fn what_cannot_be_kept_stays_and_is_counted_once() {
    let device = Device::new();
    let mut watchdog = device.start();
    watchdog.logs("agent: up");
    watchdog.stop();
    // In the way of the copy.
    fs::create_dir(device.path("state/panic.txt")).unwrap();
    device.is_reset(Some(PANIC));
    let mut watchdog = device.start();
    watchdog.logs("panic.txt: not written: ");
    watchdog.logs("start 2 of this device: the one before ended by the kernel");
    watchdog.logs("agent: up");
    watchdog.stop();
    assert_eq!(device.dumps(), 1);
    device.is_reset(None);
    let mut watchdog = device.start();
    watchdog.logs("start 3 of this device: the one before ended on purpose");
    watchdog.stop();
}
