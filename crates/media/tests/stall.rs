//! A source that stops giving pictures without saying so: a pipe that nobody writes to any more
//! behaves like a camera whose driver hangs, down to reads that can't be interrupted.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::{
    fs::{File, OpenOptions},
    io::Write,
    path::{Path, PathBuf},
    process::Command,
};

use common::{small, state, status, video};
use gstreamer as gst;
use gstreamer::prelude::*;
use peercam_media::{AudioSource, Camera, Config, State, Stream, VideoSource};

/// Two seconds of Motion JPEG.
fn clip(folder: &Path) -> Vec<u8> {
    gst::init().unwrap();
    let path = folder.join("clip.mkv");
    let pipeline = gst::parse::launch(&format!(
        "videotestsrc num-buffers=60 ! video/x-raw,width=160,height=90,framerate=30/1 ! jpegenc \
         ! matroskamux streamable=true ! filesink location={}",
        path.display()
    ))
    .unwrap();
    pipeline.set_state(gst::State::Playing).unwrap();
    let eos = pipeline.bus().unwrap().timed_pop_filtered(None, &[gst::MessageType::Eos]);
    assert!(eos.is_some());
    pipeline.set_state(gst::State::Null).unwrap();
    std::fs::read(path).unwrap()
}

fn pipe(folder: &Path) -> PathBuf {
    let path = folder.join("pipe.mkv");
    assert!(Command::new("mkfifo").arg(&path).status().unwrap().success());
    path
}

/// Writes a clip into the pipe, which stays open as long as what is returned: opened for reading,
/// too, so that it makes no difference how often the other side opens it.
async fn give(path: &Path, clip: &[u8]) -> File {
    let (path, clip) = (path.to_owned(), clip.to_vec());
    tokio::task::spawn_blocking(move || {
        let mut pipe = OpenOptions::new().read(true).write(true).open(path).unwrap();
        pipe.write_all(&clip).unwrap();
        pipe
    })
    .await
    .unwrap()
}

fn reading(path: &Path) -> Config {
    let mut config = small();
    config.video.source = VideoSource::File;
    config.video.file = Some(path.to_owned());
    config.audio.source = AudioSource::None;
    config
}

#[tokio::test(flavor = "multi_thread")]
async fn it_is_noticed_and_the_picture_comes_back_with_the_source() {
    let folder = tempfile::tempdir().unwrap();
    let (clip, path) = (clip(folder.path()), pipe(folder.path()));
    let camera = Camera::start(reading(&path)).unwrap();
    let mut frames = camera.subscribe_frames(Stream::Main);

    let stuck = give(&path, &clip).await;
    let first = video(&mut frames).await;
    state(&camera, State::Live).await;
    let failed = state(&camera, State::Failed).await;
    let message = failed.message.unwrap();
    assert!(message.contains("picture") && message.contains("stalled"), "{message}");

    // As if it were unplugged and plugged in again. The new one is there before the old one ends,
    // so that nobody opens the old one again.
    std::fs::remove_file(&path).unwrap();
    pipe(folder.path());
    drop(stuck);
    let well = give(&path, &clip).await;
    state(&camera, State::Live).await;
    let encoded = failed.frames_encoded;
    status(&camera, |status| status.frames_encoded > encoded).await;
    let again = loop {
        let unit = video(&mut frames).await;
        if unit.key && unit.pts > first.pts + std::time::Duration::from_secs(4) {
            break unit;
        }
    };
    assert!(again.captured > first.captured);
    drop(well);
    camera.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_camera_can_be_stopped_while_its_source_hangs() {
    let folder = tempfile::tempdir().unwrap();
    let (clip, path) = (clip(folder.path()), pipe(folder.path()));
    let camera = Camera::start(reading(&path)).unwrap();
    let mut frames = camera.subscribe_frames(Stream::Main);
    let stuck = give(&path, &clip).await;
    video(&mut frames).await;
    state(&camera, State::Failed).await;
    tokio::time::timeout(common::PATIENCE, tokio::task::spawn_blocking(|| camera.stop()))
        .await
        .expect("it stops")
        .unwrap();
    drop(stuck);
}
