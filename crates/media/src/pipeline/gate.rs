//! Which pictures are encoded: decisions only. Time is passed in.

use std::time::Duration;

/// Lets so many pictures a second pass, of those that come. What passes keeps its timestamp.
#[derive(Debug)]
pub(super) struct Pace {
    period: Duration,
    next: Option<Duration>,
}

impl Pace {
    pub(super) fn new(framerate: u32) -> Self {
        Self { period: Duration::from_secs(1) / framerate.max(1), next: None }
    }

    /// Whether the picture of this time passes.
    pub(super) fn admits(&mut self, pts: Duration) -> bool {
        let next = self.next.unwrap_or(pts);
        // A camera's pictures come a little early or late.
        if pts + self.period / 4 < next {
            return false;
        }
        let late = pts > next + self.period;
        self.next = Some(if late { pts } else { next } + self.period);
        true
    }
}

/// So much may an encoder be ahead of its bit rate: a key frame is large.
const AHEAD: Duration = Duration::from_secs(1);
/// For so long are pictures left out at most.
const LONGEST_PAUSE: Duration = Duration::from_millis(500);

/// Holds an encoder to its bit rate where its own rate control doesn't: openh264 makes no key
/// frame coarser than QP 37, which may be worth seconds of a low rate, and noise is too much for
/// any. Pictures are left out
/// before they are encoded until the encoder is no more than a second ahead, but never so many
/// that fewer than two a second remain.
#[derive(Debug)]
pub(super) struct Budget {
    kbps: u32,
    /// How long it takes until the time of all that was made has come.
    ahead: Duration,
    last: Duration,
}

impl Budget {
    pub(super) fn new(kbps: u32) -> Self {
        Self { kbps, ahead: Duration::ZERO, last: Duration::ZERO }
    }

    /// Changes the bit rate. What was made at the former one counts as much as it did then.
    pub(super) fn set(&mut self, kbps: u32) {
        self.kbps = kbps;
    }

    /// The encoder has made so much.
    pub(super) fn spend(&mut self, bytes: usize) {
        let micros = bytes as u64 * 8 * 1000 / u64::from(self.kbps.max(1));
        self.ahead = (self.ahead + Duration::from_micros(micros)).min(AHEAD + LONGEST_PAUSE);
    }

    /// Whether the picture of this time is to be encoded.
    pub(super) fn admits(&mut self, pts: Duration) -> bool {
        self.ahead = self.ahead.saturating_sub(pts.saturating_sub(self.last));
        self.last = pts;
        self.ahead <= AHEAD
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn times(framerate: u32, seconds: u32) -> impl Iterator<Item = Duration> {
        (0..framerate * seconds).map(move |number| SECOND * number / framerate + 5 * SECOND)
    }

    #[test]
    fn a_slower_rate_takes_some_of_the_pictures_evenly() {
        for (from, to, longest) in [(30, 15, 67), (30, 10, 100), (25, 15, 80), (60, 15, 67)] {
            let mut pace = Pace::new(to);
            let passed: Vec<_> = times(from, 10).filter(|pts| pace.admits(*pts)).collect();
            assert!(passed.len().abs_diff(10 * to as usize) <= 1, "{from} {to}: {}", passed.len());
            let gaps = passed.windows(2).map(|pair| (pair[1] - pair[0]).as_millis());
            assert!(gaps.max().unwrap() <= longest, "{from} {to}");
        }
    }

    #[test]
    fn jitter_and_gaps_change_nothing_in_the_long_run() {
        let mut pace = Pace::new(15);
        let jitter = |pts: Duration| {
            pts + Duration::from_millis(u64::from(pts.subsec_millis() / 33 * 7919 % 9))
        };
        let passed = times(30, 10).map(jitter).filter(|pts| pace.admits(*pts)).count();
        assert!(passed.abs_diff(150) <= 2, "{passed}");
        // After a minute of nothing, no burst.
        let later = times(30, 1).map(|pts| pts + 60 * SECOND).filter(|pts| pace.admits(*pts));
        assert_eq!(later.count(), 15);
    }

    /// What an encoder gives that makes pictures of one size, whatever it was told.
    fn encode(budget: &mut Budget, seconds: u32, size: impl Fn(usize) -> usize) -> Vec<Duration> {
        let mut encoded = Vec::new();
        for pts in times(30, seconds) {
            if budget.admits(pts) {
                budget.spend(size(encoded.len()));
                encoded.push(pts);
            }
        }
        encoded
    }

    #[test]
    fn an_encoder_that_keeps_its_rate_loses_nothing() {
        let mut budget = Budget::new(1200);
        // A key frame of most of a second every two seconds, and the rest spread out.
        let size = |number| if number % 60 == 0 { 120_000 } else { (300_000 - 120_000) / 59 };
        assert_eq!(encode(&mut budget, 10, size).len(), 300);
    }

    #[test]
    fn an_encoder_that_does_not_is_held_to_it() {
        let mut budget = Budget::new(500);
        let encoded = encode(&mut budget, 20, |_| 10_000);
        let kbps = (encoded.len() * 10 * 8) as f64 / 20.0;
        assert!((500.0..=530.0).contains(&kbps), "{kbps}");
    }

    #[test]
    fn two_pictures_a_second_remain_whatever_they_weigh() {
        let mut budget = Budget::new(50);
        let encoded = encode(&mut budget, 10, |_| 500_000);
        let gaps = encoded.windows(2).map(|pair| pair[1] - pair[0]);
        assert!(gaps.max().unwrap() <= LONGEST_PAUSE + SECOND / 25);
    }

    #[test]
    fn a_lower_rate_does_not_count_for_what_was_made_before() {
        let mut budget = Budget::new(2000);
        assert_eq!(encode(&mut budget, 2, |_| 8_000).len(), 60);
        budget.set(100);
        assert!(budget.admits(7 * SECOND));
    }
}
