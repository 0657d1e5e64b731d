//! The clock in the picture, after the encoder and a decoder had it in their hands.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::time::UNIX_EPOCH;

use common::{decode::Decoder, silent, video};
use peercam_media::{Camera, Config, Stream, clock};

/// How many milliseconds clock and capture time differ by, for each picture; `None` where the
/// clock can't be read.
async fn errors(config: Config, pictures: usize) -> Vec<Option<u64>> {
    let camera = Camera::start(config).unwrap();
    let mut frames = camera.subscribe_frames(Stream::Main);
    let decoder = Decoder::h264();
    let mut errors = Vec::new();
    for _ in 0..pictures {
        let unit = video(&mut frames).await;
        decoder.feed(&unit.data, Some(unit.pts));
        let picture = decoder.pictures.recv_timeout(common::PATIENCE).expect("a decoded picture");
        assert_eq!(picture.pts, unit.pts);
        let shown = clock::read(&picture.luma, picture.stride, picture.width, picture.height);
        let captured = unit.captured.duration_since(UNIX_EPOCH).unwrap().as_millis() as u64;
        errors.push(shown.map(|shown| shown.abs_diff(captured)));
    }
    camera.stop();
    errors
}

#[tokio::test(flavor = "multi_thread")]
async fn it_says_the_capture_time_to_the_millisecond_at_half_a_megabit() {
    for encoder in ["openh264enc", "x264enc"] {
        let mut config = silent();
        (config.video.width, config.video.height) = (640, 360);
        config.video.encoders = vec![encoder.to_owned()];
        let errors = errors(config, 60).await;
        assert!(
            errors.iter().all(|error| error.is_some_and(|ms| ms <= 2)),
            "{encoder}: {errors:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_picture_without_a_clock_has_none() {
    let mut config = silent();
    config.video.clock = Some(false);
    assert!(errors(config, 5).await.iter().all(Option::is_none));
}
