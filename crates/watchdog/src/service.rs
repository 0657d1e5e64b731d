//! One service as a state machine. It does nothing itself and reads no clock: events and the time
//! go in, [`Action`]s come out.
//!
//! ```text
//!               start              READY=1
//!  Waiting ───────────▶ Starting ───────────▶ Up ───┐ STOPPING=1
//!     ▲                     │ too late        │      ▼
//!     │                     │                 │   Leaving
//!     │                     ▼                 ▼      │ too late
//!     │ back-off         Killed ◀── no heartbeat ────┘
//!     │                     │       or no progress
//!     │                     │
//!     └──────── exited ─────┴── (from every state with a process)
//!
//!  stop: any state ──▶ Stopping ── exited ──▶ Ended
//! ```

mod terms;

use std::time::{Duration, Instant};

use peercam_heartbeat::message::{Message, Progress, Watchdog};

pub use self::terms::{Action, Broken, Cause, Event, Exit, Health, Note, Policy, Restart};
use crate::drill::{Fault, NoDrill};

/// After SIGKILL a process is gone in moments, unless it hangs in a driver; a stop then goes on
/// without it.
const KILL_PATIENCE: Duration = Duration::from_secs(5);
/// However much patience a service asks for while it is to end: a stop, and with it a reset, can't
/// be put off for longer than so much after its stop timeout.
const LONGEST_STOP: Duration = Duration::from_secs(60);

/// A service: its policy and where it stands.
#[derive(Debug)]
pub struct Service {
    policy: Policy,
    phase: Phase,
    /// When it was last up or excused, or was made. Out of date while it is up.
    well_at: Instant,
    /// Ends in a row, of every kind: the exponent of the back-off.
    attempts: u32,
    /// Failures in a row.
    failures: u32,
    /// The last it said about itself.
    status: Option<String>,
    /// Why it can't be started.
    refusal: Option<String>,
    /// Until when it asked for patience (`EXTEND_TIMEOUT_USEC=`) with what it does now; in the
    /// past where it didn't.
    patience: Instant,
    /// What is done to it on purpose, until that is noticed.
    drill: Option<Fault>,
}

#[derive(Debug)]
enum Phase {
    Waiting { until: Instant, excused: bool },
    Starting { since: Instant },
    Up { since: Instant, heartbeat_at: Instant, work: Work },
    Leaving { until: Instant },
    Killed { cause: Cause },
    Stopping { until: Instant, killed: bool },
    Ended,
}

/// How it gets on with its work.
#[derive(Debug, Clone, Copy)]
struct Work {
    /// What it last said.
    progress: Progress,
    /// Since when no work was done though there is some; None while there is none.
    idle_since: Option<Instant>,
}

impl Work {
    fn none() -> Self {
        Self { progress: Progress::default(), idle_since: None }
    }

    fn take(&mut self, progress: Progress, now: Instant) {
        let moved = progress.done != self.progress.done;
        self.idle_since = match self.idle_since {
            _ if !progress.expected => None,
            Some(since) if !moved => Some(since),
            _ => Some(now),
        };
        self.progress = progress;
    }
}

impl Service {
    /// A service that is to be started with the first [`Event::Tick`] at or after `now`.
    pub fn new(policy: Policy, now: Instant) -> Self {
        Self {
            policy,
            phase: Phase::Waiting { until: now, excused: false },
            well_at: now,
            attempts: 0,
            failures: 0,
            status: None,
            refusal: None,
            patience: now,
            drill: None,
        }
    }

    /// The same service before its first start, which is at `start`.
    pub fn anew(&self, start: Instant) -> Self {
        Self::new(self.policy.clone(), start)
    }

