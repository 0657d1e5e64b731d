//! What is watched beside the services: asks [`crate::sensors`] now and then, and says what
//! [`crate::monitor`] makes of it.

use std::{
    path::PathBuf,
    time::{Duration, Instant},
};

use nix::unistd::Pid;

use crate::{
    log,
    monitor::{self, Level, Monitor},
    sensors::{Probe, Sensors},
    status::MonitorStatus,
};

/// How often is measured what [`crate::monitor`] watches.
const MEASURE_PAUSE: Duration = Duration::from_secs(10);
/// Measuring rarely takes longer.
const ANSWER_PAUSE: Duration = Duration::from_millis(100);

/// What is watched beside the services.
#[derive(Debug)]
pub(crate) struct Watch {
    monitors: Vec<Monitor>,
    /// None where there is nothing to measure.
    probe: Option<Probe>,
    /// When it is next measured, or looked for an answer.
    due: Instant,
}

impl Watch {
    /// Of what `limits` name; `folder` is where storage is measured.
    pub fn new(limits: Vec<monitor::Limits>, folder: Option<PathBuf>, now: Instant) -> Self {
        let subjects: Vec<_> = limits.iter().map(|limits| limits.subject).collect();
        let probe = (!subjects.is_empty()).then(|| Probe::start(Sensors::new(folder), subjects));
        let probe = probe.transpose().unwrap_or_else(|error| {
            log::error(format_args!("no monitor works, there is no thread for them: {error}"));
            None
        });
        Self { monitors: limits.into_iter().map(Monitor::new).collect(), probe, due: now }
    }

    /// When the next [`Watch::measure`] is due.
    pub fn deadline(&self) -> Option<Instant> {
        self.probe.as_ref().map(|_| self.due)
    }

    /// Asks for values or takes them, if it is time to.
    pub fn measure(&mut self, now: Instant, services: impl FnOnce() -> Vec<Pid>) {
        let Some(probe) = &mut self.probe else { return };
        let Some(values) = probe.answer() else {
            if now >= self.due {
                // Without an answer by then it hangs: it is looked for now and then.
                self.due = now + if probe.is_asked() { MEASURE_PAUSE } else { ANSWER_PAUSE };
                probe.ask(services());
            }
            return;
        };
        self.due = now + MEASURE_PAUSE;
        for (monitor, value) in self.monitors.iter_mut().zip(values) {
            match value.and_then(|value| monitor.take(now, value)) {
                Some((Level::Normal, text)) => log::info(text),
                Some((Level::Warning, text)) => log::warn(text),
                Some((Level::Critical, text)) => log::error(text),
                None => {}
            }
        }
    }

    /// What is critical and calls for more than words.
    pub fn trouble(&self, now: Instant) -> Option<String> {
        self.monitors.iter().find_map(|monitor| monitor.trouble(now))
    }

    /// What is critical has to stay so from now on, to be trouble.
    pub fn give_time(&mut self, now: Instant) {
        self.monitors.iter_mut().for_each(|monitor| monitor.give_time(now));
    }

    /// For people.
    pub fn status(&self) -> Vec<MonitorStatus> {
        let status = |monitor: &Monitor| {
            let (value, level) = monitor.state()?;
            Some(MonitorStatus {
                what: monitor.subject().to_string(),
                value,
                unit: monitor.subject().unit().to_owned(),
                level: level.to_string(),
            })
        };
        self.monitors.iter().filter_map(status).collect()
    }
}
