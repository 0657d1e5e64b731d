//! What is kept across resets: how often the device started and why, and what services said last.
//! Data and decisions only; [`crate::keeper`] reads and writes it.
//!
//! Time is the device's own running time over all its starts, in seconds: a camera without a
//! battery doesn't know the date, and steps of the clock change nothing here.

use std::{collections::BTreeMap, fmt, time::Duration};

use serde::Serialize;
use toml::de::{DeTable, DeValue};

use crate::fields::{Fields, FromToml, Mistake, word};

/// The layout of the file; another one is not read.
const VERSION: u32 = 1;
/// Resets that are remembered one by one.
const MAX_RESETS: usize = 16;
/// Services that are remembered: a configuration that changes leaves old names behind.
const MAX_SERVICES: usize = 32;
/// What a kernel says when it panics at the hardware watchdog's pre-timeout.
const PRETIMEOUT: &str = "watchdog pretimeout event";
/// Dumps of a kernel's end that are told apart.
pub const MAX_DUMPS: usize = 32;
/// Longest text of a reason or last words, in bytes.
const MAX_TEXT: usize = 256;
/// Most lines that are remembered of a service.
const MAX_LINES: usize = 8;
/// Longest of them, in bytes.
const MAX_LINE: usize = 160;
/// Largest file that is read, in bytes: far above what the limits here allow.
pub const MAX_SIZE: u64 = 256 * 1024;
/// A day of running time.
const DAY_SECONDS: u64 = 24 * 60 * 60;

/// The record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Record {
    version: u32,
    /// Starts of the device.
    pub boots: u64,
    /// Starts of the watchdog itself while the device went on running.
    pub watchdog_restarts: u64,
    /// Resets without [`Record::proved_stable`] or an end on purpose in between.
    pub resets_in_a_row: u32,
    /// Which start of the device this is, as the kernel names it.
    boot_id: String,
    /// Running time of all earlier starts.
    earlier_seconds: u64,
    /// Running time of this one, when the record was last written.
    uptime_seconds: u64,
    /// It was stopped on purpose.
    stopped: bool,
    /// Why the watchdog is about to reset the device.
    #[serde(skip_serializing_if = "Option::is_none")]
    intent: Option<String>,
    /// The dumps of a kernel's end that are known already, as in [`Traces`].
    dumps: BTreeMap<String, u64>,
    /// How often each kind of end was found.
    pub ends: BTreeMap<Kind, u64>,
    /// By name.
    pub services: BTreeMap<String, ServiceRecord>,
    /// The latest ones, the last one last.
    pub resets: Vec<Reset>,
}

/// What is remembered of a service.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct ServiceRecord {
    /// How often it failed.
    pub failures: u64,
    /// Why it did last.
    pub cause: String,
    /// The last it had said about itself then.
    pub last_words: String,
    /// The last lines it had printed then, the last one last.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub last_lines: Vec<String>,
    /// How often it was made to fail in a drill; none of that is among `failures`.
    pub drills: u64,
    /// What came of the last one.
    pub last_drill: String,
}

/// A reset.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Reset {
    /// The device's running time when it was found.
    pub at_seconds: u64,
    /// What ended the start before.
    pub kind: Kind,
    /// In words.
    pub reason: String,
}

/// What ended a start of the device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// The watchdog was stopped first: a shutdown or reboot on purpose.
    Stopped,
    /// The watchdog reset it.
    Watchdog,
    /// The kernel came to its end, and left a dump.
    Kernel,
    /// The hardware says that it did it.
    Hardware,
    /// Nobody says: power was cut, most likely.
    Unknown,
}

impl Kind {
    /// All there are.
    pub const ALL: [Self; 5] =
        [Self::Stopped, Self::Watchdog, Self::Kernel, Self::Hardware, Self::Unknown];

    /// As it stands in the file.
    pub fn key(self) -> &'static str {
        match self {
            Self::Stopped => "stopped",
            Self::Watchdog => "watchdog",
            Self::Kernel => "kernel",
            Self::Hardware => "hardware",
            Self::Unknown => "unknown",
        }
    }
}

