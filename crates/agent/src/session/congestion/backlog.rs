//! The estimate of what a data channel carries, from how much waits for it.
//!
//! A reliable channel hides the path: it repeats what is lost and holds back what doesn't fit. What
//! is left to see is how much was to be sent and is not yet acknowledged. While that never comes
//! down to little more than a round trip's worth, the channel is full, and what it acknowledges is
//! what it carries.
//!
//! | what is seen | what follows |
//! |---|---|
//! | a backlog that stands | a cut to 60–88 % of what the channel carried while it was full |
//! | none, soon after a cut | growth to 88 % of that, and no further |
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
const OVERUSE: Duration = Duration::from_millis(80);
/// Below this the channel is not full.
const EMPTY: Duration = Duration::from_millis(40);
/// A full channel that acknowledges nothing for so long repeats what was lost: how much it carried
/// meanwhile says nothing about its limit.
const STALL: Duration = Duration::from_millis(250);
/// Least time between two cuts: until the first has had an effect.
const PAUSE: Duration = Duration::from_millis(900);
/// What the path always has is the least of so many spans of so long.
const SPANS: usize = 6;
const SPAN: Duration = Duration::from_secs(5);
/// A path's own round trip is not believed to be longer.
const MAX_BASE: Duration = Duration::from_millis(300);
/// A limit that was met is remembered for so long.
const MEMORY: Duration = Duration::from_secs(10);
/// For so long no more than this share of a limit is tried, unless a frame shows that it has gone.
const HOLD: Duration = Duration::from_secs(20);
const HELD: f64 = 0.88;
/// What passes so much faster than the limit shows that.
const FASTER: f64 = 1.5;
/// Two looks less apart say nothing.
const LOOKS: Duration = Duration::from_millis(8);
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

