//! Standard players (WHEP) in front of several nodes: camera, session and each request of the
//! player may be at a node of their own.
#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

use std::net::SocketAddr;

use peercam_protocol::signalling::{ByeReason, SessionId};
use support::{cluster::*, whep::*, *};
use tokio::net::TcpStream;

const ANY: &str = "If-Match: *\r\n";
const TOKEN: &str = "Authorization: Bearer a.b.c\r\n";

async fn request(to: SocketAddr, method: &str, path: &str, headers: &str, body: &str) -> Reply {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\
         Content-Length: {}\r\n{headers}\r\n{body}",
        body.len()
    );
    let mut stream = TcpStream::connect(to).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    soon("the answer", stream.read_to_end(&mut answer)).await.unwrap();
    Reply::parse(&String::from_utf8_lossy(&answer))
}

/// Begins a session at a node; returns its number, its address and its entity tag.
async fn plays(at: SocketAddr, room: &str, camera: &mut Camera) -> (SessionId, String, String) {
    let (sdp, headers) = (offer("view"), format!("{OFFER}{TOKEN}"));
    let path = format!("/whep/{room}");
    let post = request(at, "POST", &path, &headers, &sdp);
    let (created, session) = tokio::join!(post, answers(camera, &sdp, "cam1"));
    assert_eq!(created.status, 201, "{created:?}");
    assert_eq!(created.body, format!("{}a={HOST}\r\na=end-of-candidates\r\n", answer("cam1")));
    let header = |name| created.header(name).unwrap().to_owned();
    (session, header("location"), header("etag"))
}

async fn patch(to: SocketAddr, path: &str, headers: &str, body: &str) -> Reply {
    request(to, "PATCH", path, &format!("{FRAGMENT}{headers}"), body).await
}

#[tokio::test]
async fn each_request_of_a_player_may_come_to_any_node() {
    let nats = Nats::start();
    let (a, b, c) = (nats.node().await, nats.node().await, nats.node().await);
    let (mut camera, room) = with_own_room(&a, "front-door").await;
    for node in [&b, &c] {
        sees(node.address, &room, true).await;
        counts(node, "peercam_cluster_nodes 3").await;
    }
    let (session, path, etag) = plays(b.address, &room, &mut camera).await;
    for node in [&a, &b, &c] {
        let headers = format!("{TOKEN}If-Match: {etag}\r\n");
        let taken = patch(node.address, &path, &headers, &fragment("view", &[HOST])).await;
        assert_eq!((taken.status, taken.body.as_str()), (204, ""), "{taken:?}");
        assert_eq!(taken.header("access-control-allow-origin"), Some("*"));
        hears_candidate(&mut camera, session, HOST).await;
    }
    // What speaks against a request is said in the same words everywhere.
    for (headers, body, status) in [
        (ANY.to_owned(), fragment("view", &[HOST]), 401),
        (format!("{TOKEN}If-Match: \"7\"\r\n"), fragment("view", &[HOST]), 412),
        (format!("{TOKEN}{ANY}"), "let me in".to_owned(), 400),
    ] {
        let at_its_node = patch(b.address, &path, &headers, &body).await;
        let at_another = patch(c.address, &path, &headers, &body).await;
        assert_eq!(at_another.status, status, "{at_another:?}");
        assert_eq!(at_another.body, at_its_node.body);
        for name in ["www-authenticate", "content-type"] {
            assert_eq!(at_another.header(name), at_its_node.header(name));
        }
    }
    // ICE is restarted by way of two other nodes.
    let again = offer("next").replace(" 67 2 ", " 67 3 ");
    let (headers, body) = (format!("{TOKEN}{ANY}"), fragment("next", &[]));
    let restart = patch(c.address, &path, &headers, &body);
    let (restarted, same) = tokio::join!(restart, answers(&mut camera, &again, "cam2"));
    assert_eq!((restarted.status, same), (200, session), "{restarted:?}");
    assert_eq!(restarted.body, fragment("cam2", &[HOST, "end-of-candidates"]));
    assert_ne!(restarted.header("etag"), Some(etag.as_str()));

    assert_eq!(request(a.address, "DELETE", &path, TOKEN, "").await.status, 200);
    camera.hears_bye(session, ByeReason::ViewerLeft).await;
    for node in [&a, &b, &c] {
        let reply = request(node.address, "DELETE", &path, TOKEN, "").await;
        assert_eq!(reply.status, 404);
        assert!(reply.body.contains("POST a new offer"), "{}", reply.body);
    }
}

