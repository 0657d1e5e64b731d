//! What goes wrong slowly: memory, load, storage, heat, the clock. Levels and what is said about
//! them; no I/O, no clock. [`crate::sensors`] measures.

use std::{
    fmt,
    time::{Duration, Instant},
};

/// A level is left again when the value is so many percent below it: what goes up and down around
/// a limit is told of once.
const MARGIN_PERCENT: u64 = 10;

/// What is watched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Subject {
    /// In how much of the last ten seconds everything waited for memory (PSI, `full avg10`).
    MemoryPressure,
    /// Processes that wanted a processor in the last minute, in percent of the processors.
    Load,
    /// File descriptors in use, in percent of what the process may have: the fullest service.
    Descriptors,
    /// The file system with `state-dir`: blocks in use.
    DataSpace,
    /// The same: inodes in use.
    DataInodes,
    /// The hottest thermal zone.
    Temperature,
    /// By how much the clock was set.
    ClockJump,
}

impl Subject {
    /// All there are.
    pub const ALL: [Self; 7] = [
        Self::MemoryPressure,
        Self::Load,
        Self::Descriptors,
        Self::DataSpace,
        Self::DataInodes,
        Self::Temperature,
        Self::ClockJump,
    ];

    /// As in the configuration.
    pub fn name(self) -> &'static str {
        match self {
            Self::MemoryPressure => "memory-pressure",
            Self::Load => "load",
            Self::Descriptors => "descriptors",
            Self::DataSpace => "data-space",
            Self::DataInodes => "data-inodes",
            Self::Temperature => "temperature",
            Self::ClockJump => "clock-jump",
        }
    }

    /// What it is measured in.
    pub fn unit(self) -> &'static str {
        match self {
            Self::Temperature => "°C",
            Self::ClockJump => "s",
            _ => "%",
        }
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Limits for one subject, in its unit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// What is watched.
    pub subject: Subject,
    /// From here on people are told.
    pub warning: u64,
    /// From here on it is serious; above the warning, or `u64::MAX`.
    pub critical: u64,
    /// Whether that is trouble for the escalation to deal with.
    pub escalate: bool,
    /// How long it must stay critical before it is trouble.
    pub hold: Duration,
}

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// All is well.
    Normal,
    /// People should know.
    Warning,
    /// It is serious.
    Critical,
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Normal => "normal",
            Self::Warning => "warning",
            Self::Critical => "critical",
        })
    }
}

/// One subject, and how it stands.
#[derive(Debug)]
pub struct Monitor {
    limits: Limits,
    level: Level,
    /// The last value; None before the first.
    value: Option<u64>,
    critical_since: Option<Instant>,
}

impl Monitor {
    /// Nothing measured yet.
    pub fn new(limits: Limits) -> Self {
        Self { limits, level: Level::Normal, value: None, critical_since: None }
    }

    /// What it watches.
    pub fn subject(&self) -> Subject {
        self.limits.subject
    }

    /// The last value, and how bad that is.
    pub fn state(&self) -> Option<(u64, Level)> {
        self.value.map(|value| (value, self.level))
    }

    /// Takes in a value; the level and what to tell people, if that has changed.
    pub fn take(&mut self, now: Instant, value: u64) -> Option<(Level, String)> {
        self.value = Some(value);
        let level = self.judge(value);
        let before = std::mem::replace(&mut self.level, level);
        match level {
            Level::Critical => drop(self.critical_since.get_or_insert(now)),
            _ => self.critical_since = None,
        }
        if self.limits.subject == Subject::ClockJump {
            // An event, and over as soon as it is told.
            (self.level, self.critical_since) = (Level::Normal, None);
            let news = level > Level::Normal;
            return news.then(|| (level, format!("the clock was set by {value} s")));
        }
        if level == before {
            return None;
        }
        let Limits { subject, warning, critical, .. } = self.limits;
        let unit = subject.unit();
        let limit = match level {
            Level::Normal => String::new(),
            Level::Warning => format!(" from {warning} {unit} on"),
            Level::Critical => format!(" from {critical} {unit} on"),
        };
        Some((level, format!("{subject}: {value} {unit}, {level}{limit}")))
    }

