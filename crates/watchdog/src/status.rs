//! What the watchdog tells about the moment: a small file on a tmpfs, rewritten when something
//! changes, that anybody may read. `peercam-watchdog status` shows it.
//!
//! Times are seconds since the start of the device, so that nothing has to be rewritten because
//! time passes.

use std::{
    fmt::{self, Write as _},
    fs, io,
    path::Path,
};

use serde::Serialize;
use toml::{Table, Value};

use crate::{
    fields, keeper, reaper,
    record::{Kind, Record},
};

/// The file's name in `runtime-dir`.
pub const FILE_NAME: &str = "status.toml";
/// Largest file that is read, in bytes.
const MAX_SIZE: u64 = 512 * 1024;

/// The moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Status {
    /// The watchdog's version.
    pub version: String,
    /// The watchdog's process.
    pub pid: i32,
    /// Why services run in safe mode, if they do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub safe_mode: Option<String>,
    /// Whether the device is about to be reset.
    pub resetting: bool,
    /// The hardware watchdog, where there is to be one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hardware: Option<HardwareStatus>,
    /// The last drill, if there was one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub drill: Option<DrillStatus>,
    /// What is watched beside the services, as far as it can be measured.
    pub monitors: Vec<MonitorStatus>,
    /// In the order in which they are started; then those that were left out.
    pub services: Vec<ServiceStatus>,
    /// What is kept across resets.
    pub record: Record,
}

/// The hardware watchdog.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct HardwareStatus {
    /// Its device.
    pub device: String,
    /// What its driver calls itself; empty where the device is no driver's, or isn't there.
    pub identity: String,
    /// How long after its last feed it resets, in seconds; 0 while there is none.
    pub timeout_seconds: u64,
    /// How long before that the kernel panics, in seconds; 0: it doesn't.
    pub pretimeout_seconds: u64,
    /// Whether nothing can stop it; none where the kernel doesn't say.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nowayout: Option<bool>,
    /// What its driver says about the last reset, in words; empty where it says nothing.
    pub boot_status: String,
}

/// A drill: a service was made to fail on purpose. Times are from its begin.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct DrillStatus {
    /// Counts drills since the watchdog started, from 1; after 255 comes 0.
    pub number: u8,
    /// The service.
    pub service: String,
    /// `kill`, `hang` or `starve`.
    pub fault: String,
    /// `running`, `recovered`, `failed` (it did not come back), `stopped` (on request), `refused`
    /// (not as things are) or `skipped` (never with this configuration).
    pub outcome: String,
    /// Why, in words; may be empty.
    pub reason: String,
    /// How long it may take.
    pub patience_seconds: u64,
    /// After how long the watchdog knew.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub noticed_ms: Option<u64>,
    /// After how long its process was gone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ended_ms: Option<u64>,
    /// After how long it was up again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub up_ms: Option<u64>,
}

impl fmt::Display for DrillStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.fault, self.outcome)?;
        let times =
            [("noticed", self.noticed_ms), ("ended", self.ended_ms), ("up again", self.up_ms)];
        for (what, time) in times {
            if let Some(time) = time {
                write!(f, ", {what} after {}.{:03} s", time / 1000, time % 1000)?;
            }
        }
        let say = if self.reason.is_empty() { "" } else { ": " };
        write!(f, "{say}{}", self.reason)
    }
}

/// What is watched.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
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
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct ServiceStatus {
    /// Its name.
    pub name: String,
    /// `waiting` (for its next start), `starting`, `up`, `stopping` or `ended`; `left-out` when its
    /// configuration makes no sense.
    pub state: String,
    /// Since when it is up.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub up_since_seconds: Option<u64>,
    /// Its main process.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pid: Option<i32>,
    /// Failures in a row.
    pub failures: u32,
    /// Why it can't be started.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
    /// What it says it does.
    pub status: String,
}

