//! Several nodes and a real NATS server: what one node has, viewers of the others can watch.
#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

use std::time::{Duration, Instant};

use peercam_protocol::signalling::{
    ByeReason, ErrorCode, FromCamera, FromViewer, ToCamera, ToViewer,
};
use support::{cluster::*, *};
use tokio::time::sleep;

#[tokio::test]
async fn a_viewer_at_one_node_watches_a_camera_at_another() {
    let nats = Nats::start();
    let (a, b) = (nats.node().await, nats.node().await);
    let mut camera = moves_in(a.address, "front.door").await;
    sees(b.address, "front.door", true).await;
    let mut viewer = b.knock_as_viewer("front.door").await;
    let ToViewer::Welcome { online: true, .. } = viewer.hears().await else { panic!() };
    let number = session(&mut camera, &mut viewer).await;
    for _ in 0..50 {
        viewer.says(FromViewer::Candidate { candidate: candidate("v") }).await;
        camera.says(FromCamera::Candidate { session: number, candidate: candidate("c") }).await;
    }
    for _ in 0..50 {
        let expected = ToCamera::Candidate { session: number, candidate: candidate("v") };
        assert_eq!(camera.hears().await, expected);
        assert_eq!(viewer.hears().await, ToViewer::Candidate { candidate: candidate("c") });
    }
    // The other way round, at the same time.
    let mut second_camera = moves_in(b.address, "back-door").await;
    sees(a.address, "back-door", true).await;
    let mut second = a.viewer("back-door").await;
    session(&mut second_camera, &mut second).await;

    camera.says(FromCamera::Bye { session: number, reason: ByeReason::CameraStopping }).await;
    assert_eq!(viewer.hears().await, ToViewer::Bye { reason: ByeReason::CameraStopping });
    let number = session(&mut camera, &mut viewer).await;
    viewer.leaves().await;
    let expected = ToCamera::Bye { session: number, reason: ByeReason::ViewerLeft };
    assert_eq!(camera.hears().await, expected);
}

#[tokio::test]
async fn who_waits_is_told_at_every_node() {
    let nats = Nats::start();
    let nodes = [nats.node().await, nats.node().await, nats.node().await];
    let mut viewers = Vec::new();
    for node in &nodes {
        let mut viewer = node.knock_as_viewer("front-door").await;
        let ToViewer::Welcome { online: false, .. } = viewer.hears().await else { panic!() };
        viewers.push(viewer);
    }
    for node in &nodes {
        let camera = moves_in(node.address, "front-door").await;
        for viewer in &mut viewers {
            hears_camera(viewer, true).await;
        }
        camera.leaves().await;
        for viewer in &mut viewers {
            hears_camera(viewer, false).await;
        }
    }
}

#[tokio::test]
async fn of_two_connections_of_one_camera_the_newer_has_the_room() {
    let nats = Nats::start();
    let (a, b) = (nats.node().await, nats.node().await);
    let mut viewer = a.viewer("front-door").await;
    let mut older = moves_in(a.address, "front-door").await;
    hears_camera(&mut viewer, true).await;
    sees(b.address, "front-door", true).await;
    let mut newer = moves_in(b.address, "front-door").await;
    older.hears_error(ErrorCode::RoomTaken).await;
    hears_camera(&mut viewer, false).await;
    hears_camera(&mut viewer, true).await;
    session(&mut newer, &mut viewer).await;
    drop(older);
    sees(a.address, "front-door", true).await;
}

#[tokio::test]
async fn a_claim_made_at_one_node_holds_at_every_other() {
    let mut nats = Nats::start();
    let (a, b) = (nats.node().await, nats.node().await);
    let camera = moves_in(a.address, "front-door").await;
    sees(b.address, "front-door", true).await;
    let stranger = Identity::of("a stranger");
    let mut refused = b.knock_as(&stranger, "front-door").await;
    refused.hears_error(ErrorCode::RoomClaimed).await;
    camera.leaves().await;
    sees(b.address, "front-door", false).await;
    // Neither is it forgotten with a node, nor with NATS.
    nats.stop();
    b.knock_as(&stranger, "front-door").await.hears_error(ErrorCode::RoomClaimed).await;
    let _own = moves_in(b.address, "front-door").await;
    nats.start_again();
    let c = nats.node().await;
    sees(c.address, "front-door", true).await;
    c.knock_as(&stranger, "front-door").await.hears_error(ErrorCode::RoomClaimed).await;
}