impl FromToml for Kind {
    fn from_toml(value: &DeValue<'_>) -> Result<Self, String> {
        word(value, &Self::ALL.map(|kind| (kind.key(), kind)))
    }
}

impl FromToml for ServiceRecord {
    fn from_toml(value: &DeValue<'_>) -> Result<Self, String> {
        let read = |fields: Fields<'_>| {
            Ok(Self {
                failures: fields.or_default("failures")?,
                cause: fields.or_default("cause")?,
                last_words: fields.or_default("last-words")?,
                last_lines: fields.or_default("last-lines")?,
                drills: fields.or_default("drills")?,
                last_drill: fields.or_default("last-drill")?,
            })
        };
        read_table(value, read)
    }
}

impl FromToml for Reset {
    fn from_toml(value: &DeValue<'_>) -> Result<Self, String> {
        let read = |fields: Fields<'_>| {
            Ok(Self {
                at_seconds: fields.required("at-seconds")?,
                kind: fields.required("kind")?,
                reason: fields.required("reason")?,
            })
        };
        read_table(value, read)
    }
}

fn read_table<T>(
    value: &DeValue<'_>,
    read: impl FnOnce(Fields<'_>) -> Result<T, Mistake>,
) -> Result<T, String> {
    let table = value.as_table().ok_or("no table where there is to be one")?;
    read(Fields::new(table)).map_err(|(_, message)| message)
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Stopped => "on purpose",
            Self::Watchdog => "by the watchdog",
            Self::Kernel => "by the kernel",
            Self::Hardware => "by the hardware",
            Self::Unknown => "for no known reason",
        })
    }
}

/// What this start of the device knows about how the one before ended.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Traces {
    /// The kernel's name for this start (`/proc/sys/kernel/random/boot_id`).
    pub boot_id: String,
    /// What the hardware watchdog's driver says about the last reset, in words.
    pub hardware: Option<String>,
    /// Dumps of a kernel's end: names, and when they were written, in seconds after 1970. More
    /// than [`MAX_DUMPS`] are not told apart.
    pub dumps: BTreeMap<String, u64>,
    /// What the kernel came to its end with, of the newest dump.
    pub panic: Option<String>,
}

/// Why a record is not used.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// No text, or no record.
    #[error("it makes no sense ({0})")]
    Syntax(String),
    /// Of another program version.
    #[error("it has the layout {0}, and this program knows {VERSION}")]
    Version(u32),
}

impl Record {
    /// The first one of a device, or the one after one that was lost.
    pub fn new(traces: &Traces, uptime: Duration) -> Self {
        Self {
            version: VERSION,
            boots: 1,
            watchdog_restarts: 0,
            resets_in_a_row: 0,
            boot_id: cut(&traces.boot_id),
            earlier_seconds: 0,
            uptime_seconds: uptime.as_secs(),
            stopped: false,
            intent: None,
            dumps: bounded_dumps(&traces.dumps),
            ends: BTreeMap::new(),
            services: BTreeMap::new(),
            resets: Vec::new(),
        }
    }

    /// The text of a file.
    ///
    /// # Errors
    ///
    /// When it is none of a record.
    pub fn parse(text: &str) -> Result<Self, RecordError> {
        let root = DeTable::parse(text).map_err(|error| {
            RecordError::Syntax(error.message().lines().collect::<Vec<_>>().join(" "))
        })?;
        let fields = Fields::new(root.get_ref());
        let record = Self::read(&fields).map_err(|(_, message)| RecordError::Syntax(message))?;
        if record.version != VERSION {
            return Err(RecordError::Version(record.version));
        }
        Ok(record.bounded())
    }

