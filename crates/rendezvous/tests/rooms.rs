//! Who may come into a room, and who is told of it.
#![allow(clippy::unwrap_used)]

mod support;

use peercam_protocol::signalling::{ErrorCode, IceServer, ToCamera, ToViewer};
use support::*;

#[tokio::test]
async fn camera_and_viewer_are_told_room_and_ice_servers() {
    let turn = IceServer {
        urls: vec!["turn:turn.example:3478?transport=udp".to_owned()],
        username: Some("user".to_owned()),
        credential: Some("secret".to_owned()),
    };
    let server = Rendezvous::start_with(|config| config.ice_servers = vec![turn.clone()]).await;

    let mut viewer = server.knock_as_viewer("front-door").await;
    let room = "front-door".parse().unwrap();
    // Nobody knows yet whether he may use them.
    let welcome = ToViewer::Welcome { room, online: false, ice_servers: Vec::new() };
    assert_eq!(viewer.hears().await, welcome);

    let mut camera = server.knock_as_camera("front-door").await;
    let (room, ice_servers) = ("front-door".parse().unwrap(), vec![turn]);
    let hosting = ToCamera::Hosting { room, ice_servers: ice_servers.clone(), time: None };
    assert_eq!(camera.hears().await, hosting);
    assert_eq!(viewer.hears().await, ToViewer::Camera { online: true, ice_servers });
}

#[tokio::test]
async fn a_second_camera_is_refused_and_the_first_one_stays() {
    let server = Rendezvous::start().await;
    let mut first = server.camera("front-door").await;

    let mut second = server.knock_as(&Identity::of("another"), "front-door").await;
    let sentence = second.hears_error(ErrorCode::RoomClaimed).await;
    assert!(sentence.contains("\"front-door\""), "{sentence}");
    second.is_closed(1008).await;

    let mut viewer = server.viewer("front-door").await;
    session(&mut first, &mut viewer).await;
}

#[tokio::test]
async fn a_room_is_free_again_when_its_camera_has_left() {
    let server = Rendezvous::start().await;
    server.camera("front-door").await.leaves().await;
    server.camera("front-door").await;
}

#[tokio::test]
async fn a_camera_takes_its_room_over_from_its_own_earlier_connection_at_once() {
    let server = Rendezvous::start().await;
    let mut old = server.camera("front-door").await;
    let mut viewer = server.viewer("front-door").await;
    session(&mut old, &mut viewer).await;

    let mut new = server.camera("front-door").await;
    old.hears_error(ErrorCode::RoomTaken).await;
    old.is_closed(1008).await;
    // The viewer, who may have lost the camera too, hears that it is back.
    viewer.hears_online(true).await;
    session(&mut new, &mut viewer).await;
}

#[tokio::test]
async fn a_camera_keeps_its_room_however_often_another_knocks() {
    let server = Rendezvous::start().await;
    let mut camera = server.camera("front-door").await;
    for _ in 0..20 {
        let mut second = server.knock_as(&Identity::of("another"), "front-door").await;
        second.hears_error(ErrorCode::RoomClaimed).await;
        second.is_closed(1008).await;
    }
    let mut viewer = server.viewer("front-door").await;
    session(&mut camera, &mut viewer).await;
}

#[tokio::test]
async fn viewers_are_told_when_the_camera_comes_and_goes() {
    let server = Rendezvous::start().await;
    let mut early = server.viewer("front-door").await;
    let camera = server.camera("front-door").await;
    early.hears_online(true).await;

    let mut late = server.knock_as_viewer("front-door").await;
    assert!(matches!(late.hears().await, ToViewer::Welcome { online: true, .. }));

    camera.leaves().await;
    early.hears_online(false).await;
    late.hears_online(false).await;
}

#[tokio::test]
async fn what_happens_in_one_room_is_not_heard_in_another() {
    let server = Rendezvous::start().await;
    let mut garden = server.viewer("garden").await;
    let mut front_door = server.viewer("front-door").await;

    let mut camera = server.camera("front-door").await;
    front_door.hears_online(true).await;
    session(&mut camera, &mut front_door).await;

    // The first thing the garden hears of is its own camera.
    let mut other = server.camera("garden").await;
    garden.hears_online(true).await;
    session(&mut other, &mut garden).await;
}

#[tokio::test]
async fn the_api_says_whether_a_camera_is_there() {
    let server = Rendezvous::start().await;
    let online = async |expected: bool| {
        let reply = server.get("/api/rooms/front-door").await;
        assert_eq!(reply.status, 200);
        assert_eq!(reply.header("content-type"), Some("application/json"));
        let body: serde_json::Value = serde_json::from_str(&reply.body).unwrap();
        assert_eq!(body, serde_json::json!({ "room": "front-door", "online": expected }));
    };
    online(false).await;
    let camera = server.camera("front-door").await;
    online(true).await;
    camera.leaves().await;
    online(false).await;
}

#[tokio::test]
async fn a_room_name_that_is_not_allowed_is_refused_in_words_everywhere() {
    let server = Rendezvous::start().await;
    let long = "x".repeat(10_000);
    for (name, names) in [
        ("a/b", "'/'"),
        ("a%2Fb", "'/'"),
        ("a%2fb", "'/'"),
        ("Front-Door", "'F'"),
        ("-door", "begins with '-'"),
        ("..", "begins with '.'"),
        ("%ff", "use only a-z"),
        ("a%00b", "'\\0'"),
        ("", "empty"),
        (&long, "10000 characters"),
    ] {
        for kind in ["host", "watch"] {
            let mut peer: Viewer = server.connect(&format!("/{kind}/{name}")).await;
            let sentence = peer.hears_error(ErrorCode::BadRoom).await;
            assert!(sentence.contains(names), "{kind} {name:?}: {sentence}");
            peer.is_closed(1008).await;
        }
        if name.is_empty() {
            continue;
        }
        let reply = server.get(&format!("/api/rooms/{name}")).await;
        assert_eq!(reply.status, 400, "{name:?}");
        let error: peercam_protocol::signalling::Error = serde_json::from_str(&reply.body).unwrap();
        assert_eq!(error.code, ErrorCode::BadRoom);
        assert!(error.message.contains(names), "{name:?}: {error}");
    }
}
