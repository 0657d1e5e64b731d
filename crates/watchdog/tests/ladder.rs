//! What is done when restarts of a service don't help, decision by decision, without processes and
//! without waiting.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::time::{Duration, Instant};

use peercam_watchdog::escalation::{Condition, Decision, Escalation, History, Limits};
use proptest::prelude::*;

const MINUTE: Duration = Duration::from_secs(60);

fn limits() -> Limits {
    Limits {
        failures_per_hour: 5,
        resets_per_day: 2,
        safe_mode_after: 3,
        stable_after: 10 * MINUTE,
    }
}

fn broken() -> Condition {
    Condition::Broken("agent: stays broken".to_owned())
}

/// A start of the device, in minutes.
struct Start {
    escalation: Escalation,
    begin: Instant,
    resets_today: u32,
}

impl Start {
    fn after(resets_in_a_row: u32, resets_today: u32) -> Self {
        let history = History { resets_in_a_row, resets_today };
        let escalation = Escalation::new(limits(), history);
        Self { escalation, begin: Instant::now(), resets_today }
    }

    fn at(&mut self, minute: u32, condition: Condition) -> Option<Decision> {
        let now = self.begin + minute * MINUTE;
        let decision = self.escalation.step(now, condition, self.resets_today);
        if let Some(due) = self.escalation.deadline(now) {
            assert!(due > now, "a deadline in the past is a busy loop");
        }
        decision
    }

    fn pause(&mut self, minute: u32) -> (Duration, String) {
        match self.at(minute, broken()) {
            Some(Decision::RestartAll { pause, reason }) => (pause, reason),
            other => panic!("{other:?}"),
        }
    }

    fn fails(&mut self, minute: u32) {
        self.escalation.failed(self.begin + minute * MINUTE);
    }
}

#[test]
fn first_all_services_then_the_device() {
    let mut start = Start::after(0, 0);
    assert_eq!(start.at(0, Condition::Well), None);
    assert_eq!(start.at(1, Condition::Ailing), None);
    let (pause, reason) = start.pause(2);
    assert_eq!(pause, Duration::ZERO);
    assert_eq!(reason, "agent: stays broken: restarting all services");
    assert_eq!(start.at(3, Condition::Ailing), None);
    let Some(Decision::Reboot { reason }) = start.at(4, broken()) else { panic!() };
    assert_eq!(reason, "agent: stays broken, also after a restart of all services");
    assert!(start.escalation.is_rebooting());
    // Once is enough.
    assert_eq!(start.at(5, broken()), None);
}

#[test]
fn what_was_tried_is_forgotten_after_a_stable_time_and_not_before() {
    let mut start = Start::after(0, 0);
    start.pause(0);
    assert_eq!(start.at(1, Condition::Well), None);
    assert_eq!(start.at(10, Condition::Well), None);
    assert_eq!(start.at(11, Condition::Well), Some(Decision::Stable));
    assert_eq!(start.at(12, Condition::Well), None, "said once");
    let (pause, _) = start.pause(13);
    assert_eq!(pause, Duration::ZERO, "the first rung again");

    let mut start = Start::after(0, 0);
    start.pause(0);
    start.at(1, Condition::Well);
    start.at(9, Condition::Ailing);
    start.at(10, Condition::Well);
    assert_eq!(start.at(19, Condition::Well), None, "it was not well all the time");
    assert!(matches!(start.at(19, broken()), Some(Decision::Reboot { .. })));
}

#[test]
fn at_the_cap_services_are_tried_again_with_growing_pauses_and_it_is_said_once() {
    let mut start = Start::after(0, 2);
    start.pause(0);
    let (pause, reason) = start.pause(2);
    assert_eq!(pause, MINUTE);
    assert!(reason.contains("was reset 2 times in a day of running, escalation.resets-per-day"));
    let mut pauses = Vec::new();
    for round in 0..8 {
        let (pause, reason) = start.pause(10 + round * 100);
        assert!(!reason.contains("resets-per-day"), "{reason}");
        pauses.push(pause.as_secs() / 60);
    }
    assert_eq!(pauses, [2, 4, 8, 16, 32, 60, 60, 60]);
    // The day is over.
    start.resets_today = 1;
    assert!(matches!(start.at(1000, broken()), Some(Decision::Reboot { .. })));
}

#[test]
fn no_reset_is_ever_allowed_where_none_is_wanted() {
    let limits = Limits { resets_per_day: 0, ..limits() };
    let mut escalation = Escalation::new(limits, History::default());
    let now = Instant::now();
    for _ in 0..1000 {
        let decision = escalation.step(now, broken(), 0);
        assert!(matches!(decision, Some(Decision::RestartAll { .. })));
    }
}

#[test]
fn many_failures_in_an_hour_are_trouble_though_each_is_got_over() {
    let mut start = Start::after(0, 0);
    for minute in 0..5 {
        start.fails(minute * 10);
        assert_eq!(start.at(minute * 10, Condition::Ailing), None);
    }
    start.fails(50);
    let Some(Decision::RestartAll { reason, .. }) = start.at(50, Condition::Ailing) else {
        panic!()
    };
    assert!(reason.starts_with("critical services failed 6 times in an hour"), "{reason}");
    assert_eq!(start.at(51, Condition::Well), None, "counted anew");

    let mut start = Start::after(0, 0);
    for minute in 0..100 {
        start.fails(minute * 12 + 1);
        let decision = start.at(minute * 12 + 1, Condition::Well);
        assert!(decision.is_none_or(|decision| decision == Decision::Stable), "five in an hour");
    }
}

