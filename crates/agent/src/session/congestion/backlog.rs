//! The estimate of what a data channel carries, from how much of it waits.
//!
//! A reliable channel hides the path: it repeats what is lost and holds back what doesn't fit. What
//! is left to see is how much has been sent and not yet acknowledged. While that never comes down
//! to little more than a round trip's worth, the channel is full, and what it acknowledges is what
//! it carries.

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
/// A standing backlog of more than this, beyond what the path always has, calls for less.
const OVERUSE: Duration = Duration::from_millis(150);
/// Below this the channel is not full.
const EMPTY: Duration = Duration::from_millis(80);
/// Least time between two cuts: until the first has had an effect.
const PAUSE: Duration = Duration::from_millis(900);
/// What the path always has is the least of so many spans of so long.
const SPANS: usize = 6;
const SPAN: Duration = Duration::from_secs(5);
/// A path's own round trip is not believed to be longer.
const MAX_BASE: Duration = Duration::from_millis(300);
/// A limit that was met is remembered for so long.
const MEMORY: Duration = Duration::from_secs(10);
/// Growth a second.
const GROWTH: f64 = 0.08;

#[derive(Debug, Clone, Copy)]
struct Sample {
    at: Instant,
    sent: u64,
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
            grown: now,
            open: false,
        }
    }

    /// `sent` bytes have been given to the channel in all, `outstanding` of them are not yet
    /// acknowledged. To be told with every frame.
    pub fn observe(&mut self, now: Instant, sent: u64, outstanding: usize) {
        let outstanding = (outstanding as u64).min(sent);
        self.samples.push_back(Sample { at: now, sent, outstanding });
        while self.samples.get(1).is_some_and(|sample| now.duration_since(sample.at) >= WINDOW) {
            self.samples.pop_front();
        }
        let Some((standing, rate)) = self.standing(now).zip(self.rate()) else { return };
        let base = self.base(now, standing);
        let excess = standing.saturating_sub(base);
        if excess > OVERUSE {
            self.grown = now;
            self.open = false;
            if self.cut.is_none_or(|cut| now.duration_since(cut) >= PAUSE) {
                // The more waits, the less is sent, so that it drains.
                let share = (0.95 - excess.as_secs_f64() * 0.4).clamp(0.6, 0.9);
                if rate * share < self.target {
                    self.cut = Some(now);
                    // One look may be wrong: not by more than so much at once.
                    self.aim((rate * share).max(self.target * 0.4));
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
            let tried = rate * 1.5 + 100e3;
            if self.target < tried {
                self.aim((self.target * (1.0 + GROWTH * elapsed)).min(tried));
            }
            self.open = self.cut.is_none_or(|cut| now.duration_since(cut) >= MEMORY);
        } else {
            self.grown = now;
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
        (self.target / 8.0 * time.as_secs_f64()) as usize
    }

    /// Acknowledged bit/s over the window.
    fn rate(&self) -> Option<f64> {
        let (first, last) = (self.samples.front()?, self.samples.back()?);
        let span = last.at.duration_since(first.at);
        let acknowledged = |sample: &Sample| sample.sent - sample.outstanding;
        let bytes = acknowledged(last).saturating_sub(acknowledged(first));
        (span >= WINDOW / 2).then(|| bytes as f64 * 8.0 / span.as_secs_f64())
    }

    /// How long the least backlog of the last moments takes to be acknowledged.
    fn standing(&self, now: Instant) -> Option<Duration> {
        let least = self
            .samples
            .iter()
            .rev()
            .take_while(|sample| now.duration_since(sample.at) <= STANDING)
            .map(|sample| sample.outstanding)
            .min()?;
        let rate = self.rate()?.max(self.limits.0 / 2.0);
        Some(Duration::from_secs_f64(least as f64 * 8.0 / rate))
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
        self.base.iter().map(|(_, least)| *least).min().unwrap_or_default().min(MAX_BASE)
    }

    fn aim(&mut self, rate: f64) {
        self.target = rate.clamp(self.limits.0, self.limits.1.max(self.limits.0));
    }
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
                self.backlog.observe(self.now, self.sent, outstanding as usize);
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
