//! What is no message, or makes no sense now, is answered with one clear error; what was going on
//! goes on.
#![allow(clippy::unwrap_used)]

mod support;

use peercam_protocol::signalling::{
    ByeReason, ErrorCode, FromCamera, SessionId, ToCamera, ToViewer,
};
use support::*;
use tokio_tungstenite::tungstenite::Message;

#[tokio::test]
async fn a_viewer_is_told_what_was_wrong_and_may_go_on() {
    let server = Rendezvous::start().await;
    let mut camera = server.camera("front-door").await;
    let mut viewer = server.viewer("front-door").await;
    use ErrorCode::*;
    for (frame, code, names) in [
        (Message::text("hello"), BadMessage, "not JSON"),
        (Message::text(""), BadMessage, "not JSON"),
        (Message::text("[1]"), BadMessage, "\"type\""),
        (Message::text(r#"{"type":"join"}"#), BadMessage, "offer"),
        (Message::text(r#"{"type":"candidate","candidate":7}"#), BadMessage, "candidate"),
        (Message::text(r#"{"type":"dance"}"#), UnknownType, "dance"),
        // What only a camera says.
        (Message::text(r#"{"type":"answer","session":1,"sdp":""}"#), UnknownType, "answer"),
        (Message::binary([0xff, 0x00, 0x7f].as_slice()), BadMessage, "binary frame of 3 bytes"),
        (
            Message::text(r#"{"type":"candidate","candidate":{"candidate":""}}"#),
            OutOfOrder,
            "before the join",
        ),
    ] {
        viewer.sends(frame.clone()).await;
        let sentence = viewer.hears_error(code).await;
        assert!(sentence.contains(names), "{frame:?}: {sentence}");
    }
    // A bye without a session ends nothing, and needs no answer.
    viewer.says_text(r#"{"type":"bye","reason":"viewer-left"}"#).await;
    session(&mut camera, &mut viewer).await;
}

#[tokio::test]
async fn a_camera_is_told_what_was_wrong_and_may_go_on() {
    let server = Rendezvous::start().await;
    let mut camera = server.camera("front-door").await;
    let mut viewer = server.viewer("front-door").await;
    use ErrorCode::*;
    for (frame, code, names) in [
        (Message::text("{"), BadMessage, "not JSON"),
        (Message::text(r#"{"type":"answer","sdp":""}"#), BadMessage, "session"),
        // What only a viewer says.
        (Message::text(r#"{"type":"join","offer":""}"#), UnknownType, "join"),
        (Message::binary(vec![0; 40_000]), BadMessage, "binary frame of 40000 bytes"),
    ] {
        camera.sends(frame.clone()).await;
        let sentence = camera.hears_error(code).await;
        assert!(sentence.contains(names), "{frame:?}: {sentence}");
    }
    session(&mut camera, &mut viewer).await;
}

#[tokio::test]
async fn a_message_for_a_session_that_never_was_names_the_session() {
    let server = Rendezvous::start().await;
    let mut camera = server.camera("front-door").await;
    let nobody = SessionId(4711);
    for message in [
        FromCamera::Answer { session: nobody, sdp: String::new(), proof: None },
        FromCamera::Candidate { session: nobody, candidate: candidate("") },
        FromCamera::Bye { session: nobody, reason: ByeReason::CameraStopping },
    ] {
        camera.says(message).await;
        match camera.hears().await {
            ToCamera::Error { session: Some(session), error } => {
                assert_eq!((session, error.code), (nobody, ErrorCode::OutOfOrder));
                assert!(error.message.contains("no session 4711"), "{error}");
            }
            other => panic!("no error, but {other:?}"),
        }
    }
}

#[tokio::test]
async fn a_camera_cannot_reach_into_a_session_of_another_room() {
    let server = Rendezvous::start().await;
    let mut camera = server.camera("front-door").await;
    let mut viewer = server.viewer("front-door").await;
    let number = session(&mut camera, &mut viewer).await;

    let mut intruder = server.camera("garden").await;
    intruder.answers(number, "let me in").await;
    intruder.hears_error(ErrorCode::OutOfOrder).await;
    // The first thing the viewer hears is still its own camera.
    camera.answers(number, "the real one").await;
    viewer.hears_answer("the real one").await;
}

#[tokio::test]
async fn a_join_without_a_camera_is_refused_and_works_once_it_is_there() {
    let server = Rendezvous::start().await;
    let mut viewer = server.viewer("front-door").await;
    viewer.joins("too early").await;
    let sentence = viewer.hears_error(ErrorCode::CameraOffline).await;
    assert!(sentence.contains("front-door"), "{sentence}");

    let mut camera = server.camera("front-door").await;
    viewer.hears_online(true).await;
    session(&mut camera, &mut viewer).await;
}

#[tokio::test]
async fn a_flood_of_nonsense_ends_the_connection_that_sends_it_and_no_other() {
    let server = Rendezvous::start_with(|config| config.limits.bad_messages_per_minute = 5).await;
    let mut camera = server.camera("front-door").await;
    let mut viewer = server.viewer("front-door").await;
    let mut vandal = server.viewer("front-door").await;
    for _ in 0..5 {
        vandal.says_text("?").await;
        vandal.hears_error(ErrorCode::BadMessage).await;
    }
    vandal.says_text("?").await;
    let sentence = vandal.hears_error(ErrorCode::TooFast).await;
    assert!(sentence.contains("more than 5 messages in a minute"), "{sentence}");
    vandal.is_closed(1008).await;
    session(&mut camera, &mut viewer).await;
}

#[tokio::test]
async fn text_that_is_not_utf_8_ends_the_connection_in_words() {
    let server = Rendezvous::start().await;
    let mut viewer = server.viewer("front-door").await;
    // A final text frame of one byte under the mask 0 (RFC 6455 §5.2).
    viewer.sends_bytes(&[0x81, 0x81, 0, 0, 0, 0, 0xff]).await;
    let sentence = viewer.hears_error(ErrorCode::BadMessage).await;
    assert!(sentence.contains("UTF-8"), "{sentence}");
    viewer.is_closed(1007).await;
}

#[tokio::test]
async fn bytes_that_are_no_web_socket_end_the_connection_in_words() {
    for bytes in [
        b"GET / HTTP/1.1\r\n\r\n".as_slice(),
        // A frame of a client without a mask.
        &[0x81, 0x02, b'{', b'}'],
        // A reserved opcode.
        &[0x83, 0x80, 0, 0, 0, 0],
        // A continuation of nothing.
        &[0x80, 0x80, 0, 0, 0, 0],
        // A ping in pieces.
        &[0x09, 0x80, 0, 0, 0, 0],
    ] {
        let server = Rendezvous::start().await;
        let mut camera = server.camera("front-door").await;
        let mut viewer = server.viewer("front-door").await;
        let mut vandal = server.viewer("front-door").await;
        vandal.sends_bytes(bytes).await;
        let sentence = vandal.hears_error(ErrorCode::BadMessage).await;
        assert!(sentence.contains("not the WebSocket protocol"), "{bytes:?}: {sentence}");
        vandal.is_closed(1002).await;
        session(&mut camera, &mut viewer).await;
    }
}

#[tokio::test]
async fn a_handshake_that_asks_for_something_else_is_told_what_to_ask_for() {
    let server = Rendezvous::start().await;
    let upgrade = "Upgrade: websocket\r\nConnection: Upgrade\r\n";
    let rest = "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    for (headers, status, names) in [
        (String::new(), 426, "speaks WebSocket"),
        (format!("{upgrade}{rest}"), 400, "peercam.v1"),
        (format!("{upgrade}{rest}Sec-WebSocket-Protocol: chat\r\n"), 400, "peercam.v1"),
        (format!("{upgrade}Sec-WebSocket-Version: 8\r\n"), 426, "version 13"),
        (
            format!("{upgrade}Sec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: peercam.v1\r\n"),
            400,
            "Sec-WebSocket-Key",
        ),
    ] {
        for path in ["/host/front-door", "/watch/front-door"] {
            let request =
                format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{headers}\r\n");
            let reply = Reply::parse(&server.raw(request.as_bytes()).await);
            assert_eq!(reply.status, status, "{headers}: {reply:?}");
            assert!(reply.body.contains(names), "{headers}: {reply:?}");
        }
    }
    let post = "POST /host/front-door HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";
    assert_eq!(Reply::parse(&server.raw(post.as_bytes()).await).status, 426);
}

#[tokio::test]
async fn among_several_subprotocols_ours_is_chosen() {
    let server = Rendezvous::start().await;
    // No room has this name: the connection is closed, and the answer complete.
    let handshake = "GET /watch/NONE HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\n\
                     Connection: keep-alive, Upgrade\r\nSec-WebSocket-Version: 13\r\n\
                     Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
                     Sec-WebSocket-Protocol: peercam.v9, peercam.v1\r\n\r\n";
    let reply = Reply::parse(&server.raw(handshake.as_bytes()).await);
    assert_eq!(reply.status, 101);
    assert_eq!(reply.header("sec-websocket-protocol"), Some("peercam.v1"));
    // The key and its answer are those of RFC 6455 §1.3.
    assert_eq!(reply.header("sec-websocket-accept"), Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
}

#[tokio::test]
async fn watching_is_allowed_from_the_pages_of_other_sites() {
    let server = Rendezvous::start().await;
    let mut viewer: Viewer =
        server.connect_with("/watch/front-door", &[("Origin", "https://dashboard.example")]).await;
    assert!(matches!(viewer.hears().await, ToViewer::Welcome { .. }));
}