#[test]
fn resets_in_a_row_lead_to_safe_mode_in_which_there_are_none() {
    assert_eq!(Start::after(2, 2).escalation.safe_mode(), None);
    let mut start = Start::after(3, 0);
    assert_eq!(start.escalation.safe_mode().unwrap(), "3 resets in a row");
    start.pause(0);
    let (pause, reason) = start.pause(2);
    assert_eq!(pause, MINUTE);
    assert!(reason.contains("in safe mode the device is not reset"), "{reason}");
}

#[test]
fn safe_mode_ends_after_a_stable_time() {
    let mut start = Start::after(3, 0);
    assert_eq!(start.at(0, Condition::Well), None);
    assert_eq!(start.at(10, Condition::Well), Some(Decision::LeaveSafeMode));
    assert_eq!(start.escalation.safe_mode(), None);
    // What comes then is a start like any other.
    assert_eq!(start.at(11, Condition::Well), None);
    assert_eq!(start.at(21, Condition::Well), Some(Decision::Stable));
}

#[test]
fn safe_mode_lasts_longer_with_every_further_reset() {
    for (row, minutes) in [(4, 20), (5, 40), (9, 640), (10, 640), (u32::MAX, 640)] {
        let mut start = Start::after(row, 0);
        assert_eq!(start.at(0, Condition::Well), None);
        assert_eq!(start.at(10, Condition::Well), None, "not stable: it is in safe mode");
        let due = start.escalation.deadline(start.begin + 10 * MINUTE);
        assert_eq!(due, Some(start.begin + minutes * MINUTE), "{row} in a row");
        assert_eq!(start.at(minutes - 1, Condition::Well), None, "{row} in a row");
        assert_eq!(start.at(minutes, Condition::Well), Some(Decision::LeaveSafeMode));
        assert_eq!(start.at(minutes, Condition::Well), None);
        assert_eq!(start.at(minutes + 10, Condition::Well), Some(Decision::Stable));
    }
}

#[test]
fn in_a_long_safe_mode_what_was_tried_is_forgotten_all_the_same() {
    let mut start = Start::after(9, 0);
    start.pause(0);
    start.at(1, Condition::Well);
    assert_eq!(start.at(11, Condition::Well), None);
    let (pause, _) = start.pause(12);
    assert_eq!(pause, Duration::ZERO, "the first rung again");
}

#[test]
fn safe_mode_lasts_for_the_day_in_which_no_reset_is_left() {
    let mut start = Start::after(3, 2);
    start.at(0, Condition::Well);
    assert_eq!(start.at(10, Condition::Well), None, "not stable: services don't run normally");
    assert_eq!(start.at(20, Condition::Well), None);
    assert!(start.escalation.safe_mode().is_some());
    start.resets_today = 1;
    assert_eq!(start.at(30, Condition::Well), Some(Decision::LeaveSafeMode));
}

#[test]
fn a_reset_that_cannot_be_carried_out_is_given_up_with_the_reason() {
    let mut start = Start::after(0, 0);
    start.pause(0);
    assert!(matches!(start.at(2, broken()), Some(Decision::Reboot { .. })));
    start.escalation.forbid_resets("the storage is read-only".to_owned());
    let (pause, reason) = start.pause(2);
    assert_eq!(pause, MINUTE);
    assert!(reason.ends_with("(the device is not reset: the storage is read-only)"), "{reason}");
    assert!(!start.escalation.is_rebooting());
}

#[test]
fn a_reset_that_could_not_be_carried_out_is_tried_again() {
    // After a stable time.
    let mut start = Start::after(0, 0);
    start.pause(0);
    start.at(2, broken());
    start.escalation.forbid_resets("slow".to_owned());
    start.pause(2);
    start.at(4, Condition::Well);
    assert_eq!(start.at(14, Condition::Well), Some(Decision::Stable));
    start.pause(15);
    assert!(matches!(start.at(17, broken()), Some(Decision::Reboot { .. })));

    // And when the pauses have grown to the longest; from then on with each of them.
    start.escalation.forbid_resets("slow".to_owned());
    for minutes in [1, 2, 4, 8, 16, 32, 60] {
        assert_eq!(start.pause(17).0, minutes * MINUTE);
    }
    for _ in 0..2 {
        assert!(matches!(start.at(200, broken()), Some(Decision::Reboot { .. })));
        start.escalation.forbid_resets("slow".to_owned());
        assert_eq!(start.pause(200).0, 60 * MINUTE);
    }
}

proptest! {
    #[test]
    fn whatever_happens_there_is_one_reset_at_most_and_none_above_the_cap_or_in_safe_mode(
        row in 0..5u32,
        today in 0..4u32,
        story in proptest::collection::vec((0..30u32, 0..3usize, any::<bool>()), 0..300),
    ) {
        let mut start = Start::after(row, today);
        let (mut minute, mut resets) = (0, 0);
        for (pause, condition, fails) in story {
            minute += pause;
            if fails {
                start.fails(minute);
            }
            let condition = [Condition::Well, Condition::Ailing, broken()][condition].clone();
            let safe = start.escalation.safe_mode().is_some();
            if let Some(Decision::Reboot { .. }) = start.at(minute, condition) {
                resets += 1;
                prop_assert!(!safe && today < limits().resets_per_day);
            }
        }
        prop_assert!(resets <= 1);
    }
}
