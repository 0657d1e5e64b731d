//! Who may come in to a camera whose door asks for a token: everything that can be wrong with one
//! is said in its own way, before any ICE server is handed out.
#![allow(clippy::unwrap_used)]

mod support;

use std::{
    collections::BTreeSet,
    time::{SystemTime, UNIX_EPOCH},
};

use data_encoding::BASE64URL_NOPAD;
use peercam_protocol::{
    Action, Claims, SecretKey,
    signalling::{Door, ErrorCode, IceServer, ToCamera, ToViewer},
    token::Confirmation,
};
use support::*;

const ROOM: &str = "front-door";

fn key(seed: u8) -> SecretKey {
    SecretKey::from_bytes(&[seed; 32])
}

fn stun() -> Vec<IceServer> {
    let urls = vec!["stun:stun.example".to_owned()];
    vec![IceServer { urls, username: None, credential: None }]
}

async fn start() -> Rendezvous {
    Rendezvous::start_with(|config| config.ice_servers = stun()).await
}

fn camera() -> Identity {
    Identity::of(ROOM).with_door()
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

/// A good one.
fn claims() -> Claims {
    Claims {
        iss: None,
        room: Some(ROOM.parse().unwrap()),
        scope: BTreeSet::from([Action::Watch]),
        iat: now(),
        nbf: None,
        exp: now() + 3600,
        jti: "one".to_owned(),
        once: false,
        cnf: Some(Confirmation::new(key(9).public())),
    }
}

fn good() -> String {
    claims().sign(&camera().key)
}

/// Tokens that open nothing, with what is said about them.
fn bad() -> Vec<(&'static str, String, ErrorCode, &'static str)> {
    use ErrorCode::*;
    let sign = |claims: Claims| claims.sign(&camera().key);
    let (good, at) = (good(), now());
    let unsigned = {
        let header = BASE64URL_NOPAD.encode(br#"{"alg":"none"}"#);
        let mut parts = good.split('.');
        format!("{header}.{}.", parts.nth(1).unwrap())
    };
    vec![
        (
            "of a stranger",
            Claims { iss: Some(key(3).public()), ..claims() }.sign(&key(3)),
            TokenInvalid,
            "by a key that this camera does not take",
        ),
        ("by a wrong key", claims().sign(&key(3)), TokenInvalid, "signature is wrong"),
        (
            "for another room",
            sign(Claims { room: Some("garden".parse().unwrap()), ..claims() }),
            TokenForAnotherRoom,
            "for the room garden",
        ),
        (
            "expired",
            sign(Claims { iat: at - 7200, exp: at - 3600, ..claims() }),
            TokenExpired,
            "expired 36",
        ),
        (
            "not yet valid",
            sign(Claims { nbf: Some(at + 3600), exp: at + 7200, ..claims() }),
            TokenNotYetValid,
            "not good for another 3",
        ),
        ("alg none", unsigned, TokenInvalid, "signed by \"none\""),
        ("truncated", good[..good.len() - 9].to_owned(), TokenInvalid, "damaged"),
        ("cut in half", good[..good.len() / 2].to_owned(), TokenInvalid, "damaged"),
        ("nothing", String::new(), TokenInvalid, "damaged"),
        ("huge", "x".repeat(5000), TokenInvalid, "5000 bytes"),
        (
            "for something else",
            sign(Claims { scope: BTreeSet::from([Action::Clips]), ..claims() }),
            NotAllowed,
            "does not allow to watch",
        ),
    ]
}

#[tokio::test]
async fn each_bad_token_has_its_own_error_and_the_room_is_not_disturbed() {
    let server = start().await;
    let mut camera = server.knock_as(&camera(), ROOM).await;
    camera.hears().await;
    let mut viewer = server.knock_with(ROOM, &good()).await;
    viewer.hears().await;
    for (what, token, code, words) in bad() {
        let mut stranger = server.knock_with(ROOM, &token).await;
        let sentence = stranger.hears_error(code).await;
        assert!(sentence.contains(words), "{what}: {sentence}");
        stranger.is_closed(1008).await;
    }
    let mut stranger = server.knock_as_viewer(ROOM).await;
    let sentence = stranger.hears_error(ErrorCode::TokenMissing).await;
    assert!(sentence.contains("link"), "{sentence}");
    stranger.is_closed(1008).await;
    // The first the camera hears of is the guest.
    session(&mut camera, &mut viewer).await;
}

#[tokio::test]
async fn a_good_token_is_welcomed_with_ice_servers() {
    let server = start().await;
    let _camera = server.knock_as(&camera(), ROOM).await;
    // Until it is there.
    let room = ROOM.parse().unwrap();
    let expected = ToViewer::Welcome { room, online: true, ice_servers: stun() };
    let mut viewer = server.knock_with(ROOM, &good()).await;
    let mut heard = viewer.hears().await;
    if let ToViewer::Welcome { online: false, .. } = heard {
        let ToViewer::Camera { online: true, ice_servers } = viewer.hears().await else {
            panic!("no camera")
        };
        heard = ToViewer::Welcome { room: ROOM.parse().unwrap(), online: true, ice_servers };
    }
    assert_eq!(heard, expected);
}

#[tokio::test]
async fn an_owners_token_is_as_good_as_the_cameras_own() {
    let server = start().await;
    let mut identity = camera();
    identity.issuers = vec![key(4).public()];
    let mut camera = server.knock_as(&identity, ROOM).await;
    camera.hears().await;
    let token = Claims { iss: Some(key(4).public()), ..claims() }.sign(&key(4));
    let mut viewer = server.knock_with(ROOM, &token).await;
    assert!(matches!(viewer.hears().await, ToViewer::Welcome { online: true, .. }));
    session(&mut camera, &mut viewer).await;
}

#[tokio::test]
async fn an_open_door_asks_for_nothing() {
    let server = start().await;
    let _camera = server.camera(ROOM).await;
    server.viewer(ROOM).await;
    let mut viewer = server.knock_with(ROOM, "any").await;
    assert!(matches!(viewer.hears().await, ToViewer::Welcome { online: true, .. }));
}

/// Nothing is known of a room that is derived from a key while its camera is away.
#[tokio::test]
async fn who_waits_for_a_camera_nobody_knows_gets_ice_servers_when_it_opens_for_him() {
    let server = start().await;
    let camera = camera();
    let room = camera.own_room();
    let good = Claims { room: Some(room.clone()), ..claims() }.sign(&camera.key);
    let mut guest = server.knock_with(room.as_str(), &good).await;
    let mut stranger = server.knock_as_viewer(room.as_str()).await;
    let mut liar = server.knock_with(room.as_str(), "a.b.c").await;
    for viewer in [&mut guest, &mut stranger, &mut liar] {
        let welcome =
            ToViewer::Welcome { room: room.clone(), online: false, ice_servers: Vec::new() };
        assert_eq!(viewer.hears().await, welcome);
    }
    let mut camera = server.knock_as(&camera, room.as_str()).await;
    assert!(matches!(camera.hears().await, ToCamera::Hosting { .. }));
    assert_eq!(guest.hears().await, ToViewer::Camera { online: true, ice_servers: stun() });
    stranger.hears_error(ErrorCode::TokenMissing).await;
    stranger.is_closed(1008).await;
    liar.hears_error(ErrorCode::TokenInvalid).await;
    liar.is_closed(1008).await;
    session(&mut camera, &mut guest).await;
}

#[tokio::test]
async fn a_claimed_room_remembers_its_door_while_the_camera_is_away() {
    let server = start().await;
    let mut here = server.knock_as(&camera(), ROOM).await;
    here.hears().await;
    here.leaves().await;
    for (what, token, code, words) in bad() {
        let mut stranger = server.knock_with(ROOM, &token).await;
        let sentence = stranger.hears_error(code).await;
        assert!(sentence.contains(words), "{what}: {sentence}");
    }
    server.knock_as_viewer(ROOM).await.hears_error(ErrorCode::TokenMissing).await;
    let mut guest = server.knock_with(ROOM, &good()).await;
    let room = ROOM.parse().unwrap();
    let welcome = ToViewer::Welcome { room, online: false, ice_servers: stun() };
    assert_eq!(guest.hears().await, welcome);
    // It may come back with another door.
    let mut camera = server.camera(ROOM).await;
    assert!(matches!(guest.hears().await, ToViewer::Camera { online: true, .. }));
    session(&mut camera, &mut guest).await;
}

#[tokio::test]
async fn a_door_that_closes_while_the_camera_is_away_closes_for_who_was_in() {
    let server = start().await;
    let mut open = server.camera(ROOM).await;
    let mut anna = server.viewer(ROOM).await;
    let mut bert = server.knock_with(ROOM, &good()).await;
    bert.hears().await;
    session(&mut open, &mut anna).await;
    let mut camera = server.knock_as(&camera(), ROOM).await;
    assert!(matches!(camera.hears().await, ToCamera::Hosting { .. }));
    anna.hears_error(ErrorCode::TokenMissing).await;
    anna.is_closed(1008).await;
    assert_eq!(bert.hears().await, ToViewer::Camera { online: true, ice_servers: stun() });
    session(&mut camera, &mut bert).await;
    assert_eq!(camera_door(&server).await, Door::Token);
}

/// As a newcomer sees it.
async fn camera_door(server: &Rendezvous) -> Door {
    match server.knock_as_viewer(ROOM).await.hears().await {
        ToViewer::Error { error } if error.code == ErrorCode::TokenMissing => Door::Token,
        ToViewer::Welcome { .. } => Door::Open,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn the_handshake_answers_with_the_plain_subprotocol_and_not_with_the_token() {
    let server = start().await;
    let handshake = "GET /watch/NONE HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\n\
                     Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
                     Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
                     Sec-WebSocket-Protocol: peercam.token.secret, peercam.v1\r\n\r\n";
    let reply = Reply::parse(&server.raw(handshake.as_bytes()).await);
    assert_eq!(reply.status, 101);
    assert_eq!(reply.header("sec-websocket-protocol"), Some("peercam.v1"));
    assert!(!reply.body.contains("secret"));
}
