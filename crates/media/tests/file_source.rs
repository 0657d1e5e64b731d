//! A file as camera and microphone.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::{path::Path, time::Duration};

use common::{decode::Decoder, small, soon, state, video};
use gstreamer as gst;
use gstreamer::prelude::*;
use peercam_media::{AudioSource, Camera, Config, Frame, State, Stream, VideoSource};

/// Writes a file by a GStreamer pipeline that ends with a file sink called `out`.
fn write(path: &Path, description: &str) {
    gst::init().unwrap();
    let pipeline = gst::parse::launch(description).unwrap();
    let pipeline = pipeline.downcast::<gst::Pipeline>().unwrap();
    pipeline.by_name("out").unwrap().set_property("location", path.to_str().unwrap());
    pipeline.set_state(gst::State::Playing).unwrap();
    let wanted = [gst::MessageType::Eos, gst::MessageType::Error];
    let bus = pipeline.bus().unwrap();
    let message = bus.timed_pop_filtered(gst::ClockTime::from_seconds(30), &wanted);
    assert!(matches!(message.unwrap().view(), gst::MessageView::Eos(_)));
    pipeline.set_state(gst::State::Null).unwrap();
}

/// One second of picture, and a bit less of sound.
fn clip(path: &Path, sound: bool) {
    let picture = "videotestsrc num-buffers=25 pattern=smpte \
        ! video/x-raw,width=200,height=150,framerate=25/1 ! jpegenc ! mux.";
    let tone = "audiotestsrc num-buffers=40 samplesperbuffer=1024 \
        ! audio/x-raw,rate=44100,channels=1 ! vorbisenc ! mux.";
    let mux = "matroskamux name=mux ! filesink name=out";
    write(path, &format!("{picture} {} {mux}", if sound { tone } else { "" }));
}

fn playing(path: &Path) -> Config {
    let mut config = small();
    config.video.source = VideoSource::File;
    config.video.file = Some(path.to_owned());
    config.audio.source = AudioSource::File;
    config
}

/// Picture and sound of so many seconds; both have to be without gaps.
async fn watch(config: Config, seconds: u32) {
    let camera = Camera::start(config).unwrap();
    let mut frames = camera.subscribe_frames(Stream::Main);
    let (mut pictures, mut packets) = (Vec::new(), Vec::new());
    while pictures.len() < 30 * seconds as usize || packets.len() < 40 * seconds as usize {
        match soon("a frame", frames.recv()).await.unwrap() {
            Frame::Video(unit) => pictures.push((unit.pts, unit.captured)),
            Frame::Audio(packet) => packets.push(packet.pts),
        }
    }
    // One frame after the other; on a busy machine the encoder may have skipped some.
    let frame = Duration::from_micros(33_333);
    let mut missing = 0;
    for pair in pictures.windows(2) {
        let frames = (pair[1].0 - pair[0].0).as_secs_f64() / frame.as_secs_f64();
        assert!((frames - frames.round()).abs() < 0.1, "off the grid: {frames} frames");
        missing += frames.round() as usize - 1;
    }
    assert!(missing * 5 < pictures.len(), "{missing} of {} pictures missing", pictures.len());
    for pair in packets.windows(2) {
        let step = pair[1] - pair[0];
        let at = pair[0] - packets[0];
        let off = step.abs_diff(Duration::from_millis(20));
        assert!(off < Duration::from_millis(2), "sound goes on {step:?} after {at:?}");
    }
    // In real time, not as fast as it can be read.
    let (first, last) = (pictures[0], pictures[pictures.len() - 1]);
    let wall = last.1.duration_since(first.1).unwrap();
    assert!(wall.abs_diff(last.0 - first.0) < Duration::from_millis(20), "{wall:?}");
    camera.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn it_is_played_in_a_loop_without_gaps() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("clip.mkv");
    clip(&path, true);
    watch(playing(&path), 4).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_without_sound_is_silent() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("mute.mkv");
    clip(&path, false);
    watch(playing(&path), 3).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn picture_and_sound_may_come_from_different_places() {
    let folder = tempfile::tempdir().unwrap();
    let (picture, sound) = (folder.path().join("picture.mkv"), folder.path().join("sound.wav"));
    clip(&picture, false);
    write(
        &sound,
        "audiotestsrc num-buffers=30 ! audio/x-raw,rate=22050,channels=1 ! wavenc \
         ! filesink name=out",
    );
    let mut config = playing(&picture);
    config.audio.file = Some(sound);
    watch(config.clone(), 2).await;
    config.audio.source = AudioSource::Test;
    watch(config, 2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_picture_is_the_one_in_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("clip.mkv");
    clip(&path, true);
    let camera = Camera::start(playing(&path)).unwrap();
    let mut frames = camera.subscribe_frames(Stream::Main);
    let decoder = Decoder::h264();
    let unit = video(&mut frames).await;
    decoder.feed(&unit.data, Some(unit.pts));
    let picture = decoder.pictures.recv_timeout(common::PATIENCE).unwrap();
    // 4:3 in 16:9: black bars beside the colour bars, of which the first is the brightest.
    let pixel = |x: usize| picture.luma[picture.stride * 60 + x];
    assert_eq!((picture.width, picture.height), (320, 180));
    assert!(pixel(20) < 30 && pixel(300) < 30, "{} {}", pixel(20), pixel(300));
    assert!(pixel(55) > 150 && pixel(55) > pixel(140), "{} {}", pixel(55), pixel(140));
    camera.stop();
}

/// The message of the failure that is to come.
async fn failure(config: Config) -> String {
    let camera = Camera::start(config).unwrap();
    let _frames = camera.subscribe_frames(Stream::Main);
    let status = state(&camera, State::Failed).await;
    camera.stop();
    status.message.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_can_not_be_played_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("nothing-here.mkv");
    let message = failure(playing(&path)).await;
    assert!(message.contains("nothing-here.mkv"), "{message}");

    let path = folder.path().join("empty.mkv");
    std::fs::write(&path, "").unwrap();
    let message = failure(playing(&path)).await;
    assert!(message.contains("empty.mkv"), "{message}");

    let path = folder.path().join("noise.mkv");
    std::fs::write(&path, [7, 11, 13, 17].repeat(5000)).unwrap();
    let message = failure(playing(&path)).await;
    assert!(message.contains("noise.mkv"), "{message}");

    let path = folder.path().join("sound-only.wav");
    write(&path, "audiotestsrc num-buffers=30 ! wavenc ! filesink name=out");
    let message = failure(playing(&path)).await;
    assert!(message.contains("sound-only.wav") && message.contains("picture"), "{message}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_goes_away_is_noticed_and_one_that_comes_back_is_played() {
    let folder = tempfile::tempdir().unwrap();
    let (path, elsewhere) = (folder.path().join("clip.mkv"), folder.path().join("elsewhere"));
    clip(&path, true);
    let camera = Camera::start(playing(&path)).unwrap();
    let mut frames = camera.subscribe_frames(Stream::Main);
    let first = video(&mut frames).await;
    state(&camera, State::Live).await;

    std::fs::rename(&path, &elsewhere).unwrap();
    let failed = state(&camera, State::Failed).await;
    assert!(failed.message.unwrap().contains("clip.mkv"));

    std::fs::rename(&elsewhere, &path).unwrap();
    state(&camera, State::Live).await;
    let recovered = soon("a picture of the new run", async {
        loop {
            let unit = video(&mut frames).await;
            if unit.key && unit.captured.elapsed().unwrap() < Duration::from_millis(500) {
                return unit;
            }
        }
    })
    .await;
    assert!(recovered.pts > first.pts);
    camera.stop();
}
