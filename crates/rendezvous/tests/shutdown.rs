//! The server ends in order: everybody is told, nobody is left hanging, nothing keeps it.
#![allow(clippy::unwrap_used)]

mod support;

use std::time::{Duration, Instant};

use peercam_protocol::signalling::{ErrorCode, ToCamera};
use support::*;
use tokio::net::TcpStream;

#[tokio::test]
async fn everybody_is_told_and_no_stream_is_ended_by_it() {
    let mut server = Rendezvous::start().await;
    let mut camera = server.camera("front-door").await;
    let mut viewer = server.viewer("front-door").await;
    let mut waiting = server.viewer("garden").await;
    session(&mut camera, &mut viewer).await;

    server.begin_stop();
    for peer in [&mut viewer, &mut waiting] {
        let sentence = peer.hears_error(ErrorCode::ShuttingDown).await;
        assert!(sentence.contains("connect again"), "{sentence}");
        peer.is_closed(1001).await;
    }
    // No bye for the viewer that was sent away: its stream goes on without a server.
    match camera.hears().await {
        ToCamera::Error { session: None, error } => {
            assert_eq!(error.code, ErrorCode::ShuttingDown);
        }
        other => panic!("no error, but {other:?}"),
    }
    camera.is_closed(1001).await;
}

#[tokio::test]
async fn what_was_on_its_way_still_arrives() {
    let mut server = Rendezvous::start().await;
    let mut camera = server.camera("front-door").await;
    let mut viewer = server.viewer("front-door").await;
    let session = session(&mut camera, &mut viewer).await;
    camera.answers(session, "last words").await;
    // Once the camera's next message is refused, the one before it has been relayed.
    camera.says_text("?").await;
    camera.hears_error(ErrorCode::BadMessage).await;
    server.begin_stop();
    viewer.hears_answer("last words").await;
    viewer.hears_error(ErrorCode::ShuttingDown).await;
    viewer.is_closed(1001).await;
}

#[tokio::test]
async fn peers_that_do_not_listen_cannot_keep_the_server() {
    let server = Rendezvous::start().await;
    let _camera = server.camera("front-door").await;
    let _viewer = server.viewer("front-door").await;
    let _silent = TcpStream::connect(server.address).await.unwrap();
    let start = Instant::now();
    server.stop().await;
    // The promise is three seconds; a loaded machine gets some more.
    assert!(start.elapsed() < Duration::from_secs(6), "{:?}", start.elapsed());
}

#[tokio::test]
async fn the_port_is_free_afterwards_and_rooms_are_empty() {
    let server = Rendezvous::start().await;
    let address = server.address;
    let _camera = server.camera("front-door").await;
    let _viewer = server.viewer("front-door").await;
    server.stop().await;
    assert!(TcpStream::connect(address).await.is_err());

    let server = Rendezvous::start_with(|config| config.listen = address).await;
    server.camera("front-door").await;
}
