//! What the watchdog tells about the moment: a small file on a tmpfs, rewritten when something
//! changes, that anybody may read. `peercam-watchdog status` shows it.
//!
//! Times are seconds since the start of the device, so that nothing has to be rewritten because
//! time passes.

use std::{fmt::Write as _, fs, io, path::Path};

use serde::{Deserialize, Serialize};

use crate::{
    keeper,
    record::{Kind, Record, Reset},
};

/// The file's name in `runtime-dir`.
pub const FILE_NAME: &str = "status.toml";
/// Largest file that is read, in bytes.
const MAX_SIZE: u64 = 256 * 1024;

/// The moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Status {
    /// The watchdog's version.
    pub version: String,
    /// The watchdog's process.
    pub pid: i32,
    /// Why services run in safe mode, if they do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub safe_mode: Option<String>,
    /// Whether the device is about to be reset.
    pub resetting: bool,
    /// The hardware watchdog, where there is to be one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hardware: Option<HardwareStatus>,
    /// What is watched beside the services, as far as it can be measured.
    #[serde(default)]
    pub monitors: Vec<MonitorStatus>,
    /// In the order in which they are started.
    pub services: Vec<ServiceStatus>,
    /// What is kept across resets.
    pub record: Record,
}

/// The hardware watchdog.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct HardwareStatus {
    /// Its device.
    pub device: String,
    /// What its driver calls itself; empty where the device is no driver's, or isn't there.
    pub identity: String,
    /// How long after its last feed it resets, in seconds; 0 while there is none.
    pub timeout_seconds: u64,
}

/// What is watched.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct MonitorStatus {
    /// `memory-pressure`, …: as in the configuration.
    pub what: String,
    /// The last value.
    pub value: u64,
    /// `%`, `°C` or `s`.
    pub unit: String,
    /// `normal`, `warning` or `critical`.
    pub level: String,
}

/// A service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct ServiceStatus {
    /// Its name.
    pub name: String,
    /// `waiting` (for its next start), `starting`, `up`, `stopping` or `ended`.
    pub state: String,
    /// Since when it is up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub up_since_seconds: Option<u64>,
    /// Its main process.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pid: Option<i32>,
    /// Failures in a row.
    pub failures: u32,
    /// What it says it does.
    pub status: String,
}

impl Status {
    /// Puts it in its folder, whole or not at all, for everybody to read.
    ///
    /// # Errors
    ///
    /// When it can't be written; it is then as it was.
    pub fn write(&self, folder: &Path) -> io::Result<()> {
        let text = toml::to_string(self).map_err(io::Error::other)?;
        fs::create_dir_all(folder)?;
        let draft = folder.join("status.new");
        fs::write(&draft, text)?;
        fs::rename(draft, folder.join(FILE_NAME))
    }

    /// What the running watchdog last wrote.
    ///
    /// # Errors
    ///
    /// In words: where there is none, or the watchdog that wrote it runs no more.
    pub fn read(folder: &Path) -> Result<Self, String> {
        let path = folder.join(FILE_NAME);
        let text = keeper::read_text(&path, MAX_SIZE)
            .map_err(|error| format!("{}: {error}: does the watchdog run?", path.display()))?;
        let status: Self = toml::from_str(&text)
            .map_err(|error| format!("{}: {}", path.display(), error.message()))?;
        if program(status.pid) != program(std::process::id().cast_signed()) {
            return Err(format!("{}: the watchdog that wrote it runs no more", path.display()));
        }
        Ok(status)
    }

    /// For people. `uptime` is the device's, in seconds.
    pub fn describe(&self, uptime: u64) -> String {
        let mut text = format!("peercam-watchdog {}\n", self.version);
        if self.resetting {
            text += "about to reset the device\n";
        }
        if let Some(reason) = &self.safe_mode {
            let _ = writeln!(text, "safe mode, after {reason}");
        }
        if let Some(HardwareStatus { device, identity, timeout_seconds }) = &self.hardware {
            let _ = match timeout_seconds {
                0 => writeln!(text, "hardware {device}: there is none"),
                _ => writeln!(text, "hardware {device} ({identity}), {timeout_seconds} s"),
            };
        }
        for service in &self.services {
            let _ = write!(text, "service {}: {}", service.name, service.state);
            if let Some(since) = service.up_since_seconds {
                let _ = write!(text, " for {}", duration(uptime.saturating_sub(since)));
            }
            if service.failures > 0 {
                let _ = write!(text, ", {} failures in a row", service.failures);
            }
            let say = if service.status.is_empty() { "" } else { ": " };
            let _ = writeln!(text, "{say}{}", service.status);
        }
        for MonitorStatus { what, value, unit, level } in &self.monitors {
            let _ = writeln!(text, "{what}: {value} {unit}, {level}");
        }
        text + &describe_record(&self.record)
    }
}

/// What a process runs (`proc_pid_comm(5)`): a process id may have become another's.
fn program(pid: i32) -> Option<String> {
    fs::read_to_string(format!("/proc/{pid}/comm")).ok()
}

