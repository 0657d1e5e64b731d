//! Drills: a service is made to fail on purpose, and it is measured how long it takes until it is
//! up again. No I/O, no clock. [`crate::drills`] is the other side, which asks for them.
//!
//! ```text
//!           kill: at once        its process              READY=1
//!  Begun ──────────────▶ noticed ───────────▶ ended ─────────────▶ recovered
//!    │     no heartbeat,              is gone
//!    │     no progress
//!    ├── too late, wherever it stands ──▶ failed
//!    └── asked to end ──────────────────▶ stopped
//! ```
//!
//! It is the watchdog itself that does it: should whoever asked for it be gone, a service that was
//! stopped is still noticed, killed and started again.

use std::{
    fmt,
    time::{Duration, Instant},
};

use nix::sys::signal::Signal;

use crate::{
    service::{Cause, Exit, Note},
    status::DrillStatus,
    supervisor::Index,
};

/// What a drill does to a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Its processes are ended (SIGKILL).
    Kill,
    /// Its processes are stopped (SIGSTOP): no heartbeat comes any more.
    Hang,
    /// It goes on, and whatever it says about its work is taken as: there is some, and none is
    /// done. That is how a service looks that is starved of what it works with.
    Starve,
}

impl Fault {
    /// All there are, in the order in which they are tried.
    pub const ALL: [Self; 3] = [Self::Kill, Self::Hang, Self::Starve];