#[tokio::test]
async fn a_session_waits_while_its_node_cannot_be_reached() {
    let mut nats = Nats::start();
    let (mut a, b) = (nats.process(), nats.node().await);
    a.is_up().await;
    let mut camera = moves_in(a.address, "front-door").await;
    sees(b.address, "front-door", true).await;
    let (session, path, _) = plays(a.address, "front-door", &mut camera).await;
    let (headers, body) = (format!("{TOKEN}{ANY}"), fragment("view", &[HOST]));
    nats.stop();
    readyz(b.address, 200, "can't be reached").await;
    let away = patch(b.address, &path, &headers, &body).await;
    assert_eq!(away.status, 503, "{away:?}");
    assert!(away.body.contains("the session's server can't be reached now"), "{}", away.body);
    assert!(away.header("retry-after").is_some());
    // At its own node nothing has happened to it.
    assert_eq!(patch(a.address, &path, &headers, &body).await.status, 204);
    hears_candidate(&mut camera, session, HOST).await;

    nats.start_again();
    sees(b.address, "front-door", true).await;
    assert_eq!(patch(b.address, &path, &headers, &body).await.status, 204);
    hears_candidate(&mut camera, session, HOST).await;
    // One that says nothing any more may live all the same.
    a.kill();
    sees(b.address, "front-door", false).await;
    let silent = patch(b.address, &path, &headers, &body).await;
    assert_eq!(silent.status, 503, "{silent:?}");
    assert!(silent.body.contains("nothing is heard of it"), "{}", silent.body);
    // Garbage in the place of a node is no node.
    for name in ["x.y", &"x".repeat(9000)] {
        let path = format!("/whep/front-door/{name}");
        assert_eq!(patch(b.address, &path, &headers, &body).await.status, 404);
    }
}

#[tokio::test]
async fn a_session_outlives_its_nodes_way_to_nats_and_ends_with_the_node() {
    let mut nats = Nats::cluster();
    let mut a = Process::start(&[nats[2].url()], "replicas = 3");
    let b = node(&[nats[0].url()], "replicas = 3", "").await;
    a.is_up().await;
    let mut camera = moves_in(a.address, "front-door").await;
    sees(b.address, "front-door", true).await;
    let (session, path, _) = plays(a.address, "front-door", &mut camera).await;
    let (headers, body) = (format!("{TOKEN}{ANY}"), fragment("view", &[HOST]));

    // Only the session's node is without NATS.
    nats[2].stop();
    counts(&b, "peercam_cluster_nodes 1").await;
    let away = patch(b.address, &path, &headers, &body).await;
    assert_eq!(away.status, 503, "{away:?}");
    assert!(away.header("retry-after").is_some());
    assert_eq!(patch(a.address, &path, &headers, &body).await.status, 204);
    hears_candidate(&mut camera, session, HOST).await;

    nats[2].start_again();
    counts(&b, "peercam_cluster_nodes 2").await;
    assert_eq!(patch(b.address, &path, &headers, &body).await.status, 204);
    hears_candidate(&mut camera, session, HOST).await;

    // It says goodbye.
    a.terminate();
    a.ended().await;
    counts(&b, "peercam_cluster_nodes 1").await;
    let gone = patch(b.address, &path, &headers, &body).await;
    assert_eq!(gone.status, 404, "{gone:?}");
    assert!(gone.body.contains("POST a new offer"), "{}", gone.body);
}
