//! The bit rate, set while the encoder runs: what comes out follows, and nothing else changes.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::{path::Path, time::Duration};

use common::{busy_clip, decode::Decoder, nal_units, silent, state, video};
use peercam_media::{AccessUnit, Camera, Config, Frame, State, Stream, Subscription, VideoSource};

/// A picture that fills any bit rate.
fn busy(clip: &Path, encoder: &str) -> Config {
    let mut config = silent();
    config.video.source = VideoSource::File;
    config.video.file = Some(clip.to_owned());
    config.video.bitrate_kbps = 1200;
    config.video.min_bitrate_kbps = Some(200);
    config.video.encoders = vec![encoder.to_owned()];
    config
}

/// The bit rate in kbit/s over `time`, by the timestamps; appends what came to `all`.
async fn measure(
    frames: &mut Subscription<Frame>,
    time: Duration,
    all: &mut Vec<std::sync::Arc<AccessUnit>>,
) -> u32 {
    let first = video(frames).await;
    let (start, mut bytes) = (first.pts, first.data.len());
    all.push(first);
    loop {
        let unit = video(frames).await;
        let passed = unit.pts - start;
        all.push(unit.clone());
        if passed >= time {
            return (bytes as f64 * 8.0 / passed.as_secs_f64() / 1000.0) as u32;
        }
        bytes += unit.data.len();
    }
}

async fn follows(encoder: &str) {
    let folder = tempfile::tempdir().unwrap();
    let camera = Camera::start(busy(&busy_clip(folder.path()), encoder)).unwrap();
    assert_eq!(camera.bitrates(Stream::Main), Some(200..=1200));
    let mut frames = camera.subscribe_frames(Stream::Main);
    let mut all = Vec::new();
    let (settling, time) = (Duration::from_secs(2), Duration::from_secs(3));
    // Below and above the range, the nearest one counts.
    for (asked, set) in [(5000, 1200), (10, 200), (800, 800)] {
        assert_eq!(camera.set_bitrate(Stream::Main, asked), Some(set));
        measure(&mut frames, settling, &mut all).await;
        let got = measure(&mut frames, time, &mut all).await;
        assert!(got.abs_diff(set) < set / 5, "{encoder}: {got} kbit/s instead of {set}");
        let status = state(&camera, State::Live).await;
        assert_eq!(status.stream.unwrap().bitrate_kbps, set);
    }
    camera.stop();

    // One stream without a break: the parameter sets stay, there is no gap (x264 needs a moment to
    // come down, which may cost a few pictures), every picture is decoded, and the only key frames
    // are the regular ones.
    let parameter_sets = |unit: &AccessUnit| {
        let wanted = |nal: &&[u8]| matches!(nal[0] & 0x1f, 7 | 8);
        nal_units(&unit.data).into_iter().filter(wanted).map(<[u8]>::to_vec).collect::<Vec<_>>()
    };
    let keys: Vec<_> = all.iter().filter(|unit| unit.key).collect();
    assert!(keys.iter().all(|key| parameter_sets(key) == parameter_sets(keys[0])));
    for pair in all.windows(2) {
        let gap = (pair[1].pts - pair[0].pts).as_millis();
        assert!(gap < 400, "{encoder}: a gap of {gap} ms");
    }
    for pair in keys.windows(2) {
        let interval = (pair[1].pts - pair[0].pts).as_millis();
        assert!((900..1500).contains(&interval), "{encoder}: {interval} ms between key frames");
    }
    let decoder = Decoder::h264();
    for unit in &all {
        decoder.feed(&unit.data, Some(unit.pts));
    }
    decoder.finish();
    assert_eq!(decoder.pictures.try_iter().count(), all.len(), "{encoder}");
}

#[tokio::test(flavor = "multi_thread")]
async fn openh264_follows() {
    follows("openh264enc").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn x264_follows() {
    follows("x264enc").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn it_stays_when_the_encoder_was_stopped() {
    let folder = tempfile::tempdir().unwrap();
    let camera = Camera::start(busy(&busy_clip(folder.path()), "openh264enc")).unwrap();
    // Nobody watches yet.
    assert_eq!(camera.set_bitrate(Stream::Main, 300), Some(300));
    let time = Duration::from_secs(3);
    for _ in 0..2 {
        let mut frames = camera.subscribe_frames(Stream::Main);
        let got = measure(&mut frames, time, &mut Vec::new()).await;
        assert!(got.abs_diff(300) < 80, "{got} kbit/s");
        drop(frames);
        state(&camera, State::Idle).await;
    }
    camera.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn pictures_are_left_out_when_nothing_else_holds_it() {
    // Noise is more than that, even as coarse as it gets.
    let folder = tempfile::tempdir().unwrap();
    let noise = common::clip(folder.path(), "snow");
    let camera = Camera::start(busy(&noise, "openh264enc")).unwrap();
    camera.set_bitrate(Stream::Main, 200);
    let mut frames = camera.subscribe_frames(Stream::Main);
    let mut all = Vec::new();
    measure(&mut frames, Duration::from_secs(2), &mut Vec::new()).await;
    let got = measure(&mut frames, Duration::from_secs(6), &mut all).await;
    assert!((140..280).contains(&got), "{got} kbit/s instead of 200");
    assert!(all.len() < 120, "{} pictures in six seconds", all.len());
    for pair in all.windows(2) {
        let gap = (pair[1].pts - pair[0].pts).as_millis();
        assert!(gap < 700, "a gap of {gap} ms");
    }
    camera.stop();
}

async fn is_steady_while_it_is_set_all_the_time(encoder: &str) {
    let folder = tempfile::tempdir().unwrap();
    let camera = Camera::start(busy(&busy_clip(folder.path()), encoder)).unwrap();
    let mut frames = camera.subscribe_frames(Stream::Main);
    camera.set_bitrate(Stream::Main, 600);
    measure(&mut frames, Duration::from_secs(2), &mut Vec::new()).await;
    let (mut all, mut got) = (Vec::new(), 0);
    for round in 0..24 {
        camera.set_bitrate(Stream::Main, if round % 2 == 0 { 640 } else { 560 });
        got += measure(&mut frames, Duration::from_millis(250), &mut all).await;
    }
    camera.stop();
    let got = got / 24;
    assert!(got.abs_diff(600) < 120, "{encoder}: {got} kbit/s instead of 600");
    let keys = all.iter().filter(|unit| unit.key).count();
    assert!(keys <= 8, "{encoder}: {keys} key frames in six seconds");
}

#[tokio::test(flavor = "multi_thread")]
async fn openh264_is_steady_while_it_is_set_all_the_time() {
    is_steady_while_it_is_set_all_the_time("openh264enc").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn x264_is_steady_while_it_is_set_all_the_time() {
    is_steady_while_it_is_set_all_the_time("x264enc").await;
}
