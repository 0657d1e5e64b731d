//! When the pipeline is started, stopped and tried again: decisions only. Time is passed in.

use std::time::{Duration, Instant};

/// A running device that gives nothing for this long has stalled. With the supervisor's own
/// reaction this stays under three seconds.
const STALL: Duration = Duration::from_millis(2500);
/// A device may take longer for its first picture (a sensor that has to wake, a slow board that
/// loads its plugins).
const FIRST: Duration = Duration::from_secs(10);
/// After this long without a failure, the next one is the first again.
pub(crate) const HEALTHY: Duration = Duration::from_secs(10);
const MAX_BACK_OFF: Duration = Duration::from_secs(30);

/// What the supervisor sees when it asks what to do.
#[derive(Debug, Clone, Default)]
pub(crate) struct Observation {
    /// How many subscribe.
    pub watchers: usize,
    /// What the run is to make, each with the time at which it last did; empty without a run.
    pub outputs: Vec<(&'static str, Option<Instant>)>,
    /// What went wrong, in a sentence.
    pub fault: Option<String>,
}

/// What to do now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Action {
    /// Build the pipeline and run it.
    Start,
    /// Tear the pipeline down: nobody watches, or it failed.
    Stop,
}

/// What the pipeline is doing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Phase {
    Idle,
    Running {
        since: Instant,
        live: bool,
    },
    /// Torn down after a failure, until it is time to try again.
    Failed {
        until: Instant,
        message: String,
    },
}

/// The decisions of one camera.
#[derive(Debug)]
pub(crate) struct Lifecycle {
    phase: Phase,
    linger: Duration,
    unwatched_since: Option<Instant>,
    /// Failures in a row.
    failures: u32,
}

impl Lifecycle {
    pub(crate) fn new(linger: Duration) -> Self {
        Self { phase: Phase::Idle, linger, unwatched_since: None, failures: 0 }
    }

    pub(crate) fn phase(&self) -> &Phase {
        &self.phase
    }

    /// Takes note of what happened, and says what to do.
    pub(crate) fn step(&mut self, now: Instant, seen: Observation) -> Option<Action> {
        if seen.watchers > 0 {
            self.unwatched_since = None;
        }
        let abandoned =
            seen.watchers == 0 && now >= *self.unwatched_since.get_or_insert(now) + self.linger;
        match &mut self.phase {
            Phase::Idle if seen.watchers > 0 => self.start(now),
            Phase::Idle => None,
            Phase::Running { .. } if abandoned => {
                self.phase = Phase::Idle;
                self.failures = 0;
                Some(Action::Stop)
            }
            Phase::Running { since, live } => {
                let since = *since;
                *live =
                    !seen.outputs.is_empty() && seen.outputs.iter().all(|(_, last)| last.is_some());
                if *live && now >= since + HEALTHY {
                    self.failures = 0;
                }
                let message = seen.fault.or_else(|| stalled(now, since, &seen.outputs))?;
                self.fail(now, message);
                Some(Action::Stop)
            }
            Phase::Failed { .. } if abandoned => {
                self.phase = Phase::Idle;
                self.failures = 0;
                None
            }
            Phase::Failed { until, .. } if now >= *until && seen.watchers > 0 => self.start(now),
            Phase::Failed { .. } => None,
        }
    }

    /// When [`step`](Self::step) has to be asked again, should nothing happen until then.
    pub(crate) fn deadline(&self, seen: &Observation) -> Option<Instant> {
        let abandoned = self.unwatched_since.map(|since| since + self.linger);
        match &self.phase {
            Phase::Idle => None,
            Phase::Running { since, .. } => {
                let stalls = seen.outputs.iter().map(|(_, last)| patience(*since, *last));
                stalls.chain(abandoned).min()
            }
            Phase::Failed { until, .. } => abandoned.or(Some(*until)),
        }
    }

    /// The pipeline was rebuilt, for no fault of its own.
    pub(crate) fn restarted(&mut self, now: Instant) {
        if let Phase::Running { since, live } = &mut self.phase {
            (*since, *live) = (now, false);
        }
    }

    fn start(&mut self, now: Instant) -> Option<Action> {
        self.phase = Phase::Running { since: now, live: false };
        Some(Action::Start)
    }

    fn fail(&mut self, now: Instant, message: String) {
        let until = now + back_off(self.failures);
        self.failures = self.failures.saturating_add(1);
        self.phase = Phase::Failed { until, message };
    }
}

/// How long to wait after so many failures in a row.
pub(crate) fn back_off(failures: u32) -> Duration {
    Duration::from_secs(1 << failures.min(5)).min(MAX_BACK_OFF)
}

/// Until when the next unit of an output must have come.
pub(crate) fn patience(since: Instant, last: Option<Instant>) -> Instant {
    last.map_or(since + FIRST, |last| last + STALL)
}

