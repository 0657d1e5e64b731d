//! The messages on a session's `control` data channel: JSON text, camera ↔ viewer, past every
//! server. Read and written with [`crate::wire`].
//!
//! The viewer makes the channel (label [`CHANNEL`], ordered and reliable) and, for the `fmp4`
//! transport, a second one (label [`MEDIA_CHANNEL`], ordered and reliable) on which the camera
//! sends binary messages: the bytes of one CMAF track file in order, initialisation segment first,
//! cut anywhere into messages of at most [`MAX_MEDIA_MESSAGE`] bytes.

use serde::{Deserialize, Serialize};

use crate::signalling::{ByeReason, Error, ResumeKey};

/// Label of the control channel.
pub const CHANNEL: &str = "control";
/// Label of the channel that carries the `fmp4` transport.
pub const MEDIA_CHANNEL: &str = "media";
/// Largest binary message on the media channel, in bytes: what any peer accepts without saying
/// so (RFC 8841 §6.1).
pub const MAX_MEDIA_MESSAGE: usize = 64 * 1024;

/// Which of the camera's encodes a session gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Stream {
    /// The one in full size.
    #[default]
    Main,
    /// The smaller one, for viewers whose network can't carry the main one.
    Sub,
}

/// Viewer → camera.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case")]
pub enum Request {
    /// What time is it on the camera? Answered at once by [`Event::Time`]; half the round trip
    /// is the uncertainty (as in NTP, RFC 5905 §8).
    Time {
        /// Comes back unchanged.
        id: u64,
    },
    /// The viewer lost the picture and asks for a key frame (`fmp4`; on `rtp` a PLI does it).
    KeyFrame {},
    /// The viewer stops watching: the camera need not wait for ICE to notice.
    Bye {},
}

/// Camera → viewer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case")]
pub enum Event {
    /// First event, right after the channel opened: how to take this session up again when its
    /// path, or the line to the rendezvous, is lost.
    Session {
        /// For [`crate::signalling::FromViewer::Join`].
        resume: ResumeKey,
    },
    /// What is being sent; again when that changes, before the first frame of the new kind.
    Stream {
        /// Which of the camera's encodes it is.
        #[serde(default)]
        stream: Stream,
        /// Width of the picture in pixels.
        width: u32,
        /// Height of the picture in pixels.
        height: u32,
        /// RFC 6381 codecs string of the picture, `avc1.42c01f`.
        video_codec: String,
        /// RFC 6381 codecs string of the sound: `opus` on `rtp`, `mp4a.40.2` on `fmp4`; none for
        /// a camera without sound.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        audio_codec: Option<String>,
    },
    /// The answer to [`Request::Time`].
    Time {
        /// From the request.
        id: u64,
        /// The camera's clock, in milliseconds since the Unix epoch.
        camera_ms: f64,
    },
    /// When one frame was captured: with [`Event::Time`] a viewer works out its true latency.
    /// Sent with the first frame and then about once a second.
    Clock {
        /// The frame: its RTP timestamp (`rtp`, 90 kHz, wraps), or its presentation time in the
        /// track in seconds (`fmp4`).
        media: f64,
        /// When it was captured, on the camera's clock, in milliseconds since the Unix epoch.
        capture_ms: f64,
    },
    /// The camera's source stopped giving pictures, or gives them again.
    Source {
        /// Whether pictures are coming.
        live: bool,
        /// What happened, in a sentence.
        message: String,
    },
    /// The session ends.
    Bye {
        /// Why.
        reason: ByeReason,
    },
    /// A request could not be read or done.
    Error {
        /// What went wrong.
        #[serde(flatten)]
        error: Error,
    },
}
