//! The estimate of what a data channel carries, from how much waits for it.
//!
//! A reliable channel hides the path: it repeats what is lost and holds back what doesn't fit. What
//! is left to see is how much was to be sent and is not yet acknowledged. While that never comes
//! down to little more than a round trip's worth, the channel is full, and what it acknowledges is
//! what it carries.
//!
//! | what is seen | what follows |
//! |---|---|
//! | a backlog that stands | a cut to 60–84 % of what the channel carried while it was full |
//! | none, soon after a cut | growth to 84 % of that, and no further |
//! | a frame that comes through faster than that allows | the limit is forgotten |
//! | none, later | growth: 5 % a second near a limit, 10 % elsewhere |

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use super::Limits;

/// The least backlog of this time counts: a lost packet holds everything up for a round trip or
/// two, and that is no congestion.
const STANDING: Duration = Duration::from_millis(400);
/// The acknowledged rate is measured over so long.
const WINDOW: Duration = Duration::from_secs(1);
/// What the channel carries is believed after it was full for so long.
const FULL: Duration = Duration::from_millis(300);
/// A standing backlog of more than this, beyond what the path always has, calls for less.
const OVERUSE: Duration = Duration::from_millis(150);
/// Below this the channel is not full.
const EMPTY: Duration = Duration::from_millis(40);
/// A full channel that acknowledges nothing for so long repeats what was lost: how much it carried
/// meanwhile says nothing about its limit.
const STALL: Duration = Duration::from_millis(250);
/// So much may its first and second half differ: a line's limit is steady, what losses leave of
/// SCTP's window is not.
const STEADY: f64 = 0.2;
/// Least time between two cuts: until the first has had an effect.
const PAUSE: Duration = Duration::from_millis(900);
/// When so many cuts have changed nothing, it was the path that became longer.
const IN_VAIN: u32 = 3;
/// What the path always has is the least of so many spans of so long.
const SPANS: usize = 6;
const SPAN: Duration = Duration::from_secs(5);
/// A path's own round trip is not believed to be longer.
const MAX_BASE: Duration = Duration::from_millis(300);
/// A limit that was met is remembered for so long.
const MEMORY: Duration = Duration::from_secs(10);
/// For so long no more than this share of a limit is tried, unless a frame shows that it has gone.
/// The rest is for key frames: what waits behind one is to come in time again before the next.
const HOLD: Duration = Duration::from_secs(30);
const HELD: f64 = 0.84;
/// What passes so much faster than the limit shows that.
const FASTER: f64 = 1.5;
/// Seen over less than this, it says nothing.
const LOOKS: Duration = Duration::from_millis(15);
/// Growth a second near the last limit, which is up to so many times as much, and elsewhere.
const CAREFUL: f64 = 0.05;
const NEAR: f64 = 1.15;
const BRISK: f64 = 0.1;

#[derive(Debug, Clone, Copy)]
struct Sample {
    at: Instant,
    acknowledged: u64,
    outstanding: u64,
}

/// The least of the last half minute.
#[derive(Debug, Default)]
struct Least {
    /// Span by span: when it began, and its least.
    spans: VecDeque<(Instant, Duration)>,
}

impl Least {
    fn push(&mut self, now: Instant, value: Duration) {
        match self.spans.back_mut() {
            Some((begun, least)) if now.duration_since(*begun) < SPAN => {
                *least = (*least).min(value);
            }
            _ => {
                if self.spans.len() == SPANS {
                    self.spans.pop_front();
                }
                self.spans.push_back((now, value));
            }
        }
    }

    /// None is 0; more than [`MAX_BASE`] is not believed.
    fn get(&self) -> Duration {
        self.spans.iter().map(|(_, least)| *least).min().unwrap_or_default().min(MAX_BASE)
    }
}

/// See the module.
#[derive(Debug)]
pub(in crate::session) struct Backlog {
    limits: (f64, f64),
    /// bit/s.
    target: f64,
    samples: VecDeque<Sample>,
    /// Backlog in time.
    base: Least,
    /// From when a frame was sent until it was acknowledged.
    transit: Least,
    cut: Option<Instant>,
    /// Cuts that changed nothing since the channel was not full, and what waited at the last one.
    cuts: (u32, Duration),
    /// What the channel carried when it was full, bit/s, and when that was.
    limit: Option<(f64, Instant)>,
    /// What the channel carries while it is full and that is steady, bit/s, as of the last frame:
    /// asked for with every message.
    full: Option<f64>,
    grown: Instant,
    open: bool,
}