    /// Takes in what happened; says what is to be done about it, in this order.
    pub fn handle(&mut self, now: Instant, event: Event) -> Vec<Action> {
        let mut actions = Vec::new();
        match event {
            Event::Tick => self.pass_time(now, &mut actions),
            Event::Message(message) => self.listen(now, message, &mut actions),
            Event::Started => {
                self.refusal = None;
                if let (Phase::Starting { since }, None) = (&self.phase, self.policy.ready_timeout)
                {
                    self.come_up(*since, now, &mut actions);
                }
            }
            Event::StartFailed(error) => {
                if matches!(self.phase, Phase::Starting { .. }) {
                    self.fail(now, Cause::NotStarted(error), &mut actions);
                }
            }
            Event::StartRefused(error) => {
                if matches!(self.phase, Phase::Starting { .. }) {
                    self.refuse(now, error, &mut actions);
                }
            }
            Event::Held => {
                if self.is_waiting() {
                    self.well_at = now;
                }
            }
            Event::OverMemory => {
                if let (Some(limit), true) = (self.policy.memory, self.is_running()) {
                    self.kill(now, Cause::Memory(limit), &mut actions);
                }
            }
            Event::Exited(exit) => self.end(now, exit, &mut actions),
            Event::Stop => self.stop(now, &mut actions),
            Event::Drill(fault) => self.drill(now, fault, &mut actions),
            Event::EndDrill => self.end_drill(now, &mut actions),
        }
        actions
    }

    /// When the next [`Event::Tick`] is due, if time alone changes anything. Always after `now`.
    pub fn deadline(&self, now: Instant) -> Option<Instant> {
        let due = match &self.phase {
            Phase::Waiting { until, .. } => Some(*until),
            Phase::Starting { since } => self.due(*since, self.policy.ready_timeout),
            Phase::Up { since, heartbeat_at, work } => {
                let heartbeat = self.due(*heartbeat_at, self.policy.heartbeat);
                let stable = (self.attempts > 0).then(|| *since + self.policy.stable_after);
                let progress =
                    work.idle_since.and_then(|since| self.due(since, self.policy.progress_timeout));
                heartbeat.or(stable).into_iter().chain(progress).min()
            }
            Phase::Leaving { until } => Some(self.patience.max(*until)),
            Phase::Stopping { until, killed: false } => Some(self.stopped_by(*until)),
            Phase::Stopping { until, .. } => Some(*until),
            Phase::Killed { .. } | Phase::Ended => None,
        };
        let broken = self.well_at + self.policy.broken_after;
        due.into_iter().chain(Some(broken)).filter(|due| *due > now).min()
    }

    /// When it is too late for what may take so long and began at `since`.
    fn due(&self, since: Instant, limit: Option<Duration>) -> Option<Instant> {
        Some(self.patience.max(since + limit?))
    }

    /// When it is too late for an end that was due at `until`.
    fn stopped_by(&self, until: Instant) -> Instant {
        self.patience.clamp(until, until + LONGEST_STOP)
    }

    /// How it is.
    pub fn health(&self, now: Instant) -> Health {
        match self.phase {
            Phase::Ended | Phase::Stopping { .. } | Phase::Waiting { excused: true, .. } => {
                Health::Well
            }
            _ if self.failures >= self.policy.broken_failures => {
                Health::Broken(Broken::Failing(self.failures))
            }
            Phase::Up { .. } => Health::Well,
            _ => {
                let unwell = now.saturating_duration_since(self.well_at);
                if unwell >= self.policy.broken_after {
                    Health::Broken(Broken::NotUp(unwell))
                } else {
                    Health::Ailing
                }
            }
        }
    }

