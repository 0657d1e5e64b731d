//! Requests for key frames, merged: decisions only. Time is passed in.

use std::time::{Duration, Instant};

/// At most one key frame on request in this time: twenty viewers who arrive together, or lose the
/// same packet, need one between them.
const INTERVAL: Duration = Duration::from_millis(500);

/// The requests for one encode. One that comes too early is not lost, but served when the time
/// has come.
#[derive(Debug, Default)]
pub(crate) struct Requests {
    served: Option<Instant>,
    wanted: bool,
}

impl Requests {
    /// Somebody wants a key frame.
    pub(crate) fn want(&mut self) {
        self.wanted = true;
    }

    /// The encode has ended: the next one begins with a key frame anyway.
    pub(crate) fn forget(&mut self) {
        self.wanted = false;
    }

    /// Whether to ask the encoder for one now.
    pub(crate) fn take(&mut self, now: Instant) -> bool {
        let take = self.wanted && self.served.is_none_or(|served| now >= served + INTERVAL);
        if take {
            *self = Self { served: Some(now), wanted: false };
        }
        take
    }

    /// When [`take`](Self::take) has to be asked again, should nothing happen until then.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.served.filter(|_| self.wanted).map(|served| served + INTERVAL)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_requests_are_one_and_the_next_is_half_a_second_later() {
        let t0 = Instant::now();
        let at = |ms| t0 + Duration::from_millis(ms);
        let mut requests = Requests::default();
        assert!(!requests.take(at(0)));
        let mut served = Vec::new();
        for ms in 0..1600 {
            requests.want();
            if requests.take(at(ms)) {
                served.push(ms);
            }
        }
        assert_eq!(served, [0, 500, 1000, 1500]);
    }

    #[test]
    fn one_that_comes_too_early_is_served_in_time_and_none_after_the_end() {
        let t0 = Instant::now();
        let mut requests = Requests::default();
        requests.want();
        assert!(requests.take(t0));
        assert_eq!(requests.deadline(), None);
        requests.want();
        assert!(!requests.take(t0 + INTERVAL / 2));
        assert_eq!(requests.deadline(), Some(t0 + INTERVAL));
        assert!(requests.take(t0 + INTERVAL));
        requests.want();
        requests.forget();
        assert_eq!(requests.deadline(), None);
        assert!(!requests.take(t0 + 2 * INTERVAL));
    }
}
