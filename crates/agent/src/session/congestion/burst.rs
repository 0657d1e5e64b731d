//! How fast short bursts pass. A frame's packets leave together; how far apart they arrive says
//! whether the path would have taken them faster. That tells how hard the next burst may be, and
//! not what the path carries for long: radio and shapers let short bursts pass.

/// What is assumed at the beginning, in bit/s: the first key frame should not wait.
const INITIAL: f64 = 10e6;
/// Beyond this nothing is held back.
const MAX: f64 = 200e6;
/// Packets that make a burst worth measuring.
const MIN_PACKETS: u32 = 5;
/// Packets that leave within so many µs of each other belong to one burst.
const GAP: i64 = 6_000;
/// The resolution of feedback: 250 µs at either end.
const RESOLUTION: i64 = 500;

#[derive(Debug, Clone, Copy)]
struct Current {
    first: (i64, i64),
    last: (i64, i64),
    packets: u32,
    /// Without the first packet.
    bytes: u64,
}

#[derive(Debug)]
pub(super) struct Bursts {
    rate: f64,
    current: Option<Current>,
}

impl Default for Bursts {
    fn default() -> Self {
        Self { rate: INITIAL, current: None }
    }
}

impl Bursts {
    /// A packet that left at `sent` and arrived at `at`, µs on different clocks, in this order.
    pub fn push(&mut self, sent: i64, at: i64, bytes: u32) {
        match &mut self.current {
            Some(current) if (0..GAP).contains(&(sent - current.last.0)) => {
                current.last = (sent, at);
                current.packets += 1;
                current.bytes += u64::from(bytes);
            }
            _ => {
                self.finish();
                let first = (sent, at);
                self.current = Some(Current { first, last: first, packets: 1, bytes: 0 });
            }
        }
    }

    /// A packet of the burst was lost: what is left says nothing.
    pub fn interrupt(&mut self) {
        self.current = None;
    }

    fn finish(&mut self) {
        let Some(Current { first, last, packets, bytes }) = self.current.take() else { return };
        if packets < MIN_PACKETS {
            return;
        }
        let sent = last.0 - first.0;
        let arrived = (last.1 - first.1).max(0);
        if arrived <= sent + sent / 4 + RESOLUTION {
            // They came as they left: the path takes more than that.
            self.rate = (self.rate * 2.0).min(MAX);
        } else {
            let seen = bytes as f64 * 8e6 / arrived as f64;
            self.rate = self.rate.min((self.rate + seen) / 2.0);
        }
    }

    /// How fast a burst may leave, in bit/s.
    pub fn rate(&self) -> f64 {
        self.rate
    }

    /// The path carries no more than this.
    pub fn limit(&mut self, rate: f64) {
        self.rate = self.rate.min(rate);
    }

    /// Another path.
    pub fn reset(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frames(bursts: &mut Bursts, spacing: i64, link: i64) {
        for frame in 0..30 {
            for packet in 0..7 {
                let sent = frame * 33_000 + packet * spacing;
                let arrived = frame * 33_000 + packet * link.max(spacing);
                bursts.push(sent, 900_000 + arrived, 1_250);
            }
        }
    }

    #[test]
    fn a_fast_path_is_found_within_a_few_frames() {
        let mut bursts = Bursts::default();
        frames(&mut bursts, 100, 20);
        assert_eq!(bursts.rate(), MAX);
    }

    #[test]
    fn a_slow_one_too() {
        let mut bursts = Bursts::default();
        // 2 Mbit/s: 5 ms a packet.
        frames(&mut bursts, 1_000, 5_000);
        assert!((1.9e6..2.6e6).contains(&bursts.rate()), "{}", bursts.rate());
    }
}
