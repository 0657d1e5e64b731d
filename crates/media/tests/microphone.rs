//! A microphone that fails: the picture goes on without sound, and has it again when it can.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::{path::Path, time::Duration};

use common::{chunk, microphone, small, status, video};
use peercam_media::{
    AudioSource, Camera, Chunk, Config, Frame, State, Status, Stream, Subscription,
};

fn listening_to(device: &Path) -> Config {
    microphone::register();
    let mut config = small();
    config.audio.source = AudioSource::Alsa;
    config.audio.device = device.display().to_string();
    config
}

/// Waits for sound, and for chunks with it or without.
async fn heard(camera: &Camera, chunks: &mut Subscription<Chunk>, sound: bool) {
    let found = status(camera, |status| {
        let audio = status.stream.as_ref().map(|stream| stream.audio);
        status.state == State::Live && audio == Some(sound)
    })
    .await;
    assert_eq!(found.no_sound.is_none(), sound, "{:?}", found.no_sound);
    while chunk(chunks).await.init.audio_codec.is_some() != sound {}
    if sound {
        let mut frames = camera.subscribe_frames(Stream::Main);
        common::soon("sound", async {
            while !matches!(frames.recv().await, Some(Frame::Audio(_))) {}
        })
        .await;
    }
}

async fn comes_and_goes(fail: impl Fn(&Path), why: &str) {
    let folder = tempfile::tempdir().unwrap();
    let device = folder.path().join("microphone");
    let camera = Camera::start(listening_to(&device)).unwrap();
    let mut chunks = camera.subscribe_chunks(Stream::Main);
    let mut frames = camera.subscribe_frames(Stream::Main);
    let mut last = video(&mut frames).await.pts;
    let pictures = tokio::spawn(async move {
        while let Some(frame) = frames.recv().await {
            let Frame::Video(unit) = frame else { continue };
            assert!(unit.pts > last);
            last = unit.pts;
        }
    });
    // Not there, plugged in, and failing again.
    heard(&camera, &mut chunks, false).await;
    std::fs::write(&device, "").unwrap();
    heard(&camera, &mut chunks, true).await;
    fail(&device);
    let silent = |status: &Status| status.no_sound.is_some() && status.state == State::Live;
    let message = status(&camera, silent).await.no_sound.unwrap();
    assert!(message.contains(why), "{message}");
    heard(&camera, &mut chunks, false).await;
    // And back.
    std::fs::write(&device, "").unwrap();
    heard(&camera, &mut chunks, true).await;
    camera.stop();
    common::soon("the end of the pictures", pictures).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_is_pulled_out_is_heard_again_when_it_is_back() {
    comes_and_goes(|device| std::fs::remove_file(device).unwrap(), "unplugged").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_goes_silent_is_left_out_too() {
    comes_and_goes(|device| std::fs::write(device, "mute").unwrap(), "gives no sound").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fresh_start_hears_it_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let device = folder.path().join("microphone");
    let camera = Camera::start(listening_to(&device)).unwrap();
    let mut chunks = camera.subscribe_chunks(Stream::Main);
    heard(&camera, &mut chunks, false).await;
    drop(chunks);
    let idle = status(&camera, |status| status.state == State::Idle).await;
    assert_eq!(idle.no_sound, None);
    std::fs::write(&device, "").unwrap();
    let mut chunks = camera.subscribe_chunks(Stream::Main);
    assert!(chunk(&mut chunks).await.init.audio_codec.is_some());
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(camera.status().borrow().no_sound, None);
    camera.stop();
}
