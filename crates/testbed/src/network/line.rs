//! One direction of a bad line, as arithmetic: frames and the time go in, frames come out when
//! they are due. No clock is read here.
//!
//! ```text
//!  frame ─▶ lost? ─▶ queue in front of the bottleneck (drop tail) ─▶ rate ─▶ delay ─▶ due
//! ```

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use fastrand::Rng;

/// Frames on their way at most, whatever rate and delay say: 2 Gbit of full frames for a second.
const MOST_FRAMES: usize = 16_384;

/// What a line does to what it carries.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Impairment {
    /// Bits a second; none is as fast as the machine.
    pub rate: Option<u64>,
    /// How long a frame may wait in front of the bottleneck. One that would wait longer is dropped,
    /// as routers do. Only matters with a rate.
    pub queue: Duration,
    /// How long a frame is under way after the bottleneck.
    pub delay: Duration,
    /// Share of the frames that get lost, 0 to 1, each by itself.
    pub loss: f64,
    /// Nothing arrives, and what is under way is lost too.
    pub down: bool,
}

impl Impairment {
    /// A good line.
    pub const NONE: Self = Self {
        rate: None,
        queue: Duration::from_millis(300),
        delay: Duration::ZERO,
        loss: 0.0,
        down: false,
    };

    /// A line that loses this share of the frames, 0 to 1.
    pub fn lossy(loss: f64) -> Self {
        Self { loss, ..Self::NONE }
    }

    /// A line that everything is so long on.
    pub fn delayed(delay: Duration) -> Self {
        Self { delay, ..Self::NONE }
    }

    /// A line with so many bits a second, and 300 ms of queue in front of it.
    pub fn narrow(rate: u64) -> Self {
        Self { rate: Some(rate), ..Self::NONE }
    }

    /// The same line with this much delay.
    pub fn and_delay(self, delay: Duration) -> Self {
        Self { delay, ..self }
    }

    /// A line that is cut.
    pub fn cut() -> Self {
        Self { down: true, ..Self::NONE }
    }
}

/// What became of the frames of one direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Carried to the other end, or under way there.
    pub carried: u64,
    /// Lost by chance, or while the line was cut.
    pub lost: u64,
    /// Dropped because the queue was full.
    pub dropped: u64,
    /// Bytes carried, with Ethernet headers.
    pub bytes: u64,
}

/// One direction.
#[derive(Debug)]
pub struct Line {
    random: Rng,
    /// When the bottleneck has sent all that it has taken.
    free_at: Option<Instant>,
    /// In the order they leave, which is the order they came in.
    under_way: VecDeque<(Instant, Vec<u8>)>,
    counts: Counts,
}

impl Line {
    /// A line whose chance comes from `seed`.
    pub fn new(seed: u64) -> Self {
        Self {
            random: Rng::with_seed(seed),
            free_at: None,
            under_way: VecDeque::new(),
            counts: Counts::default(),
        }
    }

    /// A frame comes in at `now`.
    pub fn push(&mut self, now: Instant, frame: Vec<u8>, impairment: &Impairment) {
        if impairment.down {
            self.counts.lost += 1 + self.under_way.len() as u64;
            self.under_way.clear();
            self.free_at = None;
            return;
        }
        if impairment.loss > 0.0 && self.random.f64() < impairment.loss {
            self.counts.lost += 1;
            return;
        }
        let starts = self.free_at.map_or(now, |free_at| free_at.max(now));
        let sent = match impairment.rate {
            // What a slower time left behind has gone at once.
            None => now,
            Some(_) if starts - now > impairment.queue => {
                self.counts.dropped += 1;
                return;
            }
            Some(rate) => {
                let bits = frame.len() as f64 * 8.0;
                starts + Duration::from_secs_f64(bits / rate.max(1) as f64)
            }
        };
        if self.under_way.len() >= MOST_FRAMES {
            self.counts.dropped += 1;
            return;
        }
        self.free_at = Some(sent);
        self.counts.carried += 1;
        self.counts.bytes += frame.len() as u64;
        // Never past one that is under way: a line does not turn its frames around.
        let last = self.under_way.back().map(|(due, _)| *due);
        let due = last.map_or(sent + impairment.delay, |last| last.max(sent + impairment.delay));
        self.under_way.push_back((due, frame));
    }

    /// The next frame that has arrived by `now`.
    pub fn pop(&mut self, now: Instant) -> Option<Vec<u8>> {
        self.under_way.pop_front_if(|(due, _)| *due <= now).map(|(_, frame)| frame)
    }

