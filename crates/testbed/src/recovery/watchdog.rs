//! What the guest's watchdog says of itself: `peercam-watchdog status --json`, and its lines on the
//! console.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::{
    Guest,
    error::{Error, Result},
};

/// The service that is the camera.
pub const AGENT: &str = "agent";

/// How the watchdog and its services are.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Status {
    /// The watchdog's process.
    pub pid: u32,
    /// Why services run in safe mode, if they do.
    pub safe_mode: Option<String>,
    /// Whether the device is about to be reset.
    pub resetting: bool,
    /// The services.
    pub services: Vec<Service>,
    /// What is kept across resets.
    pub record: Record,
}

/// A service.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Service {
    /// Its name.
    pub name: String,
    /// `up`, `waiting`, …
    pub state: String,
    /// Its main process, while it has one.
    pub pid: Option<u32>,
}

/// What is kept across resets.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Record {
    /// Which start of the device this is, as its kernel names it.
    pub boot_id: String,
    /// Starts of the device.
    pub boots: u64,
    /// Starts of the watchdog while the device went on.
    pub watchdog_restarts: u64,
    /// Resets without a stable time in between.
    pub resets_in_a_row: u32,
    /// What failed, by service.
    pub services: BTreeMap<String, Failures>,
    /// The latest resets, the last one last.
    pub resets: Vec<Reset>,
}

/// How a service failed.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Failures {
    /// How often.
    pub failures: u64,
    /// Why, the last time.
    pub cause: String,
}

/// A reset.
#[derive(Debug, Clone, Deserialize)]
pub struct Reset {
    /// `watchdog`, `kernel`, `hardware` or `unknown`.
    pub kind: String,
    /// In words.
    pub reason: String,
}

impl Status {
    /// Asks the guest's watchdog; none while it doesn't run.
    pub async fn ask(guest: &mut Guest) -> Result<Option<Self>> {
        let (code, output) = guest.try_run("peercam-watchdog status --json").await?;
        // Others print on the console too.
        let line = output.lines().find(|line| line.starts_with('{'));
        let status = line.and_then(|line| serde_json::from_str(line).ok());
        match status {
            Some(status) if code == 0 => Ok(Some(status)),
            None if code == 0 => {
                Err(Error::Answer { what: "peercam-watchdog status".to_owned(), answer: output })
            }
            _ => Ok(None),
        }
    }

    /// The camera's process, if it is up.
    pub fn agent(&self) -> Option<u32> {
        let agent = self.services.iter().find(|service| service.name == AGENT)?;
        agent.pid.filter(|_| agent.state == "up")
    }

    /// How often the camera failed.
    pub fn failures(&self) -> u64 {
        self.record.services.get(AGENT).map_or(0, |record| record.failures)
    }

    /// Why it did, the last time.
    pub fn cause(&self) -> Option<&str> {
        self.record.services.get(AGENT).map(|record| record.cause.as_str())
    }
}

/// When the watchdog, or a service by it, first said something with `words` in it, in seconds after
/// the guest's start: its lines begin with `[   12.345] warn`. What its status quotes of them, on
/// the same console, is not meant.
pub fn said_at(console: &str, words: &str) -> Option<f64> {
    let mut parts = console.lines().flat_map(|line| line.split('['));
    parts.find_map(|part| {
        let (time, said) = part.split_once(']')?;
        time.trim().parse().ok().filter(|_| said.contains(words))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_of_a_line_is_read_whatever_stands_before_it() {
        let console = "kill -9 77\r\n\
            root@peercam:~# \u{1b}[6n[   32.969] warn  agent: ended by SIGKILL; failure 1\r\n\
            [   33.480] info  agent: started as process 225\r\n\
            {\"last-lines\":[\"WARN no picture: gone\"],\"monitors\":[]}\r\n\
            [   34.001] agent: INFO hosting\r\n";
        assert_eq!(said_at(console, "agent: ended"), Some(32.969));
        assert_eq!(said_at(console, "agent: started"), Some(33.48));
        assert_eq!(said_at(console, "no heartbeat"), None);
        assert_eq!(said_at(console, "no picture:"), None);
        assert_eq!(said_at(console, "kill"), None);
    }
}
