//! A rate that may not be exceeded for long.

use std::time::{Duration, Instant};

/// A token bucket.
#[derive(Debug)]
pub(in crate::session) struct Bucket {
    /// Bytes that may be spent now.
    tokens: f64,
    filled: Option<Instant>,
    /// What is saved up at most: so much time's worth.
    depth: Duration,
}

impl Bucket {
    /// A full bucket that holds `depth`'s worth of the rate.
    pub fn new(depth: Duration) -> Self {
        Self { tokens: 0.0, filled: None, depth }
    }

    /// Takes `bytes` if they are there. `rate` in bit/s may change from call to call.
    pub fn take(&mut self, now: Instant, rate: f64, bytes: usize) -> bool {
        let most = rate / 8.0 * self.depth.as_secs_f64();
        let elapsed =
            self.filled.map_or(self.depth, |filled| now.saturating_duration_since(filled));
        self.filled = Some(now);
        self.tokens = (self.tokens + rate / 8.0 * elapsed.as_secs_f64()).min(most);
        if self.tokens < bytes as f64 {
            return false;
        }
        self.tokens -= bytes as f64;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn not_more_than_the_rate_passes_and_little_is_saved_up() {
        let start = Instant::now();
        let mut bucket = Bucket::new(Duration::from_millis(500));
        let passed = |bucket: &mut Bucket, from: u64, to: u64| {
            (from..to)
                .filter(|ms| bucket.take(start + Duration::from_millis(*ms), 80_000.0, 100))
                .count()
        };
        assert_eq!(passed(&mut bucket, 0, 1), 1);
        // 10 000 bytes/s: 5 000 saved up, 20 000 in two seconds.
        assert!((240..=251).contains(&passed(&mut bucket, 1, 2_000)));
        assert!((45..=51).contains(&passed(&mut bucket, 60_000, 60_050)));
    }
}