impl Backlog {
    /// Begins at the ceiling.
    pub fn new(now: Instant, limits: Limits) -> Self {
        let limits = (f64::from(limits.floor) * 1e3, f64::from(limits.ceiling) * 1e3);
        Self {
            limits,
            target: limits.1,
            samples: VecDeque::new(),
            base: Least::default(),
            transit: Least::default(),
            cut: None,
            cuts: (0, Duration::ZERO),
            limit: None,
            full: None,
            grown: now,
            open: false,
        }
    }

    /// `acknowledged` bytes in all have come to the viewer, `outstanding` ones are to: they are in
    /// the channel or wait for it. To be told with every frame.
    pub fn observe(&mut self, now: Instant, acknowledged: u64, outstanding: usize) {
        let outstanding = outstanding as u64;
        self.look(now, acknowledged, outstanding as usize);
        self.samples.push_back(Sample { at: now, acknowledged, outstanding });
        while self.samples.get(1).is_some_and(|sample| now.duration_since(sample.at) >= WINDOW) {
            self.samples.pop_front();
        }
        self.estimate(now);
        self.full = self.capacity().and_then(|(rate, steady)| steady.then_some(rate));
    }

    /// Of the samples so far.
    fn estimate(&mut self, now: Instant) {
        let capacity = self.capacity();
        let Some(rate) = self.rate().map(|rate| capacity.map_or(rate, |(rate, _)| rate)) else {
            return;
        };
        let Some(standing) = self.standing(now, rate) else { return };
        self.base.push(now, standing);
        let excess = standing.saturating_sub(self.base.get());
        if excess > OVERUSE {
            self.grown = now;
            self.open = false;
            let due = self.cut.is_none_or(|cut| now.duration_since(cut) >= PAUSE);
            if let Some((_, steady)) = capacity.filter(|_| due) {
                // The more waits, the less is sent, so that it drains.
                let share = (0.9 - excess.as_secs_f64() * 0.4).clamp(0.6, HELD);
                if steady {
                    self.limit = Some((rate, now));
                }
                if rate * share < self.target {
                    self.cut = Some(now);
                    if self.in_vain(excess) {
                        self.base = Least::default();
                        self.base.push(now, standing);
                        self.limit = None;
                    }
                    // What is not steady may say nothing: not by more than so much at once.
                    let least = if steady { 0.0 } else { self.target * 0.4 };
                    self.aim((rate * share).max(least));
                    tracing::debug!(
                        target_kbps = self.target as u64 / 1000,
                        rate_kbps = rate as u64 / 1000,
                        waits_ms = standing.as_millis(),
                        "estimate: the channel is full"
                    );
                }
            }
        } else if excess < EMPTY {
            self.cuts = (0, Duration::ZERO);
            let elapsed = now.duration_since(self.grown).as_secs_f64().min(1.0);
            self.grown = now;
            let (growth, most) = match self.limit {
                Some((limit, met)) if now.duration_since(met) < HOLD => (CAREFUL, limit * HELD),
                Some((limit, _)) if self.target < limit * NEAR => (CAREFUL, f64::MAX),
                _ => (BRISK, f64::MAX),
            };
            let most = most.min(rate * 1.5 + 100e3);
            if self.target < most {
                self.aim((self.target * (1.0 + growth * elapsed)).min(most));
            }
            self.open = self.cut.is_none_or(|cut| now.duration_since(cut) >= MEMORY);
        } else {
            self.grown = now;
        }
    }

    /// The same between two frames, as often as may be. Where a limit is known: whether something
    /// came through faster than the limit allows. What waited when a frame was sent may be
    /// acknowledged all at once; what came behind it takes the line's time.
    pub fn look(&mut self, now: Instant, acknowledged: u64, outstanding: usize) {
        self.time_frames(now, acknowledged, outstanding as u64);
        let Some((limit, _)) = self.limit else { return };
        let round_trip = self.round_trip();
        let faster = |sample: &Sample| {
            let span = now.duration_since(sample.at).saturating_sub(round_trip);
            let before = sample.acknowledged + sample.outstanding;
            span >= LOOKS && bit_rate(before, acknowledged, span) > limit * FASTER
        };
        let recent = |sample: &&Sample| now.duration_since(sample.at) < WINDOW / 2;
        if self.samples.iter().rev().take_while(recent).any(faster) {
            tracing::debug!("estimate: a limit has gone");
            self.limit = None;
        }
    }

