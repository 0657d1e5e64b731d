//! How the camera is doing.

use crate::stream::Stream;

/// What the pipeline is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum State {
    /// Nobody watches: no device is open, nothing is encoded.
    #[default]
    Idle,
    /// Somebody watches; the first picture has not come yet.
    Starting,
    /// Pictures are coming.
    Live,
    /// The source or an encoder failed; it is tried again with back-off while somebody watches.
    Failed,
}

/// What is being sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamInfo {
    /// Width of the picture in pixels.
    pub width: u32,
    /// Height of the picture in pixels.
    pub height: u32,
    /// RFC 6381 codecs string of the picture, `avc1.42c01f`.
    pub video_codec: String,
    /// Bit rate of the picture in kbit/s, as last set.
    pub bitrate_kbps: u32,
    /// Whether there is sound.
    pub audio: bool,
}

/// How the second encode is doing.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SubStatus {
    /// Whether it runs: only while somebody subscribes to it and the camera is live.
    pub state: State,
    /// Why it failed and what to do, in a sentence; only with [`State::Failed`]. The main encode
    /// is not disturbed.
    pub message: Option<String>,
    /// What it sends; known from its first picture on, and kept while idle.
    pub stream: Option<StreamInfo>,
}

/// How the camera is doing, at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Status {
    /// What the pipeline is doing.
    pub state: State,
    /// Why it failed and what to do, in a sentence; only with [`State::Failed`].
    pub message: Option<String>,
    /// The element that encodes H.264, chosen by [`Camera::start`](crate::Camera::start).
    pub encoder: Option<String>,
    /// What is being sent; known from the first picture on, and kept while idle.
    pub stream: Option<StreamInfo>,
    /// Why there is no sound though there should be, and what to do, in a sentence: the microphone
    /// has failed, and is tried again while somebody watches.
    pub no_sound: Option<String>,
    /// The second, smaller encode.
    pub sub: SubStatus,
    /// Access units of the main encode, encoded since [`Camera::start`](crate::Camera::start), over all subscribers
    /// and restarts. Brought up to date about once a second, not with every frame.
    pub frames_encoded: u64,
}

impl Status {
    /// What a stream sends, once that is known.
    pub fn stream(&self, stream: Stream) -> Option<&StreamInfo> {
        match stream {
            Stream::Main => self.stream.as_ref(),
            Stream::Sub => self.sub.stream.as_ref(),
        }
    }
}