#[tokio::test]
async fn a_door_holds_for_viewers_of_other_nodes_too() {
    let nats = Nats::start();
    let (a, b) = (nats.node().await, nats.node().await);
    let identity = Identity::of("a camera with a door").with_door();
    let room = identity.own_room().as_str().to_owned();
    let mut camera = a.knock_as(&identity, &room).await;
    let ToCamera::Hosting { .. } = camera.hears().await else { panic!() };
    sees(b.address, &room, true).await;
    b.knock_as_viewer(&room).await.hears_error(ErrorCode::TokenMissing).await;
    b.knock_with(&room, "x.y.z").await.hears_error(ErrorCode::TokenInvalid).await;
}

#[tokio::test]
async fn a_killed_nodes_cameras_are_watched_by_another() {
    let nats = Nats::start();
    let mut a = nats.process();
    let (b, c) = (nats.process(), nats.process());
    for node in [&a, &b, &c] {
        node.is_up().await;
    }
    let mut camera = moves_in(a.address, "front-door").await;
    sees(b.address, "front-door", true).await;
    let mut viewer = b.viewer("front-door").await;
    let ToViewer::Welcome { online: true, .. } = viewer.hears().await else { panic!() };
    session(&mut camera, &mut viewer).await;

    a.kill();
    let killed = Instant::now();
    while camera.frame().await.is_some() {}
    let mut camera = moves_in(c.address, "front-door").await;
    while !matches!(viewer.hears().await, ToViewer::Camera { online: true, .. }) {}
    session(&mut camera, &mut viewer).await;
    let took = killed.elapsed();
    assert!(took < Duration::from_secs(15), "{took:?}");
}

#[tokio::test]
async fn a_camera_of_a_killed_node_that_does_not_come_back_is_offline() {
    let nats = Nats::start();
    let mut a = nats.process();
    let b = nats.node().await;
    a.is_up().await;
    let _camera = moves_in(a.address, "front-door").await;
    sees(b.address, "front-door", true).await;
    let mut viewer = b.viewer("front-door").await;
    a.kill();
    hears_camera(&mut viewer, false).await;
    sees(b.address, "front-door", false).await;
}

#[tokio::test]
async fn when_a_viewers_node_is_killed_his_media_goes_on() {
    let nats = Nats::start();
    let a = nats.node_with("", "viewers-per-room = 1").await;
    let mut b = nats.process();
    b.is_up().await;
    let mut camera = moves_in(a.address, "front-door").await;
    sees(b.address, "front-door", true).await;
    let mut viewer = b.viewer("front-door").await;
    let ToViewer::Welcome { online: true, .. } = viewer.hears().await else { panic!() };
    session(&mut camera, &mut viewer).await;
    b.kill();
    // His place becomes free, and the first that the camera hears is the next viewer's join.
    let free = async {
        loop {
            let mut next = a.knock_as_viewer("front-door").await;
            let text = next.hears_text().await;
            if text.contains("\"welcome\"") {
                return next;
            }
            sleep(Duration::from_millis(200)).await;
        }
    };
    let mut next = soon("the place to become free", free).await;
    session(&mut camera, &mut next).await;
}

#[tokio::test]
async fn without_nats_a_node_goes_on_alone_and_then_finds_the_others_again() {
    let mut nats = Nats::start();
    let (a, b) = (nats.node().await, nats.node().await);
    let mut camera = moves_in(a.address, "front-door").await;
    sees(b.address, "front-door", true).await;
    let mut near = a.viewer("front-door").await;
    let mut far = b.viewer("front-door").await;
    session(&mut camera, &mut far).await;
    nats.stop();
    hears_camera(&mut far, false).await;
    session(&mut camera, &mut near).await;
    far.joins("an offer").await;
    let words = far.hears_error(ErrorCode::CameraOffline).await;
    assert!(words.contains("NATS"), "{words}");
    // A camera that comes meanwhile is served here, and found by the others later.
    let (mut second, room) = with_own_room(&b, "back-door").await;
    let mut local = b.viewer(&room).await;
    session(&mut second, &mut local).await;

    nats.start_again();
    hears_camera(&mut far, true).await;
    session(&mut camera, &mut far).await;
    sees(a.address, &room, true).await;
}

#[tokio::test]
async fn a_node_starts_without_nats_and_joins_it_later() {
    let mut nats = Nats::start();
    nats.stop();
    let (a, b) = (nats.node().await, nats.node().await);
    let (mut camera, room) = with_own_room(&a, "front-door").await;
    let mut near = a.viewer(&room).await;
    session(&mut camera, &mut near).await;
    let mut far = b.viewer(&room).await;
    nats.start_again();
    hears_camera(&mut far, true).await;
    session(&mut camera, &mut far).await;
}

