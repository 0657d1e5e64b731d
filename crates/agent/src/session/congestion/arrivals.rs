//! One-way delay and rate of what arrived.
//!
//! Clocks are not compared: only how much a packet's delay exceeds the least one seen lately
//! matters, and that is the time it stood in queues.

use std::collections::VecDeque;

/// Window in which a queue has to be empty once, or it counts as standing: longer than four frames
/// at 30 fps.
const STANDING_WINDOW: i64 = 150_000;
/// For so long arrivals are kept.
const KEPT: i64 = 1_000_000;
/// Most arrivals kept: a second at 16 Mbit/s.
const MAX_KEPT: usize = 2048;
/// The least delay is that of the last so many spans: ten seconds. Longer, and the drift of two
/// clocks would look like a queue; shorter, and a queue would look like the path.
const SPANS: usize = 10;
const SPAN: i64 = 1_000_000;

/// All times in microseconds.
#[derive(Debug, Clone, Copy)]
struct Arrival {
    at: i64,
    /// None for bytes whose report was lost.
    delay: Option<i64>,
    bytes: u32,
}

/// What arrived lately.
#[derive(Debug, Default)]
pub(super) struct Arrivals {
    recent: VecDeque<Arrival>,
    /// Least delay of each span, with the span's beginning.
    floor: VecDeque<(i64, i64)>,
    /// The newest arrival.
    last: i64,
}

impl Arrivals {
    /// A packet that left at `sent` (our clock) and arrived at `at` (the viewer's), µs.
    pub fn push(&mut self, sent: i64, at: i64, bytes: u32) {
        let delay = at - sent;
        match self.floor.back_mut() {
            Some((begun, least)) if at - *begun < SPAN => *least = (*least).min(delay),
            _ => {
                if self.floor.len() == SPANS {
                    self.floor.pop_front();
                }
                self.floor.push_back((at, delay));
            }
        }
        self.keep(Arrival { at, delay: Some(delay), bytes });
    }

    /// Bytes that probably arrived around `at`; nothing is known of their delay.
    pub fn push_unreported(&mut self, at: i64, bytes: u32) {
        self.keep(Arrival { at, delay: None, bytes });
    }

    fn keep(&mut self, arrival: Arrival) {
        self.last = if self.recent.is_empty() { arrival.at } else { self.last.max(arrival.at) };
        self.recent.push_back(arrival);
        while self.recent.len() > MAX_KEPT
            || self.recent.front().is_some_and(|first| self.last - first.at > KEPT)
        {
            self.recent.pop_front();
        }
    }

    /// The standing queue in µs: the least queueing delay of the last 150 ms.
    pub fn standing(&self) -> Option<i64> {
        let floor = self.floor.iter().map(|(_, least)| *least).min()?;
        let least = self.within(STANDING_WINDOW).filter_map(|arrival| arrival.delay).min()?;
        Some(least - floor)
    }

    /// What arrived in the last `window` µs, in bit/s.
    pub fn rate(&self, window: i64) -> Option<f64> {
        // Without the first: the time in which it arrived is not known.
        let mut bytes = 0_u64;
        let mut first: Option<Arrival> = None;
        for arrival in self.within(window) {
            bytes += u64::from(arrival.bytes);
            if first.is_none_or(|first| arrival.at < first.at) {
                first = Some(arrival);
            }
        }
        let first = first?;
        let span = self.last - first.at;
        if span < window / 2 {
            return None;
        }
        Some((bytes - u64::from(first.bytes)) as f64 * 8e6 / span as f64)
    }

    /// Takes the delay as it is now for the path's own.
    pub fn rebase(&mut self) {
        if let Some(least) = self.within(STANDING_WINDOW).filter_map(|arrival| arrival.delay).min()
        {
            self.floor.clear();
            self.floor.push_back((self.last, least));
        }
    }

    /// Forgets everything: another path.
    pub fn clear(&mut self) {
        self.recent.clear();
        self.floor.clear();
    }

    fn within(&self, window: i64) -> impl Iterator<Item = Arrival> + '_ {
        let begin = self.last - window;
        // Reports can come out of order, by little.
        self.recent
            .iter()
            .rev()
            .take_while(move |arrival| arrival.at >= begin - 50_000)
            .filter(move |arrival| arrival.at >= begin)
            .copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_queue_that_empties_between_frames_does_not_stand() {
        let mut arrivals = Arrivals::default();
        // Four packets a frame, 6 ms each on the wire.
        for frame in 0..30 {
            for packet in 0..4 {
                let sent = frame * 33_000;
                arrivals.push(sent, 500_000 + sent + packet * 6_000, 1_200);
            }
        }
        assert_eq!(arrivals.standing(), Some(0));
        let rate = arrivals.rate(500_000).unwrap();
        assert!((1_050_000.0..1_250_000.0).contains(&rate), "{rate}");
    }

    #[test]
    fn a_queue_that_grows_stands_and_the_rate_is_the_links() {
        let mut arrivals = Arrivals::default();
        // 2 Mbit/s into 1 Mbit/s: a packet of 1250 bytes each 5 ms, out each 10 ms.
        for packet in 0..100 {
            arrivals.push(packet * 5_000, packet * 10_000, 1_250);
        }
        assert_eq!(arrivals.standing(), Some(84 * 5_000));
        let rate = arrivals.rate(500_000).unwrap();
        assert!((990_000.0..1_010_000.0).contains(&rate), "{rate}");
        arrivals.rebase();
        assert_eq!(arrivals.standing(), Some(0));
    }

    #[test]
    fn the_drift_of_clocks_is_no_queue() {
        let mut arrivals = Arrivals::default();
        for packet in 0..60_000_i64 {
            let sent = packet * 10_000;
            arrivals.push(sent, sent + sent / 10_000, 1_000);
        }
        assert!(arrivals.standing().unwrap() <= 1_000);
        assert!(arrivals.recent.len() <= 101 && arrivals.floor.len() <= SPANS);
    }
}
