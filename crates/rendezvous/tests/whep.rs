//! WHEP (draft-ietf-wish-whep): standard players, by HTTP.
#![allow(clippy::unwrap_used)]

mod support;

use peercam_protocol::signalling::{
    ByeReason, Error, ErrorCode, FromCamera, IceServer, SessionId, ToCamera, Transport,
};
use support::{whep::*, *};
use tokio::io::AsyncWriteExt;

const ROOM: &str = "front-door";
const ENDPOINT: &str = "/whep/front-door";
const TOKEN: &str = "Authorization: Bearer a.b.c\r\n";

/// A player that plays.
struct Player<'a> {
    server: &'a Rendezvous,
    session: SessionId,
    address: String,
    etag: String,
    created: Reply,
}

impl<'a> Player<'a> {
    async fn start(server: &'a Rendezvous, camera: &mut Camera) -> Self {
        Self::start_with(server, camera, "").await
    }

    async fn start_with(server: &'a Rendezvous, camera: &mut Camera, headers: &str) -> Self {
        let (sdp, headers) = (offer("view"), format!("{OFFER}{headers}"));
        let post = server.request("POST", ENDPOINT, &headers, &sdp);
        let (created, session) = tokio::join!(post, answers(camera, &sdp, "cam1"));
        assert_eq!(created.status, 201, "{created:?}");
        let address = created.header("location").unwrap().to_owned();
        let etag = created.header("etag").unwrap().to_owned();
        Self { server, session, address, etag, created }
    }

    async fn patch(&self, headers: &str, body: &str) -> Reply {
        let headers = format!("{FRAGMENT}{headers}");
        self.server.request("PATCH", &self.address, &headers, body).await
    }

    async fn delete(&self) -> Reply {
        self.server.request("DELETE", &self.address, "", "").await
    }

    /// Its session is over.
    async fn is_gone(&self) {
        // The server hears of it by another connection than the one that asks here.
        let gone = async {
            while self.patch("If-Match: *\r\n", &fragment("view", &[])).await.status != 404 {}
        };
        soon("the session to be gone", gone).await;
    }
}

#[tokio::test]
async fn a_player_watches_and_leaves() {
    let server = Rendezvous::start_with(|config| {
        config.ice_servers = vec![
            IceServer {
                urls: vec!["stun:stun.example:3478".to_owned()],
                username: None,
                credential: None,
            },
            IceServer {
                urls: vec!["turn:turn.example:3478?transport=udp".to_owned()],
                username: Some("1700000000:x".to_owned()),
                credential: Some("secret".to_owned()),
            },
        ];
    })
    .await;
    let mut camera = server.camera(ROOM).await;
    let player = Player::start(&server, &mut camera).await;
    let created = &player.created;
    assert_eq!(created.header("content-type"), Some("application/sdp"));
    assert_eq!(created.header("etag"), Some("\"0\""));
    assert_eq!(created.body, format!("{}a={HOST}\r\na=end-of-candidates\r\n", answer("cam1")));
    assert_eq!(created.count("link"), 2);
    let turn = "<turn:turn.example:3478?transport=udp>; rel=\"ice-server\"; \
                username=\"1700000000:x\"; credential=\"secret\"; credential-type=\"password\"";
    assert!(created.head.contains("<stun:stun.example:3478>; rel=\"ice-server\"\r\n"));
    assert!(created.head.contains(turn), "{}", created.head);
    let name = player.address.strip_prefix("/whep/front-door/").unwrap();
    assert!(name.len() >= 22, "{name}: too short to be unguessable");

    let body = fragment("view", &[HOST, "end-of-candidates"]);
    let patched = player.patch(&format!("If-Match: {}\r\n", player.etag), &body).await;
    assert_eq!((patched.status, patched.body.as_str()), (204, ""));
    hears_candidate(&mut camera, player.session, HOST).await;
    hears_candidate(&mut camera, player.session, "").await;

    assert_eq!(player.delete().await.status, 200);
    camera.hears_bye(player.session, ByeReason::ViewerLeft).await;
    assert_eq!(player.delete().await.status, 404);
}