#[tokio::test]
async fn a_node_is_ready_once_it_was_in_the_cluster_and_says_when_it_is_alone() {
    let mut nats = Nats::start();
    nats.stop();
    let a = nats.node().await;
    // Its configuration may be wrong: nobody should be sent there.
    readyz(a.address, 503, "cluster: cannot connect to NATS").await;
    counts(&a, "peercam_ready 0").await;
    nats.start_again();
    assert_eq!(readyz(a.address, 200, "").await, "ready\n");
    // All nodes may have lost NATS: each still serves its own cameras.
    nats.stop();
    readyz(a.address, 200, "ready, but cameras at other nodes can't be reached: cluster: ").await;
    for line in [
        "peercam_ready 1",
        "peercam_cluster_connected 0",
        "peercam_cluster_nodes 0",
        "peercam_cluster_disconnects_total 1",
    ] {
        counts(&a, line).await;
    }
    nats.start_again();
    readyz(a.address, 200, "ready\n").await;
    counts(&a, "peercam_cluster_connected 1").await;
}

#[tokio::test]
async fn nodes_visits_and_messages_are_counted() {
    let nats = Nats::start();
    let (a, b) = (nats.node().await, nats.node().await);
    let (mut camera, room) = with_own_room(&a, "front-door").await;
    sees(b.address, &room, true).await;
    for node in [&a, &b] {
        counts(node, "peercam_cluster_connected 1").await;
        counts(node, "peercam_cluster_nodes 2").await;
    }
    counts(&a, "peercam_cluster_cameras{at=\"here\"} 1").await;
    counts(&a, "peercam_cluster_cameras{at=\"elsewhere\"} 0").await;
    counts(&b, "peercam_cluster_cameras{at=\"here\"} 0").await;
    counts(&b, "peercam_cluster_cameras{at=\"elsewhere\"} 1").await;

    let mut viewer = b.viewer(&room).await;
    session(&mut camera, &mut viewer).await;
    counts(&a, "peercam_cluster_visits{direction=\"in\"} 1").await;
    counts(&b, "peercam_cluster_visits{direction=\"out\"} 1").await;
    // Watch and join; welcome and answer.
    for (node, direction) in [(&b, "out"), (&a, "in"), (&a, "out"), (&b, "in")] {
        let line = format!("peercam_cluster_messages_total{{direction=\"{direction}\"}} 2");
        counts(node, &line).await;
    }
    viewer.leaves().await;
    counts(&a, "peercam_cluster_visits{direction=\"in\"} 0").await;
    counts(&b, "peercam_cluster_visits{direction=\"out\"} 0").await;

    let client = async_nats::connect(nats.url()).await.unwrap();
    client.publish("peercam.nodes", "garbage".into()).await.unwrap();
    client.flush().await.unwrap();
    counts(&b, "peercam_cluster_messages_dropped_total{reason=\"unreadable\"} 1").await;
    drop(camera);
    counts(&b, "peercam_cluster_cameras{at=\"elsewhere\"} 0").await;
}

#[tokio::test]
async fn a_node_that_is_told_to_end_hands_its_cameras_over() {
    let nats = Nats::start();
    let mut a = nats.process();
    let b = nats.node().await;
    a.is_up().await;
    let mut camera = moves_in(a.address, "front-door").await;
    let mut lazy = moves_in(a.address, "back-door").await;
    sees(b.address, "back-door", true).await;
    let (mut viewer, mut waiting) = (b.viewer("front-door").await, b.viewer("back-door").await);
    session(&mut camera, &mut viewer).await;

    a.terminate();
    for camera in [&mut camera, &mut lazy] {
        let ToCamera::Move { .. } = camera.hears().await else { panic!("not told to move") };
    }
    // One of them moves, and its viewer follows it.
    let mut moved = moves_in(b.address, "front-door").await;
    hears_camera(&mut viewer, true).await;
    session(&mut moved, &mut viewer).await;
    // The other one stays until the end. Then it is gone at once, long before a node that was
    // killed would be missed.
    a.ended().await;
    let ended = Instant::now();
    hears_camera(&mut waiting, false).await;
    sees(b.address, "back-door", false).await;
    let took = ended.elapsed();
    assert!(took < Duration::from_secs(4), "{took:?}");
    counts(&b, "peercam_cluster_nodes 1").await;
    let mut lazy = moves_in(b.address, "back-door").await;
    hears_camera(&mut waiting, true).await;
    session(&mut lazy, &mut waiting).await;
}

