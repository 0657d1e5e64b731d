//! What people read of a service.

use std::fmt;

use super::{Broken, Cause, Exit, Note};

/// As in the configuration, in the largest unit that fits.
fn amount(bytes: u64) -> String {
    let units = [(1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
    let unit = units.into_iter().find(|(unit, _)| bytes >= *unit && bytes.is_multiple_of(*unit));
    unit.map_or(format!("{bytes} B"), |(unit, name)| format!("{} {name}", bytes / unit))
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Code(code) => write!(f, "exited with code {code}"),
            Self::Signal(number) => match nix::sys::signal::Signal::try_from(*number) {
                Ok(signal) => write!(f, "ended by {signal}"),
                Err(_) => write!(f, "ended by signal {number}"),
            },
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotStarted(error) => write!(f, "could not be started: {error}"),
            Self::Exited(exit) => exit.fmt(f),
            Self::NotReady(limit) => write!(f, "not ready within {limit:?}"),
            Self::NoHeartbeat(limit) => write!(f, "no heartbeat for {limit:?}"),
            Self::NoProgress(limit) => {
                write!(f, "alive, but none of the work that is due was done for {limit:?}")
            }
            Self::Memory(limit) => write!(f, "memory limit {} reached", amount(*limit)),
            Self::Trigger => f.write_str("asked to be restarted (WATCHDOG=trigger)"),
            Self::NotStopped(limit) => write!(f, "said STOPPING=1 and did not end in {limit:?}"),
        }
    }
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words = |status: &Option<String>| match status {
            Some(status) => format!("; it says {status:?}"),
            None => String::new(),
        };
        match self {
            Self::Up { after, status } => {
                write!(f, "up after {} ms{}", after.as_millis(), words(status))
            }
            Self::Stable { failures: 0 } => f.write_str("stable"),
            Self::Stable { failures } => write!(f, "stable again after {failures} failure(s)"),
            Self::Killing { cause, status } => write!(f, "{cause}{}: killing it", words(status)),
            Self::Failed { cause, failures, delay } => {
                write!(f, "{cause}; failure {failures} in a row, starting again in {delay:?}")
            }
            Self::Drilled { cause, delay } => {
                write!(f, "{cause}, in a drill; starting again in {delay:?}")
            }
            Self::Misconfigured { code, delay } => write!(
                f,
                "exited with code {code}, which a reset would not cure: correct its \
                 configuration; trying again in {delay:?}"
            ),
            Self::Refused(error) => write!(
                f,
                "could not be started: {error}; a reset would not cure that: correct its \
                 configuration, it is tried again"
            ),
            Self::Finished => f.write_str("finished on purpose"),
            Self::Stopped(exit) => write!(f, "stopped ({exit})"),
            Self::StopTimeout(limit) => write!(f, "did not stop within {limit:?}: killing it"),
            Self::Unkillable => f.write_str("did not die of SIGKILL: leaving it behind"),
        }
    }
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotUp(time) => write!(f, "not up for {} s", time.as_secs()),
            Self::Failing(failures) => write!(f, "failed {failures} times in a row"),
        }
    }
}
