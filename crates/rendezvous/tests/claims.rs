//! Named rooms belong to the first key that hosts them, and stay its own.
#![allow(clippy::unwrap_used)]

mod support;

use std::{path::Path, time::Duration};

use peercam_protocol::{
    Nonce, PublicKey, proof,
    signalling::{ErrorCode, ServerTime, ToCamera, ToViewer},
};
use peercam_rendezvous::{Config, Server};
use support::*;

async fn start_in(folder: &Path) -> Rendezvous {
    Rendezvous::start_with(|config| config.state_dir = Some(folder.to_owned())).await
}

/// Knocks and is let in.
async fn hosts(server: &Rendezvous, camera: &Identity, room: &str) -> Camera {
    let mut camera = server.knock_as(camera, room).await;
    match camera.hears().await {
        ToCamera::Hosting { .. } => camera,
        other => panic!("not hosting {room}: {other:?}"),
    }
}

async fn is_refused(server: &Rendezvous, camera: &Identity, room: &str, code: ErrorCode) -> String {
    let mut camera = server.knock_as(camera, room).await;
    let sentence = camera.hears_error(code).await;
    camera.is_closed(if code == ErrorCode::Full { 1013 } else { 1008 }).await;
    sentence
}

#[tokio::test]
async fn a_room_stays_its_keys_while_the_camera_is_away() {
    let server = Rendezvous::start().await;
    let (anna, bert) = (Identity::of("anna"), Identity::of("bert"));
    hosts(&server, &anna, "garden").await.leaves().await;
    let sentence = is_refused(&server, &bert, "garden", ErrorCode::RoomClaimed).await;
    assert!(sentence.contains("\"garden\"") && sentence.contains("another name"), "{sentence}");
    hosts(&server, &anna, "garden").await;
}

#[tokio::test]
async fn claims_and_doors_outlive_the_server() {
    let folder = tempfile::tempdir().unwrap();
    let (anna, bert) = (Identity::of("anna").with_door(), Identity::of("bert"));
    let server = start_in(folder.path()).await;
    hosts(&server, &anna, "garden").await;
    server.stop().await;

    let server = start_in(folder.path()).await;
    is_refused(&server, &bert, "garden", ErrorCode::RoomClaimed).await;
    server.knock_as_viewer("garden").await.hears_error(ErrorCode::TokenMissing).await;
    hosts(&server, &Identity::of("anna"), "garden").await;
    server.stop().await;

    // What the camera said last is what is remembered.
    let server = start_in(folder.path()).await;
    let welcome = server.knock_as_viewer("garden").await.hears().await;
    assert!(matches!(welcome, ToViewer::Welcome { online: false, .. }), "{welcome:?}");
    server.stop().await;
}

#[tokio::test]
async fn many_cameras_claim_the_same_room_and_one_gets_it() {
    let folder = tempfile::tempdir().unwrap();
    let server = start_in(folder.path()).await;
    let knocks = (0..20).map(|number| {
        let server = &server;
        async move {
            let mut camera = server.knock_as(&Identity::of(&format!("c{number}")), "garden").await;
            matches!(camera.hears().await, ToCamera::Hosting { .. })
        }
    });
    let hosting = futures_util::future::join_all(knocks).await;
    assert_eq!(hosting.iter().filter(|&&hosting| hosting).count(), 1);
    server.stop().await;
}

#[tokio::test]
async fn one_key_cannot_claim_all_names_and_others_are_not_disturbed() {
    let server = Rendezvous::start_with(|config| config.limits.rooms_per_key = 3).await;
    let mut camera = server.camera("front-door").await;
    let mut viewer = server.viewer("front-door").await;
    let greedy = Identity::of("greedy");
    let mut seats = Vec::new();
    for number in 0..3 {
        seats.push(hosts(&server, &greedy, &format!("room-{number}")).await);
    }
    let sentence = is_refused(&server, &greedy, "room-3", ErrorCode::Full).await;
    assert!(sentence.contains("3 named rooms"), "{sentence}");
    // Those it has, and its own, are still open to it; and the name is to others.
    hosts(&server, &greedy, "room-0").await;
    hosts(&server, &greedy, greedy.own_room().as_str()).await;
    server.camera("room-3").await;
    session(&mut camera, &mut viewer).await;
}

