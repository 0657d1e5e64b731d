//! When the picture goes on without sound, and when the microphone is tried again: decisions only.
//! Time is passed in.
//!
//! A pipeline is built with sound or without. A microphone that fails costs the picture one short
//! gap, in which the pipeline is rebuilt without it; then it is listened to on the side, with
//! back-off, and only one that gives sound is taken into the pipeline again.

use std::time::Instant;

use crate::lifecycle::{HEALTHY, back_off};

/// What the supervisor sees.
#[derive(Debug, Clone, Default)]
pub(crate) struct Observation {
    /// Why the sound has failed, if it has.
    pub fault: Option<String>,
    /// What came of listening to the microphone.
    pub heard: Option<Result<(), String>>,
}

/// What to do now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Action {
    /// Rebuild the pipeline, with sound or without, as [`Sound::is_on`] says.
    Rebuild,
    /// Find out whether the microphone gives sound.
    Listen,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Phase {
    On { since: Option<Instant> },
    Off { until: Instant, message: String },
    Listening { message: String },
}

/// The decisions about one microphone, while a pipeline runs. Whoever watches next gets a fresh
/// start.
#[derive(Debug)]
pub(crate) struct Sound {
    phase: Phase,
    /// Failures in a row.
    failures: u32,
}

impl Default for Sound {
    fn default() -> Self {
        Self { phase: Phase::On { since: None }, failures: 0 }
    }
}

impl Sound {
    /// Whether the next pipeline is to have sound.
    pub(crate) fn is_on(&self) -> bool {
        matches!(self.phase, Phase::On { .. })
    }

    /// Why there is none.
    pub(crate) fn message(&self) -> Option<&str> {
        match &self.phase {
            Phase::On { .. } => None,
            Phase::Off { message, .. } | Phase::Listening { message } => Some(message),
        }
    }

    /// Takes note of what happened, and says what to do.
    pub(crate) fn step(&mut self, now: Instant, seen: Observation) -> Option<Action> {
        match &mut self.phase {
            Phase::On { since } => {
                let since = *since.get_or_insert(now);
                if now >= since + HEALTHY && seen.fault.is_none() {
                    self.failures = 0;
                }
                let message = seen.fault?;
                self.fail(now, message);
                Some(Action::Rebuild)
            }
            Phase::Off { until, message } if now >= *until => {
                self.phase = Phase::Listening { message: std::mem::take(message) };
                Some(Action::Listen)
            }
            Phase::Off { .. } => None,
            Phase::Listening { .. } => match seen.heard? {
                Ok(()) => {
                    self.phase = Phase::On { since: Some(now) };
                    Some(Action::Rebuild)
                }
                Err(message) => {
                    self.fail(now, message);
                    None
                }
            },
        }
    }

    /// When [`step`](Self::step) has to be asked again, should nothing happen until then.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        match self.phase {
            Phase::Off { until, .. } => Some(until),
            Phase::On { .. } | Phase::Listening { .. } => None,
        }
    }

    fn fail(&mut self, now: Instant, message: String) {
        self.phase = Phase::Off { until: now + back_off(self.failures), message };
        self.failures = self.failures.saturating_add(1);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn runs() -> Observation {
        Observation::default()
    }

    fn fails() -> Observation {
        Observation { fault: Some("unplugged".to_owned()), heard: None }
    }

    fn heard(result: Result<(), &str>) -> Observation {
        Observation { fault: None, heard: Some(result.map_err(str::to_owned)) }
    }

    #[test]
    fn a_failing_microphone_is_left_out_and_taken_back_when_it_gives_sound() {
        let mut sound = Sound::default();
        let mut now = Instant::now();
        assert_eq!(sound.step(now, runs()), None);
        assert_eq!(sound.step(now, fails()), Some(Action::Rebuild));
        assert!(!sound.is_on());
        assert_eq!(sound.message(), Some("unplugged"));
        for seconds in [1, 2, 4, 8, 16, 30, 30] {
            assert_eq!(sound.deadline(), Some(now + seconds * SECOND));
            assert_eq!(sound.step(now + seconds * SECOND / 2, runs()), None);
            now += seconds * SECOND;
            assert_eq!(sound.step(now, runs()), Some(Action::Listen));
            assert_eq!(sound.step(now, runs()), None, "it is being listened to");
            assert_eq!(sound.step(now, heard(Err("still unplugged"))), None);
            assert_eq!(sound.message(), Some("still unplugged"));
        }
        now += 30 * SECOND;
        assert_eq!(sound.step(now, runs()), Some(Action::Listen));
        assert_eq!(sound.step(now, heard(Ok(()))), Some(Action::Rebuild));
        assert!(sound.is_on() && sound.message().is_none());
        // One that fails again at once is left alone for as long as before.
        assert_eq!(sound.step(now + SECOND, fails()), Some(Action::Rebuild));
        assert_eq!(sound.deadline(), Some(now + 31 * SECOND));
    }

    #[test]
    fn ten_good_seconds_and_the_next_failure_is_the_first_again() {
        let mut sound = Sound::default();
        let t0 = Instant::now();
        sound.step(t0, fails());
        sound.step(t0 + SECOND, runs());
        sound.step(t0 + SECOND, heard(Ok(())));
        let good = t0 + SECOND + HEALTHY;
        assert_eq!(sound.step(good, runs()), None);
        sound.step(good, fails());
        assert_eq!(sound.deadline(), Some(good + SECOND));
    }
}
