//! The decisions, without processes and without waiting: the state machine of one service and of
//! several, told what happens and what time it is.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::time::{Duration, Instant};

use peercam_heartbeat::message::{Message, Progress, Watchdog};
use peercam_watchdog::{
    drill::Fault,
    service::{Action, Broken, Cause, Event, Exit, Note, Policy, Restart},
    supervisor::{Index, Supervisor, Verdict, Wish},
};
use proptest::prelude::*;

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn policy() -> Policy {
    Policy {
        ready_timeout: Some(seconds(30)),
        heartbeat: Some(seconds(10)),
        progress_timeout: Some(seconds(20)),
        stop_timeout: seconds(5),
        restart: Restart::Always,
        restart_delay: seconds(1),
        restart_delay_max: seconds(8),
        stable_after: seconds(10),
        broken_after: seconds(60),
        broken_failures: 10,
        no_reset_exit_codes: vec![2],
        memory: Some(64 << 20),
    }
}

fn ready() -> Event {
    Event::Message(Message { ready: true, ..Message::default() })
}

fn alive() -> Event {
    Event::Message(Message { watchdog: Some(Watchdog::Alive), ..Message::default() })
}

fn work(expected: bool, done: u64) -> Event {
    Event::Message(Message {
        watchdog: Some(Watchdog::Alive),
        progress: Some(Progress { expected, done }),
        ..Message::default()
    })
}

fn patience(time: Duration) -> Event {
    Event::Message(Message { extension: Some(time), ..Message::default() })
}

fn crash() -> Event {
    Event::Exited(Exit::Code(1))
}

/// A supervisor in a story: time only goes on where the story says so, and every deadline on the
/// way is kept, as the real loop does.
struct Story {
    supervisor: Supervisor,
    begin: Instant,
    now: Instant,
    /// What was to be done, by the second of the story.
    did: Vec<(u64, Index, Action)>,
    /// Services whose start succeeds and whose kill ends them.
    works: bool,
}

impl Story {
    fn new(services: Vec<(Policy, bool)>) -> Self {
        let wish = |(policy, critical)| Wish { policy, critical, after: Vec::new() };
        Self::wanting(services.into_iter().map(wish).collect())
    }

    fn wanting(services: Vec<Wish>) -> Self {
        let begin = Instant::now();
        let supervisor = Supervisor::new(services, begin);
        let mut story = Self { supervisor, begin, now: begin, did: Vec::new(), works: true };
        story.tick();
        story
    }

    fn one(policy: Policy) -> Self {
        Self::new(vec![(policy, true)])
    }

    fn tick(&mut self) {
        let steps = self.supervisor.tick(self.now);
        self.note(steps);
    }

    fn tell(&mut self, index: Index, event: Event) {
        let steps = self.supervisor.handle(self.now, index, event);
        self.note(steps);
    }

    fn note(&mut self, steps: Vec<(Index, Action)>) {
        for (index, action) in steps {
            let second = self.now.duration_since(self.begin).as_secs();
            self.did.push((second, index, action.clone()));
            match action {
                Action::Start if self.works => self.tell(index, Event::Started),
                Action::Kill if self.works => self.tell(index, Event::Exited(Exit::Signal(9))),
                _ => {}
            }
        }
    }

    /// Lets time pass up to this second.
    fn until(&mut self, second: u64) {
        let end = self.begin + seconds(second);
        while let Some(due) = self.supervisor.deadline(self.now).filter(|due| *due <= end) {
            assert!(due > self.now, "a deadline in the past is a busy loop");
            self.now = due;
            self.tick();
        }
        self.now = end;
        self.tick();
    }

    /// At this second, this happens to the first service.
    fn at(&mut self, second: u64, event: Event) {
        self.until(second);
        self.tell(0, event);
    }

    fn beats(&mut self, from: u64, to: u64) {
        for second in (from..=to).step_by(5) {
            self.at(second, alive());
        }
    }

    fn verdict(&self) -> Verdict {
        self.supervisor.verdict(self.now)
    }

    fn starts(&self) -> Vec<u64> {
        let starts = self.did.iter().filter(|(_, _, action)| *action == Action::Start);
        starts.map(|(second, _, _)| *second).collect()
    }

