//! From the pipeline's time to the clock on the wall.

use std::time::{Duration, SystemTime};

use gstreamer as gst;
use gstreamer::prelude::*;

/// The camera's media clock: it counts from when the camera was started, not from when the
/// pipeline was, so that timestamps never go back when the pipeline is rebuilt.
#[derive(Debug, Clone)]
pub(crate) struct MediaClock {
    clock: gst::Clock,
    zero: gst::ClockTime,
}

impl MediaClock {
    /// Begins at one second. Runs on the system's monotonic clock, whatever clock an audio device offers.
    pub(crate) fn start() -> Self {
        let clock = gst::SystemClock::obtain();
        // The first packet of an audio encoder begins a little before the first sample.
        let zero = clock.time().saturating_sub(gst::ClockTime::SECOND);
        Self { clock, zero }
    }

    /// Makes a pipeline run on this clock.
    pub(crate) fn drive(&self, pipeline: &gst::Pipeline) {
        pipeline.use_clock(Some(&self.clock));
        pipeline.set_start_time(gst::ClockTime::NONE);
        pipeline.set_base_time(self.zero);
    }

    /// What time it is on the media clock.
    pub(crate) fn now(&self) -> Duration {
        self.clock.time().saturating_sub(self.zero).into()
    }

    /// What the clock on the wall said at `media` time. Asked anew each time: the wall clock is
    /// set by NTP while cameras run for months.
    pub(crate) fn wall(&self, media: Duration) -> SystemTime {
        let (wall, now) = self.both();
        if now >= media {
            wall.checked_sub(now - media).unwrap_or(SystemTime::UNIX_EPOCH)
        } else {
            wall + (media - now)
        }
    }

    /// Both clocks at the same moment: asked again when the thread was interrupted in between.
    fn both(&self) -> (SystemTime, Duration) {
        const TRIES: usize = 4;
        const CLOSE: Duration = Duration::from_micros(100);
        let ask = || {
            let (before, wall, after) = (self.now(), SystemTime::now(), self.now());
            (after.saturating_sub(before), wall, before)
        };
        let mut best = ask();
        for _ in 1..TRIES {
            if best.0 <= CLOSE {
                break;
            }
            let next = ask();
            if next.0 < best.0 {
                best = next;
            }
        }
        (best.1, best.2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn now_is_now_and_a_second_is_a_second() {
        gst::init().unwrap();
        let clock = MediaClock::start();
        let (now, wall) = (clock.now(), SystemTime::now());
        let off = |at: SystemTime, expected: SystemTime| {
            at.duration_since(expected).unwrap_or_else(|error| error.duration())
        };
        let second = Duration::from_secs(1);
        for (media, expected) in
            [(now, wall), (now - second, wall - second), (now + second, wall + second)]
        {
            assert!(off(clock.wall(media), expected) < Duration::from_millis(100));
        }
    }
}
