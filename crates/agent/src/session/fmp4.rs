//! The `fmp4` transport: CMAF chunks over the viewer's `media` data channel.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::{Bytes, BytesMut};
use peercam_media::{Chunk, Init, Subscription};
use peercam_protocol::control::MAX_MEDIA_MESSAGE;
use tokio::sync::watch;
use tracing::debug;
use webrtc::{
    data_channel::{DataChannel, DataChannelEvent},
    error::Result,
};

use super::control::Clock;

/// Time between two `clock` events.
const CLOCK_INTERVAL: Duration = Duration::from_secs(1);
/// For so long at least the group of pictures that a viewer begins with may be on its way.
const BEGINNING: Duration = Duration::from_secs(1);

/// How much may wait for one viewer. The channel is reliable, so what waits arrives late: beyond
/// this everything up to the next key frame is left out, and the picture is in time again.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// While the group of pictures that a viewer begins with is on its way.
    first: usize,
    /// From then on.
    steady: usize,
    /// When it has drained so far, the viewer has caught up.
    drained: usize,
}

impl Limits {
    /// For a stream of `bitrate` kbit/s: 0.6 s of it, and at least 150 KB.
    pub fn new(bitrate_kbps: u32) -> Self {
        let steady = (bitrate_kbps as usize * 75).max(150_000);
        Self { first: steady * 8, steady, drained: steady / 4 }
    }
}

/// Sends chunks until the camera stops or the channel closes; none while there is no `path`.
pub(super) async fn run(
    channel: Arc<dyn DataChannel>,
    mut chunks: Subscription<Chunk>,
    limits: Limits,
    clock: watch::Sender<Option<Clock>>,
    path: watch::Receiver<bool>,
) -> Result<()> {
    let mut gate = Gate::new(limits);
    let started = Instant::now();
    let mut init: Option<Arc<Init>> = None;
    let mut reported: Option<Instant> = None;
    loop {
        let chunk = tokio::select! {
            chunk = chunks.recv() => match chunk {
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
        if !gate.admits(chunk.key, channel.outstanding_bytes().await?, started.elapsed()) {
            continue;
        }
        if !init.as_ref().is_some_and(|sent| Arc::ptr_eq(sent, &chunk.init)) {
            send(channel.as_ref(), &chunk.init.data).await?;
            init = Some(chunk.init.clone());
        }
        send(channel.as_ref(), &chunk.data).await?;
        if reported.is_none_or(|reported| reported.elapsed() >= CLOCK_INTERVAL) {
            reported = Some(Instant::now());
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

/// Decides which chunks go out.
#[derive(Debug)]
struct Gate {
    limits: Limits,
    state: GateState,
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
    fn new(limits: Limits) -> Self {
        Self { limits, state: GateState::Beginning }
    }

    /// Nothing goes out before the next key frame.
    fn shut(&mut self) {
        self.state = GateState::Shut;
    }

    /// Whether a chunk goes out while `backlog` bytes wait, `age` after the first one.
    fn admits(&mut self, key: bool, backlog: usize, age: Duration) -> bool {
        let Limits { first, steady, drained } = self.limits;
        let state = match self.state {
            GateState::Beginning if backlog > first => GateState::Shut,
            GateState::Beginning if age >= BEGINNING && backlog <= drained => GateState::Open,
            GateState::Open if backlog > steady => GateState::Shut,
            GateState::Shut if key && backlog <= drained => GateState::Open,
            same => same,
        };
        if state != self.state {
            debug!("fmp4: {:?} to {state:?} with {backlog} bytes waiting", self.state);
            self.state = state;
        }
        self.state != GateState::Shut
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Duration = Duration::ZERO;
    const LATER: Duration = Duration::from_secs(5);

    #[test]
    fn a_viewer_who_falls_behind_goes_on_with_the_next_key_frame_once_he_caught_up() {
        let mut gate = Gate::new(Limits::new(2000));
        assert!(gate.admits(true, 0, LATER));
        assert!(gate.admits(false, 150_000, LATER), "at the limit");
        assert!(!gate.admits(false, 150_001, LATER));
        assert!(!gate.admits(false, 0, LATER), "nothing to decode it with");
        assert!(!gate.admits(true, 100_000, LATER), "he would only fall behind again");
        assert!(gate.admits(true, 30_000, LATER));
        assert!(gate.admits(false, 100_000, LATER));
    }

    #[test]
    fn the_group_of_pictures_at_the_beginning_may_be_larger() {
        let mut gate = Gate::new(Limits::new(2000));
        assert!((0..60).all(|n| gate.admits(n == 0, n * 8_000, START)));
        assert!(gate.admits(false, 400_000, LATER), "still on its way");
        assert!(gate.admits(false, 1_000, LATER), "caught up");
        assert!(!gate.admits(false, 200_000, LATER));
        assert!(!Gate::new(Limits::new(2000)).admits(false, 2_000_000, START), "but not endless");
    }

    #[test]
    fn the_limit_follows_the_bit_rate() {
        assert_eq!(Limits::new(500).steady, 150_000);
        assert_eq!(Limits::new(8_000).steady, 600_000);
    }
}
