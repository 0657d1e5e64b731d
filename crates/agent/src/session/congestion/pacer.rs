//! When the next packet may leave.

use std::time::{Duration, Instant};

/// So much may leave at once: finer than that timers are not.
const BURST: Duration = Duration::from_millis(4);

/// A leaky bucket: what has left fills it, time empties it.
#[derive(Debug)]
pub(in crate::session) struct Pacer {
    /// bit/s.
    rate: f64,
    /// Bytes that left before their time.
    debt: f64,
    updated: Instant,
}

impl Pacer {
    /// At `rate` bit/s.
    pub fn new(now: Instant, rate: f64) -> Self {
        Self { rate, debt: 0.0, updated: now }
    }

    /// Changes the rate in bit/s, from now on.
    pub fn set_rate(&mut self, now: Instant, rate: f64) {
        self.settle(now);
        self.rate = rate.max(1_000.0);
    }

    /// Whether a packet may leave now.
    pub fn ready(&mut self, now: Instant) -> bool {
        self.settle(now);
        self.debt <= self.allowance()
    }

    /// A packet has left, whether it might or not.
    pub fn left(&mut self, now: Instant, bytes: usize) {
        self.settle(now);
        self.debt += bytes as f64;
    }

    /// When [`Self::ready`] will say yes.
    pub fn next(&self) -> Instant {
        let excess = (self.debt - self.allowance()).max(0.0);
        // A microsecond more: rounding must not wake anybody too early.
        self.updated + Duration::from_secs_f64(excess * 8.0 / self.rate) + Duration::from_micros(1)
    }

    /// How long `bytes` take to leave.
    pub fn duration(&self, bytes: usize) -> Duration {
        Duration::from_secs_f64(bytes as f64 * 8.0 / self.rate)
    }

    fn allowance(&self) -> f64 {
        self.rate / 8.0 * BURST.as_secs_f64()
    }

    fn settle(&mut self, now: Instant) {
        let elapsed = now.saturating_duration_since(self.updated);
        self.debt = (self.debt - self.rate / 8.0 * elapsed.as_secs_f64()).max(0.0);
        self.updated = self.updated.max(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_spread_and_a_pause_is_not_saved_up() {
        let start = Instant::now();
        let mut pacer = Pacer::new(start, 1_000_000.0);
        let mut now = start + Duration::from_secs(10);
        let mut waited = Duration::ZERO;
        for _ in 0..50 {
            if !pacer.ready(now) {
                waited += pacer.next() - now;
                now = pacer.next();
                assert!(pacer.ready(now));
            }
            pacer.left(now, 1_250);
        }
        // 62.5 KB at 125 KB/s, less the last packet and the burst.
        assert!((480..=500).contains(&waited.as_millis()), "{waited:?}");
    }

    #[test]
    fn a_rate_that_changes_holds_from_then_on() {
        let start = Instant::now();
        let mut pacer = Pacer::new(start, 1_000_000.0);
        pacer.left(start, 12_500);
        assert!((95..=97).contains(&(pacer.next() - start).as_millis()));
        pacer.set_rate(start, 100_000_000.0);
        assert!(pacer.ready(start), "100 Mbit/s: nothing to wait for");
    }
}