    /// Where it stands, in a word.
    pub fn state(&self) -> &'static str {
        match self.phase {
            Phase::Waiting { .. } => "waiting",
            Phase::Starting { .. } => "starting",
            Phase::Up { .. } => "up",
            Phase::Leaving { .. } | Phase::Killed { .. } | Phase::Stopping { .. } => "stopping",
            Phase::Ended => "ended",
        }
    }

    /// Since when it is up, if it is.
    pub fn up_since(&self) -> Option<Instant> {
        match self.phase {
            Phase::Up { since, .. } => Some(since),
            _ => None,
        }
    }

    /// Failures in a row.
    pub fn failures(&self) -> u32 {
        self.failures
    }

    /// Whether it is as it is to be, and no earlier failure counts any more.
    pub fn is_settled(&self) -> bool {
        match self.phase {
            Phase::Up { .. } => self.attempts == 0,
            Phase::Ended => true,
            _ => false,
        }
    }

    /// How long it may take until it is up again after `fault`, with all its limits.
    ///
    /// # Errors
    ///
    /// When the fault would not be noticed, or can't be told from real trouble.
    pub fn bears(&self, fault: Fault) -> Result<Duration, NoDrill> {
        let Policy { heartbeat, progress_timeout, broken_after, restart_delay, .. } = self.policy;
        if !matches!(self.phase, Phase::Up { .. }) || !self.is_settled() || self.drill.is_some() {
            let state = self.state();
            let said = match self.failures {
                0 => state.to_owned(),
                failures => format!("{state}, after {failures} failure(s) in a row"),
            };
            return Err(NoDrill::NotNow(format!("it is {said}")));
        }
        let noticed = match fault {
            Fault::Kill => Duration::ZERO,
            Fault::Hang => heartbeat
                .ok_or(NoDrill::Never("it has no heartbeat, so nobody would notice in a time"))?,
            Fault::Starve => progress_timeout
                .ok_or(NoDrill::Never("it has no progress-timeout, so nobody would notice"))?,
        };
        Ok(noticed + restart_delay + broken_after)
    }

    /// Whether what is to start after it needn't wait any longer: it was up, it ended, or it failed
    /// to come up.
    pub fn has_begun(&self, now: Instant) -> bool {
        match self.phase {
            _ if self.attempts > 0 => true,
            Phase::Waiting { .. } => false,
            Phase::Starting { since } => now >= since + self.policy.broken_after,
            _ => true,
        }
    }

    /// Whether it has a process that is not to end.
    fn is_running(&self) -> bool {
        matches!(self.phase, Phase::Starting { .. } | Phase::Up { .. } | Phase::Leaving { .. })
    }

    /// Whether it has no process and never gets one again.
    pub fn is_ended(&self) -> bool {
        matches!(self.phase, Phase::Ended)
    }

    /// Whether it waits for its first start.
    pub fn is_new(&self) -> bool {
        self.is_waiting() && self.attempts == 0
    }

    /// Whether it waits for its (next) start.
    pub fn is_waiting(&self) -> bool {
        matches!(self.phase, Phase::Waiting { .. })
    }

    /// Whether [`Event::Stop`] was given and its process is still there.
    pub fn is_stopping(&self) -> bool {
        matches!(self.phase, Phase::Stopping { .. })
    }

    /// Why it can't be started.
    pub fn refusal(&self) -> Option<&str> {
        self.refusal.as_deref()
    }

    /// The last it said about itself.
    pub fn status(&self) -> Option<&str> {
        self.status.as_deref()
    }

    fn pass_time(&mut self, now: Instant, actions: &mut Vec<Action>) {
        let late = |since: Instant, limit: Option<Duration>| {
            limit.filter(|_| self.due(since, limit).is_some_and(|due| now >= due))
        };
        match self.phase {
            Phase::Waiting { until, excused } if now >= until => {
                if excused {
                    self.well_at = now;
                }
                self.status = None;
                self.enter(now, Phase::Starting { since: now });
                actions.push(Action::Start);
            }
            Phase::Starting { since } => {
                if let Some(limit) = late(since, self.policy.ready_timeout) {
                    self.kill(now, Cause::NotReady(limit), actions);
                }
            }
            Phase::Up { heartbeat_at, work, .. } => {
                let stuck =
                    work.idle_since.and_then(|since| late(since, self.policy.progress_timeout));
                if let Some(limit) = late(heartbeat_at, self.policy.heartbeat) {
                    self.kill(now, Cause::NoHeartbeat(limit), actions);
                } else if let Some(limit) = stuck {
                    self.kill(now, Cause::NoProgress(limit), actions);
                } else {
                    self.settle(now, actions);
                }
            }
            Phase::Leaving { until } if now >= self.patience.max(until) => {
                self.kill(now, Cause::NotStopped(self.policy.stop_timeout), actions);
            }
            Phase::Stopping { until, killed: false } if now >= self.stopped_by(until) => {
                actions.push(Action::Note(Note::StopTimeout(self.policy.stop_timeout)));
                actions.push(Action::Kill);
                self.phase = Phase::Stopping { until: now + KILL_PATIENCE, killed: true };
            }
            Phase::Stopping { until, killed: true } if now >= until => {
                actions.push(Action::Note(Note::Unkillable));
                self.phase = Phase::Ended;
            }
            _ => {}
        }
    }

    fn listen(&mut self, now: Instant, message: Message, actions: &mut Vec<Action>) {
        let Message { ready, stopping, watchdog, status, extension, progress } = message;
        if status.is_some() {
            self.status = status;
        }
        if let (true, Phase::Starting { since }) = (ready, &self.phase) {
            self.come_up(*since, now, actions);
        }
        if let Phase::Up { heartbeat_at, work, .. } = &mut self.phase {
            if watchdog == Some(Watchdog::Alive) {
                *heartbeat_at = now;
            }
            if let Some(progress) = progress.filter(|_| self.drill != Some(Fault::Starve)) {
                work.take(progress, now);
            }
            self.settle(now, actions);
        }
        if matches!(self.phase, Phase::Starting { .. } | Phase::Up { .. }) {
            if watchdog == Some(Watchdog::Trigger) {
                self.kill(now, Cause::Trigger, actions);
            } else if stopping {
                self.leave_up(now);
                self.enter(now, Phase::Leaving { until: now + self.policy.stop_timeout });
            }
        }
        if let Some(extension) = extension {
            self.patience = self.patience.max(now + extension);
        }
    }

    /// Patience that it asked for was for what it did until now.
    fn enter(&mut self, now: Instant, phase: Phase) {
        self.phase = phase;
        self.patience = now;
    }

    fn come_up(&mut self, since: Instant, now: Instant, actions: &mut Vec<Action>) {
        self.enter(now, Phase::Up { since: now, heartbeat_at: now, work: Work::none() });
        let after = now.saturating_duration_since(since);
        actions.push(Action::Note(Note::Up { after, status: self.status.clone() }));
    }

    /// Forgets earlier failures once it has been up for long enough, as far as that is proven:
    /// to its last heartbeat, where it sends any, and to its last work.
    fn settle(&mut self, now: Instant, actions: &mut Vec<Action>) {
        let Phase::Up { since, .. } = self.phase else { return };
        let proven = self.proven(now).saturating_duration_since(since);
        if self.attempts > 0 && proven >= self.policy.stable_after {
            actions.push(Action::Note(Note::Stable { failures: self.failures }));
            (self.attempts, self.failures) = (0, 0);
        }
    }

    /// Until when it is known to have been up, and to have done its work.
    fn proven(&self, now: Instant) -> Instant {
        let Phase::Up { heartbeat_at, work, .. } = self.phase else { return self.well_at };
        let alive = if self.policy.heartbeat.is_some() { heartbeat_at } else { now };
        match (work.idle_since, self.policy.progress_timeout) {
            (Some(since), Some(_)) => since.min(alive),
            _ => alive,
        }
    }

    /// Straight with SIGKILL: a process that can't say that it is alive won't tidy up either, and
    /// every second of waiting is one without a picture.
    fn kill(&mut self, now: Instant, cause: Cause, actions: &mut Vec<Action>) {
        let note = Note::Killing { cause: cause.clone(), status: self.status.clone() };
        actions.push(Action::Note(note));
        actions.push(Action::Kill);
        self.leave_up(now);
        self.phase = Phase::Killed { cause };
    }

    fn end(&mut self, now: Instant, exit: Exit, actions: &mut Vec<Action>) {
        let purposeful = exit == Exit::Code(0) && self.policy.restart == Restart::OnFailure;
        match std::mem::replace(&mut self.phase, Phase::Ended) {
            Phase::Killed { cause } => self.fail(now, cause, actions),
            Phase::Stopping { .. } => actions.push(Action::Note(Note::Stopped(exit))),
            phase @ (Phase::Starting { .. } | Phase::Up { .. } | Phase::Leaving { .. }) => {
                self.phase = phase;
                self.leave_up(now);
                match exit {
                    _ if purposeful => {
                        self.phase = Phase::Ended;
                        actions.push(Action::Note(Note::Finished));
                    }
                    Exit::Code(code) if self.policy.no_reset_exit_codes.contains(&code) => {
                        self.excuse(now, code, actions);
                    }
                    _ => self.fail(now, Cause::Exited(exit), actions),
                }
            }
            // An end that was already taken note of.
            phase @ (Phase::Waiting { .. } | Phase::Ended) => self.phase = phase,
        }
    }

    fn drill(&mut self, now: Instant, fault: Fault, actions: &mut Vec<Action>) {
        let Phase::Up { work, .. } = &mut self.phase else { return };
        match fault {
            Fault::Kill => actions.push(Action::Kill),
            Fault::Hang => actions.push(Action::Suspend),
            Fault::Starve => work.idle_since = Some(now),
        }
        self.drill = Some(fault);
    }

    fn end_drill(&mut self, now: Instant, actions: &mut Vec<Action>) {
        let Phase::Up { heartbeat_at, work, .. } = &mut self.phase else { return };
        match self.drill {
            // Its end is under way.
            None | Some(Fault::Kill) => return,
            Some(Fault::Hang) => {
                actions.push(Action::Resume);
                // It can't help having been silent.
                *heartbeat_at = now;
                work.idle_since = work.idle_since.map(|_| now);
            }
            Some(Fault::Starve) => *work = Work::none(),
        }
        self.drill = None;
    }

    fn fail(&mut self, now: Instant, cause: Cause, actions: &mut Vec<Action>) {
        self.leave_up(now);
        if self.drill.take().is_some_and(|fault| fault.explains(&cause)) {
            let delay = self.policy.restart_delay;
            self.phase = Phase::Waiting { until: now + delay, excused: false };
            actions.push(Action::Note(Note::Drilled { cause, delay }));
            return;
        }
        self.failures = self.failures.saturating_add(1);
        let delay = self.wait(now, false);
        actions.push(Action::Note(Note::Failed { cause, failures: self.failures, delay }));
    }

    fn excuse(&mut self, now: Instant, code: i32, actions: &mut Vec<Action>) {
        self.failures = 0;
        let delay = self.wait(now, true);
        actions.push(Action::Note(Note::Misconfigured { code, delay }));
    }

    fn refuse(&mut self, now: Instant, error: String, actions: &mut Vec<Action>) {
        self.failures = 0;
        self.wait(now, true);
        if self.refusal.as_ref() != Some(&error) {
            actions.push(Action::Note(Note::Refused(error.clone())));
        }
        self.refusal = Some(error);
    }

    fn wait(&mut self, now: Instant, excused: bool) -> Duration {
        let doublings = self.attempts.min(31);
        self.attempts = self.attempts.saturating_add(1);
        let delay = self.policy.restart_delay.saturating_mul(1 << doublings);
        let delay = delay.min(self.policy.restart_delay_max);
        self.phase = Phase::Waiting { until: now + delay, excused };
        delay
    }

    fn stop(&mut self, now: Instant, actions: &mut Vec<Action>) {
        let phase = match self.phase {
            Phase::Waiting { .. } | Phase::Ended => Phase::Ended,
            Phase::Starting { .. } | Phase::Up { .. } | Phase::Leaving { .. } => {
                actions.push(Action::Terminate);
                Phase::Stopping { until: now + self.policy.stop_timeout, killed: false }
            }
            Phase::Killed { .. } => Phase::Stopping { until: now + KILL_PATIENCE, killed: true },
            Phase::Stopping { .. } => return,
        };
        self.enter(now, phase);
    }

    fn leave_up(&mut self, now: Instant) {
        self.well_at = self.proven(now);
    }
}
