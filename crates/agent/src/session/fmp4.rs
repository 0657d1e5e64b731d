//! The `fmp4` transport: CMAF chunks over the viewer's `media` data channel.
//!
//! What the channel has taken in can't be taken back, and what it can't pass on it puts into the
//! queue of the narrowest line on the way, until that overflows. So it gets little more than it
//! carries at once, and the rest waits in an [`Outbox`], from which it can still be left out.

use std::{
    collections::VecDeque,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::{Bytes, BytesMut};
use peercam_media::{Chunk, Init};
use peercam_protocol::control::MAX_MEDIA_MESSAGE;
use tokio::{sync::watch, time};
use tracing::debug;
use webrtc::{
    data_channel::{DataChannel, DataChannelEvent},
    error::Result,
};

use super::{
    congestion::{Backlog, Limits},
    control::Clock,
    source::{Decision, Source},
};

/// Time between two `clock` events.
const CLOCK_INTERVAL: Duration = Duration::from_secs(1);
/// For so long at least the group of pictures that a viewer begins with may be on its way.
const BEGINNING: Duration = Duration::from_secs(1);

/// How much may wait for one viewer, beside the key frame last sent. The channel is reliable, so
/// what waits arrives late: beyond this everything up to the next key frame is left out, and the
/// picture is in time again. More than a lost packet takes to be repeated.
const STEADY: Duration = Duration::from_millis(450);
/// While the group of pictures that a viewer begins with is on its way.
const FIRST: Duration = Duration::from_millis(4_000);
/// When it has drained so far, the viewer has caught up.
const DRAINED: Duration = Duration::from_millis(150);
/// Never less, whatever the channel carries: a frame or two.
const LEAST: usize = 16_000;
/// Never more, with a viewer who reads nothing at all.
const MOST: usize = 4_000_000;
/// What the channel gets beyond a round trip's worth.
const AHEAD: Duration = Duration::from_millis(60);
/// Largest message: a few packets, so that a large frame can be handed over bit by bit.
const MESSAGE: usize = 4_400;
const _: () = assert!(MESSAGE <= MAX_MEDIA_MESSAGE);
/// How often the channel is looked at while something waits for it, or for its acknowledgement.
const LOOK: Duration = Duration::from_millis(5);
/// Time between two lines about the estimate in the log, at debug level.
const ESTIMATE_INTERVAL: Duration = Duration::from_secs(1);
/// What goes over the channel besides the picture, in kbit/s: AAC, and the boxes of 30 chunks.
const BESIDES_KBPS: u32 = 240;

/// Between what the estimate moves, for a picture of up to so many kbit/s.
pub(super) fn limits(bitrate_kbps: u32) -> Limits {
    Limits { floor: 150, ceiling: bitrate_kbps * 12 / 10 + BESIDES_KBPS * 2 }
}

/// Sends chunks until the camera stops or the channel closes; none while there is no `path`.
/// Reports to `clock` when frames were captured, and to the viewer's seat what the channel carries.
pub(super) async fn run(
    channel: Arc<dyn DataChannel>,
    mut source: Source<Chunk>,
    limits: Limits,
    clock: watch::Sender<Option<Clock>>,
    path: watch::Receiver<bool>,
) -> Result<()> {
    let started = Instant::now();
    let mut sender = Sender::new(started, limits);
    let mut reported: Option<Instant> = None;
    let mut said = started;
    loop {
        let chunk = tokio::select! {
            chunk = source.recv() => match chunk {
                Some(chunk) => Some(chunk),
                None => return Ok(()),
            },
            event = channel.poll() => match event {
                None | Some(DataChannelEvent::OnClose) => return Ok(()),
                // The viewer has nothing to say here.
                Some(_) => continue,
            },
            () = time::sleep(LOOK), if sender.is_curious() => None,
        };
        let mut waiting = channel.outstanding_bytes().await?;
        let now = Instant::now();
        if let Some(chunk) = chunk {
            if !*path.borrow() {
                sender.shut();
                continue;
            }
            let decision = sender.offer(now, &chunk, waiting);
            source.obey(decision);
            let backlog = &sender.backlog;
            source.seat().report(backlog.kbps().saturating_sub(BESIDES_KBPS), backlog.is_open());
            if said.elapsed() >= ESTIMATE_INTERVAL {
                said = now;
                let held = sender.outbox.bytes;
                debug!("estimate {} kbit/s; {held} and {waiting} bytes wait", backlog.kbps());
            }
            if decision == Decision::Send
                && reported.is_none_or(|reported| reported.elapsed() >= CLOCK_INTERVAL)
            {
                reported = Some(now);
                let media = chunk.pts.as_secs_f64();
                clock.send_replace(Some(Clock { media, captured: chunk.captured }));
            }
        } else {
            sender.look(now, waiting);
        }
        while let Some(message) = sender.next(waiting) {
            channel.send(BytesMut::from(&message[..])).await?;
            waiting = channel.outstanding_bytes().await?;
        }
    }
}

/// What goes to one viewer, and when. Time is passed in, and what waits in the channel.
#[derive(Debug)]
struct Sender {
    started: Instant,
    gate: Gate,
    backlog: Backlog,
    outbox: Outbox,
    /// Bytes given to the channel.
    given: u64,
    /// How many of them waited at the last look.
    waited: usize,
}

impl Sender {
    fn new(now: Instant, limits: Limits) -> Self {
        let (gate, backlog) = (Gate::new(), Backlog::new(now, limits));
        Self { started: now, gate, backlog, outbox: Outbox::default(), given: 0, waited: 0 }
    }

    /// Nothing goes out before the next key frame.
    fn shut(&mut self) {
        self.gate.shut();
        self.outbox.take_back();
    }

    /// About a chunk, while `waiting` bytes wait in the channel. What is sent goes to the outbox.
    fn offer(&mut self, now: Instant, chunk: &Chunk, waiting: usize) -> Decision {
        self.waited = waiting;
        let acknowledged = self.given.saturating_sub(waiting as u64);
        self.backlog.observe(now, acknowledged, waiting + self.outbox.bytes);
        let sizes = Sizes::of(&self.backlog);
        let key = chunk.key.then_some(chunk.data.len());
        let age = now.duration_since(self.started);
        let was_open = self.gate.is_open();
        let mut decision = self.gate.decide(sizes, key, waiting + self.outbox.bytes, age);
        if was_open && !self.gate.is_open() {
            self.outbox.take_back();
            decision = self.gate.decide(sizes, key, waiting + self.outbox.bytes, age);
        }
        if decision == Decision::Send {
            self.outbox.push(chunk.clone());
        }
        decision
    }

    /// Whether the channel is to be looked at soon.
    fn is_curious(&self) -> bool {
        self.outbox.bytes > 0 || self.waited > 0
    }

    /// Between two chunks, `waiting` bytes wait in the channel.
    fn look(&mut self, now: Instant, waiting: usize) {
        self.waited = waiting;
        let acknowledged = self.given.saturating_sub(waiting as u64);
        self.backlog.look(now, acknowledged, waiting + self.outbox.bytes);
    }

    /// The next message, if the channel is to have one now.
    fn next(&mut self, waiting: usize) -> Option<Bytes> {
        if waiting > self.backlog.bytes_in(self.backlog.round_trip() + AHEAD) {
            return None;
        }
        let message = self.outbox.next()?;
        self.given += message.len() as u64;
        self.waited += message.len();
        Some(message)
    }
}

/// Chunks that wait for the channel. How many is up to the [`Gate`].
#[derive(Debug, Default)]
struct Outbox {
    chunks: VecDeque<Chunk>,
    /// What is left of a chunk that has begun to go out: without it nothing behind it can be read.
    rest: VecDeque<Bytes>,
    /// What went before the last chunk that has begun to go out.
    init: Option<Arc<Init>>,
    /// How many wait in all.
    bytes: usize,
}

impl Outbox {
    fn push(&mut self, chunk: Chunk) {
        self.bytes += chunk.data.len();
        self.chunks.push_back(chunk);
    }

    /// Leaves out all chunks of which nothing has gone out.
    fn take_back(&mut self) {
        self.chunks.clear();
        self.bytes = self.rest.iter().map(Bytes::len).sum();
    }

    fn next(&mut self) -> Option<Bytes> {
        if self.rest.is_empty() {
            let chunk = self.chunks.pop_front()?;
            if !self.init.as_ref().is_some_and(|sent| Arc::ptr_eq(sent, &chunk.init)) {
                self.bytes += chunk.init.data.len();
                self.rest.push_back(chunk.init.data.clone());
                self.init = Some(chunk.init);
            }
            self.rest.push_back(chunk.data);
        }
        let part = self.rest.front_mut()?;
        let message = part.split_to(part.len().min(MESSAGE));
        if part.is_empty() {
            self.rest.pop_front();
        }
        self.bytes -= message.len();
        Some(message)
    }
}

/// How many bytes may wait.
#[derive(Debug, Clone, Copy)]
struct Sizes {
    first: usize,
    steady: usize,
    drained: usize,
}

impl Sizes {
    fn of(backlog: &Backlog) -> Self {
        let size = |time| backlog.bytes_in(time).clamp(LEAST, MOST);
        Self { first: size(FIRST), steady: size(STEADY), drained: size(DRAINED) }
    }
}

/// Decides which chunks go out.
#[derive(Debug)]
struct Gate {
    state: GateState,
    /// Size of the key frame last sent.
    key: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum GateState {
    /// The viewer is still getting what he begins with.
    Beginning,
    /// He keeps up.
    Open,
    /// He did not: nothing goes out before a key frame, and not before he has caught up.
    Shut,
}

impl Gate {
    fn new() -> Self {
        Self { state: GateState::Beginning, key: 0 }
    }

    /// Nothing goes out before the next key frame.
    fn shut(&mut self) {
        self.state = GateState::Shut;
    }

    fn is_open(&self) -> bool {
        self.state != GateState::Shut
    }

    /// About a chunk while `waiting` bytes wait, `age` after the first one. `key`: it holds a key
    /// frame, and is so large.
    fn decide(
        &mut self,
        sizes: Sizes,
        key: Option<usize>,
        waiting: usize,
        age: Duration,
    ) -> Decision {
        let Sizes { first, steady, drained } = sizes;
        let state = match self.state {
            GateState::Beginning if waiting > first => GateState::Shut,
            GateState::Beginning if age >= BEGINNING && waiting <= drained => GateState::Open,
            GateState::Open if waiting > steady + self.key.min(steady) => GateState::Shut,
            GateState::Shut if key.is_some() && waiting <= drained => GateState::Open,
            same => same,
        };
        if state != self.state {
            debug!("fmp4: {:?} to {state:?} with {waiting} bytes waiting", self.state);
            self.state = state;
        }
        match (self.state, key) {
            (GateState::Shut, _) if waiting <= drained => Decision::DropAndAsk,
            (GateState::Shut, _) => Decision::Drop,
            (_, Some(size)) => {
                self.key = size;
                Decision::Send
            }
            (_, None) => Decision::Send,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::*;

    const START: Duration = Duration::ZERO;
    const LATER: Duration = Duration::from_secs(5);
    const SIZES: Sizes = Sizes { first: 1_000_000, steady: 100_000, drained: 30_000 };

    #[test]
    fn a_viewer_who_falls_behind_goes_on_with_a_key_frame_once_he_caught_up() {
        let mut gate = Gate::new();
        let mut decide = |key: Option<usize>, waiting| gate.decide(SIZES, key, waiting, LATER);
        assert_eq!(decide(Some(20_000), 0), Decision::Send);
        assert_eq!(decide(None, 120_000), Decision::Send, "at the limit, with the key frame");
        assert_eq!(decide(None, 120_001), Decision::Drop);
        assert_eq!(decide(Some(20_000), 90_000), Decision::Drop, "he would only fall behind again");
        assert_eq!(decide(None, 20_000), Decision::DropAndAsk, "nothing to decode it with");
        assert_eq!(decide(Some(20_000), 30_000), Decision::Send);
        assert_eq!(decide(None, 90_000), Decision::Send);
    }

    #[test]
    fn the_group_of_pictures_at_the_beginning_may_be_larger() {
        let mut gate = Gate::new();
        for number in 0..60 {
            let key = (number == 0).then_some(20_000);
            assert_eq!(gate.decide(SIZES, key, number * 8_000, START), Decision::Send);
        }
        assert_eq!(gate.decide(SIZES, None, 400_000, LATER), Decision::Send, "still on its way");
        assert_eq!(gate.decide(SIZES, None, 1_000, LATER), Decision::Send, "caught up");
        assert_eq!(gate.decide(SIZES, None, 200_000, LATER), Decision::Drop);
        let decision = Gate::new().decide(SIZES, None, 2_000_000, START);
        assert_eq!(decision, Decision::Drop, "but not endless");
    }

    #[test]
    fn a_key_frame_is_asked_for_only_when_there_is_room_for_it() {
        let mut gate = Gate::new();
        gate.shut();
        assert_eq!(gate.decide(SIZES, None, 50_000, LATER), Decision::Drop);
        assert_eq!(gate.decide(SIZES, None, 30_000, LATER), Decision::DropAndAsk);
    }

    fn chunk(init: &Arc<Init>, number: u32, key: bool, size: usize) -> Chunk {
        Chunk {
            init: init.clone(),
            data: Bytes::from(vec![number as u8; size]),
            key,
            pts: Duration::from_secs(1) * number / 30,
            captured: UNIX_EPOCH,
        }
    }

    fn init() -> Arc<Init> {
        let data = Bytes::from_static(b"init");
        Arc::new(Init { data, video_codec: String::new(), audio_codec: None })
    }

    #[test]
    fn what_has_not_begun_to_go_out_can_be_taken_back_and_the_rest_stays_whole() {
        let (first, second) = (init(), init());
        let mut outbox = Outbox::default();
        outbox.push(chunk(&first, 1, true, MESSAGE + 100));
        outbox.push(chunk(&second, 2, false, 500));
        assert_eq!(outbox.next().unwrap(), "init");
        assert_eq!(outbox.next().unwrap(), vec![1; MESSAGE]);
        outbox.take_back();
        assert_eq!(outbox.bytes, 100);
        outbox.push(chunk(&second, 3, true, 600));
        outbox.push(chunk(&second, 4, false, 10));
        let rest: Vec<_> = std::iter::from_fn(|| outbox.next()).collect();
        assert_eq!(rest, [vec![1; 100], b"init".to_vec(), vec![3; 600], vec![4; 10]]);
        assert_eq!(outbox.bytes, 0);
    }

    /// A viewer behind a line of so many bit/s, with 300 ms of queue at 1.2 Mbit/s: what doesn't
    /// fit is lost, and repeated by the channel a second later; until then nothing behind it is
    /// of use. An encoder that follows the estimate, with a key frame every two seconds.
    struct Viewer {
        sender: Sender,
        init: Arc<Init>,
        start: Instant,
        ms: u64,
        rate: f64,
        /// In the queue of the line: bytes, and the number of the chunk that ends with them.
        line: VecDeque<(usize, Option<u32>)>,
        /// How much of the first one has passed.
        passed: f64,
        /// What is to be repeated, and when.
        lost: VecDeque<(u64, usize, Option<u32>)>,
        in_channel: usize,
        kbps: f64,
        changed: u64,
        frames: u32,
        asked: bool,
        /// Bytes of each chunk that are not yet handed over.
        parts: VecDeque<(usize, u32)>,
        /// When each frame was captured and came, in ms.
        came: Vec<(u64, u64)>,
    }

    impl Viewer {
        fn new() -> Self {
            let start = Instant::now();
            Self {
                sender: Sender::new(start, limits(2_000)),
                init: init(),
                start,
                ms: 0,
                rate: 50e6,
                line: VecDeque::new(),
                passed: 0.0,
                lost: VecDeque::new(),
                in_channel: 0,
                kbps: 2_000.0,
                changed: 0,
                frames: 0,
                asked: false,
                parts: VecDeque::new(),
                came: Vec::new(),
            }
        }

        fn run(&mut self, seconds: u64) {
            for _ in 0..seconds * 1000 {
                self.ms += 1;
                self.pass();
                if self.ms * 30 / 1000 > u64::from(self.frames) {
                    self.frame();
                }
                if self.ms.is_multiple_of(5) {
                    self.hand_over();
                }
            }
        }

        fn frame(&mut self) {
            self.frames += 1;
            let key = self.frames % 60 == 1 || std::mem::take(&mut self.asked);
            // As openh264 makes them of a noisy picture.
            let size = if key { self.kbps * 28.0 } else { self.kbps * 3.8 };
            let chunk = chunk(&self.init, self.frames, key, size as usize + 800);
            let now = self.start + Duration::from_millis(self.ms);
            let held = self.sender.outbox.chunks.len();
            let decision = self.sender.offer(now, &chunk, self.in_channel);
            let kept = self.sender.outbox.chunks.len() - usize::from(decision == Decision::Send);
            for _ in kept..held {
                self.parts.pop_back();
            }
            match decision {
                Decision::Send => self.parts.push_back((chunk.data.len(), self.frames)),
                Decision::DropAndAsk => self.asked = true,
                Decision::Drop => {}
            }
            let wanted = f64::from(self.sender.backlog.kbps().saturating_sub(BESIDES_KBPS));
            let wanted = wanted.clamp(500.0, 2_000.0);
            let pause = if wanted < self.kbps { 250 } else { 1_000 };
            if self.ms - self.changed >= pause {
                (self.kbps, self.changed) = (wanted, self.ms);
            }
            self.hand_over();
        }

        fn hand_over(&mut self) {
            self.sender.look(self.start + Duration::from_millis(self.ms), self.in_channel);
            while let Some(message) = self.sender.next(self.in_channel) {
                self.in_channel += message.len();
                let mut left = message.len();
                if message == "init" {
                    left = 0;
                    self.put(message.len(), None);
                }
                while left > 0 {
                    let (size, frame) = self.parts.front_mut().unwrap();
                    let packet = left.min(1_100).min(*size);
                    *size -= packet;
                    left -= packet;
                    let ends = (*size == 0).then_some(*frame);
                    if *size == 0 {
                        self.parts.pop_front();
                    }
                    self.put(packet, ends);
                }
            }
        }

        fn put(&mut self, packet: usize, ends: Option<u32>) {
            let queued: usize = self.line.iter().map(|(size, _)| size + 107).sum();
            if queued + packet + 107 > 45_000 || !self.lost.is_empty() {
                self.lost.push_back((self.ms + 1_000, packet, ends));
            } else {
                self.line.push_back((packet, ends));
            }
        }

        fn pass(&mut self) {
            self.passed += self.rate / 8_000.0;
            while let Some((size, ends)) = self.line.front().copied() {
                if self.passed < (size + 107) as f64 {
                    break;
                }
                self.passed -= (size + 107) as f64;
                self.line.pop_front();
                self.in_channel -= size;
                if let Some(frame) = ends {
                    self.came.push((u64::from(frame) * 1000 / 30, self.ms));
                }
            }
            if self.line.is_empty() {
                self.passed = 0.0;
                // The timer goes off, and little by little everything is sent again.
                if self.lost.front().is_some_and(|(at, ..)| *at <= self.ms) {
                    for (_, size, ends) in self.lost.drain(..self.lost.len().min(4)) {
                        self.line.push_back((size, ends));
                    }
                }
            }
        }

        /// Longest time on the way and between two frames in these seconds, in ms.
        fn worst(&self, seconds: std::ops::Range<u64>) -> (u64, u64) {
            let range = seconds.start * 1000..seconds.end * 1000;
            let came: Vec<_> = self.came.iter().filter(|(_, at)| range.contains(at)).collect();
            let late = came.iter().map(|(from, at)| at - from).max().unwrap();
            let gap = came.windows(2).map(|pair| pair[1].1 - pair[0].1).max().unwrap();
            (late, gap)
        }
    }

    #[test]
    fn a_bottleneck_costs_a_moment_and_then_everything_is_in_time() {
        let mut viewer = Viewer::new();
        viewer.run(10);
        let (late, _) = viewer.worst(2..10);
        assert!(late < 60, "{late} ms on a free line");
        viewer.rate = 1.2e6;
        viewer.run(20);
        let (late, gap) = viewer.worst(10..13);
        assert!(gap < 1_000 && late < 1_000, "{gap} ms without a frame, {late} ms late");
        let (late, gap) = viewer.worst(13..30);
        assert!(late < 300 && gap < 400, "{late} ms late, {gap} ms without a frame");
        let narrow = viewer.kbps;
        assert!((600.0..1_000.0).contains(&narrow), "{narrow} kbit/s");
        viewer.rate = 50e6;
        viewer.run(15);
        assert!(viewer.kbps > 1_800.0, "{} kbit/s", viewer.kbps);
    }

    #[test]
    fn what_may_wait_follows_the_estimate() {
        let now = Instant::now();
        let sizes = Sizes::of(&Backlog::new(now, Limits { floor: 150, ceiling: 2_000 }));
        assert_eq!((sizes.steady, sizes.drained), (112_500, 37_500));
        let sizes = Sizes::of(&Backlog::new(now, Limits { floor: 150, ceiling: 150 }));
        assert_eq!((sizes.steady, sizes.drained), (LEAST, LEAST));
    }
}