    fn causes(&self) -> Vec<(u64, Cause)> {
        let cause = |(second, _, action): &(u64, Index, Action)| match action {
            Action::Note(Note::Failed { cause, .. }) => Some((*second, cause.clone())),
            _ => None,
        };
        self.did.iter().filter_map(cause).collect()
    }
}

#[test]
fn a_service_that_beats_is_left_alone() {
    let mut story = Story::one(policy());
    story.at(3, ready());
    story.beats(5, 100_000);
    assert_eq!(story.starts(), [0]);
    assert_eq!(story.causes(), []);
    assert_eq!(story.verdict(), Verdict::Feed);
}

#[test]
fn pauses_double_up_to_the_maximum_and_begin_anew_after_a_stable_time() {
    let mut story = Story::one(policy());
    for second in [0, 1, 3, 7, 15, 23] {
        story.at(second, crash());
    }
    assert_eq!(story.starts(), [0, 1, 3, 7, 15, 23]);
    story.at(31, ready());
    story.beats(31, 51);
    story.at(52, crash());
    story.until(53);
    assert_eq!(*story.starts().last().unwrap(), 53, "a second later, as at first");
}

#[test]
fn readiness_and_heartbeats_that_are_late_by_nothing_are_late() {
    let mut story = Story::one(policy());
    story.until(29);
    assert_eq!(story.causes(), []);
    story.until(30);
    assert_eq!(story.causes(), [(30, Cause::NotReady(seconds(30)))]);
    story.at(32, ready());
    story.at(41, alive());
    story.until(50);
    assert_eq!(story.causes().len(), 1);
    story.until(51);
    assert_eq!(story.causes()[1], (51, Cause::NoHeartbeat(seconds(10))));
}

#[test]
fn work_that_is_due_and_not_done_is_a_hang() {
    let mut story = Story::one(policy());
    story.at(1, ready());
    for second in (5..100).step_by(5) {
        story.at(second, work(false, 0));
    }
    for (second, done) in [(100, 1), (105, 2), (110, 2), (115, 2), (120, 2)] {
        story.at(second, work(true, done));
    }
    story.until(124);
    assert_eq!(story.causes(), []);
    story.until(125);
    assert_eq!(story.causes(), [(125, Cause::NoProgress(seconds(20)))]);
}

#[test]
fn work_counts_from_when_there_is_some() {
    let mut story = Story::one(policy());
    story.at(1, ready());
    // The same number all along: never idle for too long at a time.
    for second in (5..1000).step_by(5) {
        story.at(second, work(second % 20 != 0, 7));
    }
    assert_eq!(story.causes(), []);
    // A number that goes back is one that moves: the service counts anew.
    for second in (1000..2000).step_by(5) {
        story.at(second, work(true, 2000 - second));
    }
    assert_eq!(story.causes(), []);
}

#[test]
fn nobody_minds_the_work_of_a_service_without_the_time_out() {
    let mut story = Story::one(Policy { progress_timeout: None, ..policy() });
    story.at(1, ready());
    for second in (5..10_000).step_by(5) {
        story.at(second, work(true, 7));
    }
    assert_eq!(story.causes(), []);
}

#[test]
fn a_service_that_never_gets_anything_done_is_never_stable() {
    // Alive for twenty seconds each time, twice as long as stable-after.
    let mut story = Story::one(policy());
    for _ in 0..10 {
        story.tell(0, ready());
        let now = story.now.duration_since(story.begin).as_secs();
        for second in [0, 5, 10, 15] {
            story.at(now + second, work(true, 7));
        }
        story.until(now + 28);
    }
    let broken = Broken::Failing(10);
    assert_eq!(story.verdict(), Verdict::Starve { service: 0, broken });
}

#[test]
fn patience_is_for_what_goes_on_and_for_no_more() {
    let mut story = Story::one(policy());
    story.at(29, patience(seconds(20)));
    story.until(48);
    assert_eq!(story.causes(), []);
    story.at(48, ready());
    story.until(58);
    assert_eq!(story.causes(), [(58, Cause::NoHeartbeat(seconds(10)))], "what was left is gone");

    let mut story = Story::one(policy());
    story.at(29, patience(seconds(20)));
    story.until(49);
    assert_eq!(story.causes(), [(49, Cause::NotReady(seconds(30)))]);

    let mut story = Story::one(policy());
    story.at(1, ready());
    story.at(2, work(true, 1));
    story.at(3, patience(seconds(40)));
    story.at(4, patience(seconds(1)));
    story.until(42);
    assert_eq!(story.causes(), [], "asking for less takes nothing back");
    story.until(43);
    assert_eq!(story.causes(), [(43, Cause::NoHeartbeat(seconds(10)))]);
}