    /// What the channel carries, in kbit/s.
    pub fn kbps(&self) -> u32 {
        (self.target / 1e3) as u32
    }

    /// It grows, and no limit is known.
    pub fn is_open(&self) -> bool {
        self.open
    }

    /// Bytes that take `time` at what the channel carries.
    pub fn bytes_in(&self, time: Duration) -> usize {
        // While it is full, that is known before the estimate follows.
        let full = self.full.map_or(f64::MAX, |rate| rate.max(self.limits.0));
        (self.target.min(full) / 8.0 * time.as_secs_f64()) as usize
    }

    /// How long a frame takes at best until it is acknowledged: about a round trip.
    pub fn round_trip(&self) -> Duration {
        self.transit.get()
    }

    fn time_frames(&mut self, now: Instant, acknowledged: u64, outstanding: u64) {
        let Some(last) = self.samples.back() else { return };
        let mut end = acknowledged + outstanding;
        for sample in self.samples.iter().rev() {
            if end <= acknowledged {
                if end > last.acknowledged {
                    self.transit.push(now, now.duration_since(sample.at));
                }
                return;
            }
            end = sample.acknowledged + sample.outstanding;
        }
    }

    /// Whether one cut after the other changes nothing: what stands is no queue.
    fn in_vain(&mut self, excess: Duration) -> bool {
        let (cuts, before) = self.cuts;
        self.cuts = (if excess * 10 >= before * 9 { cuts + 1 } else { 0 }, excess);
        self.cuts.0 > IN_VAIN
    }

    /// Acknowledged bit/s over the window.
    fn rate(&self) -> Option<f64> {
        let (first, last) = (self.samples.front()?, self.samples.back()?);
        let span = last.at.duration_since(first.at);
        // At the beginning the first ones are on their way for a while.
        (span >= WINDOW * 9 / 10).then(|| rate(first, last))
    }

    /// Acknowledged bit/s since the channel is full, if it is, and whether that was steady.
    fn capacity(&self) -> Option<(f64, bool)> {
        let full = self.target / 8.0 * (self.base.get() + EMPTY).as_secs_f64();
        let not_full = self.samples.iter().rposition(|sample| (sample.outstanding as f64) < full);
        let samples = self.samples.range(not_full.map_or(0, |index| index + 1)..);
        let (first, last) = (samples.clone().next()?, self.samples.back()?);
        let middle = &self.samples[self.samples.len() - 1 - samples.len() / 2];
        let stall = STALL + self.base.get();
        let stalled = samples.clone().any(|sample| {
            let moved = samples.clone().find(|later| later.acknowledged > sample.acknowledged);
            moved.unwrap_or(last).at.duration_since(sample.at) > stall
        });
        let whole = rate(first, last);
        let steady = (rate(first, middle) - rate(middle, last)).abs() < whole * STEADY;
        let span = last.at.duration_since(first.at);
        (span >= FULL).then_some((whole, steady && !stalled))
    }

    /// How long the least backlog of the last moments takes to be acknowledged at this rate.
    fn standing(&self, now: Instant, rate: f64) -> Option<Duration> {
        let least = self
            .samples
            .iter()
            .rev()
            .take_while(|sample| now.duration_since(sample.at) <= STANDING)
            .map(|sample| sample.outstanding)
            .min()?;
        Some(Duration::from_secs_f64(least as f64 * 8.0 / rate.max(self.limits.0 / 2.0)))
    }

    fn aim(&mut self, rate: f64) {
        self.target = rate.clamp(self.limits.0, self.limits.1.max(self.limits.0));
    }
}

/// Acknowledged bit/s between two looks.
fn rate(first: &Sample, last: &Sample) -> f64 {
    bit_rate(first.acknowledged, last.acknowledged, last.at.duration_since(first.at))
}

