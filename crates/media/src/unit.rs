//! What the pipeline hands on.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use bytes::Bytes;

/// One unit of the elementary streams, for RTP.
#[derive(Debug, Clone)]
pub enum Frame {
    /// An encoded picture.
    Video(Arc<AccessUnit>),
    /// An encoded piece of sound.
    Audio(Arc<AudioPacket>),
}

/// One H.264 access unit (ITU-T H.264 §7.4.1.2.3) in byte stream format (Annex B). A key frame
/// begins with its parameter sets.
#[derive(Debug, Clone)]
pub struct AccessUnit {
    /// NAL units, each behind a start code.
    pub data: Bytes,
    /// Whether decoding can begin here (an IDR picture).
    pub key: bool,
    /// When it is to be shown, on the camera's media clock: shared by picture and sound, never
    /// going back, not even when the pipeline is rebuilt.
    pub pts: Duration,
    /// When the picture was captured.
    pub captured: SystemTime,
}

/// One Opus packet (RFC 6716), 48 kHz, two channels.
#[derive(Debug, Clone)]
pub struct AudioPacket {
    /// The packet.
    pub data: Bytes,
    /// When it is to be heard, on the clock of [`AccessUnit::pts`].
    pub pts: Duration,
    /// How much sound it holds.
    pub duration: Duration,
    /// When its first sample was captured.
    pub captured: SystemTime,
}

/// One CMAF chunk (ISO/IEC 23000-19 §7.3.2.3): `moof` and `mdat` with one picture and the sound
/// beside it.
#[derive(Debug, Clone)]
pub struct Chunk {
    /// What has to be appended before this chunk, once. The same `Arc` for all chunks of one run
    /// of the pipeline; another one (compare with [`Arc::ptr_eq`]) after it was rebuilt.
    pub init: Arc<Init>,
    /// The boxes.
    pub data: Bytes,
    /// Whether decoding can begin here.
    pub key: bool,
    /// Presentation time of its picture in the track: what `HTMLMediaElement.currentTime` says
    /// while it is shown.
    pub pts: Duration,
    /// When its picture was captured.
    pub captured: SystemTime,
}

/// The initialisation segment of a CMAF track file: `ftyp` and `moov`.
#[derive(Debug, Clone)]
pub struct Init {
    /// The boxes.
    pub data: Bytes,
    /// RFC 6381 codecs string of the picture, `avc1.42c01f`.
    pub video_codec: String,
    /// RFC 6381 codecs string of the sound, `mp4a.40.2`; none without a sound track.
    pub audio_codec: Option<String>,
}