/// See the module.
#[derive(Debug)]
pub(in crate::session) struct Backlog {
    limits: (f64, f64),
    /// bit/s.
    target: f64,
    samples: VecDeque<Sample>,
    /// Least backlog in time, span by span.
    base: VecDeque<(Instant, Duration)>,
    cut: Option<Instant>,
    /// What the channel carried when it was full, bit/s, and when that was.
    limit: Option<(f64, Instant)>,
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
            base: VecDeque::new(),
            cut: None,
            limit: None,
            grown: now,
            open: false,
        }
    }

    /// `acknowledged` bytes in all have come to the viewer, `outstanding` ones are to: they are in
    /// the channel or wait for it. To be told with every frame.
    pub fn observe(&mut self, now: Instant, acknowledged: u64, outstanding: usize) {
        let outstanding = outstanding as u64;
        self.look(now, acknowledged);
        self.samples.push_back(Sample { at: now, acknowledged, outstanding });
        while self.samples.get(1).is_some_and(|sample| now.duration_since(sample.at) >= WINDOW) {
            self.samples.pop_front();
        }
        let Some((rate, stalled)) = self.capacity().or_else(|| Some((self.rate()?, true))) else {
            return;
        };
        let Some(standing) = self.standing(now, rate) else { return };
        let excess = standing.saturating_sub(self.base(now, standing));
        if excess > OVERUSE {
            self.grown = now;
            self.open = false;
            if self.cut.is_none_or(|cut| now.duration_since(cut) >= PAUSE) {
                // The more waits, the less is sent, so that it drains.
                let share = (0.92 - excess.as_secs_f64() * 0.4).clamp(0.6, 0.88);
                if !stalled {
                    self.limit = Some((rate, now));
                }
                if rate * share < self.target {
                    self.cut = Some(now);
                    // A stall may say nothing: not by more than so much at once.
                    let least = if stalled { self.target * 0.4 } else { 0.0 };
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

    /// The same between two frames, where it [`is_limited`](Self::is_limited): whether the last one
    /// came through faster than the limit allows. What waited before it may be acknowledged all at
    /// once; the frame itself takes the line's time.
    pub fn look(&mut self, now: Instant, acknowledged: u64) {
        let Some((last, (limit, _))) = self.samples.back().zip(self.limit) else { return };
        let before = last.acknowledged + last.outstanding;
        let span = now.duration_since(last.at);
        if span >= LOOKS && bit_rate(before, acknowledged, span) > limit * FASTER {
            tracing::debug!("estimate: a limit has gone");
            self.limit = None;
        }
    }

    /// A limit is known.
    pub fn is_limited(&self) -> bool {
        self.limit.is_some()
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
        let full = match self.capacity() {
            Some((rate, false)) => rate.max(self.limits.0),
            _ => f64::MAX,
        };
        (self.target.min(full) / 8.0 * time.as_secs_f64()) as usize
    }

    /// What takes its time whatever is sent: about a round trip.
    pub fn round_trip(&self) -> Duration {
        self.base.iter().map(|(_, least)| *least).min().unwrap_or_default().min(MAX_BASE)
    }

    /// Acknowledged bit/s over the window.
    fn rate(&self) -> Option<f64> {
        let (first, last) = (self.samples.front()?, self.samples.back()?);
        let span = last.at.duration_since(first.at);
        (span >= WINDOW / 2).then(|| rate(first, last))
    }

    /// Acknowledged bit/s since the channel is full, if it is, and whether it stalled meanwhile.
    fn capacity(&self) -> Option<(f64, bool)> {
        let full = self.target / 8.0 * (self.round_trip() + EMPTY).as_secs_f64();
        let last = self.samples.back()?;
        let (mut first, mut moved, mut stalled) = (last, last, false);
        for sample in self.samples.iter().rev() {
            if (sample.outstanding as f64) < full {
                break;
            }
            if sample.acknowledged < moved.acknowledged {
                moved = sample;
            }
            stalled |= moved.at.duration_since(sample.at) > STALL + self.round_trip();
            first = sample;
        }
        let span = last.at.duration_since(first.at);
        (span >= FULL).then(|| (rate(first, last), stalled))
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

    fn base(&mut self, now: Instant, standing: Duration) -> Duration {
        match self.base.back_mut() {
            Some((begun, least)) if now.duration_since(*begun) < SPAN => {
                *least = (*least).min(standing);
            }
            _ => {
                if self.base.len() == SPANS {
                    self.base.pop_front();
                }
                self.base.push_back((now, standing));
            }
        }
        self.round_trip()
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

    /// A channel that acknowledges at `rate` after `rtt`; frames at 30 fps follow the estimate.
    struct Channel {
        now: Instant,
        backlog: Backlog,
        sent: u64,
        acknowledged: f64,
        rate: f64,
        rtt: f64,
        waits: Duration,
    }

    impl Channel {
        fn new(rate: f64) -> Self {
            let now = Instant::now();
            let backlog = Backlog::new(now, Limits { floor: 150, ceiling: 2_300 });
            let waits = Duration::ZERO;
            Self { now, backlog, sent: 0, acknowledged: 0.0, rate, rtt: 0.06, waits }
        }

        fn run(&mut self, seconds: u64) {
            for _ in 0..seconds * 30 {
                self.now += Duration::from_micros(33_333);
                let own = f64::from(self.backlog.kbps()).min(2_000.0) * 1e3;
                self.sent += (own / 8.0 / 30.0) as u64;
                let carried = self.acknowledged + self.rate / 8.0 / 30.0;
                self.acknowledged = carried.min(self.sent as f64 - own / 8.0 * self.rtt).max(0.0);
                let outstanding = self.sent - self.acknowledged as u64;
                self.waits = Duration::from_secs_f64(outstanding as f64 * 8.0 / self.rate.min(own));
                self.backlog.observe(self.now, self.acknowledged as u64, outstanding as usize);
            }
        }
    }

    #[test]
    fn a_channel_that_carries_all_is_left_alone_whatever_its_round_trip() {
        for rtt in [0.001, 0.06, 0.25] {
            let mut channel = Channel { rtt, ..Channel::new(20e6) };
            channel.run(30);
            assert_eq!(channel.backlog.kbps(), 2_300);
        }
    }

    #[test]
    fn a_channel_that_carries_less_is_followed_and_recovers() {
        let mut channel = Channel::new(20e6);
        channel.run(5);
        channel.rate = 1e6;
        channel.run(3);
        assert!(channel.backlog.kbps() < 1_000, "{}", channel.backlog.kbps());
        channel.run(8);
        assert!((650..1_200).contains(&channel.backlog.kbps()), "{}", channel.backlog.kbps());
        assert!(channel.waits < Duration::from_millis(400), "{:?}", channel.waits);
        channel.rate = 20e6;
        channel.run(20);
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
