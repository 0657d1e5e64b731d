//! What the tests of a running camera share.
#![allow(dead_code, clippy::unwrap_used, clippy::expect_used)]

pub mod decode;

use std::{future::Future, sync::Arc, time::Duration};

use peercam_media::{
    AccessUnit, AudioSource, Camera, Chunk, Config, Frame, State, Status, Subscription,
};
use tokio::time::timeout;

/// Generous: test machines are slow and busy.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// A small test picture with sound, and any encoder there is.
pub fn small() -> Config {
    let mut config = Config::default();
    config.video.width = 320;
    config.video.height = 180;
    config.video.framerate = 30;
    config.video.bitrate_kbps = 500;
    config.video.key_frame_interval_ms = 1000;
    config.video.linger_ms = 200;
    config
}

/// The same without sound.
pub fn silent() -> Config {
    let mut config = small();
    config.audio.source = AudioSource::None;
    config
}

pub async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    timeout(PATIENCE, future).await.unwrap_or_else(|_| panic!("{what} did not come"))
}

pub async fn video(frames: &mut Subscription<Frame>) -> Arc<AccessUnit> {
    soon("an access unit", async {
        loop {
            if let Frame::Video(unit) = frames.recv().await.expect("the camera stopped") {
                return unit;
            }
        }
    })
    .await
}

pub async fn chunk(chunks: &mut Subscription<Chunk>) -> Chunk {
    soon("a chunk", chunks.recv()).await.expect("the camera stopped")
}

/// Waits until the status is as wanted.
pub async fn status(camera: &Camera, wanted: impl FnMut(&Status) -> bool) -> Status {
    let mut status = camera.status();
    let found = timeout(PATIENCE, status.wait_for(wanted)).await;
    match found {
        Ok(status) => status.expect("the camera is there").clone(),
        Err(_) => panic!("the status stayed at {:?}", camera.status().borrow()),
    }
}

pub async fn state(camera: &Camera, state: State) -> Status {
    status(camera, |status| status.state == state).await
}