impl ServiceStatus {
    /// One that is left out, for this reason.
    pub fn left_out(name: &str, problem: &str) -> Self {
        Self {
            name: name.to_owned(),
            state: "left-out".to_owned(),
            up_since_seconds: None,
            pid: None,
            failures: 1,
            problem: Some(problem.to_owned()),
            status: String::new(),
        }
    }
}

impl Status {
    /// Puts it in its folder, whole or not at all, for everybody to read.
    ///
    /// # Errors
    ///
    /// When it can't be written; it is then as it was.
    pub fn write(&self, folder: &Path) -> io::Result<()> {
        let text = Table::try_from(self).map_err(io::Error::other)?.to_string();
        fs::create_dir_all(folder)?;
        let draft = folder.join("status.new");
        fs::write(&draft, text)?;
        fs::rename(draft, folder.join(FILE_NAME))
    }
}

/// What the running watchdog last wrote: a [`Status`]. As a table, since the code to read one into
/// its types is as large as the rest of this.
///
/// # Errors
///
/// In words: where there is none, or the watchdog that wrote it runs no more.
pub fn read(folder: &Path) -> Result<Table, String> {
    let path = folder.join(FILE_NAME);
    let text = keeper::read_text(&path, MAX_SIZE)
        .map_err(|error| format!("{}: {error}: does the watchdog run?", path.display()))?;
    let status =
        fields::table(&text).map_err(|error| format!("{}: {}", path.display(), error.message()))?;
    match pid(&status) {
        Some(pid) if reaper::is_watchdog(pid) => Ok(status),
        _ => Err(format!("{}: the watchdog that wrote it runs no more", path.display())),
    }
}

/// The record that the watchdog before this one told last, if there is one.
pub fn last_record(folder: &Path) -> Option<Record> {
    let text = keeper::read_text(&folder.join(FILE_NAME), MAX_SIZE).ok()?;
    let status = fields::table(&text).ok()?;
    Record::parse(&status.get("record")?.as_table()?.to_string()).ok()
}

/// The watchdog's process.
pub fn pid(status: &Table) -> Option<i32> {
    status.get("pid")?.as_integer()?.try_into().ok()
}

/// Why services run in safe mode, if they do.
pub fn safe_mode(status: &Table) -> Option<&str> {
    status.get("safe-mode")?.as_str()
}

/// The last drill, if there was one.
pub fn drill(status: &Table) -> Option<DrillStatus> {
    let drill = status.get("drill")?.as_table()?;
    let [service, fault, outcome, reason] =
        ["service", "fault", "outcome", "reason"].map(|key| text(drill, key).to_owned());
    let time = |key| drill.contains_key(key).then(|| number(drill, key));
    Some(DrillStatus {
        number: number(drill, "number").try_into().ok()?,
        service,
        fault,
        outcome,
        reason,
        patience_seconds: number(drill, "patience-seconds"),
        noticed_ms: time("noticed-ms"),
        ended_ms: time("ended-ms"),
        up_ms: time("up-ms"),
    })
}

/// The names of the services, in their order.
pub fn services(status: &Table) -> Vec<&str> {
    tables(status, "services").map(|service| text(service, "name")).collect()
}

fn text<'a>(table: &'a Table, key: &str) -> &'a str {
    table.get(key).and_then(Value::as_str).unwrap_or_default()
}

fn number(table: &Table, key: &str) -> u64 {
    table.get(key).and_then(Value::as_integer).and_then(|it| it.try_into().ok()).unwrap_or(0)
}

fn tables<'a>(table: &'a Table, key: &str) -> impl Iterator<Item = &'a Table> {
    table.get(key).and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_table)
}

fn entries<'a>(table: &'a Table, key: &str) -> impl Iterator<Item = (&'a String, &'a Value)> {
    table.get(key).and_then(Value::as_table).into_iter().flatten()
}