    fn read(fields: &Fields<'_>) -> Result<Self, Mistake> {
        let ends: BTreeMap<String, u64> = fields.or_default("ends")?;
        let ends = ends.into_iter().map(|(key, count)| {
            let kind = Kind::ALL.into_iter().find(|kind| kind.key() == key);
            Ok((kind.ok_or_else(|| (None, format!("an end {key:?}")))?, count))
        });
        Ok(Self {
            version: fields.required("version")?,
            boots: fields.required("boots")?,
            watchdog_restarts: fields.or_default("watchdog-restarts")?,
            resets_in_a_row: fields.or_default("resets-in-a-row")?,
            boot_id: fields.required("boot-id")?,
            earlier_seconds: fields.or_default("earlier-seconds")?,
            uptime_seconds: fields.or_default("uptime-seconds")?,
            stopped: fields.or_default("stopped")?,
            intent: fields.optional("intent")?,
            dumps: fields.or_default("dumps")?,
            ends: ends.collect::<Result<_, Mistake>>()?,
            services: fields.or_default("services")?,
            resets: fields.or_default("resets")?,
        })
    }

    /// The text for a file.
    pub fn encode(&self) -> String {
        // It has nothing that TOML can't say: no maps with keys that are no text, no none in lists.
        self.table().to_string()
    }

    /// The same as a table.
    pub fn table(&self) -> toml::Table {
        toml::Table::try_from(self).unwrap_or_default()
    }

    /// Whoever wrote it: limits hold.
    fn bounded(mut self) -> Self {
        let excess = self.resets.len().saturating_sub(MAX_RESETS);
        self.resets.drain(..excess);
        self.dumps = bounded_dumps(&self.dumps);
        while self.services.len() > MAX_SERVICES {
            self.services.pop_last();
        }
        self
    }

    /// Takes note of this start; how the one before ended, unless only the watchdog was restarted.
    pub fn begin(&mut self, traces: &Traces, uptime: Duration) -> Option<Reset> {
        let intent = self.intent.take();
        let stopped = std::mem::take(&mut self.stopped);
        if self.boot_id == traces.boot_id {
            self.watchdog_restarts = self.watchdog_restarts.saturating_add(1);
            self.uptime_seconds = uptime.as_secs();
            return None;
        }
        let dumps = bounded_dumps(&traces.dumps);
        // One that was added; one that a person has removed says nothing.
        let dump = dumps.iter().any(|(name, time)| self.dumps.get(name) != Some(time));
        let (kind, reason) = match (intent, &traces.hardware) {
            (Some(intent), _) => (Kind::Watchdog, intent),
            (None, _) if dump => match &traces.panic {
                Some(panic) if panic.contains(PRETIMEOUT) => (Kind::Hardware, panic.clone()),
                Some(panic) => (Kind::Kernel, panic.clone()),
                None => (Kind::Kernel, "it left a dump that doesn't say why".to_owned()),
            },
            (None, Some(hardware)) => (Kind::Hardware, hardware.clone()),
            (None, None) if stopped => (Kind::Stopped, "shut down or rebooted".to_owned()),
            (None, None) => (Kind::Unknown, "power cut, or a hang that left no trace".to_owned()),
        };
        self.boots = self.boots.saturating_add(1);
        self.boot_id = cut(&traces.boot_id);
        self.dumps = dumps;
        self.earlier_seconds = self.earlier_seconds.saturating_add(self.uptime_seconds);
        self.uptime_seconds = uptime.as_secs();
        self.resets_in_a_row = match kind {
            Kind::Stopped => 0,
            _ => self.resets_in_a_row.saturating_add(1),
        };
        let count = self.ends.entry(kind).or_default();
        *count = count.saturating_add(1);
        let reset = Reset { at_seconds: self.running(uptime), kind, reason: cut(&reason) };
        if kind != Kind::Stopped {
            self.resets.push(reset.clone());
            *self = std::mem::replace(self, Self::new(traces, uptime)).bounded();
        }
        Some(reset)
    }

    /// The device's running time over all starts, in seconds.
    pub fn running(&self, uptime: Duration) -> u64 {
        self.earlier_seconds.saturating_add(uptime.as_secs())
    }

    /// To be told before it is written.
    pub fn keep_time(&mut self, uptime: Duration) {
        self.uptime_seconds = uptime.as_secs();
    }

    /// How many resets by the watchdog or the hardware were found in the last day of running time.
    pub fn resets_today(&self, uptime: Duration) -> u32 {
        let since = self.running(uptime).saturating_sub(DAY_SECONDS);
        let forced = |reset: &&Reset| matches!(reset.kind, Kind::Watchdog | Kind::Hardware);
        let recent = self.resets.iter().filter(forced).filter(|reset| reset.at_seconds >= since);
        u32::try_from(recent.count()).unwrap_or(u32::MAX)
    }