    /// The one with this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|fault| fault.name() == name)
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Kill => "kill",
            Self::Hang => "hang",
            Self::Starve => "starve",
        }
    }

    /// Whether this end is what the fault was to bring about.
    pub fn explains(self, cause: &Cause) -> bool {
        match (self, cause) {
            (Self::Kill, Cause::Exited(Exit::Signal(signal))) => *signal == Signal::SIGKILL as i32,
            (Self::Hang, Cause::NoHeartbeat(_) | Cause::NoProgress(_))
            | (Self::Starve, Cause::NoProgress(_)) => true,
            _ => false,
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Why there is no drill.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NoDrill {
    /// Not with this configuration, ever.
    Never(&'static str),
    /// Not as things are.
    NotNow(String),
}

/// What the watchdog is asked for, as the number that comes with a signal (`sigqueue(3)`): only
/// who could kill it can send it one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Request {
    /// A drill is to be undone, as far as it is not noticed yet.
    End,
    /// A drill is to begin.
    Begin {
        /// That of the drill before, and one more. A request that is late, or was repeated
        /// because it seemed lost, is known by that.
        number: u8,
        /// By its place in the status.
        service: u8,
        /// What is to happen to it.
        fault: Fault,
    },
}

impl Request {
    /// As a number.
    pub fn encode(self) -> usize {
        match self {
            Self::End => 0,
            Self::Begin { number, service, fault } => {
                usize::from(number) << 16 | usize::from(service) << 8 | (1 + fault as usize)
            }
        }
    }

    /// From a number; None where it stands for nothing.
    pub fn decode(request: usize) -> Option<Self> {
        let number = u8::try_from(request >> 16).ok()?;
        let [.., service, fault] = request.to_be_bytes();
        if request == 0 {
            return Some(Self::End);
        }
        let fault = *Fault::ALL.get(usize::from(fault).checked_sub(1)?)?;
        Some(Self::Begin { number, service, fault })
    }
}

/// The last drill, and how many there were.
#[derive(Debug, Default)]
pub(crate) struct Drills {
    /// What the status says about it.
    status: Option<DrillStatus>,
    running: Option<Running>,
}

/// One that is under way.
#[derive(Debug)]
struct Running {
    service: Index,
    began: Instant,
    /// When it is too late.
    deadline: Instant,
    /// What else went wrong meanwhile.
    trouble: Option<String>,
}

impl Drills {
    /// One is asked for: false where that is no news, or another one is under way. Otherwise
    /// [`Drills::begin`] or [`Drills::refuse`] is to follow.
    pub fn ask(&mut self, number: u8, service: &str, fault: Fault) -> bool {
        let next = self.status.as_ref().map_or(0, |status| status.number).wrapping_add(1);
        if number != next || self.running.is_some() {
            return false;
        }
        self.status = Some(DrillStatus {
            number,
            service: service.to_owned(),
            fault: fault.to_string(),
            outcome: "running".to_owned(),
            ..DrillStatus::default()
        });
        true
    }

    /// It begins now, and is to be over after `patience`.
    pub fn begin(&mut self, now: Instant, service: Index, patience: Duration) {
        if let Some(status) = &mut self.status {
            status.patience_seconds = patience.as_secs() + 1;
        }
        self.running =
            Some(Running { service, began: now, deadline: now + patience, trouble: None });
    }

    /// There is none.
    pub fn refuse(&mut self, why: NoDrill) {
        let (outcome, reason) = match why {
            NoDrill::Never(why) => ("skipped", why.to_owned()),
            NoDrill::NotNow(why) => ("refused", why),
        };
        self.conclude(outcome, reason);
    }

    /// Which service has one.
    pub fn service(&self) -> Option<Index> {
        self.running.as_ref().map(|running| running.service)
    }

    /// When [`Drills::is_late`] changes.
    pub fn deadline(&self) -> Option<Instant> {
        self.running.as_ref().map(|running| running.deadline)
    }

    /// Whether the service should have come back by now.
    pub fn is_late(&self, now: Instant) -> bool {
        self.deadline().is_some_and(|deadline| now >= deadline)
    }

    /// Takes in what happens to a service; when that ends the drill, what came of it.
    pub fn take(&mut self, now: Instant, service: Index, note: &Note) -> Option<String> {
        let running = self.running.as_mut().filter(|running| running.service == service)?;
        let status = self.status.as_mut()?;
        let after = milliseconds(now.saturating_duration_since(running.began));
        match note {
            Note::Killing { .. } => {
                status.noticed_ms.get_or_insert(after);
            }
            Note::Drilled { .. } => {
                status.noticed_ms.get_or_insert(after);
                status.ended_ms = Some(after);
            }
            Note::Failed { cause, .. } => running.trouble = Some(cause.to_string()),
            Note::Misconfigured { code, .. } => {
                running.trouble = Some(Exit::Code(*code).to_string());
            }
            Note::Finished | Note::Stopped(_) | Note::Unkillable => {
                running.trouble = Some(note.to_string());
            }
            Note::Up { .. } if status.ended_ms.is_some() => {
                status.up_ms = Some(after);
                let trouble = running.trouble.take();
                let reason = trouble.map(|it| format!("not at the first attempt: {it}"));
                return Some(self.conclude("recovered", reason.unwrap_or_default()));
            }
            _ => {}
        }
        None
    }

    /// The service didn't come back in time; what came of it.
    pub fn give_up(&mut self) -> String {
        let trouble = self.running.take().and_then(|running| running.trouble);
        let ended = self.status.as_ref().is_some_and(|status| status.ended_ms.is_some());
        let reason = match trouble {
            Some(trouble) => trouble,
            None if ended => "it was started again, and is not up".to_owned(),
            None => "nobody noticed".to_owned(),
        };
        self.conclude("failed", reason)
    }

    /// Whoever asked for it wants no more; what came of it.
    pub fn stop(&mut self) -> String {
        self.conclude("stopped", "ended on request".to_owned())
    }

    fn conclude(&mut self, outcome: &str, reason: String) -> String {
        self.running = None;
        let Some(status) = &mut self.status else { return String::new() };
        (status.outcome, status.reason) = (outcome.to_owned(), reason);
        status.to_string()
    }

    /// What there is to tell.
    pub fn status(&self) -> Option<DrillStatus> {
        self.status.clone()
    }
}

/// Rounded up: no time is none.
fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_micros().div_ceil(1000)).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_survive_being_numbers() {
        let mut requests = vec![Request::End];
        for (number, service) in [(0, 0), (1, 0), (0, 1), (255, 255)] {
            for fault in Fault::ALL {
                requests.push(Request::Begin { number, service, fault });
            }
        }
        for request in requests {
            assert_eq!(Request::decode(request.encode()), Some(request));
        }
        for nonsense in [4, 0x100, 0x0100_0001, usize::MAX] {
            assert_eq!(Request::decode(nonsense), None, "{nonsense:#x}");
        }
    }
}
