//! What goes into a service and comes out of it, and how people read it.

use std::{fmt, time::Duration};

use peercam_heartbeat::message::Message;

use crate::drill::Fault;

/// How one service is to be treated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// How long after its start `READY=1` may come; None for a service that doesn't say it, which
    /// then counts as up from its start.
    pub ready_timeout: Option<Duration>,
    /// Longest time between two heartbeats while up; None for a service that sends none.
    pub heartbeat: Option<Duration>,
    /// Longest time without progress while it says that there is work; None: nobody minds.
    pub progress_timeout: Option<Duration>,
    /// How long it may take to end after SIGTERM or its own `STOPPING=1`.
    pub stop_timeout: Duration,
    /// Which ends are followed by a new start.
    pub restart: Restart,
    /// Pause before the first start after a failure; doubles with every further one.
    pub restart_delay: Duration,
    /// Longest pause.
    pub restart_delay_max: Duration,
    /// So long up without a failure, and earlier failures are forgotten.
    pub stable_after: Duration,
    /// Broken when not up for so long.
    pub broken_after: Duration,
    /// Broken when failed so often without having been up for [`Policy::stable_after`] in between.
    pub broken_failures: u32,
    /// Exit codes that say a reset would cure nothing (a configuration error). Such a service is
    /// started again with back-off, and is not broken.
    pub no_reset_exit_codes: Vec<i32>,
    /// Most memory that it may use, in bytes; None: no limit. Who notices says so with
    /// [`Event::OverMemory`].
    pub memory: Option<u64>,
}

/// Which ends of a service are followed by a new start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Restart {
    /// All.
    #[default]
    Always,
    /// Every end except exit code 0, which is one on purpose.
    OnFailure,
}

/// What happens to a service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// [`Action::Start`] was done.
    Started,
    /// [`Action::Start`] could not be done.
    StartFailed(String),
    /// The same, since what its configuration names isn't there: a reset would cure nothing.
    StartRefused(String),
    /// It is not to be started yet: others come first.
    Held,
    /// It uses more memory than it may.
    OverMemory,
    /// It said something.
    Message(Message),
    /// Its main process ended.
    Exited(Exit),
    /// Time passed.
    Tick,
    /// It is no longer wanted.
    Stop,
    /// This is to happen to it now; [`Service::bears`](super::Service::bears) allows it.
    Drill(Fault),
    /// What was to happen to it is to be undone, where it is not noticed yet.
    EndDrill,
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// By itself, with this code.
    Code(i32),
    /// By this signal.
    Signal(i32),
}

/// What is to be done now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Start its process.
    Start,
    /// SIGTERM to its process group.
    Terminate,
    /// SIGKILL to its process group.
    Kill,
    /// SIGSTOP to its process group.
    Suspend,
    /// SIGCONT to its process group.
    Resume,
    /// Tell people. Stands before the action that it gives the reason for.
    Note(Note),
}

/// What people should know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Note {
    /// It is up.
    Up {
        /// Time since its start.
        after: Duration,
        /// Its own words.
        status: Option<String>,
    },
    /// It has been up for so long that earlier failures are forgotten.
    Stable {
        /// How many failures that were.
        failures: u32,
    },
    /// It is killed now, for this reason.
    Killing {
        /// Why.
        cause: Cause,
        /// The last it said about itself.
        status: Option<String>,
    },
    /// It ended, and starts again.
    Failed {
        /// Why.
        cause: Cause,
        /// Failures in a row.
        failures: u32,
        /// Pause before the next start.
        delay: Duration,
    },
    /// It ended because of a drill, and starts again. That counts for nothing.
    Drilled {
        /// Why.
        cause: Cause,
        /// Pause before the next start.
        delay: Duration,
    },
    /// It ended with a code that says a reset would cure nothing, and starts again.
    Misconfigured {
        /// The code.
        code: i32,
        /// Pause before the next start.
        delay: Duration,
    },
    /// It can't be started, and a reset would cure nothing: that is tried again, and said once.
    Refused(String),
    /// It ended on purpose, and stays so.
    Finished,
    /// It ended because it was to.
    Stopped(Exit),
    /// It was to end and didn't in time: it is killed now.
    StopTimeout(Duration),
    /// Not even SIGKILL ended it: it hangs in the kernel, and is left behind.
    Unkillable,
}

/// Why a service failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cause {
    /// It could not be started.
    NotStarted(String),
    /// Its process ended.
    Exited(Exit),
    /// No `READY=1` in this time.
    NotReady(Duration),
    /// No heartbeat in this time.
    NoHeartbeat(Duration),
    /// It beats and says that there is work, and has done none in this time.
    NoProgress(Duration),
    /// It asked for it (`WATCHDOG=trigger`).
    Trigger,
    /// It reached its limit of memory, in bytes.
    Memory(u64),
    /// It said `STOPPING=1` and did not end in this time.
    NotStopped(Duration),
}

/// How a service is, as far as the hardware watchdog is concerned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Health {
    /// Up, or not up for a good reason.
    Well,
    /// Not up, and it may still come back.
    Ailing,
    /// Stays broken.
    Broken(Broken),
}

/// In which of the two ways a service stays broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Broken {
    /// Not up at any moment for [`Policy::broken_after`].
    NotUp(Duration),
    /// Failed [`Policy::broken_failures`] times without [`Policy::stable_after`] in between; until
    /// it then stays up for that long.
    Failing(u32),
}

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