#[tokio::test]
async fn the_camera_is_offered_what_the_player_offers() {
    let server = Rendezvous::start().await;
    let mut camera = server.camera(ROOM).await;
    let sdp = offer("view");
    let headers = "content-type: Application/SDP; charset=utf-8\r\nauthorization: bearer a.b.c\r\n";
    let post = server.request("POST", ENDPOINT, headers, &sdp);
    let hears = async {
        let ToCamera::Join { session, transport, offer: heard, resume, pass, .. } =
            camera.hears().await
        else {
            panic!("no join");
        };
        assert_eq!((transport, heard, resume), (Transport::Rtp, offer("view"), None));
        let pass = pass.unwrap();
        assert_eq!((pass.token.as_deref(), pass.signature), (Some("a.b.c"), None));
        camera.answers(session, &answer("cam1")).await;
        // It never says that there are no more: the answer does not wait for ever.
        camera.says(FromCamera::Candidate { session, candidate: candidate(HOST) }).await;
    };
    let (created, ()) = tokio::join!(post, hears);
    assert_eq!(created.status, 201);
    assert_eq!(created.body, format!("{}a={HOST}\r\n", answer("cam1")));
    assert_eq!(created.count("link"), 0);
}

#[tokio::test]
async fn ice_is_restarted() {
    let server = Rendezvous::start().await;
    let mut camera = server.camera(ROOM).await;
    let player = Player::start(&server, &mut camera).await;
    let again = offer("next").replace(" 67 2 ", " 67 3 ");
    let body = fragment("next", &["candidate:9 1 udp 1 192.0.2.9 5 typ host"]);
    let patch = player.patch("If-Match: *\r\n", &body);
    let (restarted, session) = tokio::join!(patch, answers(&mut camera, &again, "cam2"));
    assert_eq!(session, player.session);
    assert_eq!(restarted.status, 200, "{restarted:?}");
    assert_eq!(restarted.header("content-type"), Some("application/trickle-ice-sdpfrag"));
    let expected = fragment("cam2", &[HOST, "end-of-candidates"]);
    assert_eq!(restarted.body, expected);
    let etag = restarted.header("etag").unwrap();
    assert_ne!(etag, player.etag);
    hears_candidate(&mut camera, session, "candidate:9 1 udp 1 192.0.2.9 5 typ host").await;

    // From here on the new generation counts.
    let candidates = fragment("next", &[HOST]);
    let stale = player.patch(&format!("If-Match: {}\r\n", player.etag), &candidates).await;
    assert_eq!(stale.status, 412);
    // A late candidate is no restart to the generation before.
    for headers in ["If-Match: *\r\n".to_owned(), format!("If-Match: {etag}\r\n")] {
        assert_eq!(player.patch(&headers, &fragment("view", &[HOST])).await.status, 412);
    }
    let fresh = player.patch(&format!("If-Match: {etag}\r\n"), &candidates).await;
    assert_eq!(fresh.status, 204);
    hears_candidate(&mut camera, session, HOST).await;
}

#[tokio::test]
async fn a_restart_that_the_camera_refuses_leaves_the_session_as_it_was() {
    let server = Rendezvous::start().await;
    let mut camera = server.camera(ROOM).await;
    let player = Player::start(&server, &mut camera).await;
    let body = fragment("next", &[]);
    let refuses = async {
        let ToCamera::Join { session, .. } = camera.hears().await else { panic!("no join") };
        let error = Error::new(ErrorCode::BadMessage, "too many restarts: try again in a while");
        camera.says(FromCamera::Error { session: Some(session), error }).await;
    };
    let (refused, ()) = tokio::join!(player.patch("If-Match: *\r\n", &body), refuses);
    assert_eq!(refused.status, 409);
    assert!(refused.body.contains("too many restarts"), "{}", refused.body);
    let (etag, trickle) = (format!("If-Match: {}\r\n", player.etag), fragment("view", &[HOST]));
    assert_eq!(player.patch(&etag, &trickle).await.status, 204);
    hears_candidate(&mut camera, player.session, HOST).await;
}

#[tokio::test]
async fn a_patch_says_which_generation_of_ice_it_means() {
    let server = Rendezvous::start().await;
    let mut camera = server.camera(ROOM).await;
    let player = Player::start(&server, &mut camera).await;
    let (trickle, restart) = (fragment("view", &[HOST]), fragment("next", &[]));
    let unnamed = "m=video 9 UDP/TLS/RTP/SAVPF 0\r\na=mid:0\r\n".to_owned();
    for (headers, body, status) in [
        ("If-Match: \"7\"\r\n", &trickle, 412),
        ("If-Match: W/\"0\"\r\n", &trickle, 412),
        ("If-Match: \"7\"\r\n", &restart, 412),
        ("", &restart, 428),
        ("", &unnamed, 428),
        ("If-Match: \"0\"\r\n", &unnamed, 204),
        ("If-Match: \"7\", \"0\"\r\n", &fragment("view", &[]), 204),
    ] {
        let reply = player.patch(headers, body).await;
        assert_eq!(reply.status, status, "{headers} {body} {reply:?}");
    }
    // The credentials say it as well; there are players that leave If-Match out.
    assert_eq!(player.patch("", &trickle).await.status, 204);
    hears_candidate(&mut camera, player.session, HOST).await;
}

