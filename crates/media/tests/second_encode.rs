//! The second, smaller encode: there while somebody wants it, in step with the main one, which
//! does not notice.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use common::{chunk, decode::Decoder, silent, small, soon, status, video};
use peercam_media::{AccessUnit, Camera, Chunk, Config, Frame, State, Stream, Subscription, clock};

/// Large enough for the clock to be read in the smaller picture.
fn config() -> Config {
    let mut config = small();
    (config.video.width, config.video.height) = (640, 360);
    config
}

async fn videos(frames: &mut Subscription<Frame>, count: usize) -> Vec<Arc<AccessUnit>> {
    let mut units = Vec::new();
    while units.len() < count {
        units.push(video(frames).await);
    }
    units
}

fn decode(units: &[Arc<AccessUnit>]) -> Vec<common::decode::Picture> {
    let decoder = Decoder::h264();
    for unit in units {
        decoder.feed(&unit.data, Some(unit.pts));
    }
    decoder.finish();
    decoder.pictures.try_iter().collect()
}

async fn is_the_same_picture(encoder: &str) {
    let mut config = config();
    config.video.encoders = vec![encoder.to_owned()];
    let camera = Camera::start(config).unwrap();
    let mut main = camera.subscribe_frames(Stream::Main);
    video(&mut main).await;
    assert_eq!(camera.status().borrow().sub.state, State::Idle);

    let mut sub = camera.subscribe_frames(Stream::Sub);
    let (small, large) = tokio::join!(videos(&mut sub, 45), videos(&mut main, 130));
    assert!(small[0].key && small.iter().filter(|unit| unit.key).count() >= 3);
    // Every second picture, at most.
    for pair in small.windows(2) {
        let gap = (pair[1].pts - pair[0].pts).as_millis();
        assert!(gap > 50, "{encoder}: {gap} ms between two pictures");
    }
    let time = small[small.len() - 1].pts - small[0].pts;
    assert!(time < Duration::from_secs(6), "{encoder}: 45 pictures in {time:?} instead of 3 s");
    // A busy machine leaves out some, not always the same ones.
    let mut twins = 0;
    for unit in &small {
        let Some(twin) = large.iter().find(|large| large.pts == unit.pts) else { continue };
        let (early, late) = (unit.captured.min(twin.captured), unit.captured.max(twin.captured));
        assert!(late.duration_since(early).unwrap() < Duration::from_millis(2));
        twins += 1;
    }
    assert!(twins > small.len() / 2, "{encoder}: {twins} of {} are on one clock", small.len());
    let pictures = decode(&small);
    assert_eq!(pictures.len(), small.len());
    for picture in &pictures {
        assert_eq!((picture.width, picture.height), (320, 180));
        let shown = clock::read(&picture.luma, picture.stride, picture.width, picture.height);
        let unit = small.iter().find(|unit| unit.pts.abs_diff(picture.pts).as_millis() == 0);
        let captured = unit.unwrap().captured.duration_since(std::time::UNIX_EPOCH).unwrap();
        let shown = Duration::from_millis(shown.expect("the clock can be read"));
        assert!(shown.abs_diff(captured) < Duration::from_millis(3), "{shown:?} {captured:?}");
    }

    let live = status(&camera, |status| status.sub.state == State::Live).await;
    let stream = live.stream(Stream::Sub).unwrap();
    assert_eq!((stream.width, stream.height, stream.bitrate_kbps), (320, 180, 125));
    assert!(stream.video_codec.starts_with("avc1.42c0") && stream.audio);
    assert_eq!(live.stream(Stream::Main).unwrap().bitrate_kbps, 500);
    camera.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn openh264_makes_both() {
    is_the_same_picture("openh264enc").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn x264_makes_both() {
    is_the_same_picture("x264enc").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn its_chunks_have_sound_and_go_on_where_the_main_ones_are() {
    let camera = Camera::start(config()).unwrap();
    let mut main = camera.subscribe_chunks(Stream::Main);
    let mut frames = camera.subscribe_frames(Stream::Sub);
    for _ in 0..30 {
        chunk(&mut main).await;
    }
    let mut sub = camera.subscribe_chunks(Stream::Sub);
    let mut chunks: Vec<Chunk> = Vec::new();
    while chunks.len() < 60 {
        chunks.push(chunk(&mut sub).await);
    }
    let mut last = chunk(&mut main).await;
    while last.pts < chunks[59].pts {
        last = chunk(&mut main).await;
    }
    assert!(last.pts - chunks[59].pts < Duration::from_millis(100), "one time line");
    assert!(!Arc::ptr_eq(&last.init, &chunks[0].init));
    assert!(chunks.iter().all(|chunk| Arc::ptr_eq(&chunk.init, &chunks[0].init)));
    assert_eq!(chunks[0].init.audio_codec.as_deref(), Some("mp4a.40.2"));
    // Sound and picture of the other transport come from the same encoders.
    let mut heard = false;
    soon("sound", async {
        while !heard {
            heard = matches!(frames.recv().await, Some(Frame::Audio(_)));
        }
    })
    .await;
    camera.stop();

    assert!(chunks[0].key);
    let decoder = Decoder::mp4(true);
    decoder.feed(&chunks[0].init.data, None);
    for chunk in &chunks {
        decoder.feed(&chunk.data, None);
    }
    decoder.finish();
    let pictures: Vec<_> = decoder.pictures.try_iter().collect();
    assert_eq!(pictures.len(), chunks.len());
    for (picture, chunk) in pictures.iter().zip(&chunks) {
        assert_eq!((picture.width, picture.height), (320, 180));
        assert!(picture.pts.abs_diff(chunk.pts) < Duration::from_millis(1));
    }
    let sound: Vec<_> = decoder.sound.try_iter().collect();
    let heard: Duration = sound.iter().map(|(_, length)| *length).sum();
    let seen = chunks[59].pts - chunks[0].pts;
    assert!(heard.abs_diff(seen) < Duration::from_millis(200), "{heard:?} of {seen:?}");
    for pair in sound.windows(2) {
        let gap = (pair[0].0 + pair[0].1).abs_diff(pair[1].0);
        assert!(gap < Duration::from_millis(2), "a gap of {gap:?} in the sound");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn key_frames_and_bit_rates_are_its_own() {
    let mut config = config();
    config.audio.source = peercam_media::AudioSource::None;
    config.video.key_frame_interval_ms = 20_000;
    let camera = Camera::start(config).unwrap();
    assert_eq!(camera.bitrates(Stream::Sub), Some(50..=125));
    let mut main = camera.subscribe_frames(Stream::Main);
    let mut sub = camera.subscribe_frames(Stream::Sub);
    let first = video(&mut sub).await;
    let begun = video(&mut main).await;
    // Who comes later begins with what is cached.
    assert_eq!(video(&mut camera.subscribe_frames(Stream::Sub)).await.pts, first.pts);
    assert_eq!(camera.set_bitrate(Stream::Sub, 60), Some(60));
    let mut keys = Vec::new();
    let mut last = first.pts;
    while last < first.pts + Duration::from_millis(1500) {
        // From two viewers at once.
        camera.request_key_frame(Stream::Sub);
        camera.request_key_frame(Stream::Sub);
        let unit = video(&mut sub).await;
        last = unit.pts;
        if unit.key {
            keys.push(unit.pts);
        }
    }
    assert!((2..=4).contains(&keys.len()), "one in half a second: {keys:?}");
    for pair in keys.windows(2) {
        assert!(pair[1] - pair[0] > Duration::from_millis(300), "{keys:?}");
    }
    loop {
        let unit = video(&mut main).await;
        assert!(!unit.key || unit.pts == begun.pts, "the main encode was not asked");
        if unit.pts >= last {
            break;
        }
    }
    let now = status(&camera, |status| status.sub.stream.is_some()).await;
    assert_eq!(now.sub.stream.unwrap().bitrate_kbps, 60);
    assert_eq!(now.stream.unwrap().bitrate_kbps, 500);
    camera.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn it_comes_back_with_the_pipeline() {
    let camera = Camera::start(silent()).unwrap();
    for _ in 0..2 {
        // Only the smaller one is watched: it needs the pipeline all the same.
        let mut sub = camera.subscribe_frames(Stream::Sub);
        let begun = Instant::now();
        assert!(video(&mut sub).await.key);
        assert!(begun.elapsed() < common::PATIENCE);
        drop(sub);
        let idle = status(&camera, |status| status.state == State::Idle).await;
        assert_eq!(idle.sub.state, State::Idle);
    }
    camera.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn without_one_its_subscriptions_end_at_once() {
    let mut config = silent();
    config.video.sub.enabled = false;
    let camera = Camera::start(config).unwrap();
    assert_eq!(camera.bitrates(Stream::Sub), None);
    assert_eq!(camera.set_bitrate(Stream::Sub, 100), None);
    let none = camera.subscribe_frames(Stream::Sub).recv().await;
    assert!(none.is_none());
    assert!(camera.subscribe_chunks(Stream::Sub).recv().await.is_none());
    camera.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_gives_it_too_from_round_to_round() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = silent();
    config.video.source = peercam_media::VideoSource::File;
    config.video.file = Some(common::busy_clip(folder.path()));
    let camera = Camera::start(config).unwrap();
    let mut sub = camera.subscribe_frames(Stream::Sub);
    // Longer than the file.
    let units = videos(&mut sub, 75).await;
    camera.stop();
    for pair in units.windows(2) {
        let gap = pair[1].pts.checked_sub(pair[0].pts).expect("time goes on");
        assert!(gap > Duration::from_millis(50) && gap < Duration::from_secs(1), "{gap:?}");
    }
    let pictures = decode(&units);
    assert_eq!(pictures.len(), units.len());
    assert!(pictures.iter().all(|picture| (picture.width, picture.height) == (160, 90)));
}