/// The record alone, for people: when the watchdog itself can't be asked.
pub fn describe_record(record: &Record) -> String {
    let mut text = format!("starts of the device: {}", record.boots);
    let times = |count: u64| if count == 1 { "once".to_owned() } else { format!("{count} times") };
    for (kind, count) in record.ends.iter().filter(|(kind, _)| **kind != Kind::Stopped) {
        let _ = write!(text, ", reset {kind} {}", times(*count));
    }
    text.push('\n');
    if record.resets_in_a_row > 0 {
        let _ = writeln!(text, "resets in a row: {}", record.resets_in_a_row);
    }
    for Reset { at_seconds, kind, reason } in &record.resets {
        let _ = writeln!(text, "  reset {kind} after {} in all: {reason}", duration(*at_seconds));
    }
    for (name, service) in &record.services {
        let _ = write!(text, "{name} failed {}, last: {}", times(service.failures), service.cause);
        let say = if service.last_words.is_empty() { "" } else { "; it said: " };
        let _ = writeln!(text, "{say}{}", service.last_words);
    }
    text
}

fn duration(seconds: u64) -> String {
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60);
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{minutes} min"),
        3600..86_400 => format!("{hours} h {minutes} min"),
        _ => format!("{days} d {hours} h"),
    }
}

/// The same as JSON (RFC 8259), keys as in the files.
///
/// # Errors
///
/// Never, for what this module and [`crate::record`] hold.
pub fn json(value: &impl Serialize) -> Result<String, toml::ser::Error> {
    let mut text = String::new();
    write_json(&toml::Value::try_from(value)?, &mut text);
    text.push('\n');
    Ok(text)
}

fn write_json(value: &toml::Value, text: &mut String) {
    let separate = |text: &mut String, first: bool| text.push_str(if first { "" } else { "," });
    match value {
        toml::Value::String(string) => write_string(string, text),
        toml::Value::Array(items) => {
            text.push('[');
            for (index, item) in items.iter().enumerate() {
                separate(text, index == 0);
                write_json(item, text);
            }
            text.push(']');
        }
        toml::Value::Table(table) => {
            text.push('{');
            for (index, (key, item)) in table.iter().enumerate() {
                separate(text, index == 0);
                write_string(key, text);
                text.push(':');
                write_json(item, text);
            }
            text.push('}');
        }
        // Numbers and booleans are the same in both; there are no dates, and no fractions.
        other => text.push_str(&other.to_string()),
    }
}

fn write_string(string: &str, text: &mut String) {
    text.push('"');
    for character in string.chars() {
        match character {
            '"' | '\\' => text.extend(['\\', character]),
            control if control < ' ' => {
                let _ = write!(text, "\\u{:04x}", u32::from(control));
            }
            other => text.push(other),
        }
    }
    text.push('"');
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::record::Traces;

    fn status() -> Status {
        let traces = |boot: &str| Traces { boot_id: boot.to_owned(), ..Traces::default() };
        let mut record = Record::new(&traces("1"), Duration::ZERO);
        record.intend("agent: stays broken");
        record.keep_time(Duration::from_secs(4000));
        record.begin(&traces("2"), Duration::ZERO);
        record.failed("agent", "no heartbeat for 10s", Some("two \"viewers\"\\\t"));
        let service = ServiceStatus {
            name: "agent".to_owned(),
            state: "up".to_owned(),
            up_since_seconds: Some(10),
            pid: Some(77),
            failures: 2,
            status: "hosting".to_owned(),
        };
        Status {
            version: "1.2.3".to_owned(),
            pid: std::process::id().cast_signed(),
            safe_mode: Some("3 resets in a row".to_owned()),
            resetting: false,
            hardware: Some(HardwareStatus {
                device: "/dev/watchdog".to_owned(),
                identity: "i6300ESB".to_owned(),
                timeout_seconds: 15,
            }),
            monitors: vec![MonitorStatus {
                what: "data-space".to_owned(),
                value: 7,
                unit: "%".to_owned(),
                level: "normal".to_owned(),
            }],
            services: vec![service],
            record,
        }
    }

    #[test]
    fn what_is_written_is_read_back() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path().join("run/watchdog");
        assert!(Status::read(&folder).unwrap_err().contains("does the watchdog run?"));
        status().write(&folder).unwrap();
        assert_eq!(Status::read(&folder).unwrap(), status());
        for pid in [i32::MAX, 1] {
            Status { pid, ..status() }.write(&folder).unwrap();
            assert!(Status::read(&folder).unwrap_err().contains("runs no more"), "{pid}");
        }
    }

    #[test]
    fn people_read_what_there_is_to_know() {
        assert_eq!(
            status().describe(3700),
            "peercam-watchdog 1.2.3\n\
             safe mode, after 3 resets in a row\n\
             hardware /dev/watchdog (i6300ESB), 15 s\n\
             service agent: up for 1 h 1 min, 2 failures in a row: hosting\n\
             data-space: 7 %, normal\n\
             starts of the device: 2, reset by the watchdog once\n\
             resets in a row: 1\n  \
             reset by the watchdog after 1 h 6 min in all: agent: stays broken\n\
             agent failed once, last: no heartbeat for 10s; it said: two \"viewers\"\\ \n"
        );
    }

    #[test]
    fn programs_read_json() {
        let text = json(&status()).unwrap();
        assert!(text.contains(r#""last-words":"two \"viewers\"\\ ""#), "{text}");
        assert!(text.contains(r#""services":[{"#) && text.contains(r#""pid":77"#), "{text}");
        assert!(text.contains(r#""resetting":false"#), "{text}");
        let mut escaped = String::new();
        write_string("a\nü\u{1f}", &mut escaped);
        assert_eq!(escaped, r#""a\u000aü\u001f""#);
    }
}
