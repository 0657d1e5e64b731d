//! How much is lost, and whether that has to do with our rate.
//!
//! Radio loses packets at any rate, and sending less would not help. A link with hardly a queue
//! loses what exceeds it, and the loss goes away with the excess. So loss counts only where it is
//! well above what it was lately, and stops counting where sending less did not lessen it.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

/// Loss is measured over so many buckets of so long.
const BUCKETS: usize = 4;
const BUCKET: Duration = Duration::from_millis(500);
/// Fewer packets say nothing.
const MIN_PACKETS: u32 = 60;
/// Loss above the usual that counts as congestion. Random loss of 10 % measured on a hundred
/// packets stays below that.
const EXCESS: f64 = 0.2;
/// The usual loss rises by a whole in so many seconds, and falls at once.
const ADAPTATION: f64 = 60.0;

#[derive(Debug, Clone, Copy)]
struct Bucket {
    begun: Instant,
    arrived: u32,
    lost: u32,
}

#[derive(Debug, Default)]
pub(super) struct Loss {
    buckets: VecDeque<Bucket>,
    /// The loss this path has at any rate.
    usual: f64,
}

impl Loss {
    /// Counts what one report says.
    pub fn add(&mut self, now: Instant, arrived: u32, lost: u32) {
        if self.buckets.back().is_none_or(|bucket| now.duration_since(bucket.begun) >= BUCKET) {
            if self.buckets.len() == BUCKETS {
                self.buckets.pop_front();
            }
            if let Some(loss) = self.ratio() {
                let step = BUCKET.as_secs_f64() / ADAPTATION;
                self.usual = loss.min(self.usual + step);
            }
            self.buckets.push_back(Bucket { begun: now, arrived: 0, lost: 0 });
        }
        if let Some(bucket) = self.buckets.back_mut() {
            bucket.arrived += arrived;
            bucket.lost += lost;
        }
    }

    /// A packet that was reported lost came after all.
    pub fn correct(&mut self) {
        if let Some(bucket) = self.buckets.iter_mut().rev().find(|bucket| bucket.lost > 0) {
            bucket.lost -= 1;
        }
    }

    /// Lost of all, over the last two seconds.
    pub fn ratio(&self) -> Option<f64> {
        let arrived: u32 = self.buckets.iter().map(|bucket| bucket.arrived).sum();
        let lost: u32 = self.buckets.iter().map(|bucket| bucket.lost).sum();
        let all = arrived + lost;
        (all >= MIN_PACKETS).then(|| f64::from(lost) / f64::from(all))
    }

    /// Whether so much more than usual is lost that our rate must be the cause.
    pub fn excessive(&self) -> bool {
        self.ratio().is_some_and(|loss| loss > self.usual + EXCESS)
    }

    /// Begins to measure anew, after the rate was changed.
    pub fn restart(&mut self) {
        self.buckets.clear();
    }

    /// Less was sent and as much is lost: that is how this path is.
    pub fn accept(&mut self) {
        self.usual = self.ratio().unwrap_or(self.usual);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(loss: &mut Loss, from: Instant, lost_of_100: u32) -> Instant {
        let mut now = from;
        for _ in 0..40 {
            now += Duration::from_millis(100);
            loss.add(now, 20 - lost_of_100 / 5, lost_of_100 / 5);
        }
        now
    }

    #[test]
    fn ten_percent_is_not_excessive_forty_is_until_it_is_found_to_be_usual() {
        let mut loss = Loss::default();
        let now = run(&mut loss, Instant::now(), 0);
        let now = run(&mut loss, now, 10);
        assert!(!loss.excessive());
        let now = run(&mut loss, now, 40);
        assert!(loss.excessive());
        loss.accept();
        assert!(!loss.excessive());
        let now = run(&mut loss, now, 0);
        run(&mut loss, now, 40);
        assert!(loss.excessive(), "what was usual is forgotten when it goes away");
    }

    #[test]
    fn few_packets_say_nothing_and_late_ones_are_not_lost() {
        let mut loss = Loss::default();
        loss.add(Instant::now(), 10, 40);
        assert_eq!(loss.ratio(), None);
        loss.add(Instant::now(), 10, 0);
        assert_eq!(loss.ratio(), Some(40.0 / 60.0));
        for _ in 0..40 {
            loss.correct();
        }
        assert_eq!(loss.ratio(), None);
        loss.correct();
    }
}