fn bit_rate(from: u64, to: u64, span: Duration) -> f64 {
    to.saturating_sub(from) as f64 * 8.0 / span.as_secs_f64().max(1e-3)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A channel that carries `rate` and acknowledges after `rtt`; frames at 30 fps follow the
    /// estimate.
    struct Channel {
        now: Instant,
        backlog: Backlog,
        steps: u64,
        sent: f64,
        /// In all, 5 ms after 5 ms, the last one now.
        carried: Vec<f64>,
        rate: f64,
        rtt: f64,
        waits: Duration,
    }

    impl Channel {
        fn new(rate: f64) -> Self {
            let now = Instant::now();
            let backlog = Backlog::new(now, Limits { floor: 150, ceiling: 2_300 });
            let (carried, waits) = (vec![0.0], Duration::ZERO);
            Self { now, backlog, steps: 0, sent: 0.0, carried, rate, rtt: 0.06, waits }
        }

        fn run(&mut self, seconds: u64) {
            for _ in 0..seconds * 200 {
                self.steps += 1;
                self.now += Duration::from_millis(5);
                let carried = self.carried[self.carried.len() - 1];
                self.carried.push((carried + self.rate / 8.0 / 200.0).min(self.sent));
                let before = self.carried.len().saturating_sub(1 + (self.rtt * 200.0) as usize);
                let acknowledged = self.carried[before];
                let outstanding = (self.sent - acknowledged) as usize;
                self.backlog.look(self.now, acknowledged as u64, outstanding);
                if self.steps * 30 / 200 > (self.steps - 1) * 30 / 200 {
                    self.backlog.observe(self.now, acknowledged as u64, outstanding);
                    self.sent += f64::from(self.backlog.kbps()).min(2_000.0) * 1e3 / 8.0 / 30.0;
                }
                self.waits = Duration::from_secs_f64((self.sent - carried) * 8.0 / self.rate);
            }
        }
    }

    #[test]
    fn a_channel_that_carries_all_is_left_alone_whatever_its_round_trip() {
        for rtt in [0.0, 0.06, 0.25] {
            let mut channel = Channel { rtt, ..Channel::new(20e6) };
            channel.run(30);
            assert_eq!(channel.backlog.kbps(), 2_300);
        }
    }

    #[test]
    fn a_channel_that_carries_less_is_followed_and_recovers() {
        // On a long way no frame shows that the limit has gone.
        for (rtt, seconds) in [(0.0, 15), (0.06, 15), (0.2, 45)] {
            let mut channel = Channel { rtt, ..Channel::new(20e6) };
            channel.run(5);
            channel.rate = 1e6;
            channel.run(4);
            for _ in 0..16 {
                channel.run(1);
                let (kbps, waits) = (channel.backlog.kbps(), channel.waits);
                assert!((650..1_000).contains(&kbps), "{kbps} kbit/s, {rtt} s");
                assert!(waits < Duration::from_millis(300), "{waits:?}, {rtt} s");
            }
            channel.rate = 20e6;
            channel.run(seconds);
            assert!(channel.backlog.kbps() > 2_000, "{}, {rtt} s", channel.backlog.kbps());
        }
    }

    #[test]
    fn a_limit_is_tried_again_in_time_and_costs_little() {
        let mut channel = Channel::new(20e6);
        channel.run(5);
        channel.rate = 1e6;
        channel.run(5);
        let mut most = 0;
        for _ in 0..120 {
            channel.run(1);
            most = channel.backlog.kbps().max(most);
            assert!(channel.waits < Duration::from_millis(350), "{:?}", channel.waits);
        }
        assert!((1_000..1_200).contains(&most), "{most}");
    }

    #[test]
    fn a_path_that_becomes_longer_is_no_queue() {
        let mut channel = Channel { rtt: 0.02, ..Channel::new(20e6) };
        channel.run(10);
        channel.rtt = 0.2;
        channel.run(30);
        assert!(channel.backlog.kbps() > 2_000, "{}", channel.backlog.kbps());
    }

    #[test]
    fn a_viewer_who_never_reads_ends_at_the_floor() {
        let mut channel = Channel::new(20e6);
        channel.run(5);
        channel.rate = 1.0;
        channel.run(10);
        assert_eq!(channel.backlog.kbps(), 150);
        assert!(channel.backlog.samples.len() < 40);
    }
}
