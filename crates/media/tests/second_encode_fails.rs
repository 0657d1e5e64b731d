//! A second encode that fails: said so, tried again, and the main one goes on.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::time::Duration;

use common::{
    chunk,
    hardware::{self, NO_SMALL_PICTURES, ONE_AT_A_TIME},
    small, status, video,
};
use peercam_media::{Camera, Config, State, Stream};

fn encoders(encoders: &[&str]) -> Config {
    hardware::register();
    let mut config = small();
    config.video.encoders = encoders.iter().map(|name| (*name).to_owned()).collect();
    config
}

/// Reads the main encode until it is dropped; gives its longest gap.
async fn watch_main(camera: Camera, until: impl AsyncFnOnce(&Camera)) -> Duration {
    let mut main = camera.subscribe_frames(Stream::Main);
    let mut chunks = camera.subscribe_chunks(Stream::Main);
    let mut last = video(&mut main).await.pts;
    let init = chunk(&mut chunks).await.init;
    let mut longest = Duration::ZERO;
    let read = async {
        loop {
            let unit = video(&mut main).await;
            longest = longest.max(unit.pts - last);
            last = unit.pts;
            let chunk = chunk(&mut chunks).await;
            assert!(std::sync::Arc::ptr_eq(&chunk.init, &init), "one run of the pipeline");
        }
    };
    tokio::select! {
        () = read => {}
        () = until(&camera) => {}
    }
    camera.stop();
    longest
}

const NO_GAP: Duration = Duration::from_millis(250);

#[tokio::test(flavor = "multi_thread")]
async fn hardware_that_encodes_one_picture_leaves_the_other_to_software() {
    let camera = Camera::start(encoders(&[ONE_AT_A_TIME, "openh264enc"])).unwrap();
    assert_eq!(camera.status().borrow().encoder.as_deref(), Some(ONE_AT_A_TIME));
    let longest = watch_main(camera, async |camera| {
        let mut sub = camera.subscribe_frames(Stream::Sub);
        let failed = status(camera, |status| status.sub.state == State::Failed).await;
        assert_eq!((failed.state, failed.message), (State::Live, None));
        assert!(failed.sub.message.is_some());
        assert!(video(&mut sub).await.key);
        let live = status(camera, |status| status.sub.state == State::Live).await;
        assert_eq!(live.sub.message, None);
    })
    .await;
    assert!(longest < NO_GAP, "{longest:?} without a picture");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_fails_while_it_runs_is_tried_again() {
    let camera = Camera::start(encoders(&[NO_SMALL_PICTURES])).unwrap();
    let longest = watch_main(camera, async |camera| {
        let mut sub = camera.subscribe_frames(Stream::Sub);
        for _ in 0..2 {
            // Behind what is left of the one before.
            while !video(&mut sub).await.key {}
            let failed = status(camera, |status| status.sub.state == State::Failed).await;
            let message = failed.sub.message.unwrap();
            assert!(message.contains("no small pictures"), "{message}");
            status(camera, |status| status.sub.state != State::Failed).await;
        }
        drop(sub);
        status(camera, |status| status.sub.state == State::Idle).await;
    })
    .await;
    assert!(longest < NO_GAP, "{longest:?} without a picture");
}

#[tokio::test(flavor = "multi_thread")]
async fn hardware_is_told_the_bit_rate_by_its_control() {
    let camera = Camera::start(encoders(&[NO_SMALL_PICTURES])).unwrap();
    let mut main = camera.subscribe_frames(Stream::Main);
    let first = video(&mut main).await;
    camera.set_bitrate(Stream::Main, 150);
    status(&camera, |status| status.stream.as_ref().is_some_and(|s| s.bitrate_kbps == 150)).await;
    while video(&mut main).await.pts < first.pts + Duration::from_secs(2) {}
    assert_eq!(camera.status().borrow().state, State::Live);
    camera.stop();
}
