//! What stands between a session's RTP and the wire. Only ours: the library's retransmission has
//! no limit of age or rate, and its congestion control makes a narrow link worse.
//!
//! | module | holds |
//! |---|---|
//! | [`outbound`] | closest to the wire: numbers, paces and repeats packets, hears of their arrival |
//! | [`repair`] | packets that may be asked for again |
//! | [`key_frames`] | lets the viewer's key-frame requests through to the application |
//! | [`wire`] | [`Wire`]: what the media sender sees of all this |
//!
//! ```text
//!  rtp::Sender ─▶ key_frames ─▶ outbound: repairs ─┐
//!       ▲                          sound ──────────┼─▶ pacer ─▶ number ─▶ SRTP
//!       │                          pictures ───────┘               │
//!       └────────── Wire ◀── estimate ◀── transport-wide feedback ◀┘
//! ```
//!
//! Sender reports are made where the capture times are known (see [`super::rtp`]).

use std::sync::Arc;

use rtc::interceptor::{Registry, Slot};

mod key_frames;
mod outbound;
mod repair;
mod wire;

pub(super) use wire::Wire;

/// The chain for one session.
pub(super) fn registry(wire: Arc<Wire>) -> Registry {
    Registry::new()
        .with(Slot::from(1_000), outbound::Outbound::new(wire))
        // Closest to the application: everything else has seen the packet by then.
        .with(Slot::from(14_000), key_frames::KeyFrameRequests::default())
}
