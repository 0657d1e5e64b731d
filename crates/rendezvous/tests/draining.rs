//! Before the server ends, cameras move away, in time of their own choice.
#![allow(clippy::unwrap_used)]

mod support;

use std::time::{Duration, Instant};

use peercam_protocol::signalling::{ErrorCode, ToCamera};
use support::*;

async fn with_drain(seconds: u64) -> Rendezvous {
    Rendezvous::start_with(|config| config.drain = Duration::from_secs(seconds)).await
}

async fn hears_move(camera: &mut Camera) -> u32 {
    match camera.hears().await {
        ToCamera::Move { within_ms } => within_ms,
        other => panic!("not told to move, but {other:?}"),
    }
}

#[tokio::test]
async fn cameras_are_told_to_move_and_the_server_ends_when_the_last_one_has() {
    let mut server = with_drain(60).await;
    let mut first = server.camera("front-door").await;
    let mut second = server.camera("garden").await;
    let mut viewer = server.viewer("front-door").await;
    let session = session(&mut first, &mut viewer).await;
    let begun = Instant::now();
    server.begin_stop();
    for camera in [&mut first, &mut second] {
        assert_eq!(hears_move(camera).await, 48_000, "the last one has time to connect");
    }
    // What runs goes on.
    first.answers(session, "still here").await;
    viewer.hears_answer("still here").await;

    second.leaves().await;
    first.leaves().await;
    // The viewer is told too before it is over.
    viewer.hears_online(false).await;
    viewer.hears_error(ErrorCode::ShuttingDown).await;
    viewer.is_closed(1001).await;
    server.ended().await;
    assert!(begun.elapsed() < Duration::from_secs(30), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn meanwhile_nobody_new_comes_in_and_readyz_says_so() {
    let mut server = with_drain(60).await;
    let mut camera = server.camera("front-door").await;
    assert_eq!(server.get("/readyz").await.status, 200);
    server.begin_stop();
    hears_move(&mut camera).await;

    let reply = server.get("/readyz").await;
    assert_eq!((reply.status, reply.body.as_str()), (503, "the server is shutting down\n"));
    assert_eq!(server.get("/healthz").await.status, 200, "it lives");
    let mut viewer = server.knock_as_viewer("front-door").await;
    viewer.hears_error(ErrorCode::ShuttingDown).await;
    let mut other = server.knock_as_camera("garden").await;
    match other.hears().await {
        ToCamera::Error { error, .. } => assert_eq!(error.code, ErrorCode::ShuttingDown),
        other => panic!("let in: {other:?}"),
    }
    camera.leaves().await;
    server.ended().await;
}

#[tokio::test]
async fn a_camera_that_does_not_move_is_sent_away_when_the_time_is_over() {
    let mut server = with_drain(1).await;
    let mut camera = server.camera("front-door").await;
    let begun = Instant::now();
    server.begin_stop();
    assert_eq!(hears_move(&mut camera).await, 800);
    match camera.hears().await {
        ToCamera::Error { error, .. } => assert_eq!(error.code, ErrorCode::ShuttingDown),
        other => panic!("no error, but {other:?}"),
    }
    camera.is_closed(1001).await;
    assert!(begun.elapsed() >= Duration::from_secs(1), "{:?}", begun.elapsed());
    server.ended().await;
}

#[tokio::test]
async fn who_is_in_a_hurry_does_not_wait() {
    let mut server = with_drain(60).await;
    let mut camera = server.camera("front-door").await;
    server.begin_stop();
    hears_move(&mut camera).await;
    server.control.end();
    assert!(matches!(camera.hears().await, ToCamera::Error { .. }));
    camera.is_closed(1001).await;
    server.ended().await;
}

#[tokio::test]
async fn without_cameras_there_is_nothing_to_wait_for() {
    let server = with_drain(60).await;
    let mut viewer = server.viewer("front-door").await;
    let begun = Instant::now();
    server.stop().await;
    viewer.hears_error(ErrorCode::ShuttingDown).await;
    assert!(begun.elapsed() < Duration::from_secs(15), "{:?}", begun.elapsed());
}