#[tokio::test]
async fn all_keys_together_cannot_claim_more_than_the_server_remembers() {
    let server = Rendezvous::start_with(|config| config.limits.claims = 2).await;
    let mut camera = server.camera("front-door").await;
    let mut viewer = server.viewer("front-door").await;
    server.camera("garden").await;
    let late = Identity::of("late");
    let sentence = is_refused(&server, &late, "attic", ErrorCode::Full).await;
    assert!(sentence.contains("2 named rooms are claimed"), "{sentence}");
    hosts(&server, &late, late.own_room().as_str()).await;
    session(&mut camera, &mut viewer).await;
}

#[tokio::test]
async fn one_address_cannot_claim_any_number_of_names_with_ever_new_keys() {
    let server =
        Rendezvous::start_with(|config| config.limits.claims_per_address_per_hour = 3).await;
    let mut camera = server.camera("front-door").await;
    let mut viewer = server.viewer("front-door").await;
    for number in 0..2 {
        server.camera(&format!("room-{number}")).await.leaves().await;
    }
    let sentence = is_refused(&server, &Identity::of("late"), "room-2", ErrorCode::TooFast).await;
    assert!(sentence.contains("more than 3 claims"), "{sentence}");
    // What is claimed already is not counted again.
    for _ in 0..5 {
        server.camera("room-0").await.leaves().await;
    }
    session(&mut camera, &mut viewer).await;
}

#[tokio::test]
async fn who_finds_no_place_claims_nothing() {
    let server = Rendezvous::start_with(|config| config.limits.rooms = 1).await;
    let camera = server.camera("front-door").await;
    is_refused(&server, &Identity::of("anna"), "garden", ErrorCode::Full).await;
    camera.leaves().await;
    hosts(&server, &Identity::of("bert"), "garden").await;
}

#[tokio::test]
async fn a_server_with_a_list_serves_only_who_is_on_it() {
    let (anna, bert) = (Identity::of("anna"), Identity::of("bert"));
    let server = Rendezvous::start_with(|config| {
        config.rooms.allow_keys.insert(anna.key.public());
        config.rooms.allow_rooms.insert("garden".parse().unwrap());
    })
    .await;
    hosts(&server, &anna, "anywhere").await;
    hosts(&server, &bert, "garden").await;
    let sentence = is_refused(&server, &bert, "attic", ErrorCode::NotListed).await;
    assert!(sentence.contains(&bert.key.public().to_string()), "{sentence}");
    // Who is not listed claims nothing.
    hosts(&server, &anna, "attic").await;
}

async fn time(server: &Rendezvous, room: &str) -> Option<ServerTime> {
    match server.knock_as_camera(room).await.hears().await {
        ToCamera::Hosting { time, .. } => time,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn the_time_is_signed_by_a_key_that_stays() {
    let folder = tempfile::tempdir().unwrap();
    let signed = async || -> PublicKey {
        let server = start_in(folder.path()).await;
        let ServerTime { unix_ms, key, signature } = time(&server, "garden").await.unwrap();
        let statement =
            proof::time(unix_ms, &"garden".parse().unwrap(), &Nonce::from_bytes([5; 16]));
        assert!(key.verify(&statement, &signature));
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        let differ = now.abs_diff(Duration::from_millis(unix_ms));
        assert!(differ < Duration::from_secs(60), "{differ:?}");
        server.stop().await;
        key
    };
    assert_eq!(signed().await, signed().await);
    // One that can't keep its key doesn't say: cameras would mistrust the next.
    assert_eq!(time(&Rendezvous::start().await, "garden").await, None);
}

#[tokio::test]
async fn a_damaged_store_is_an_error_in_words() {
    let folder = tempfile::tempdir().unwrap();
    let server = start_in(folder.path()).await;
    server.camera("garden").await;
    server.stop().await;
    let file = folder.path().join("claims.redb");
    std::fs::write(&file, "no claims at all").unwrap();
    let mut config = Config::default();
    config.listen = "127.0.0.1:0".parse().unwrap();
    config.state_dir = Some(folder.path().to_owned());
    let error = Server::bind(config).await.unwrap_err().to_string();
    assert!(error.contains(&file.display().to_string()), "{error}");
    assert!(error.contains("restore it from a copy"), "{error}");
    assert_eq!(std::fs::read(&file).unwrap(), b"no claims at all");
}