    /// In words, when it has been critical for too long, and that is to be acted on.
    pub fn trouble(&self, now: Instant) -> Option<String> {
        let since = self.critical_since.filter(|_| self.limits.escalate)?;
        let (subject, unit, value) = (self.subject(), self.subject().unit(), self.value?);
        let hold = self.limits.hold;
        (now >= since + hold)
            .then(|| format!("{subject} stays critical ({value} {unit} for {hold:?} or longer)"))
    }

    /// Something was done about it: it is given time again to show.
    pub fn give_time(&mut self, now: Instant) {
        self.critical_since = self.critical_since.map(|_| now);
    }

    fn judge(&self, value: u64) -> Level {
        let reached = |limit: u64, level: Level| {
            let margin = if self.level >= level { limit / (100 / MARGIN_PERCENT) } else { 0 };
            value >= limit - margin
        };
        if reached(self.limits.critical, Level::Critical) {
            Level::Critical
        } else if reached(self.limits.warning, Level::Warning) {
            Level::Warning
        } else {
            Level::Normal
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOLD: Duration = Duration::from_secs(60);

    fn limits(subject: Subject) -> Limits {
        Limits { subject, warning: 50, critical: 80, escalate: true, hold: HOLD }
    }

    fn monitor(subject: Subject) -> Monitor {
        Monitor::new(limits(subject))
    }

    #[test]
    fn levels_are_told_of_when_they_change_and_not_around_a_limit() {
        let mut monitor = monitor(Subject::DataSpace);
        let now = Instant::now();
        let mut told = Vec::new();
        for value in [10, 49, 50, 49, 51, 46, 45, 44, 80, 73, 72, 71, 10] {
            told.extend(monitor.take(now, value).map(|(_, text)| text));
        }
        assert_eq!(
            told,
            [
                "data-space: 50 %, warning from 50 % on",
                "data-space: 44 %, normal",
                "data-space: 80 %, critical from 80 % on",
                "data-space: 71 %, warning from 50 % on",
                "data-space: 10 %, normal",
            ]
        );
        assert_eq!(monitor.state(), Some((10, Level::Normal)));
    }

    #[test]
    fn what_stays_critical_is_trouble_and_gets_time_after_something_was_done() {
        let mut monitor = monitor(Subject::MemoryPressure);
        let begin = Instant::now();
        let at = |second| begin + Duration::from_secs(second);
        monitor.take(at(0), 90);
        monitor.take(at(50), 85);
        assert_eq!(monitor.trouble(at(59)), None);
        let trouble = monitor.trouble(at(60)).unwrap();
        assert_eq!(trouble, "memory-pressure stays critical (85 % for 60s or longer)");
        monitor.give_time(at(60));
        assert_eq!(monitor.trouble(at(119)), None);
        assert!(monitor.trouble(at(120)).is_some());
        monitor.take(at(121), 10);
        assert_eq!(monitor.trouble(at(500)), None);
    }

    #[test]
    fn only_what_is_to_escalate_is_trouble() {
        let mut monitor = Monitor::new(Limits { escalate: false, ..limits(Subject::Load) });
        let now = Instant::now();
        monitor.take(now, 1000);
        assert_eq!(monitor.trouble(now + 10 * HOLD), None);
    }

    #[test]
    fn every_jump_of_the_clock_is_told_of_and_none_lasts() {
        let mut monitor = monitor(Subject::ClockJump);
        let now = Instant::now();
        let say = |told: Option<(Level, String)>| told.unwrap();
        assert_eq!(
            say(monitor.take(now, 60)),
            (Level::Warning, "the clock was set by 60 s".into())
        );
        assert_eq!(monitor.take(now, 0), None);
        assert_eq!(say(monitor.take(now, 31_536_000)).0, Level::Critical);
        assert_eq!(say(monitor.take(now, 31_536_000)).0, Level::Critical);
        assert_eq!(monitor.trouble(now + 10 * HOLD), None);
    }
}
