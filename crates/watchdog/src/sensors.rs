//! Measures what [`crate::monitor`] watches, from the kernel's files.

use std::{fs, path::PathBuf};

use nix::{
    sys::{
        statvfs::{Statvfs, statvfs},
        time::TimeValLike,
    },
    time::{ClockId, clock_gettime},
    unistd::Pid,
};

use crate::monitor::Subject;

/// What is measured with, and against.
#[derive(Debug)]
pub struct Sensors {
    /// Of the file system that is watched.
    folder: Option<PathBuf>,
    /// By how many seconds the clock was ahead of the running time, when last measured.
    clock_ahead: Option<i64>,
}

impl Sensors {
    /// `folder` is on the file system that is watched.
    pub fn new(folder: Option<PathBuf>) -> Self {
        Self { folder, clock_ahead: None }
    }

    /// The value now, in [`Subject::unit`]s; None where it can't be measured. `services` are their
    /// main processes.
    pub fn measure(&mut self, subject: Subject, services: &[Pid]) -> Option<u64> {
        match subject {
            Subject::MemoryPressure => {
                full_avg10(&fs::read_to_string("/proc/pressure/memory").ok()?)
            }
            Subject::Load => load(&fs::read_to_string("/proc/loadavg").ok()?, processors()),
            Subject::Descriptors => services.iter().filter_map(|pid| descriptors(*pid)).max(),
            Subject::DataSpace => {
                let found = self.statvfs()?;
                Some(used(found.blocks_available(), found.blocks()))
            }
            Subject::DataInodes => {
                let found = self.statvfs()?;
                Some(used(found.files_available(), found.files()))
            }
            Subject::Temperature => hottest(),
            Subject::ClockJump => self.clock_jump(),
        }
    }

    fn statvfs(&self) -> Option<Statvfs> {
        // The folder itself may have to be made yet.
        let mut places = self.folder.as_deref()?.ancestors();
        places.find_map(|place| statvfs(place).ok())
    }

    fn clock_jump(&mut self) -> Option<u64> {
        let now = clock_gettime(ClockId::CLOCK_REALTIME).ok()?;
        let running = clock_gettime(ClockId::CLOCK_BOOTTIME).ok()?;
        let ahead = now.num_seconds().saturating_sub(running.num_seconds());
        let before = self.clock_ahead.replace(ahead).unwrap_or(ahead);
        Some(ahead.abs_diff(before))
    }
}

/// How many there are (`/proc/stat`: `cpu`, then `cpu0`, `cpu1`, …); at least one.
fn processors() -> u64 {
    let text = fs::read_to_string("/proc/stat").unwrap_or_default();
    let lines = text.lines().filter(|line| line.starts_with("cpu")).count();
    (lines.saturating_sub(1) as u64).max(1)
}

/// In use, in percent, of what there is; what nothing is known about is not in use.
fn used(available: impl Into<u64>, all: impl Into<u64>) -> u64 {
    let (available, all) = (available.into(), all.into());
    if all == 0 {
        return 0;
    }
    let used = u128::from(all.saturating_sub(available)) * 100 / u128::from(all);
    u64::try_from(used).unwrap_or(100)
}

/// `/proc/pressure/memory`: `full avg10=0.00 avg60=…`.
fn full_avg10(text: &str) -> Option<u64> {
    let full = text.lines().find_map(|line| line.strip_prefix("full avg10="))?;
    whole(full.split_ascii_whitespace().next()?)
}

/// `/proc/loadavg`: `0.52 0.58 …`, as percent of this many processors.
fn load(text: &str, processors: u64) -> Option<u64> {
    let (whole, hundredths) = text.split_ascii_whitespace().next()?.split_once('.')?;
    let percent = whole.parse::<u64>().ok()?.checked_mul(100)?;
    Some(percent.checked_add(hundredths.get(..2)?.parse().ok()?)? / processors.max(1))
}

fn whole(decimal: &str) -> Option<u64> {
    decimal.split('.').next()?.parse().ok()
}

/// Descriptors of a process, in percent of its limit.
fn descriptors(pid: Pid) -> Option<u64> {
    let limits = fs::read_to_string(format!("/proc/{pid}/limits")).ok()?;
    let limit = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    let limit: u64 = limit.split_ascii_whitespace().next()?.parse().ok()?;
    let open = fs::read_dir(format!("/proc/{pid}/fd")).ok()?.count() as u64;
    Some(used(limit.saturating_sub(open), limit))
}

/// Whole degrees of the hottest zone that is above freezing.
fn hottest() -> Option<u64> {
    let zones = fs::read_dir("/sys/class/thermal").ok()?.flatten();
    let degrees = zones.filter_map(|zone| {
        let text = fs::read_to_string(zone.path().join("temp")).ok()?;
        let thousandths: i64 = text.trim().parse().ok()?;
        u64::try_from(thousandths / 1000).ok()
    });
    degrees.max()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn the_kernels_words_are_understood() {
        let pressure = "some avg10=1.53 avg60=0.87 avg300=0.73 total=3131\n\
                        full avg10=63.97 avg60=0.80 avg300=0.68 total=2820\n";
        assert_eq!(full_avg10(pressure), Some(63));
        assert_eq!(load("3.05 1.00 0.50 1/200 4711\n", 2), Some(152));
        for nonsense in ["", "x", "full avg10=", "1", "1.x", "99999999999999999999.00"] {
            assert_eq!((full_avg10(nonsense), load(nonsense, 1)), (None, None), "{nonsense:?}");
        }
        assert_eq!([used(25_u64, 100_u64), used(0_u64, 0_u64), used(9_u64, 3_u64)], [75, 0, 0]);
    }

    #[test]
    fn this_machine_is_measured() {
        let own = [nix::unistd::getpid()];
        let mut sensors = Sensors::new(Some(Path::new("/tmp/not/there/yet").to_owned()));
        for subject in [Subject::Descriptors, Subject::DataSpace, Subject::DataInodes] {
            let value = sensors.measure(subject, &own).unwrap();
            assert!(value <= 100, "{subject}: {value}");
        }
        assert!(sensors.measure(Subject::Load, &own).is_some());
        // Two clocks, read one after the other, may tick in between.
        assert_eq!(sensors.measure(Subject::ClockJump, &own), Some(0));
        assert!(sensors.measure(Subject::ClockJump, &own).unwrap() <= 1);
        sensors.clock_ahead = Some(0);
        assert!(sensors.measure(Subject::ClockJump, &own).unwrap() > 1_000_000);
        assert_eq!(Sensors::new(None).measure(Subject::DataSpace, &own), None);
    }
}
