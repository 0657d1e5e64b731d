//! The `fmp4` transport: CMAF chunks over the viewer's `media` data channel.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::{Bytes, BytesMut};
use peercam_media::{Chunk, Init};
use peercam_protocol::control::MAX_MEDIA_MESSAGE;
use tokio::sync::watch;
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
    let mut gate = Gate::new();
    let mut backlog = Backlog::new(started, limits);
    let mut bytes: u64 = 0;
    let mut init: Option<Arc<Init>> = None;
    let mut reported: Option<Instant> = None;
    let mut said = started;
    loop {
        let chunk = tokio::select! {
            chunk = source.recv() => match chunk {
                Some(chunk) => chunk,
                None => return Ok(()),
            },
            event = channel.poll() => match event {
                None | Some(DataChannelEvent::OnClose) => return Ok(()),
                // The viewer has nothing to say here.
                Some(_) => continue,
            },
        };
        if !*path.borrow() {
            gate.shut();
            continue;
        }
        let now = Instant::now();
        let waiting = channel.outstanding_bytes().await?;
        backlog.observe(now, bytes, waiting);
        source.seat().report(backlog.kbps().saturating_sub(BESIDES_KBPS), backlog.is_open());
        if said.elapsed() >= ESTIMATE_INTERVAL {
            said = now;
            debug!("estimate {} kbit/s; {waiting} bytes wait", backlog.kbps());
        }
        let key = chunk.key.then_some(chunk.data.len());
        let sizes = Sizes::of(&backlog);
        if !source.obey(gate.decide(sizes, key, waiting, started.elapsed())) {
            continue;
        }
        if !init.as_ref().is_some_and(|sent| Arc::ptr_eq(sent, &chunk.init)) {
            bytes += chunk.init.data.len() as u64;
            send(channel.as_ref(), &chunk.init.data).await?;
            init = Some(chunk.init.clone());
        }
        bytes += chunk.data.len() as u64;
        send(channel.as_ref(), &chunk.data).await?;
        if reported.is_none_or(|reported| reported.elapsed() >= CLOCK_INTERVAL) {
            reported = Some(now);
            let media = chunk.pts.as_secs_f64();
            clock.send_replace(Some(Clock { media, captured: chunk.captured }));
        }
    }
}

async fn send(channel: &dyn DataChannel, mut data: &Bytes) -> Result<()> {
    let mut rest;
    while data.len() > MAX_MEDIA_MESSAGE {
        channel.send(BytesMut::from(&data[..MAX_MEDIA_MESSAGE])).await?;
        rest = data.slice(MAX_MEDIA_MESSAGE..);
        data = &rest;
    }
    channel.send(BytesMut::from(&data[..])).await
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

    #[test]
    fn what_may_wait_follows_the_estimate() {
        let now = Instant::now();
        let sizes = Sizes::of(&Backlog::new(now, Limits { floor: 150, ceiling: 2_000 }));
        assert_eq!((sizes.steady, sizes.drained), (112_500, 37_500));
        let sizes = Sizes::of(&Backlog::new(now, Limits { floor: 150, ceiling: 150 }));
        assert_eq!((sizes.steady, sizes.drained), (LEAST, LEAST));
    }
}