/// A status for people. `uptime` is the device's, in seconds.
pub fn describe(status: &Table, uptime: u64) -> String {
    let (version, up) = (text(status, "version"), duration(uptime));
    let mut page = format!("peercam-watchdog {version}, device up for {up}\n");
    if status.get("resetting").and_then(Value::as_bool) == Some(true) {
        page += "about to reset the device\n";
    }
    if let Some(reason) = safe_mode(status) {
        let _ = writeln!(page, "safe mode, after {reason}");
    }
    if let Some(hardware) = status.get("hardware").and_then(Value::as_table) {
        let (device, identity) = (text(hardware, "device"), text(hardware, "identity"));
        let identity = if identity.is_empty() { "no watchdog driver" } else { identity };
        match number(hardware, "timeout-seconds") {
            0 => drop(write!(page, "hardware {device}: there is none")),
            timeout => drop(write!(page, "hardware {device} ({identity}), {timeout} s")),
        }
        match number(hardware, "pretimeout-seconds") {
            0 => {}
            pretimeout => drop(write!(page, ", pre-timeout {pretimeout} s")),
        }
        if hardware.get("nowayout").and_then(Value::as_bool) == Some(true) {
            page += ", no way out";
        }
        let words = text(hardware, "boot-status");
        let say = if words.is_empty() { "" } else { "; last reset: " };
        let _ = writeln!(page, "{say}{words}");
    }
    for service in tables(status, "services") {
        let _ = write!(page, "service {}: {}", text(service, "name"), text(service, "state"));
        if service.contains_key("up-since-seconds") {
            let since = number(service, "up-since-seconds");
            let _ = write!(page, " for {}", duration(uptime.saturating_sub(since)));
        }
        match number(service, "failures") {
            0 => {}
            1 => page += ", 1 failure in a row",
            failures => drop(write!(page, ", {failures} failures in a row")),
        }
        match text(service, "problem") {
            "" => {}
            problem => drop(write!(page, ", can't be started: {problem}")),
        }
        let words = text(service, "status");
        let say = if words.is_empty() { "" } else { ": " };
        let _ = writeln!(page, "{say}{words}");
    }
    for monitor in tables(status, "monitors") {
        let [what, unit, level] = ["what", "unit", "level"].map(|key| text(monitor, key));
        let _ = writeln!(page, "{what}: {} {unit}, {level}", number(monitor, "value"));
    }
    page + &status.get("record").and_then(Value::as_table).map(describe_record).unwrap_or_default()
}

