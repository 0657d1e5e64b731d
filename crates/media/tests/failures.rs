//! What is missing is named, what breaks is reported and tried again, and the process lives on.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::time::Duration;

use common::{chunk, silent, small, state, status, video};
use peercam_media::{AudioSource, Camera, Error, State, Stream, VideoSource};

#[tokio::test(flavor = "multi_thread")]
async fn a_camera_that_is_not_there_is_named_and_tried_again() {
    let mut config = silent();
    config.video.source = VideoSource::V4l2;
    config.video.device = "/dev/video-of-nobody".into();
    // Nobody watches: no device is touched, the camera starts.
    let camera = Camera::start(config).unwrap();
    assert_eq!(camera.status().borrow().state, State::Idle);

    let frames = camera.subscribe_frames(Stream::Main);
    let failed = state(&camera, State::Failed).await;
    let message = failed.message.unwrap();
    assert!(message.contains("/dev/video-of-nobody"), "{message}");
    assert!(message.contains("/dev/video*") || message.contains("devices here"), "{message}");
    state(&camera, State::Starting).await;
    state(&camera, State::Failed).await;

    drop(frames);
    state(&camera, State::Idle).await;
    camera.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_no_camera_is_refused_in_words() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let mut config = silent();
    config.video.source = VideoSource::V4l2;
    config.video.device = file.path().to_owned();
    let camera = Camera::start(config).unwrap();
    let _frames = camera.subscribe_frames(Stream::Main);
    let message = state(&camera, State::Failed).await.message.unwrap();
    assert!(message.contains(&file.path().display().to_string()), "{message}");
    camera.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_microphone_that_is_not_there_is_named_and_the_picture_comes_without_it() {
    let mut config = small();
    config.audio.source = AudioSource::Alsa;
    config.audio.device = "hw:42,7".to_owned();
    let camera = Camera::start(config).unwrap();
    let mut frames = camera.subscribe_frames(Stream::Main);
    assert!(video(&mut frames).await.key);
    let live = status(&camera, |status| status.state == State::Live).await;
    assert_eq!(live.message, None);
    assert!(!live.stream.unwrap().audio);
    let message = live.no_sound.unwrap();
    assert!(message.contains("hw:42,7") && message.contains("audio.source"), "{message}");
    assert_eq!(chunk(&mut camera.subscribe_chunks(Stream::Main)).await.init.audio_codec, None);
    // Still without it, it is tried again while the pictures go on.
    let first = video(&mut frames).await.pts;
    let mut last = first;
    while last < first + Duration::from_secs(4) {
        let unit = video(&mut frames).await;
        assert!(unit.pts - last < Duration::from_millis(500));
        last = unit.pts;
    }
    drop(frames);
    status(&camera, |status| status.state == State::Idle && status.no_sound.is_none()).await;
    camera.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_picture_that_no_encoder_takes_is_a_failure_in_words() {
    let mut config = silent();
    // Beyond what openh264 can do.
    (config.video.width, config.video.height, config.video.framerate) = (4096, 4096, 1);
    config.video.encoders = vec!["openh264enc".to_owned()];
    let camera = Camera::start(config).unwrap();
    let _frames = camera.subscribe_frames(Stream::Main);
    let message = state(&camera, State::Failed).await.message.unwrap();
    assert!(message.contains("openh264enc"), "{message}");
    camera.stop();
}

#[test]
fn an_encoder_that_is_missing_is_named_with_its_package() {
    let mut config = silent();
    config.video.encoders = vec!["v4l2video99h264enc".to_owned()];
    let error = Camera::start(config).err().unwrap();
    assert!(matches!(error, Error::NoEncoder { .. }));
    let message = error.to_string();
    assert!(message.contains("v4l2video99h264enc"), "{message}");
    assert!(message.contains("gstreamer1.0-plugins-good"), "{message}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_next_encoder_is_taken_when_the_first_is_missing() {
    let mut config = silent();
    config.video.encoders = ["v4l2video99h264enc", "x264enc"].map(str::to_owned).to_vec();
    let camera = Camera::start(config).unwrap();
    assert_eq!(camera.status().borrow().encoder.as_deref(), Some("x264enc"));
    let mut frames = camera.subscribe_frames(Stream::Main);
    assert!(video(&mut frames).await.key);
    camera.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn two_cameras_do_not_disturb_each_other() {
    let mut broken = silent();
    broken.video.source = VideoSource::V4l2;
    broken.video.device = "/dev/video-of-nobody".into();
    let broken = Camera::start(broken).unwrap();
    let _frames = broken.subscribe_frames(Stream::Main);
    let whole = Camera::start(small()).unwrap();
    let mut chunks = whole.subscribe_chunks(Stream::Main);
    state(&broken, State::Failed).await;
    for _ in 0..30 {
        chunk(&mut chunks).await;
    }
    status(&whole, |status| status.state == State::Live).await;
    whole.stop();
    broken.stop();
    tokio::time::timeout(Duration::from_secs(1), chunks.recv()).await.unwrap();
}