#[tokio::test]
async fn what_is_no_use_is_refused_in_words() {
    let server = Rendezvous::start_with(|config| config.limits.candidates = 4).await;
    let mut camera = server.camera(ROOM).await;
    let player = Player::start(&server, &mut camera).await;
    let json = "Content-Type: application/json\r\n";
    let large = "x".repeat(33 * 1024);
    let sdp = offer("view");
    for (path, headers, body, status, say) in [
        (ENDPOINT, json, sdp.as_str(), 415, "must be application/sdp"),
        (ENDPOINT, "", &sdp, 415, "must be application/sdp"),
        (ENDPOINT, OFFER, "let me in", 400, "no offer"),
        (ENDPOINT, OFFER, "", 400, "no offer"),
        (ENDPOINT, OFFER, "v=0\r\nm=video 9\r\n", 400, "a=ice-ufrag"),
        (ENDPOINT, OFFER, &large, 413, "more than 32768 bytes"),
        ("/whep/Front%20Door", OFFER, &sdp, 404, "a room name holds 'F'"),
        ("/whep/", OFFER, &sdp, 404, "a room name is empty"),
    ] {
        let reply = server.request("POST", path, headers, body).await;
        assert_eq!(reply.status, status, "{path} {headers} {reply:?}");
        assert!(reply.body.contains(say), "{}", reply.body);
    }
    let reply = server.request("POST", ENDPOINT, json, &sdp).await;
    assert_eq!(reply.header("accept-post"), Some("application/sdp"));

    let any = "If-Match: *\r\n";
    let many = fragment("view", &[HOST; 5]);
    for (body, status, say) in [
        ("let me in", 400, "no line of a fragment"),
        ("a=ice-ufrag:next\r\n", 400, "come together"),
        (many.as_str(), 400, "more than 4 candidates"),
        (&large, 413, "more than 16384 bytes"),
    ] {
        let reply = player.patch(any, body).await;
        assert_eq!(reply.status, status, "{reply:?}");
        assert!(reply.body.contains(say), "{}", reply.body);
    }
    let reply = server.request("PATCH", &player.address, &format!("{json}{any}"), &many).await;
    assert_eq!(reply.status, 415);
    assert_eq!(reply.header("accept-patch"), Some("application/trickle-ice-sdpfrag"));
    // And the session is as it was.
    assert_eq!(player.patch(any, &fragment("view", &[HOST])).await.status, 204);
    hears_candidate(&mut camera, player.session, HOST).await;
}

#[tokio::test]
async fn other_methods_are_not_allowed_and_options_says_which_are() {
    let server = Rendezvous::start().await;
    let mut camera = server.camera(ROOM).await;
    let player = Player::start(&server, &mut camera).await;
    let session = player.address.as_str();
    for (path, methods, allow) in [
        (ENDPOINT, ["GET", "PUT", "PATCH", "DELETE"], "POST, OPTIONS"),
        (session, ["GET", "PUT", "POST", "TRACE"], "PATCH, DELETE, OPTIONS"),
    ] {
        for method in methods {
            let reply = server.request(method, path, "", "").await;
            assert_eq!((reply.status, reply.header("allow")), (405, Some(allow)), "{method}");
        }
        let reply = server.request("OPTIONS", path, "", "").await;
        assert_eq!((reply.status, reply.header("allow")), (200, Some(allow)));
    }
    let reply = server.request("OPTIONS", ENDPOINT, "", "").await;
    assert_eq!(reply.header("accept-post"), Some("application/sdp"));
    let reply = server.request("OPTIONS", session, "", "").await;
    assert_eq!(reply.header("accept-patch"), Some("application/trickle-ice-sdpfrag"));
}

