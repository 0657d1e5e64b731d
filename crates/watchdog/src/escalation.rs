//! What is done when restarts of a service don't help: all services are restarted, then the device
//! is; and what is done when even that doesn't help. No I/O, no clock.
//!
//! ```text
//!            broken, or too many failures                 again
//!  Watching ──────────────────────────────▶ all services ─────────▶ Rebooting
//!     ▲  ▲                                   restarted        │
//!     │  └── stable ──────────────────────────┘               │ no reset is left for today,
//!     │                                                       ▼ or safe mode
//!     └── stable ───────────────────────── all services restarted, with growing pauses
//! ```

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

/// Over which time failures are counted.
const BUDGET_TIME: Duration = Duration::from_secs(60 * 60);
/// First and longest pause between restarts of all services when no reset is left.
const FIRST_PAUSE: Duration = Duration::from_secs(60);
const LONGEST_PAUSE: Duration = Duration::from_secs(60 * 60);
/// Every reset in a row beyond those that lead to safe mode doubles the time in it, so many times
/// at most.
const LONGER_SAFE_MODES: u32 = 6;

/// What is allowed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Failures of critical services within an hour; with one more, restarts of that service are
    /// taken not to help, even though it was stable in between.
    pub failures_per_hour: u32,
    /// Resets within a day of running time.
    pub resets_per_day: u32,
    /// So many resets in a row, and the next start is one in safe mode.
    pub safe_mode_after: u32,
    /// So long well, and what was tried before is forgotten; safe mode ends, after longer with
    /// every further reset in a row.
    pub stable_after: Duration,
}

/// What earlier starts of the device leave behind.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct History {
    /// Resets without a stable time in between.
    pub resets_in_a_row: u32,
    /// Resets by the watchdog or the hardware in the last day of running time.
    pub resets_today: u32,
}

/// What is to be done now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// Stop all services, in order, and start them again after this pause.
    RestartAll {
        /// Pause before the first start.
        pause: Duration,
        /// Why this, and no reset.
        reason: String,
    },
    /// Stop all services, and reset the device.
    Reboot {
        /// Why.
        reason: String,
    },
    /// Services have run normally and well for long enough: earlier trouble is forgotten.
    Stable,
    /// Services are to be started as they normally are. Whether that goes well is to be seen:
    /// earlier resets still count.
    LeaveSafeMode,
}

/// How the critical services are, as a whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Condition {
    /// All are up, or not up for a good reason.
    Well,
    /// One is not up, and may come back by itself.
    Ailing,
    /// One stays broken; in words.
    Broken(String),
}

/// The ladder, and where this start of the device stands on it.
#[derive(Debug)]
pub struct Escalation {
    limits: Limits,
    resets_in_a_row: u32,
    safe_mode: bool,
    rebooting: bool,
    /// Why the device is not reset, until it is tried again.
    forbidden: Option<String>,
    /// Restarts of all services since it was last stable.
    rounds: u32,
    /// Since when all is well.
    well_since: Option<Instant>,
    /// Whether [`Decision::Stable`] was said since the last trouble.
    settled: bool,
    /// Failures in the last hour, the oldest first; bounded by the budget.
    failures: VecDeque<Instant>,
}

impl Escalation {
    /// At a start of the watchdog.
    pub fn new(limits: Limits, history: History) -> Self {
        let safe_mode = history.resets_in_a_row >= limits.safe_mode_after;
        Self {
            limits,
            resets_in_a_row: history.resets_in_a_row,
            safe_mode,
            rebooting: false,
            forbidden: None,
            rounds: 0,
            well_since: None,
            settled: false,
            failures: VecDeque::new(),
        }
    }

    /// Why services are to run in safe mode; None when they are not.
    pub fn safe_mode(&self) -> Option<String> {
        let resets = self.resets_in_a_row;
        self.safe_mode.then(|| format!("{resets} resets in a row"))
    }

    /// Whether [`Decision::Reboot`] was made.
    pub fn is_rebooting(&self) -> bool {
        self.rebooting
    }

