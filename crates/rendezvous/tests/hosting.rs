//! A camera proves that a room is its own before it gets it.
#![allow(clippy::unwrap_used)]

mod support;

use peercam_protocol::{
    Nonce,
    signalling::{Door, ErrorCode, FromCamera, FromViewer, MAX_ISSUERS, ToCamera, ToViewer},
};
use support::*;
use tokio_tungstenite::tungstenite::Message;

/// A connection that has been asked who it is.
async fn asked(server: &Rendezvous, room: &str) -> (Camera, Nonce) {
    let mut camera: Camera = server.connect(&format!("/host/{room}")).await;
    match camera.hears().await {
        ToCamera::Challenge { nonce } => (camera, nonce),
        other => panic!("no challenge: {other:?}"),
    }
}

/// Nobody who was refused is in the room, and others may still have it.
async fn is_free(server: &Rendezvous, room: &str) {
    let mut viewer = server.knock_as_viewer(room).await;
    assert!(matches!(viewer.hears().await, ToViewer::Welcome { online: false, .. }));
    let mut camera = server.camera(room).await;
    viewer.hears_online(true).await;
    session(&mut camera, &mut viewer).await;
}

#[tokio::test]
async fn every_challenge_is_another() {
    let server = Rendezvous::start().await;
    let (_one, first) = asked(&server, "front-door").await;
    let (_two, second) = asked(&server, "front-door").await;
    assert_ne!(first, second);
}

#[tokio::test]
async fn a_proof_for_anything_else_is_refused() {
    let server = Rendezvous::start().await;
    let authority = server.address.to_string();
    let anna = Identity::of("anna");
    let stolen = anna.prove(&authority, "front-door", &Nonce::from_bytes([1; 16]));
    for what in ["server", "room", "challenge", "key", "door", "issuers"] {
        let (mut camera, nonce) = asked(&server, "front-door").await;
        let mut prove = match what {
            "server" => anna.prove("elsewhere.example", "front-door", &nonce),
            "room" => anna.prove(&authority, "garden", &nonce),
            "challenge" => stolen.clone(),
            _ => anna.prove(&authority, "front-door", &nonce),
        };
        if let FromCamera::Prove { key, door, issuers, .. } = &mut prove {
            match what {
                "key" => *key = Identity::of("bert").key.public(),
                "door" => *door = Door::Token,
                "issuers" => issuers.push(Identity::of("bert").key.public()),
                _ => {}
            }
        }
        camera.says(prove).await;
        let sentence = camera.hears_error(ErrorCode::BadProof).await;
        assert!(sentence.contains(&authority), "{what}: {sentence}");
        camera.is_closed(1008).await;
    }
    is_free(&server, "front-door").await;
}

#[tokio::test]
async fn a_room_that_is_derived_from_a_key_is_that_keys_alone() {
    let server = Rendezvous::start().await;
    let anna = Identity::of("anna");
    let room = anna.own_room();
    let mut thief = server.knock_as(&Identity::of("thief"), room.as_str()).await;
    let sentence = thief.hears_error(ErrorCode::RoomClaimed).await;
    assert!(sentence.contains(room.as_str()), "{sentence}");
    thief.is_closed(1008).await;
    let mut camera = server.knock_as(&anna, room.as_str()).await;
    assert!(matches!(camera.hears().await, ToCamera::Hosting { .. }));
}

#[tokio::test]
async fn a_server_with_a_name_takes_no_proof_that_was_made_for_another() {
    let server =
        Rendezvous::start_with(|config| config.public_names = vec!["cam.example".to_owned()]).await;
    // By its address, though the proof itself is right.
    let mut camera: Camera = server.connect("/host/front-door").await;
    let sentence = camera.hears_error(ErrorCode::BadProof).await;
    assert!(sentence.contains("\"cam.example\""), "{sentence}");
    camera.is_closed(1008).await;

    let mut camera: Camera =
        server.connect_with("/host/front-door", &[("Host", "cam.example")]).await;
    let ToCamera::Challenge { nonce } = camera.hears().await else { panic!("no challenge") };
    camera.says(Identity::of("anna").prove("cam.example", "front-door", &nonce)).await;
    assert!(matches!(camera.hears().await, ToCamera::Hosting { .. }));
}

#[tokio::test]
async fn a_camera_that_says_something_else_is_refused() {
    let server = Rendezvous::start().await;
    for (frame, code) in [
        (Message::text("?"), ErrorCode::BadMessage),
        (Message::text(r#"{"type":"prove"}"#), ErrorCode::BadMessage),
        (Message::text(r#"{"type":"join"}"#), ErrorCode::UnknownType),
        (Message::text(r#"{"type":"answer","session":1,"sdp":""}"#), ErrorCode::OutOfOrder),
        (Message::binary(vec![0; 9]), ErrorCode::OutOfOrder),
    ] {
        let (mut camera, _) = asked(&server, "front-door").await;
        camera.sends(frame).await;
        camera.hears_error(code).await;
        camera.is_closed(1008).await;
    }
    is_free(&server, "front-door").await;
}

#[tokio::test]
async fn a_camera_may_not_name_any_number_of_issuers() {
    let server = Rendezvous::start().await;
    let mut camera = Identity::of("anna");
    camera.issuers = vec![camera.key.public(); MAX_ISSUERS + 1];
    let mut greedy = server.knock_as(&camera, "front-door").await;
    greedy.hears_error(ErrorCode::BadMessage).await;
    greedy.is_closed(1008).await;
}

#[tokio::test]
async fn who_never_proves_anything_is_sent_away_and_holds_no_room() {
    let server = Rendezvous::start_with(|config| config.limits.proof_seconds = 1).await;
    let (mut silent, _) = asked(&server, "front-door").await;
    let mut camera = server.camera("front-door").await;
    let mut viewer = server.viewer("front-door").await;
    session(&mut camera, &mut viewer).await;
    let sentence = silent.hears_error(ErrorCode::BadProof).await;
    assert!(sentence.contains("within 1 s"), "{sentence}");
    silent.is_closed(1008).await;
    // Pings are no proof either.
    let (mut chatty, _) = asked(&server, "garden").await;
    for _ in 0..40 {
        _ = futures_util::SinkExt::send(&mut chatty.socket, Message::Ping(Default::default()))
            .await;
    }
    chatty.hears_error(ErrorCode::OutOfOrder).await;
    viewer.says(FromViewer::Candidate { candidate: candidate("v") }).await;
    assert!(matches!(camera.hears().await, ToCamera::Candidate { .. }));
}

#[tokio::test]
async fn a_server_that_ends_does_not_wait_for_a_proof() {
    let mut server = Rendezvous::start_with(|config| config.limits.proof_seconds = 3600).await;
    let (mut silent, _) = asked(&server, "front-door").await;
    server.begin_stop();
    silent.hears_error(ErrorCode::ShuttingDown).await;
    silent.is_closed(1001).await;
    server.stopped().await;
}