#[tokio::test]
async fn pages_of_anybody_may_ask() {
    let server = Rendezvous::start().await;
    let preflight = "Origin: https://a.example\r\nAccess-Control-Request-Method: POST\r\n";
    let reply = server.request("OPTIONS", ENDPOINT, preflight, "").await;
    assert_eq!(reply.status, 200);
    assert_eq!(reply.header("access-control-allow-origin"), Some("*"));
    for method in ["POST", "PATCH", "DELETE"] {
        assert!(reply.header("access-control-allow-methods").unwrap().contains(method));
    }
    for name in ["Authorization", "Content-Type", "If-Match"] {
        assert!(reply.header("access-control-allow-headers").unwrap().contains(name));
    }
    // What a page needs it can read, refusals included.
    let reply = server.request("POST", ENDPOINT, OFFER, &offer("view")).await;
    assert_eq!(reply.header("access-control-allow-origin"), Some("*"));
    for name in ["Location", "ETag", "Link", "Retry-After", "WWW-Authenticate"] {
        assert!(reply.header("access-control-expose-headers").unwrap().contains(name));
    }
}

#[tokio::test]
async fn without_a_camera_there_is_a_conflict_for_now() {
    let server = Rendezvous::start().await;
    let reply = server.request("POST", ENDPOINT, OFFER, &offer("view")).await;
    assert_eq!(reply.status, 409);
    assert_eq!(reply.header("retry-after"), Some("5"));
    assert!(reply.body.contains("no camera is in the room \"front-door\""), "{}", reply.body);
}

#[tokio::test]
async fn what_the_camera_says_against_it_has_a_status() {
    use ErrorCode as E;
    let server = Rendezvous::start().await;
    let mut camera = server.camera(ROOM).await;
    for (code, status, challenge) in [
        (E::TokenMissing, 401, Some("Bearer realm=\"peercam\"")),
        (E::TokenInvalid, 401, Some("error=\"invalid_token\"")),
        (E::TokenExpired, 401, Some("error_description=\"no, because\"")),
        (E::TokenNotYetValid, 401, Some("error=\"invalid_token\"")),
        (E::TokenUsed, 401, Some("error=\"invalid_token\"")),
        (E::TokenRevoked, 401, Some("error=\"invalid_token\"")),
        (E::TokenForAnotherRoom, 403, Some("error=\"insufficient_scope\"")),
        (E::TokenNotYours, 403, Some("error=\"insufficient_scope\"")),
        (E::NotAllowed, 403, Some("error=\"insufficient_scope\"")),
        (E::BadOffer, 422, None),
        (E::Full, 503, None),
        (E::MediaUnavailable, 503, None),
        (E::Other, 502, None),
    ] {
        let sdp = offer("view");
        let refuses = async {
            let session = camera.hears_join(&sdp).await;
            let error = Error::new(code, "no, because");
            camera.says(FromCamera::Error { session: Some(session), error }).await;
        };
        let (reply, ()) = tokio::join!(server.request("POST", ENDPOINT, OFFER, &sdp), refuses);
        assert_eq!((reply.status, reply.body.as_str()), (status, "no, because\n"), "{code:?}");
        let authenticate = reply.header("www-authenticate");
        assert_eq!(authenticate.is_some(), challenge.is_some(), "{code:?}");
        let said = authenticate.unwrap_or_default();
        assert!(said.contains(challenge.unwrap_or_default()), "{code:?}: {said}");
        assert_eq!(reply.header("retry-after").is_some(), status == 503, "{code:?}");
    }
}

#[tokio::test]
async fn a_session_is_its_token_holders_alone() {
    let server = Rendezvous::start().await;
    let mut camera = server.camera(ROOM).await;
    let player = Player::start_with(&server, &mut camera, TOKEN).await;
    let trickle = fragment("view", &[HOST]);
    for headers in ["If-Match: *\r\n", "If-Match: *\r\nAuthorization: Bearer a.b.d\r\n"] {
        let reply = player.patch(headers, &trickle).await;
        assert_eq!(reply.status, 401);
        assert!(reply.header("www-authenticate").unwrap().contains("invalid_token"));
    }
    assert_eq!(player.delete().await.status, 401);
    let elsewhere = player.address.replace(ROOM, "garden");
    let reply = server.request("DELETE", &elsewhere, TOKEN, "").await;
    assert_eq!(reply.status, 404);
    let reply = server.request("DELETE", &player.address, TOKEN, "").await;
    assert_eq!(reply.status, 200);
    camera.hears_bye(player.session, ByeReason::ViewerLeft).await;
}