/// Says which output has been missing for too long, the longest missing one first.
pub(crate) fn stalled(
    now: Instant,
    since: Instant,
    outputs: &[(&'static str, Option<Instant>)],
) -> Option<String> {
    let late = outputs.iter().filter(|(_, last)| now >= patience(since, *last));
    late.min_by_key(|(_, last)| last.unwrap_or(since)).map(|(what, last)| match last {
        None => format!("no {what} came within {} s", FIRST.as_secs()),
        Some(_) => format!("the {what} has stalled: nothing came for {:.1} s", STALL.as_secs_f32()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const LINGER: Duration = Duration::from_secs(5);

    fn watched(by: usize) -> Observation {
        let outputs = vec![("picture", None), ("sound", None)];
        Observation { watchers: by, outputs, fault: None }
    }

    fn live(at: Instant) -> Observation {
        Observation { outputs: vec![("picture", Some(at)), ("sound", Some(at))], ..watched(1) }
    }

    fn broken() -> Observation {
        Observation { fault: Some("no device".to_owned()), ..watched(1) }
    }

    #[test]
    fn it_runs_while_somebody_watches_and_a_little_longer() {
        let mut camera = Lifecycle::new(LINGER);
        let t0 = Instant::now();
        assert_eq!(camera.step(t0, watched(0)), None);
        assert_eq!(camera.step(t0, watched(1)), Some(Action::Start));
        assert_eq!(camera.step(t0 + SECOND, live(t0 + SECOND)), None);
        let gone = Observation { watchers: 0, ..live(t0 + SECOND) };
        assert_eq!(camera.step(t0 + 2 * SECOND, gone.clone()), None);
        assert_eq!(camera.deadline(&gone), Some(t0 + SECOND + STALL));
        let gone = Observation { watchers: 0, ..live(t0 + 6 * SECOND) };
        assert_eq!(camera.step(t0 + 6 * SECOND, gone.clone()), None);
        assert_eq!(camera.step(t0 + 7 * SECOND, gone), Some(Action::Stop));
        assert_eq!(camera.phase(), &Phase::Idle);
    }

    #[test]
    fn a_viewer_who_comes_back_in_time_finds_it_running() {
        let mut camera = Lifecycle::new(LINGER);
        let t0 = Instant::now();
        camera.step(t0, watched(1));
        for second in 1..20 {
            let now = t0 + second * SECOND;
            let watchers = usize::from(second % 4 == 0);
            assert_eq!(camera.step(now, Observation { watchers, ..live(now) }), None);
        }
    }

    #[test]
    fn a_stall_of_picture_or_sound_is_a_failure_within_three_seconds() {
        let t0 = Instant::now();
        let last = t0 + SECOND;
        let cases = [
            (Some(last), Some(last + 2 * SECOND), "picture"),
            (Some(last + 2 * SECOND), Some(last), "sound"),
        ];
        for (picture, sound, what) in cases {
            let mut camera = Lifecycle::new(LINGER);
            camera.step(t0, watched(1));
            camera.step(last, live(last));
            let outputs = vec![("picture", picture), ("sound", sound)];
            let seen = Observation { outputs, ..watched(1) };
            let deadline = camera.deadline(&seen).unwrap();
            assert!(deadline < last + 3 * SECOND);
            assert_eq!(camera.step(deadline - Duration::from_millis(1), seen.clone()), None);
            assert_eq!(camera.step(deadline, seen), Some(Action::Stop));
            let Phase::Failed { message, .. } = camera.phase() else { panic!("{camera:?}") };
            assert!(message.contains(what) && message.contains("stalled"), "{message}");
        }
    }

    #[test]
    fn a_slow_start_is_no_stall_but_no_start_is_a_failure() {
        let mut camera = Lifecycle::new(LINGER);
        let t0 = Instant::now();
        camera.step(t0, watched(1));
        assert_eq!(camera.step(t0 + 9 * SECOND, watched(1)), None);
        assert_eq!(camera.step(t0 + 10 * SECOND, watched(1)), Some(Action::Stop));
        assert!(
            matches!(camera.phase(), Phase::Failed { message, .. } if message.contains("no picture"))
        );
    }

    #[test]
    fn it_is_tried_again_later_and_later_up_to_half_a_minute() {
        let mut camera = Lifecycle::new(LINGER);
        let mut now = Instant::now();
        assert_eq!(camera.step(now, watched(1)), Some(Action::Start));
        for seconds in [1, 2, 4, 8, 16, 30, 30, 30] {
            assert_eq!(camera.step(now, broken()), Some(Action::Stop));
            let deadline = camera.deadline(&watched(1)).unwrap();
            assert_eq!(deadline, now + seconds * SECOND);
            assert_eq!(camera.step(deadline - Duration::from_millis(1), watched(1)), None);
            assert_eq!(camera.step(deadline, watched(1)), Some(Action::Start));
            now = deadline;
        }
        // Ten good seconds, and the next failure is the first again.
        let good = now + 10 * SECOND;
        assert_eq!(camera.step(good, live(good)), None);
        assert_eq!(camera.step(good, broken()), Some(Action::Stop));
        assert_eq!(camera.deadline(&watched(1)), Some(good + SECOND));
    }

    #[test]
    fn nothing_is_tried_while_nobody_watches() {
        let mut camera = Lifecycle::new(LINGER);
        let t0 = Instant::now();
        camera.step(t0, watched(1));
        camera.step(t0, broken());
        assert_eq!(camera.step(t0 + SECOND, watched(0)), None);
        assert_eq!(camera.step(t0 + 6 * SECOND, watched(0)), None);
        assert_eq!(camera.phase(), &Phase::Idle);
        assert_eq!(camera.deadline(&watched(0)), None);
        assert_eq!(camera.step(t0 + 7 * SECOND, watched(1)), Some(Action::Start));
    }
}
