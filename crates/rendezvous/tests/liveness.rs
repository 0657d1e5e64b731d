//! A dead peer is noticed, a silent one is left alone.
#![allow(clippy::unwrap_used)]

mod support;

use std::time::Duration;

use futures_util::StreamExt;
use peercam_rendezvous::Config;
use support::*;
use tokio_tungstenite::tungstenite::Message;

fn impatient(config: &mut Config) {
    config.liveness.ping_every = Duration::from_millis(50);
    config.liveness.dead_after = Duration::from_millis(400);
}

#[tokio::test]
async fn a_camera_that_answers_no_ping_loses_its_room() {
    let server = Rendezvous::start_with(impatient).await;
    let _silent = server.camera("front-door").await;
    let mut viewer = server.viewer("front-door").await;
    viewer.hears_online(false).await;
}

#[tokio::test]
async fn a_peer_that_only_answers_pings_stays_as_long_as_it_likes() {
    let server = Rendezvous::start_with(impatient).await;
    let mut viewer = server.viewer("front-door").await;
    // Twice as many pings as a dead peer would get.
    for _ in 0..16 {
        let frame = soon("a ping", viewer.socket.next()).await.unwrap().unwrap();
        assert!(matches!(frame, Message::Ping(_)), "{frame:?}");
    }
    let mut camera = server.camera("front-door").await;
    viewer.hears_online(true).await;
    session(&mut camera, &mut viewer).await;
}

#[tokio::test]
async fn a_peer_that_pings_by_itself_is_answered_and_not_pinged() {
    let server = Rendezvous::start_with(|config| {
        config.liveness.ping_every = Duration::from_secs(5);
    })
    .await;
    let mut camera = server.camera("front-door").await;
    for number in 0..50_u8 {
        camera.sends(Message::Ping(vec![number].into())).await;
        let frame = soon("a pong", camera.socket.next()).await.unwrap().unwrap();
        assert_eq!(frame, Message::Pong(vec![number].into()));
    }
}