    /// These dumps are there no more: the next ones may have the same names, and times.
    pub fn forget_dumps(&mut self, names: &[String]) {
        self.dumps.retain(|name, _| !names.contains(name));
    }

    /// Takes over what the watchdog before this one told of services in the same start of the
    /// device, where that is more than it had written.
    pub fn take_over(&mut self, told: Self) {
        if told.boot_id != self.boot_id {
            return;
        }
        for (name, told) in told.services {
            if let Some(known) = self.service(&name)
                && (told.failures, told.drills) > (known.failures, known.drills)
            {
                *known = told;
            }
        }
    }

    /// A service failed.
    pub fn failed(&mut self, service: &str, cause: &str, words: Option<&str>, lines: &[String]) {
        let Some(record) = self.service(service) else { return };
        record.failures = record.failures.saturating_add(1);
        record.cause = cut(cause);
        record.last_words = cut(words.unwrap_or_default());
        let newest = &lines[lines.len().saturating_sub(MAX_LINES)..];
        record.last_lines = newest.iter().map(|line| cut_to(line, MAX_LINE)).collect();
    }

    /// A service was made to fail, and this came of it.
    pub fn drilled(&mut self, service: &str, outcome: &str) {
        let Some(record) = self.service(service) else { return };
        record.drills = record.drills.saturating_add(1);
        record.last_drill = cut(outcome);
    }

    /// What is remembered of a service; None where that would be too many.
    fn service(&mut self, name: &str) -> Option<&mut ServiceRecord> {
        let fits = self.services.len() < MAX_SERVICES || self.services.contains_key(name);
        fits.then(|| self.services.entry(name.to_owned()).or_default())
    }

    /// It has run so long without trouble that earlier resets are no part of a row.
    pub fn proved_stable(&mut self) {
        self.resets_in_a_row = 0;
    }

    /// The watchdog is going to reset the device.
    pub fn intend(&mut self, reason: &str) {
        self.intent = Some(cut(reason));
    }

    /// It isn't any more.
    pub fn forget_intent(&mut self) {
        self.intent = None;
    }

    /// The watchdog was stopped on purpose.
    pub fn stop(&mut self) {
        self.stopped = true;
    }
}

fn bounded_dumps(dumps: &BTreeMap<String, u64>) -> BTreeMap<String, u64> {
    let time = |time: &u64| (*time).min(i64::MAX.unsigned_abs());
    dumps.iter().take(MAX_DUMPS).map(|(name, at)| (cut(name), time(at))).collect()
}

fn cut(text: &str) -> String {
    cut_to(text, MAX_TEXT)
}

