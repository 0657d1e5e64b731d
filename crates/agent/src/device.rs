//! What `peercam-watchdog` tells of the device, in a file that it rewrites when something changes.

use std::{
    fs::{self, File},
    io::Read,
    path::Path,
};

use toml::{Table, Value};
use tracing::debug;

use crate::control_socket::messages::{DeviceStatus, ResetStatus};

/// Largest file that is read, in bytes: far above what the watchdog writes.
const MAX_SIZE: u64 = 512 * 1024;

/// Reads that file; it is on a tmpfs. None where it can't be read or is something else: the camera
/// is none the worse for it.
pub fn read(path: &Path) -> Option<DeviceStatus> {
    let mut text = String::new();
    let read = File::open(path).and_then(|file| file.take(MAX_SIZE).read_to_string(&mut text));
    if let Err(error) = read {
        debug!("{}: {error}", path.display());
        return None;
    }
    parse(&text, uptime()?)
}

/// `proc_uptime(5)`, in whole seconds.
fn uptime() -> Option<u64> {
    fs::read_to_string("/proc/uptime").ok()?.split('.').next()?.parse().ok()
}

fn parse(text: &str, uptime_seconds: u64) -> Option<DeviceStatus> {
    let status: Table = text.parse().ok()?;
    let record = status.get("record")?.as_table()?;
    let running = number(record, "earlier-seconds").saturating_add(uptime_seconds);
    let latest = record.get("resets").and_then(Value::as_array).and_then(|resets| resets.last());
    let word = |reset: &Table, key: &str| Some(reset.get(key)?.as_str()?.to_owned());
    let last_reset = latest.and_then(Value::as_table).and_then(|reset| {
        Some(ResetStatus {
            seconds_ago: running.saturating_sub(number(reset, "at-seconds")),
            kind: word(reset, "kind")?,
            reason: word(reset, "reason")?,
        })
    });
    let services = record.get("services").and_then(Value::as_table).into_iter().flatten();
    let failures = services.filter_map(|(_, service)| service.as_table());
    Some(DeviceStatus {
        uptime_seconds,
        starts: number(record, "boots"),
        resets_in_a_row: number(record, "resets-in-a-row"),
        last_reset,
        resetting: status.get("resetting").and_then(Value::as_bool).unwrap_or(false),
        failures: failures.fold(0, |sum, service| sum.saturating_add(number(service, "failures"))),
    })
}

fn number(table: &Table, key: &str) -> u64 {
    let number = table.get(key).and_then(Value::as_integer).unwrap_or(0);
    u64::try_from(number).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_watchdog_tells_is_read_as_far_as_it_makes_sense() {
        let text = r#"
            resetting = true
            [record]
            boots = 7
            resets-in-a-row = 2
            earlier-seconds = 5000
            resets = [
                { at-seconds = 10, kind = "unknown", reason = "power cut" },
                { at-seconds = 5000, kind = "watchdog", reason = "agent: stays broken" },
            ]
            [record.services]
            agent = { failures = 3, cause = "", last-words = "" }
            other = { failures = 1 }
        "#;
        let status = parse(text, 60).unwrap();
        assert_eq!((status.uptime_seconds, status.starts, status.failures), (60, 7, 4));
        assert!(status.resetting && status.resets_in_a_row == 2);
        let reset = status.last_reset.unwrap();
        assert_eq!((reset.seconds_ago, reset.kind.as_str()), (60, "watchdog"));
        assert_eq!(reset.reason, "agent: stays broken");

        let status = parse("[record]\nboots = -1\nresets = [7]\nservices = 3", 60).unwrap();
        assert_eq!((status.starts, status.last_reset, status.failures), (0, None, 0));
        for nonsense in ["", "boots", "record = 7"] {
            assert_eq!(parse(nonsense, 60), None, "{nonsense}");
        }
        assert_eq!(read(Path::new("/nonexistent/status.toml")), None);
    }
}
