//! The camera's picture and sound: taken from a source, encoded **once**, handed to any number of
//! subscribers. No networking.
//!
//! ```text
//!  source ─▶ clock ─▶ H.264 encoder ─┬─▶ access units ────────────▶ hub ─▶ Subscription<Frame>
//!  (v4l2, test, file)                └─▶ isofmp4mux ─▶ chunks ────▶ hub ─▶ Subscription<Chunk>
//!  source ─┬─▶ AAC encoder ──────────────▶ ┘                         ▲
//!  (alsa…) └─▶ Opus encoder ──▶ audio packets ───────────────────────┘ (frames)
//! ```
//!
//! | module | holds |
//! |---|---|
//! | [`config`] | the settings as a person writes them, and their validation |
//! | [`camera`] | [`Camera`]: what a session sees |
//! | [`mod@unit`] | what is handed on: [`Frame`], [`AccessUnit`], [`AudioPacket`], [`Chunk`] |
//! | [`mod@stream`] | the two encodes of one picture: [`Stream`] |
//! | [`hub`] | one producer, many subscribers: bounded queues and the cached group of pictures |
//! | [`status`] | [`Status`]: how the camera is doing |
//! | `supervisor` | the camera's own thread: runs the pipeline, tells how it is doing |
//! | `lifecycle` | when to start, stop and try again: decisions only |
//! | `sound` | when the picture goes on without its microphone: decisions only |
//! | `key_frame` | requests for key frames, merged |
//! | `pipeline` | one run of the GStreamer pipeline: sources, encoders, sinks |
//! | `signal` | telling a thread something without a queue |
//! | [`clock`] | the clock drawn into the picture, for people and for programs |
//! | [`error`] | [`Error`] |

pub mod camera;
pub mod clock;
pub mod config;
pub mod error;
pub mod hub;
mod key_frame;
mod lifecycle;
mod pipeline;
mod signal;
mod sound;
pub mod status;
pub mod stream;
mod supervisor;
pub mod unit;

pub use camera::Camera;
pub use config::{AudioConfig, AudioSource, Config, SubConfig, VideoConfig, VideoSource};
pub use error::Error;
pub use hub::{Kind, Subscription, Unit};
pub use status::{State, Status, StreamInfo, SubStatus};
pub use stream::Stream;
pub use unit::{AccessUnit, AudioPacket, Chunk, Frame, Init};