#[tokio::test]
async fn limits_hold_for_viewers_of_other_nodes_too() {
    let nats = Nats::start();
    let a = nats.node_with("remote-viewers = 2", "viewers-per-room = 1\ncandidates = 3").await;
    let b = nats.node().await;
    let mut camera = moves_in(a.address, "one").await;
    let _cameras = (moves_in(a.address, "two").await, moves_in(a.address, "three").await);
    sees(b.address, "three", true).await;
    let mut viewer = b.viewer("one").await;
    let words = b.knock_as_viewer("one").await.hears_error(ErrorCode::Full).await;
    assert!(words.contains("1 viewers"), "{words}");
    let _second = b.viewer("two").await;
    let words = b.knock_as_viewer("three").await.hears_error(ErrorCode::Full).await;
    assert!(words.contains("2 viewers from other nodes"), "{words}");
    session(&mut camera, &mut viewer).await;
    for _ in 0..4 {
        viewer.says(FromViewer::Candidate { candidate: candidate("v") }).await;
    }
    viewer.hears_error(ErrorCode::Full).await;
    viewer.is_closed(1013).await;
}

#[tokio::test]
async fn garbage_and_floods_on_the_subjects_do_no_harm() {
    let nats = Nats::start();
    let (a, b) = (nats.node().await, nats.node().await);
    let mut camera = moves_in(a.address, "front-door").await;
    sees(b.address, "front-door", true).await;
    let mut viewer = b.viewer("front-door").await;
    let number = session(&mut camera, &mut viewer).await;

    let client = async_nats::connect(nats.url()).await.unwrap();
    let store = async_nats::jetstream::new(client.clone());
    let store = store.get_key_value("peercam-cameras").await.unwrap();
    store.put("front-door", "garbage".into()).await.unwrap();
    store.put("Not.A.Room", "garbage".into()).await.unwrap();
    let stranger = "f".repeat(32);
    let inboxes = subjects(&nats).await;
    assert_eq!(inboxes.len(), 2, "{inboxes:?}");
    for round in 0..200 {
        for subject in inboxes.iter().cloned().chain(["peercam.nodes".to_owned()]) {
            for payload in [
                Vec::new(),
                b"garbage".to_vec(),
                vec![b'['; 300_000],
                format!("{{\"version\":1,\"from\":\"{stranger}\",\"message\":{{\"newer\":{{}}}}}}").into(),
                format!("{{\"version\":1,\"from\":\"{round:032x}\",\"message\":{{\"watch\":{{\"visit\":{round},\"room\":\"front-door\",\"token\":null}}}}}}").into(),
                format!("{{\"version\":1,\"from\":\"{stranger}\",\"message\":{{\"said\":{{\"visit\":{round},\"number\":0,\"text\":\"x\"}}}}}}").into(),
                format!("{{\"version\":1,\"from\":\"{stranger}\",\"message\":{{\"told\":{{\"visit\":{round},\"number\":0,\"text\":\"x\"}}}}}}").into(),
            ] {
                client.publish(subject.clone(), payload.into()).await.unwrap();
            }
        }
    }
    client.flush().await.unwrap();
    // The session that runs is the camera's and the viewer's as before.
    viewer.says(FromViewer::Candidate { candidate: candidate("v") }).await;
    let expected = ToCamera::Candidate { session: number, candidate: candidate("v") };
    assert_eq!(camera.hears().await, expected);
    // What was written over the camera was put right.
    sees(b.address, "front-door", true).await;
}

/// The subjects on which single nodes listen, from NATS itself.
async fn subjects(nats: &Nats) -> Vec<String> {
    // Whoever greets is greeted by every node, with its id.
    let client = async_nats::connect(nats.url()).await.unwrap();
    let mut news = client.subscribe("peercam.nodes").await.unwrap();
    let mut found = std::collections::BTreeSet::new();
    let until = Instant::now() + Duration::from_secs(3);
    while let Ok(Some(message)) =
        tokio::time::timeout_at(until.into(), futures_util::StreamExt::next(&mut news)).await
    {
        let value: serde_json::Value = serde_json::from_slice(&message.payload).unwrap();
        found.insert(format!("peercam.node.{}", value["from"].as_str().unwrap()));
    }
    found.into_iter().collect()
}