/// A record for people: all there is when the watchdog itself can't be asked.
pub fn describe_record(record: &Table) -> String {
    let mut page = format!("starts of the device: {}", number(record, "boots"));
    let times = |count: u64| if count == 1 { "once".to_owned() } else { format!("{count} times") };
    for kind in [Kind::Watchdog, Kind::Kernel, Kind::Hardware, Kind::Unknown] {
        let ends = record.get("ends").and_then(Value::as_table);
        match ends.map_or(0, |ends| number(ends, kind.key())) {
            0 => {}
            count => drop(write!(page, ", reset {kind} {}", times(count))),
        }
    }
    page.push('\n');
    match number(record, "resets-in-a-row") {
        0 => {}
        row => drop(writeln!(page, "resets in a row: {row}")),
    }
    for reset in tables(record, "resets") {
        let (kind, reason) = (text(reset, "kind"), text(reset, "reason"));
        let after = duration(number(reset, "at-seconds"));
        let _ = writeln!(page, "  reset ({kind}) after {after} in all: {reason}");
    }
    for (name, service) in entries(record, "services") {
        let Some(service) = service.as_table() else { continue };
        let (cause, words) = (text(service, "cause"), text(service, "last-words"));
        if let failures @ 1.. = number(service, "failures") {
            let _ = write!(page, "{name} failed {}, last: {cause}", times(failures));
            let say = if words.is_empty() { "" } else { "; it said: " };
            let _ = writeln!(page, "{say}{words}");
        }
        let lines = service.get("last-lines").and_then(Value::as_array);
        for line in lines.into_iter().flatten().filter_map(Value::as_str) {
            let _ = writeln!(page, "  | {line}");
        }
        if let drills @ 1.. = number(service, "drills") {
            let last = text(service, "last-drill");
            let _ = writeln!(page, "{name} drilled {}, last: {last}", times(drills));
        }
    }
    page
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
pub fn json(table: &Table) -> String {
    let mut text = String::new();
    write_table(table, &mut text);
    text.push('\n');
    text
}

fn write_json(value: &Value, text: &mut String) {
    match value {
        Value::String(string) => write_string(string, text),
        Value::Array(items) => {
            text.push('[');
            for (index, item) in items.iter().enumerate() {
                text.push_str(if index == 0 { "" } else { "," });
                write_json(item, text);
            }
            text.push(']');
        }
        Value::Table(table) => write_table(table, text),
        // Numbers and booleans are the same in both; there are no dates, and no fractions.
        other => text.push_str(&other.to_string()),
    }
}

fn write_table(table: &Table, text: &mut String) {
    text.push('{');
    for (index, (key, item)) in table.iter().enumerate() {
        text.push_str(if index == 0 { "" } else { "," });
        write_string(key, text);
        text.push(':');
        write_json(item, text);
    }
    text.push('}');
}

pub(crate) fn write_string(string: &str, text: &mut String) {
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
        record.failed(
            "agent",
            "no heartbeat for 10s",
            Some("two \"viewers\"\\\t"),
            &["oh".to_owned()],
        );
        let service = ServiceStatus {
            name: "agent".to_owned(),
            state: "up".to_owned(),
            up_since_seconds: Some(10),
            pid: Some(77),
            failures: 2,
            problem: None,
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
                pretimeout_seconds: 5,
                nowayout: Some(true),
                boot_status: "the hardware watchdog was not fed".to_owned(),
            }),
            drill: None,
            monitors: vec![MonitorStatus {
                what: "data-space".to_owned(),
                value: 7,
                unit: "%".to_owned(),
                level: "normal".to_owned(),
            }],
            services: vec![service, ServiceStatus::left_out("other", "file:7: no sense")],
            record,
        }
    }

    fn table() -> Table {
        Table::try_from(status()).unwrap()
    }

    #[test]
    fn what_is_written_is_read_back() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path().join("run/watchdog");
        assert!(read(&folder).unwrap_err().contains("does the watchdog run?"));
        status().write(&folder).unwrap();
        assert_eq!(read(&folder).unwrap(), table());
        for pid in [i32::MAX, 1] {
            Status { pid, ..status() }.write(&folder).unwrap();
            assert!(read(&folder).unwrap_err().contains("runs no more"), "{pid}");
        }
    }

    #[test]
    fn people_read_what_there_is_to_know() {
        assert_eq!(
            describe(&table(), 3700),
            "peercam-watchdog 1.2.3, device up for 1 h 1 min\n\
             safe mode, after 3 resets in a row\n\
             hardware /dev/watchdog (i6300ESB), 15 s, pre-timeout 5 s, no way out; last reset: \
             the hardware watchdog was not fed\n\
             service agent: up for 1 h 1 min, 2 failures in a row: hosting\n\
             service other: left-out, 1 failure in a row, can't be started: file:7: no sense\n\
             data-space: 7 %, normal\n\
             starts of the device: 2, reset by the watchdog once\n\
             resets in a row: 1\n  \
             reset (watchdog) after 1 h 6 min in all: agent: stays broken\n\
             agent failed once, last: no heartbeat for 10s; it said: two \"viewers\"\\ \n  \
             | oh\n"
        );
    }

    #[test]
    fn programs_read_json() {
        let text = json(&table());
        assert!(text.contains(r#""last-words":"two \"viewers\"\\ ""#), "{text}");
        assert!(text.contains(r#""services":[{"#) && text.contains(r#""pid":77"#), "{text}");
        assert!(text.contains(r#""resetting":false"#), "{text}");
        let mut escaped = String::new();
        write_string("a\nü\u{1f}", &mut escaped);
        assert_eq!(escaped, r#""a\u000aü\u001f""#);
    }
}