#[test]
fn a_start_that_asks_for_patience_is_broken_all_the_same() {
    let mut story = Story::one(policy());
    for second in (0..60).step_by(10) {
        story.at(second, patience(seconds(3600)));
    }
    assert_eq!(story.verdict(), Verdict::Feed);
    story.until(60);
    assert_eq!(story.causes(), []);
    assert!(matches!(story.verdict(), Verdict::Starve { .. }));
}

#[test]
fn a_stop_waits_for_who_asks_for_it() {
    let mut story = Story::one(policy());
    story.tell(0, ready());
    let steps = story.supervisor.stop(story.now);
    story.note(steps);
    story.at(4, patience(seconds(4)));
    story.until(7);
    assert!(!story.did.iter().any(|(_, _, action)| *action == Action::Kill));
    story.until(8);
    assert!(story.did.iter().any(|(_, _, action)| *action == Action::Kill));
}

#[test]
fn heartbeats_before_readiness_are_not_readiness() {
    let mut story = Story::one(policy());
    story.beats(5, 25);
    story.until(30);
    assert_eq!(story.causes(), [(30, Cause::NotReady(seconds(30)))]);
}

#[test]
fn a_service_without_readiness_or_heartbeats_is_up_from_its_start() {
    let mut story = Story::one(Policy { ready_timeout: None, heartbeat: None, ..policy() });
    story.until(100_000);
    assert_eq!((story.starts(), story.causes()), (vec![0], vec![]));
    assert_eq!(story.verdict(), Verdict::Feed);
}

#[test]
fn never_up_is_broken_after_a_minute_and_not_before() {
    let mut story = Story::one(policy());
    story.until(59);
    assert_eq!(story.verdict(), Verdict::Feed);
    story.until(60);
    let broken = Broken::NotUp(seconds(60));
    assert_eq!(story.verdict(), Verdict::Starve { service: 0, broken });
    // Starts at 0, 31 and 63: up again in the third.
    story.at(64, ready());
    assert_eq!(story.verdict(), Verdict::Feed, "it recovered");
}

#[test]
fn a_process_that_not_even_sigkill_ends_is_broken() {
    let mut story = Story::one(policy());
    story.at(1, ready());
    story.works = false;
    // Hung in a driver: last heard of at second 1, killed at 11, never gone.
    story.until(60);
    assert_eq!(story.verdict(), Verdict::Feed);
    story.until(61);
    assert!(matches!(story.verdict(), Verdict::Starve { .. }));
}

#[test]
fn a_program_that_cannot_be_started_is_broken_like_any_other() {
    let mut story = Story::one(policy());
    story.works = false;
    for second in [0, 1, 3, 7, 15, 23, 31, 39, 47, 55] {
        assert_eq!(story.verdict(), Verdict::Feed);
        story.at(second, Event::StartFailed("gone".to_owned()));
    }
    let broken = Broken::Failing(10);
    assert_eq!(story.verdict(), Verdict::Starve { service: 0, broken });
    assert_eq!(story.causes().len(), 10);
}

#[test]
fn what_is_not_there_is_tried_again_said_once_and_no_reason_for_a_reset() {
    let mut story = Story::one(policy());
    story.works = false;
    let missing = || Event::StartRefused("/no/agent: No such file".to_owned());
    for second in [0, 1, 3, 7, 15].into_iter().chain((23..1000).step_by(8)) {
        story.at(second, missing());
        assert_eq!(story.verdict(), Verdict::Feed);
    }
    let said = |story: &Story| {
        let notes = story.did.iter().filter(|did| matches!(did.2, Action::Note(Note::Refused(_))));
        notes.count()
    };
    assert_eq!((said(&story), story.causes()), (1, vec![]));
    let refusal = |story: &Story| story.supervisor.services().next()?.refusal().map(str::to_owned);
    assert_eq!(refusal(&story).unwrap(), "/no/agent: No such file");
    story.works = true;
    story.until(1010);
    assert_eq!(refusal(&story), None, "it is there now");
    story.at(1011, ready());
    story.works = false;
    story.at(1012, crash());
    story.until(1030);
    story.tell(0, missing());
    assert_eq!(said(&story), 2, "it is gone again");
}

