//! Measures what [`crate::monitor`] watches, from the kernel's files.

use std::{
    fs, io,
    path::PathBuf,
    sync::mpsc::{Receiver, SyncSender, sync_channel},
    time::{SystemTime, UNIX_EPOCH},
};

use nix::{
    sys::{
        statvfs::{Statvfs, statvfs},
        time::TimeValLike,
    },
    time::{ClockId, clock_gettime},
    unistd::Pid,
};

use crate::{monitor::Subject, writer::spawn};

/// Measures in a thread of its own: storage that hangs, and sensors on a slow bus, hold nothing up.
#[derive(Debug)]
pub struct Probe {
    requests: SyncSender<Vec<Pid>>,
    answers: Receiver<Vec<Option<u64>>>,
    /// A request was not answered yet.
    asked: bool,
}

impl Probe {
    /// One that measures these, with `sensors`. It ends with the first request after it was
    /// dropped, or at once.
    ///
    /// # Errors
    ///
    /// When there can't be a thread.
    pub fn start(mut sensors: Sensors, subjects: Vec<Subject>) -> io::Result<Self> {
        Self::with(move |services: &[Pid]| {
            subjects.iter().map(|subject| sensors.measure(*subject, services)).collect()
        })
    }

    fn with(
        mut measure: impl FnMut(&[Pid]) -> Vec<Option<u64>> + Send + 'static,
    ) -> io::Result<Self> {
        let (requests, requested) = sync_channel::<Vec<Pid>>(1);
        let (answer, answers) = sync_channel(1);
        spawn(move || {
            while let Ok(services) = requested.recv() {
                if answer.send(measure(&services)).is_err() {
                    return;
                }
            }
        })?;
        Ok(Self { requests, answers, asked: false })
    }

    /// Asks for the values now, with the main processes of services; not while an earlier request
    /// has no answer.
    pub fn ask(&mut self, services: Vec<Pid>) {
        self.asked = self.asked || self.requests.try_send(services).is_ok();
    }

    /// Whether a request has no answer.
    pub fn is_asked(&self) -> bool {
        self.asked
    }

    /// The values in the order of the subjects, once; None while there is no answer.
    pub fn answer(&mut self) -> Option<Vec<Option<u64>>> {
        let values = self.answers.try_recv().ok()?;
        self.asked = false;
        Some(values)
    }
}

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
        // Not by libc, whose seconds have 32 bits on armv7: it can't tell a time after 2038.
        let now = match SystemTime::now().duration_since(UNIX_EPOCH) {
            Ok(since) => i64::try_from(since.as_secs()).ok()?,
            Err(before) => -i64::try_from(before.duration().as_secs()).ok()?,
        };
        let running = clock_gettime(ClockId::CLOCK_BOOTTIME).ok()?;
        let ahead = now.saturating_sub(running.num_seconds());
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
    use std::{path::Path, thread::sleep, time::Duration};

    use super::*;

    fn answer(probe: &mut Probe) -> Vec<Option<u64>> {
        loop {
            match probe.answer() {
                Some(values) => return values,
                None => sleep(Duration::from_millis(5)),
            }
        }
    }

    #[test]
    fn a_measurement_that_hangs_holds_nothing_up_and_is_not_asked_for_twice() {
        let (go_on, wait) = sync_channel::<u64>(1);
        let mut probe = Probe::with(move |_| vec![wait.recv().ok()]).unwrap();
        for _ in 0..100 {
            probe.ask(Vec::new());
            assert!(probe.is_asked());
            assert_eq!(probe.answer(), None);
        }
        go_on.send(7).unwrap();
        assert_eq!(answer(&mut probe), [Some(7)]);
        assert!(!probe.is_asked());
        go_on.send(8).unwrap();
        sleep(Duration::from_millis(50));
        assert_eq!(probe.answer(), None, "the hundred before were one");
        probe.ask(Vec::new());
        assert_eq!(answer(&mut probe), [Some(8)]);
    }

    #[test]
    fn answers_have_the_order_of_the_subjects() {
        let subjects = vec![Subject::DataSpace, Subject::ClockJump];
        let mut probe = Probe::start(Sensors::new(None), subjects).unwrap();
        probe.ask(Vec::new());
        assert_eq!(answer(&mut probe), [None, Some(0)]);
    }

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
