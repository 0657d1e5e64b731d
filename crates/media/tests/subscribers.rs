//! However many watch: encoded once, started by the first, stopped after the last.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::time::{Duration, Instant};

use common::{chunk, silent, small, soon, state, video};
use peercam_media::{Camera, Frame, State, Stream};

#[tokio::test(flavor = "multi_thread")]
async fn a_late_subscriber_begins_with_the_key_frame_that_is_there() {
    let mut config = small();
    config.video.key_frame_interval_ms = 20_000;
    let camera = Camera::start(config).unwrap();
    let mut first = camera.subscribe_frames(Stream::Main);
    let mut first_chunks = camera.subscribe_chunks(Stream::Main);
    let key = video(&mut first).await;
    for _ in 0..20 {
        video(&mut first).await;
        chunk(&mut first_chunks).await;
    }
    // No other key frame comes for twenty seconds: it is the cached one.
    let mut late = camera.subscribe_frames(Stream::Main);
    let unit = video(&mut late).await;
    assert!(unit.key);
    assert_eq!(unit.pts, key.pts);
    let next = video(&mut late).await;
    assert!(!next.key && next.pts > unit.pts);

    let mut late = camera.subscribe_chunks(Stream::Main);
    let piece = chunk(&mut late).await;
    assert!(piece.key);
    assert!(piece.pts.abs_diff(key.pts) < Duration::from_millis(1), "{:?}", piece.pts);
    camera.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn one_encode_serves_everybody() {
    let camera = Camera::start(silent()).unwrap();
    let mut rtp: Vec<_> = (0..5).map(|_| camera.subscribe_frames(Stream::Main)).collect();
    let mut fmp4: Vec<_> = (0..5).map(|_| camera.subscribe_chunks(Stream::Main)).collect();
    let mut last = Duration::ZERO;
    for _ in 0..60 {
        let mut units = Vec::new();
        for subscription in &mut rtp {
            units.push(video(subscription).await);
        }
        assert!(units.windows(2).all(|pair| std::sync::Arc::ptr_eq(&pair[0], &pair[1])));
        last = units[0].pts;
        for subscription in &mut fmp4 {
            chunk(subscription).await;
        }
    }
    drop((rtp, fmp4));
    let encoded = state(&camera, State::Idle).await.frames_encoded;
    let expected = last.as_secs_f64() * 30.0;
    assert!((60..expected as u64 + 60).contains(&encoded), "{encoded} for {expected}");
    camera.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn encoders_run_only_while_somebody_watches() {
    let camera = Camera::start(silent()).unwrap();
    for _ in 0..3 {
        let mut frames = camera.subscribe_frames(Stream::Main);
        assert!(video(&mut frames).await.key);
        state(&camera, State::Live).await;
        drop(frames);
        let idle = state(&camera, State::Idle).await;
        tokio::time::sleep(Duration::from_millis(300)).await;
        assert_eq!(camera.status().borrow().frames_encoded, idle.frames_encoded);
    }
    camera.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn media_time_goes_on_when_the_encoders_were_stopped() {
    let camera = Camera::start(silent()).unwrap();
    let mut chunks = camera.subscribe_chunks(Stream::Main);
    let before = chunk(&mut chunks).await;
    drop(chunks);
    state(&camera, State::Idle).await;
    let mut chunks = camera.subscribe_chunks(Stream::Main);
    let after = chunk(&mut chunks).await;
    assert!(after.key && after.pts > before.pts);
    assert!(!std::sync::Arc::ptr_eq(&before.init, &after.init));
    let (media, wall) =
        (after.pts - before.pts, after.captured.duration_since(before.captured).unwrap());
    assert!(media.abs_diff(wall) < Duration::from_millis(50), "{media:?} {wall:?}");
    camera.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subscriber_who_does_not_read_disturbs_nobody_and_goes_on_with_a_key_frame() {
    let mut config = silent();
    config.video.key_frame_interval_ms = 250;
    config.video.framerate = 60;
    let camera = Camera::start(config).unwrap();
    let mut lazy = camera.subscribe_frames(Stream::Main);
    let mut busy = camera.subscribe_frames(Stream::Main);
    let mut last = video(&mut busy).await.pts;
    // Its queue holds a bit more than two seconds.
    for _ in 0..360 {
        let unit = video(&mut busy).await;
        assert!(unit.pts > last && unit.pts - last < Duration::from_secs(1));
        last = unit.pts;
    }
    let unit = video(&mut lazy).await;
    assert!(unit.key);
    assert!(last - unit.pts < Duration::from_secs(5), "{:?} behind", last - unit.pts);
    assert!(unit.pts > Duration::from_secs(2), "the oldest is gone: {:?}", unit.pts);
    camera.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn stopping_ends_every_subscription() {
    let camera = Camera::start(small()).unwrap();
    let mut frames = camera.subscribe_frames(Stream::Main);
    let mut chunks = camera.subscribe_chunks(Stream::Main);
    video(&mut frames).await;
    let status = camera.status();
    let begun = Instant::now();
    camera.stop();
    assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
    soon("the end of the frames", async { while frames.recv().await.is_some() {} }).await;
    soon("the end of the chunks", async { while chunks.recv().await.is_some() {} }).await;
    assert_eq!(status.borrow().state, State::Idle);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_sound_only_pictures_come() {
    let camera = Camera::start(silent()).unwrap();
    let mut frames = camera.subscribe_frames(Stream::Main);
    for _ in 0..30 {
        let frame = soon("a frame", frames.recv()).await.unwrap();
        assert!(matches!(frame, Frame::Video(_)));
    }
    let status = state(&camera, State::Live).await;
    assert!(!status.stream.unwrap().audio);
    assert_eq!(chunk(&mut camera.subscribe_chunks(Stream::Main)).await.init.audio_codec, None);
    camera.stop();
}