#[test]
fn memory_that_is_used_up_is_a_failure_with_that_reason() {
    let mut story = Story::one(policy());
    story.at(1, ready());
    story.at(5, Event::OverMemory);
    assert_eq!(story.causes(), [(5, Cause::Memory(64 << 20))]);
    assert_eq!(story.causes()[0].1.to_string(), "memory limit 64 MiB reached");
    story.until(7);
    assert_eq!(story.starts(), [0, 6]);
    story.tell(0, Event::OverMemory);
    story.tell(0, Event::OverMemory);
    assert_eq!(story.causes().len(), 2, "once for each start");
}

/// The first one after the second, which is as `policy` says.
fn one_after_the_other(policy: Policy) -> Story {
    Story::wanting(vec![
        Wish { policy: policy.clone(), critical: false, after: vec![] },
        Wish { policy, critical: true, after: vec![0] },
    ])
}

fn starts_of(story: &Story, index: Index) -> Vec<u64> {
    let starts = story.did.iter().filter(|did| did.1 == index && did.2 == Action::Start);
    starts.map(|did| did.0).collect()
}

#[test]
fn a_service_is_started_when_those_before_it_are_up() {
    let mut story = one_after_the_other(policy());
    story.until(20);
    assert_eq!(starts_of(&story, 1), []);
    assert_eq!(story.verdict(), Verdict::Feed);
    story.at(20, ready());
    assert_eq!(starts_of(&story, 1), [20]);
    story.until(21);
    story.tell(1, crash());
    story.tell(0, crash());
    story.until(22);
    assert_eq!(starts_of(&story, 1), [20, 22], "its second start waits for nobody");
    // All of them again: in order, again.
    story.until(23);
    let steps = story.supervisor.restart_all(story.now, Duration::ZERO);
    story.note(steps);
    for index in [1, 0] {
        story.tell(index, Event::Exited(Exit::Code(0)));
    }
    story.until(24);
    assert_eq!(starts_of(&story, 0).len(), 3);
    assert_eq!(starts_of(&story, 1).len(), 2);
    story.tell(0, ready());
    assert_eq!(starts_of(&story, 1).len(), 3);
}

#[test]
fn who_speaks_no_sd_notify_is_waited_for_until_it_runs() {
    let story = one_after_the_other(Policy { ready_timeout: None, heartbeat: None, ..policy() });
    assert_eq!(starts_of(&story, 1), [0]);
}

#[test]
fn a_service_does_not_wait_for_one_that_fails_or_never_gets_anywhere() {
    for failure in [crash(), Event::StartRefused("gone".to_owned())] {
        let mut story = one_after_the_other(policy());
        story.at(2, failure);
        assert_eq!(starts_of(&story, 1), [2]);
    }
    let mut story = one_after_the_other(policy());
    for second in 0..70 {
        story.at(second, patience(seconds(100)));
    }
    assert_eq!(starts_of(&story, 1), [60], "broken-after is long enough");
    let mut story = one_after_the_other(policy());
    story.works = false;
    // It can't even be killed.
    story.until(40);
    assert_eq!(starts_of(&story, 1), [30]);
}

#[test]
fn short_moments_of_being_up_do_not_hide_a_crash_loop() {
    let mut story = Story::one(Policy { restart_delay_max: seconds(1), ..policy() });
    for round in 0..9 {
        story.at(round * 5, ready());
        story.at(round * 5 + 4, crash());
        assert_eq!(story.verdict(), Verdict::Feed);
    }
    story.at(45, ready());
    story.at(49, crash());
    let broken = Verdict::Starve { service: 0, broken: Broken::Failing(10) };
    assert_eq!(story.verdict(), broken);
    story.at(50, ready());
    assert_eq!(story.verdict(), broken, "being up is not enough now");
    story.at(59, alive());
    assert_eq!(story.verdict(), broken);
    story.at(60, alive());
    assert_eq!(story.verdict(), Verdict::Feed, "ten seconds of it are");
}