    /// Whether a fault may be brought about on purpose. Should the service not get over it, that
    /// is to be its first failure and not the last straw.
    ///
    /// # Errors
    ///
    /// Why not, in words.
    pub fn bears_drill(&self) -> Result<(), &'static str> {
        if self.rebooting {
            return Err("the device is about to be reset");
        }
        if self.safe_mode {
            return Err("services run in safe mode (peercam-watchdog leave-safe-mode ends it)");
        }
        if self.rounds > 0 {
            return Err(
                "all services were restarted a short while ago, see escalation.stable-after",
            );
        }
        if self.failures.len() >= self.limits.failures_per_hour as usize {
            return Err("critical services failed too often in the last hour to risk one more");
        }
        Ok(())
    }

    /// A critical service failed.
    pub fn failed(&mut self, now: Instant) {
        self.failures.push_back(now);
        while self.failures.len() > self.limits.failures_per_hour as usize + 1 {
            self.failures.pop_front();
        }
    }

    /// Time passed, or something changed. `resets_today` is as in [`History`], at this moment.
    pub fn step(
        &mut self,
        now: Instant,
        condition: Condition,
        resets_today: u32,
    ) -> Option<Decision> {
        if self.rebooting {
            return None;
        }
        while self.failures.front().is_some_and(|at| now >= *at + BUDGET_TIME) {
            self.failures.pop_front();
        }
        let spent = self.failures.len() > self.limits.failures_per_hour as usize;
        match condition {
            Condition::Broken(broken) => self.climb(broken, resets_today),
            _ if spent => {
                let count = self.failures.len();
                self.climb(
                    format!("critical services failed {count} times in an hour"),
                    resets_today,
                )
            }
            Condition::Ailing => {
                self.well_since = None;
                None
            }
            Condition::Well => self.settle(now, resets_today),
        }
    }

    /// When the next [`Escalation::step`] is due, if time alone changes anything. Always after
    /// `now`.
    pub fn deadline(&self, now: Instant) -> Option<Instant> {
        let since = self.well_since.filter(|_| !self.settled)?;
        let dues = [since + self.limits.stable_after, since + self.safe_time()];
        dues.into_iter().filter(|due| *due > now).min()
    }

    /// How long it is to be well before safe mode ends. Without it, what needs normal services to
    /// reset the device would do so over and over, in the same rhythm.
    fn safe_time(&self) -> Duration {
        let more = self.resets_in_a_row.saturating_sub(self.limits.safe_mode_after);
        self.limits.stable_after.saturating_mul(1 << more.min(LONGER_SAFE_MODES))
    }

    /// A person wants services to be started as they normally are; whether there is anything to do
    /// about it.
    pub fn leave_safe_mode(&mut self) -> bool {
        self.well_since = None;
        std::mem::take(&mut self.safe_mode)
    }

    /// [`Decision::Reboot`] can't be carried out: the next [`Escalation::step`] is to find another
    /// way. It is made again after a stable time, or when pauses have grown to the longest.
    pub fn forbid_resets(&mut self, why: String) {
        self.rebooting = false;
        self.rounds = self.rounds.saturating_sub(1);
        self.forbidden = Some(why);
    }

    fn climb(&mut self, trouble: String, resets_today: u32) -> Option<Decision> {
        self.failures.clear();
        self.well_since = None;
        self.settled = false;
        self.rounds = self.rounds.saturating_add(1);
        if self.rounds == 1 {
            let reason = format!("{trouble}: restarting all services");
            return Some(Decision::RestartAll { pause: Duration::ZERO, reason });
        }
        let left = self.limits.resets_per_day.saturating_sub(resets_today);
        if !self.safe_mode && self.forbidden.is_none() && left > 0 {
            self.rebooting = true;
            return Some(Decision::Reboot {
                reason: format!("{trouble}, also after a restart of all services"),
            });
        }
        let pause = FIRST_PAUSE.saturating_mul(1 << (self.rounds - 2).min(16)).min(LONGEST_PAUSE);
        let why = match (&self.forbidden, self.safe_mode) {
            // Said once.
            _ if self.rounds > 2 => String::new(),
            (Some(forbidden), _) => format!(" (the device is not reset: {forbidden})"),
            (None, true) => " (in safe mode the device is not reset)".to_owned(),
            (None, false) => format!(
                " (the device was reset {resets_today} times in a day of running, \
                 escalation.resets-per-day, and is not reset again before that day is over)"
            ),
        };
        let reason = format!("{trouble}: restarting all services in {pause:?}{why}");
        if pause == LONGEST_PAUSE {
            // What was in the way, such as storage that was slow, may be over.
            self.forbidden = None;
        }
        Some(Decision::RestartAll { pause, reason })
    }

    fn settle(&mut self, now: Instant, resets_today: u32) -> Option<Decision> {
        let since = *self.well_since.get_or_insert(now);
        if now < since + self.limits.stable_after {
            return None;
        }
        self.rounds = 0;
        self.forbidden = None;
        if self.safe_mode {
            // A device that was reset as often as it may be in a day stays in it for that day.
            let over = now >= since + self.safe_time() && resets_today < self.limits.resets_per_day;
            if !over {
                return None;
            }
            self.safe_mode = false;
            self.well_since = None;
            return Some(Decision::LeaveSafeMode);
        }
        let news = !std::mem::replace(&mut self.settled, true);
        news.then_some(Decision::Stable)
    }
}
