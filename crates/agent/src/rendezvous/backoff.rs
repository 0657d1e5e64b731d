//! How long to wait before trying again.

use std::time::Duration;

/// Exponential back-off with full jitter: the n-th pause is random between nothing and
/// `first · 2ⁿ`, never above `most`. A thousand cameras that lose one server at the same moment
/// come back spread out.
#[derive(Debug, Clone, Copy)]
pub struct Backoff {
    first: Duration,
    most: Duration,
}

impl Backoff {
    /// Pauses of up to `first` at the start, up to `most` in the end.
    pub const fn new(first: Duration, most: Duration) -> Self {
        Self { first, most }
    }

    /// Longest pause after `attempts` failed attempts in a row before this one.
    pub fn limit(&self, attempts: u32) -> Duration {
        let factor = 1_u32.checked_shl(attempts).unwrap_or(u32::MAX);
        self.first.saturating_mul(factor).min(self.most)
    }

    /// A pause after `attempts` failed attempts in a row before this one.
    pub fn pause(&self, attempts: u32) -> Duration {
        // Without random numbers the pause is just not random.
        let fraction = getrandom::u32().map_or(1.0, |n| f64::from(n) / f64::from(u32::MAX));
        self.limit(attempts).mul_f64(fraction)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BACKOFF: Backoff = Backoff::new(Duration::from_millis(500), Duration::from_secs(30));

    #[test]
    fn the_limit_doubles_up_to_the_most() {
        let limits: Vec<u128> = (0..8).map(|n| BACKOFF.limit(n).as_millis()).collect();
        assert_eq!(limits, [500, 1000, 2000, 4000, 8000, 16000, 30000, 30000]);
        assert_eq!(BACKOFF.limit(u32::MAX), Duration::from_secs(30));
    }

    #[test]
    fn pauses_are_spread_over_the_whole_range() {
        let pauses: Vec<Duration> = (0..200).map(|_| BACKOFF.pause(3)).collect();
        assert!(pauses.iter().all(|&pause| pause <= BACKOFF.limit(3)));
        let (low, high) = (Duration::from_secs(1), Duration::from_secs(3));
        assert!(pauses.iter().any(|&pause| pause < low), "none short: {pauses:?}");
        assert!(pauses.iter().any(|&pause| pause > high), "none long: {pauses:?}");
    }
}