#[tokio::test]
async fn a_session_ends_with_the_cameras_word_and_with_its_connection() {
    let server = Rendezvous::start().await;
    let mut camera = server.camera(ROOM).await;
    let player = Player::start(&server, &mut camera).await;
    let (session, reason) = (player.session, ByeReason::ConnectionLost);
    camera.says(FromCamera::Bye { session, reason }).await;
    player.is_gone().await;

    let player = Player::start(&server, &mut camera).await;
    let error = Error::new(ErrorCode::TokenExpired, "the token expired");
    camera.says(FromCamera::Error { session: Some(player.session), error }).await;
    player.is_gone().await;

    let player = Player::start(&server, &mut camera).await;
    camera.leaves().await;
    player.is_gone().await;
    // Nobody is left behind: the next camera has no viewers but its own.
    let mut camera = server.camera(ROOM).await;
    Player::start(&server, &mut camera).await;
}

#[tokio::test]
async fn a_player_that_hangs_up_has_no_session() {
    let server = Rendezvous::start().await;
    let mut camera = server.camera(ROOM).await;
    let sdp = offer("view");
    let mut stream = tokio::net::TcpStream::connect(server.address).await.unwrap();
    let request = format!(
        "POST {ENDPOINT} HTTP/1.1\r\nHost: test\r\n{OFFER}Content-Length: {}\r\n\r\n{sdp}",
        sdp.len()
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let session = camera.hears_join(&sdp).await;
    drop(stream);
    camera.hears_bye(session, ByeReason::ViewerLeft).await;
}

#[tokio::test]
async fn a_camera_that_does_not_answer_is_not_waited_for_without_end() {
    let server = Rendezvous::start().await;
    let mut camera = server.camera(ROOM).await;
    let sdp = offer("view");
    let (reply, session) =
        tokio::join!(server.request("POST", ENDPOINT, OFFER, &sdp), camera.hears_join(&sdp));
    assert_eq!(reply.status, 504);
    assert!(reply.body.contains("does not answer"), "{}", reply.body);
    camera.hears_bye(session, ByeReason::ViewerLeft).await;
}

#[tokio::test]
async fn one_address_has_only_so_many_sessions() {
    let server = Rendezvous::start_with(|config| config.limits.connections_per_address = 3).await;
    let mut camera = server.camera(ROOM).await;
    let first = Player::start(&server, &mut camera).await;
    let _second = Player::start(&server, &mut camera).await;
    let reply = server.request("POST", ENDPOINT, OFFER, &offer("view")).await;
    assert_eq!(reply.status, 503);
    assert!(reply.body.contains("your address has 3"), "{}", reply.body);
    assert!(reply.header("retry-after").is_some());
    assert_eq!(first.delete().await.status, 200);
    camera.hears_bye(first.session, ByeReason::ViewerLeft).await;
    Player::start(&server, &mut camera).await;
}

#[tokio::test]
async fn a_player_that_asks_too_often_is_slowed_down_and_nobody_else() {
    let server = Rendezvous::start_with(|config| {
        config.limits.viewer_message_burst = 5;
        config.limits.viewer_messages_per_second = 1;
    })
    .await;
    let mut camera = server.camera(ROOM).await;
    let hasty = Player::start(&server, &mut camera).await;
    let other = Player::start(&server, &mut camera).await;
    let trickle = fragment("view", &[HOST]);
    let asks = async {
        loop {
            let reply = hasty.patch("If-Match: *\r\n", &trickle).await;
            if reply.status != 204 {
                return reply;
            }
        }
    };
    let reply = soon("a refusal", asks).await;
    assert_eq!(reply.status, 429);
    assert!(reply.header("retry-after").is_some());
    assert_eq!(other.patch("If-Match: *\r\n", &trickle).await.status, 204);
}

#[tokio::test]
async fn a_server_that_ends_says_so_and_does_not_wait_for_players() {
    let mut server = Rendezvous::start().await;
    let mut camera = server.camera(ROOM).await;
    Player::start(&server, &mut camera).await;
    let sdp = offer("view");
    let mut stream = tokio::net::TcpStream::connect(server.address).await.unwrap();
    let request = format!(
        "POST {ENDPOINT} HTTP/1.1\r\nHost: test\r\n{OFFER}Content-Length: {}\r\n\r\n{sdp}",
        sdp.len()
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    camera.hears_join(&sdp).await;
    server.begin_stop();
    let mut reply = Vec::new();
    let read = tokio::io::AsyncReadExt::read_to_end(&mut stream, &mut reply);
    soon("the answer", read).await.unwrap();
    let reply = Reply::parse(&String::from_utf8(reply).unwrap());
    assert_eq!(reply.status, 503, "{reply:?}");
    assert!(reply.body.contains("shutting down"), "{}", reply.body);
    server.stopped().await;
}