#[test]
fn a_service_that_hangs_as_soon_as_it_is_ready_is_never_stable() {
    let mut story = Story::one(policy());
    // Silent for ten seconds after READY=1, which is as long as stable-after: not a proof of life.
    for _ in 0..10 {
        story.tell(0, ready());
        let now = story.now.duration_since(story.begin).as_secs();
        story.until(now + 18);
    }
    let broken = Broken::Failing(10);
    assert_eq!(story.verdict(), Verdict::Starve { service: 0, broken });
}

#[test]
fn an_error_in_the_configuration_is_never_broken_and_tried_again_for_ever() {
    let mut story = Story::one(policy());
    for _ in 0..1000 {
        story.tell(0, Event::Exited(Exit::Code(2)));
        let now = story.now.duration_since(story.begin).as_secs();
        story.until(now + 8);
        assert_eq!(story.verdict(), Verdict::Feed);
    }
    assert_eq!(story.starts().len(), 1001);
    // Once it is corrected and fails otherwise, that counts from then on.
    let now = story.now.duration_since(story.begin).as_secs();
    story.until(now + 59);
    assert_eq!(story.verdict(), Verdict::Feed);
    story.until(now + 61);
    assert!(matches!(story.verdict(), Verdict::Starve { .. }));
}

#[test]
fn exit_code_zero_is_an_end_on_purpose_only_where_it_may_be() {
    let mut story = Story::one(Policy { restart: Restart::OnFailure, ..policy() });
    story.at(1, Event::Exited(Exit::Code(0)));
    story.until(1000);
    assert_eq!(story.starts(), [0]);
    assert_eq!(story.verdict(), Verdict::Feed);

    let mut story = Story::one(policy());
    story.at(1, Event::Exited(Exit::Code(0)));
    assert_eq!(story.causes(), [(1, Cause::Exited(Exit::Code(0)))]);
    // Killed for a hang, its exit code says nothing about a purpose.
    let mut story = Story::one(Policy { restart: Restart::OnFailure, ..policy() });
    story.works = false;
    story.until(30);
    story.at(31, Event::Exited(Exit::Code(0)));
    story.until(40);
    assert_eq!(story.starts(), [0, 32]);
}

#[test]
fn only_critical_services_count() {
    let mut story = Story::new(vec![(policy(), false), (policy(), true)]);
    story.tell(1, ready());
    for second in (0..2000).step_by(5) {
        story.until(second);
        story.tell(1, alive());
    }
    assert_eq!(story.verdict(), Verdict::Feed, "the first is never up, and never missed");
    story.until(2100);
    assert!(matches!(story.verdict(), Verdict::Starve { service: 1, .. }));
}

#[test]
fn a_stop_goes_backwards_and_waits_for_each() {
    let mut story = Story::new(vec![(policy(), true), (policy(), true), (policy(), true)]);
    for index in 0..3 {
        story.tell(index, ready());
    }
    story.tell(1, crash());
    let steps = story.supervisor.stop(story.now);
    assert_eq!(steps, [(2, Action::Terminate)], "the second waits for its restart: it has ended");
    story.did.clear();
    story.tell(2, Event::Exited(Exit::Code(0)));
    let terminated = |story: &Story, index| {
        story.did.iter().any(|(_, who, action)| (*who, action) == (index, &Action::Terminate))
    };
    assert!(terminated(&story, 0) && !terminated(&story, 1));
    assert!(!story.supervisor.is_finished());
    // The first doesn't listen: killed in the end.
    story.until(4);
    assert!(!story.supervisor.is_finished());
    story.until(5);
    assert!(story.supervisor.is_finished());
    assert_eq!(story.starts(), [] as [u64; 0]);
}

#[test]
fn a_stop_ends_even_when_a_process_does_not() {
    let mut story = Story::one(policy());
    story.tell(0, ready());
    story.works = false;
    let steps = story.supervisor.stop(story.now);
    story.note(steps);
    story.until(9);
    assert!(!story.supervisor.is_finished());
    assert_eq!(story.verdict(), Verdict::Feed, "a stop is fed throughout");
    story.until(10);
    assert!(story.supervisor.is_finished());
    assert!(story.did.iter().any(|(_, _, action)| *action == Action::Note(Note::Unkillable)));
}

