//! What the tests of a running camera share.
#![allow(dead_code, clippy::unwrap_used, clippy::expect_used)]

pub mod decode;
pub mod hardware;
pub mod microphone;

use std::{
    future::Future,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use gstreamer as gst;
use gstreamer::prelude::*;
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

/// Four seconds of a picture that moves everywhere and fills any bit rate.
pub fn busy_clip(folder: &Path) -> PathBuf {
    clip(folder, "zone-plate kx2=20 ky2=20 kt=2")
}

/// Four seconds of a test pattern.
pub fn clip(folder: &Path, pattern: &str) -> PathBuf {
    gst::init().unwrap();
    let path = folder.join("busy.mkv");
    let pipeline = gst::parse::launch(&format!(
        "videotestsrc num-buffers=120 pattern={pattern} \
         ! video/x-raw,width=320,height=180,framerate=30/1 ! jpegenc ! matroskamux \
         ! filesink location={}",
        path.display()
    ))
    .unwrap();
    pipeline.set_state(gst::State::Playing).unwrap();
    let eos = pipeline.bus().unwrap().timed_pop_filtered(None, &[gst::MessageType::Eos]);
    assert!(eos.is_some());
    pipeline.set_state(gst::State::Null).unwrap();
    path
}

/// The NAL units behind their start codes.
pub fn nal_units(data: &[u8]) -> Vec<&[u8]> {
    let starts: Vec<usize> =
        (0..data.len().saturating_sub(3)).filter(|at| data[*at..*at + 3] == [0, 0, 1]).collect();
    let ends = starts.iter().skip(1).copied().chain([data.len()]);
    starts.iter().zip(ends).map(|(start, end)| &data[start + 3..end]).collect()
}