    /// When the next frame arrives.
    pub fn next_due(&self) -> Option<Instant> {
        self.under_way.front().map(|(due, _)| *due)
    }

    /// What became of the frames so far.
    pub fn counts(&self) -> Counts {
        self.counts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FRAME: usize = 1000;

    fn frame() -> Vec<u8> {
        vec![0; FRAME]
    }

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn a_good_line_hands_everything_on_at_once_and_in_order() {
        let (mut line, now) = (Line::new(1), Instant::now());
        for number in 0..10 {
            line.push(now, vec![number], &Impairment::NONE);
        }
        let arrived: Vec<u8> = std::iter::from_fn(|| line.pop(now)).flatten().collect();
        assert_eq!(arrived, (0..10).collect::<Vec<_>>());
        assert_eq!(line.counts(), Counts { carried: 10, bytes: 10, ..Counts::default() });
    }

    #[test]
    fn delay_is_kept_to_and_is_not_added_up() {
        let (mut line, start) = (Line::new(1), Instant::now());
        let late = Impairment::delayed(ms(30));
        line.push(start, frame(), &late);
        line.push(start + ms(10), frame(), &late);
        assert_eq!(line.next_due(), Some(start + ms(30)));
        assert!(line.pop(start + ms(29)).is_none());
        assert!(line.pop(start + ms(30)).is_some());
        assert_eq!(line.next_due(), Some(start + ms(40)));
    }

    #[test]
    fn a_shorter_delay_does_not_let_a_frame_overtake() {
        let (mut line, start) = (Line::new(1), Instant::now());
        line.push(start, vec![1], &Impairment::delayed(ms(50)));
        line.push(start + ms(1), vec![2], &Impairment::NONE);
        assert!(line.pop(start + ms(49)).is_none());
        assert_eq!(line.pop(start + ms(50)), Some(vec![1]));
        assert_eq!(line.pop(start + ms(50)), Some(vec![2]));
    }

    #[test]
    fn a_narrow_line_carries_its_rate_queues_a_little_and_drops_the_rest() {
        let (mut line, start) = (Line::new(1), Instant::now());
        // 8000 bits every 4 ms are 2 Mbit/s: half of it fits.
        let narrow = Impairment::narrow(1_000_000);
        for number in 0..1000 {
            line.push(start + ms(4) * number, frame(), &narrow);
        }
        let counts = line.counts();
        // 4 s at 1 Mbit/s, and what waits in the queue.
        assert!((500..=540).contains(&counts.carried), "{counts:?}");
        assert_eq!(counts.carried + counts.dropped, 1000);
        let last = line.under_way.back().unwrap().0;
        let waits = last - (start + ms(4) * 999);
        assert!(waits > ms(290) && waits <= ms(309), "{waits:?}");
        // Wide again: the queue is the past's, new frames wait for it only.
        line.push(start + ms(4000), frame(), &Impairment::NONE);
        assert_eq!(line.under_way.back().unwrap().0, last);
    }

    #[test]
    fn loss_is_the_share_asked_for_and_the_same_for_the_same_seed() {
        let now = Instant::now();
        let lost = |seed| {
            let mut line = Line::new(seed);
            let arrives = |number: u64| {
                line.push(now + ms(number), frame(), &Impairment::lossy(0.05));
                line.pop(now + ms(number)).is_some()
            };
            (0..10_000).map(arrives).collect::<Vec<_>>()
        };
        let count = lost(7).iter().filter(|arrived| !**arrived).count();
        assert!((400..600).contains(&count), "{count} of 10 000");
        assert_eq!(lost(7), lost(7));
        assert_ne!(lost(7), lost(8));
    }

    #[test]
    fn a_cut_line_loses_what_is_under_way_too() {
        let (mut line, now) = (Line::new(1), Instant::now());
        line.push(now, frame(), &Impairment::delayed(ms(50)));
        line.push(now, frame(), &Impairment::cut());
        assert!(line.pop(now + ms(100)).is_none());
        assert_eq!(line.counts().lost, 2);
        line.push(now + ms(100), frame(), &Impairment::NONE);
        assert!(line.pop(now + ms(100)).is_some());
    }

    #[test]
    fn a_line_never_holds_more_than_its_limit() {
        let (mut line, now) = (Line::new(1), Instant::now());
        for _ in 0..MOST_FRAMES + 10 {
            line.push(now, vec![0], &Impairment::delayed(ms(1000)));
        }
        assert_eq!(line.under_way.len(), MOST_FRAMES);
        assert_eq!(line.counts().dropped, 10);
    }
}