#[test]
fn patience_puts_the_end_off_for_a_minute_at_most() {
    let mut story = Story::one(policy());
    story.tell(0, ready());
    let steps = story.supervisor.stop(story.now);
    story.note(steps);
    let killed = |story: &Story| story.did.iter().any(|(_, _, action)| *action == Action::Kill);
    for second in 0..65 {
        story.until(second);
        story.tell(0, patience(seconds(3600)));
        assert!(!killed(&story), "second {second}");
    }
    story.until(65);
    assert!(killed(&story));
}

#[test]
fn every_reason_stands_before_what_is_done_for_it() {
    let mut story = Story::one(policy());
    story.until(30);
    let position = |wanted: fn(&Action) -> bool| {
        story.did.iter().position(|(_, _, action)| wanted(action)).unwrap()
    };
    let killing = position(|action| matches!(action, Action::Note(Note::Killing { .. })));
    assert!(killing < position(|action| *action == Action::Kill));
}

/// Anything that can happen, at any moment.
fn anything() -> impl Strategy<Value = (u64, Index, Event)> {
    let message =
        (any::<bool>(), any::<bool>(), 0..3usize, any::<Option<(bool, bool)>>(), 0..60u64);
    let message = message.prop_map(|(ready, stopping, watchdog, progress, patience)| {
        let watchdog = [None, Some(Watchdog::Alive), Some(Watchdog::Trigger)][watchdog];
        let progress =
            progress.map(|(expected, done)| Progress { expected, done: u64::from(done) });
        // Mostly short: who asks for patience while it is to end may take it.
        let extension = patience.checked_sub(50).map(seconds);
        Event::Message(Message { ready, stopping, watchdog, status: None, extension, progress })
    });
    let event = prop_oneof![
        3 => message,
        2 => (0..4).prop_map(|code| Event::Exited(Exit::Code(code))),
        4 => Just(Event::Tick),
        1 => (0..3usize).prop_map(|fault| Event::Drill(Fault::ALL[fault])),
        1 => Just(Event::EndDrill),
        1 => Just(Event::Held),
        1 => Just(Event::OverMemory),
    ];
    (0..40_000u64, 0..2usize, event)
}

proptest! {
    #[test]
    fn whatever_happens_no_service_runs_twice_and_every_stop_ends(
        story in proptest::collection::vec(anything(), 0..200),
        on_failure: bool,
        silent: bool,
    ) {
        let restart = if on_failure { Restart::OnFailure } else { Restart::Always };
        let heartbeat = policy().heartbeat.filter(|_| !silent);
        let policy = Policy { restart, heartbeat, ..policy() };
        let begin = Instant::now();
        let mut now = begin;
        let mut supervisor = Supervisor::new(
            [
                Wish { policy: policy.clone(), critical: true, after: Vec::new() },
                Wish { policy, critical: false, after: vec![0] },
            ],
            begin,
        );
        // The world: which services have a process. Its events are only those that can happen.
        let mut running = [false; 2];
        let apply = |running: &mut [bool; 2], steps: Vec<(Index, Action)>| {
            for (index, action) in steps {
                match action {
                    Action::Start => {
                        prop_assert!(!running[index], "started while it runs");
                        running[index] = true;
                    }
                    Action::Terminate | Action::Kill | Action::Suspend | Action::Resume => {
                        prop_assert!(running[index]);
                    }
                    Action::Note(_) => {}
                }
            }
            Ok(())
        };
        apply(&mut running, supervisor.tick(now))?;
        for (pause, index, event) in story {
            now += Duration::from_millis(pause);
            if matches!(event, Event::Exited(_)) && !std::mem::take(&mut running[index]) {
                continue;
            }
            apply(&mut running, supervisor.handle(now, index, event))?;
            apply(&mut running, supervisor.tick(now))?;
            if let Some(due) = supervisor.deadline(now) {
                prop_assert!(due > now);
            }
            if let Verdict::Starve { service, .. } = supervisor.verdict(now) {
                prop_assert_eq!(service, 0, "the second is not critical");
            }
        }
        apply(&mut running, supervisor.stop(now))?;
        let mut turns = 0;
        while !supervisor.is_finished() {
            turns += 1;
            prop_assert!(turns < 10, "a stop is bounded");
            now = supervisor.deadline(now).unwrap();
            apply(&mut running, supervisor.tick(now))?;
        }
        prop_assert!(now <= begin + seconds(40 * 200 + 2 * 10 + 120));
    }
}