fn cut_to(text: &str, size: usize) -> String {
    text[..text.floor_char_boundary(size)].replace(char::is_control, " ")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn traces(boot: u32) -> Traces {
        Traces { boot_id: format!("boot {boot}"), ..Traces::default() }
    }

    fn minutes(minutes: u64) -> Duration {
        Duration::from_secs(60 * minutes)
    }

    /// Written and read back, as between two starts.
    fn again(record: &Record) -> Record {
        let read = Record::parse(&record.encode()).unwrap();
        assert_eq!(read, *record);
        read
    }

    #[test]
    fn the_reason_that_was_written_down_is_found_by_the_next_start() {
        let mut record = Record::new(&traces(1), minutes(0));
        record.intend("agent: failed 10 times in a row");
        record.keep_time(minutes(7));
        let mut record = again(&record);
        let reset = record.begin(&traces(2), minutes(0)).unwrap();
        assert_eq!(reset.kind, Kind::Watchdog);
        assert_eq!(reset.reason, "agent: failed 10 times in a row");
        assert_eq!(reset.at_seconds, 7 * 60);
        assert_eq!((record.boots, record.resets_in_a_row), (2, 1));
        // And not by the one after.
        let reset = again(&record).begin(&traces(3), minutes(0)).unwrap();
        assert_eq!(reset.kind, Kind::Unknown);
    }

    #[test]
    fn more_that_was_told_in_the_same_start_is_taken_over() {
        let failed = |record: &mut Record, name, cause| record.failed(name, cause, None, &[]);
        let mut record = Record::new(&traces(1), minutes(0));
        failed(&mut record, "agent", "one");
        failed(&mut record, "other", "one");
        let mut told = record.clone();
        failed(&mut told, "agent", "two");
        failed(&mut record, "other", "two");
        told.intend("nothing but services");
        let another = Record { boot_id: "boot 2".to_owned(), ..told.clone() };
        let before = record.clone();
        record.take_over(another);
        assert_eq!(record, before);
        record.take_over(told);
        assert_eq!(record.services["agent"].cause, "two");
        assert_eq!(record.services["other"].cause, "two");
        assert_eq!((record.services["other"].failures, &record.intent), (2, &None));
    }

    #[test]
    fn what_the_device_says_is_believed_in_this_order() {
        let dumps = BTreeMap::from([("dmesg-ramoops-0".to_owned(), 0)]);
        let mut record = Record::new(&Traces { dumps, ..traces(1) }, minutes(0));
        let hardware = Some("the watchdog's time ran out".to_owned());
        let mut number = 1;
        let mut kind = |record: &mut Record, hardware: &Option<String>, dump| {
            number += 1;
            let dumps = BTreeMap::from([("dmesg-ramoops-0".to_owned(), dump)]);
            let traces = Traces { hardware: hardware.clone(), dumps, ..traces(number) };
            let kind = record.begin(&traces, minutes(0)).unwrap().kind;
            *record = again(record);
            kind
        };
        record.stop();
        assert_eq!(kind(&mut record, &None, 0), Kind::Stopped);
        assert_eq!(kind(&mut record, &None, 0), Kind::Unknown);
        record.stop();
        assert_eq!(kind(&mut record, &hardware, 0), Kind::Hardware, "it hung while it stopped");
        assert_eq!(kind(&mut record, &hardware, 5), Kind::Kernel);
        assert_eq!(kind(&mut record, &hardware, 5), Kind::Hardware, "a dump that is known");
        record.intend("broken");
        assert_eq!(kind(&mut record, &hardware, 6), Kind::Watchdog);
        let counts: Vec<u64> = record.ends.values().copied().collect();
        assert_eq!(counts, [1, 1, 1, 2, 1]);
    }

    #[test]
    fn a_dump_that_is_gone_is_no_new_one() {
        let dumps = |dumps: &[(&str, u64)]| {
            dumps.iter().map(|(name, time)| ((*name).to_owned(), *time)).collect()
        };
        let mut record = Record::new(&traces(1), minutes(0));
        let mut kind = |boot, dumps| {
            record = again(&record);
            record.begin(&Traces { dumps, ..traces(boot) }, minutes(0)).unwrap().kind
        };
        let (one, other) = (("dmesg-ramoops-0", 5), ("dmesg-ramoops-1", 3));
        assert_eq!(kind(2, dumps(&[one, other])), Kind::Kernel);
        assert_eq!(kind(3, dumps(&[one, other])), Kind::Unknown);
        assert_eq!(kind(4, dumps(&[other])), Kind::Unknown, "the newest was removed");
        assert_eq!(kind(5, dumps(&[])), Kind::Unknown);
        // Without a clock battery a new one may be written in the same second of 1970.
        assert_eq!(kind(6, dumps(&[one])), Kind::Kernel);
        assert_eq!(kind(7, dumps(&[one, ("dmesg-ramoops-2", 5)])), Kind::Kernel);
    }

    #[test]
    fn a_panic_is_the_reason_and_one_at_the_pre_timeout_is_the_hardware_watchdog() {
        let mut record = Record::new(&traces(1), minutes(0));
        let mut ended = |boot, panic: Option<&str>| {
            let dumps = BTreeMap::from([("dmesg-ramoops-0".to_owned(), 5)]);
            let traces = Traces { dumps, panic: panic.map(str::to_owned), ..traces(boot) };
            let reset = record.begin(&traces, minutes(0)).unwrap();
            record = again(&record);
            record.forget_dumps(&["dmesg-ramoops-0".to_owned()]);
            (reset.kind, reset.reason)
        };
        let panic = "kernel panic: Oops: Fatal exception";
        assert_eq!(ended(2, Some(panic)), (Kind::Kernel, panic.to_owned()));
        // The same file with the same time: the clock stood still in between, the dump did not.
        let panic = "kernel panic: watchdog pretimeout event";
        assert_eq!(ended(3, Some(panic)), (Kind::Hardware, panic.to_owned()));
        assert_eq!(ended(4, None).0, Kind::Kernel);
    }

    #[test]
    fn a_row_of_resets_ends_with_a_stable_time_or_a_stop() {
        let mut record = Record::new(&traces(0), minutes(0));
        for boot in 1..=3 {
            record.begin(&traces(boot), minutes(0));
            assert_eq!(record.resets_in_a_row, boot);
        }
        record.proved_stable();
        record.begin(&traces(4), minutes(0));
        assert_eq!(record.resets_in_a_row, 1);
        record.stop();
        record.begin(&traces(5), minutes(0));
        assert_eq!(record.resets_in_a_row, 0);
    }

    #[test]
    fn a_restart_of_the_watchdog_is_no_reset() {
        let mut record = Record::new(&traces(1), minutes(0));
        record.stop();
        assert_eq!(record.begin(&traces(1), minutes(3)), None);
        assert_eq!((record.boots, record.watchdog_restarts), (1, 1));
        assert_eq!(record.begin(&traces(2), minutes(0)).unwrap().kind, Kind::Unknown);
    }

    #[test]
    fn a_day_is_one_of_running_time() {
        let mut record = Record::new(&traces(0), minutes(0));
        for boot in 1..=5 {
            record.intend("broken");
            record.keep_time(minutes(60));
            record.begin(&traces(boot), minutes(0));
        }
        // Found at 1, 2, 3, 4 and 5 hours.
        assert_eq!(record.resets_today(minutes(0)), 5);
        assert_eq!(record.resets_today(minutes(20 * 60)), 5);
        assert_eq!(record.resets_today(minutes(20 * 60 + 1)), 4);
        assert_eq!(record.resets_today(minutes(30 * 60)), 0);
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut record = Record::new(&traces(0), minutes(0));
        let dumps: BTreeMap<_, _> =
            (0..1000).map(|number| (format!("{number}{}", "x".repeat(1000)), u64::MAX)).collect();
        for number in 0..1000 {
            record.intend(&"ü\n".repeat(1000));
            let dumps = dumps.clone();
            record.begin(&Traces { dumps, ..traces(number + 1) }, minutes(0));
            let (long, words) = ("x".repeat(1000), "\"\\\u{1b}".repeat(100));
            let lines = vec![words.clone(); 100];
            record.failed(&format!("service-{number}"), &long, Some(&words), &lines);
        }
        assert!((record.encode().len() as u64) < MAX_SIZE, "{}", record.encode().len());
        again(&record);
    }

    #[test]
    fn nonsense_and_other_layouts_are_refused_in_words() {
        assert!(Record::parse("").unwrap_err().to_string().contains("version"));
        assert!(Record::parse("\0\0\0").is_err());
        let other =
            Record::new(&traces(1), minutes(0)).encode().replace("version = 1", "version = 2");
        assert!(Record::parse(&other).unwrap_err().to_string().contains("layout 2"));
    }

    proptest! {
        #[test]
        fn a_damaged_record_is_refused_or_bounded(at in 0..400usize, byte: u8) {
            let mut record = Record::new(&traces(1), minutes(0));
            record.intend("broken");
            record.begin(&traces(2), minutes(1));
            record.failed("agent", "exited with code 1", Some("two viewers"), &["oh".to_owned()]);
            let mut bytes = record.encode().into_bytes();
            let at = at % bytes.len();
            bytes[at] = byte;
            if let Ok(mut record) = Record::parse(&String::from_utf8_lossy(&bytes)) {
                record.begin(&traces(3), minutes(1));
                record.resets_today(minutes(1));
                prop_assert!((record.encode().len() as u64) < MAX_SIZE);
            }
        }
    }
}
