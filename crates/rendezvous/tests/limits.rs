//! Every limit, attacked: the attacker is told in words, and the others notice nothing.
#![allow(clippy::unwrap_used)]

mod support;

use std::{net::IpAddr, time::Duration};

use peercam_protocol::signalling::{
    ByeReason, ErrorCode, FromCamera, FromViewer, ToCamera, ToViewer,
};
use support::*;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tokio_tungstenite::tungstenite::Message;

#[tokio::test]
async fn a_message_over_the_limit_is_refused_and_its_sender_hears_why() {
    let server = Rendezvous::start_with(|config| config.limits.message_bytes = 4096).await;
    let mut camera = server.camera("front-door").await;
    let mut viewer = server.viewer("front-door").await;

    // Half a megabyte is still on its way when the server has seen enough.
    let mut vandal = server.viewer("front-door").await;
    vandal.joins(&"x".repeat(500_000)).await;
    let sentence = vandal.hears_error(ErrorCode::TooLarge).await;
    assert!(sentence.contains("limit is 4032"), "{sentence}");
    vandal.is_closed(1009).await;

    let mut other = server.camera("garden").await;
    other.sends(Message::binary(vec![0; 4097])).await;
    let sentence = other.hears_error(ErrorCode::TooLarge).await;
    assert!(sentence.contains("limit is 4096"), "{sentence}");
    other.is_closed(1009).await;

    session(&mut camera, &mut viewer).await;
}

#[tokio::test]
async fn who_is_refused_in_mid_sentence_sees_an_orderly_end_and_no_reset() {
    let server = Rendezvous::start().await;
    let mut vandal = server.viewer("front-door").await;
    // A masked text frame of half a megabyte.
    vandal.sends_bytes(&[0x81, 0xff, 0, 0, 0, 0, 0, 0x08, 0, 0, 0, 0, 0, 0]).await;
    _ = vandal.socket.get_mut().write_all(&vec![b'x'; 0x08_0000]).await;
    let mut answer = Vec::new();
    let end = vandal.socket.get_mut().read_to_end(&mut answer);
    soon("the end of the stream", end).await.unwrap();
    assert!(String::from_utf8_lossy(&answer).contains("too-large"));
}

#[tokio::test]
async fn a_frame_that_only_claims_to_be_huge_is_refused_before_it_comes() {
    let server = Rendezvous::start().await;
    let mut vandal = server.viewer("front-door").await;
    // A masked text frame of 2^62 bytes, none of which follow.
    vandal.sends_bytes(&[0x81, 0xff, 0x40, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4]).await;
    vandal.hears_error(ErrorCode::TooLarge).await;
    vandal.is_closed(1009).await;
}

#[tokio::test]
async fn a_message_in_endless_pieces_is_refused_at_the_limit() {
    let server = Rendezvous::start().await;
    let mut vandal = server.viewer("front-door").await;
    let piece = vec![b'x'; 60_000];
    // Text, not final; then a continuation of it.
    for first_byte in [0x01, 0x00] {
        let mut frame = vec![first_byte, 0xfe];
        frame.extend((piece.len() as u16).to_be_bytes());
        frame.extend([0; 4]);
        frame.extend(&piece);
        vandal.sends_bytes(&frame).await;
    }
    vandal.hears_error(ErrorCode::TooLarge).await;
    vandal.is_closed(1009).await;
}

#[tokio::test]
async fn a_viewer_that_talks_too_fast_is_cut_off_and_the_camera_is_spared() {
    let server = Rendezvous::start_with(|config| {
        config.limits.viewer_messages_per_second = 1;
        config.limits.viewer_message_burst = 20;
    })
    .await;
    let mut camera = server.camera("front-door").await;
    let mut viewer = server.viewer("front-door").await;
    let mut vandal = server.viewer("front-door").await;
    vandal.joins("an offer").await;
    let number = camera.hears_join("an offer").await;
    for _ in 0..40 {
        // The server hangs up in the middle of it.
        let message = Message::text(r#"{"type":"candidate","candidate":{"candidate":""}}"#);
        _ = futures_util::SinkExt::send(&mut vandal.socket, message).await;
    }
    let sentence = vandal.hears_error(ErrorCode::TooFast).await;
    assert!(sentence.contains("1 messages a second (after 20 at once)"), "{sentence}");
    vandal.is_closed(1008).await;

    let mut relayed = 0;
    loop {
        match camera.hears().await {
            ToCamera::Candidate { .. } => relayed += 1,
            ToCamera::Bye { session, reason: ByeReason::ViewerLeft } if session == number => break,
            other => panic!("{other:?}"),
        }
    }
    assert!((19..=20).contains(&relayed), "{relayed} candidates came through");
    session(&mut camera, &mut viewer).await;
}

#[tokio::test]
async fn pings_count_as_messages() {
    let server = Rendezvous::start_with(|config| {
        config.limits.camera_messages_per_second = 1;
        config.limits.camera_message_burst = 5;
    })
    .await;
    let mut vandal = server.camera("front-door").await;
    for _ in 0..10 {
        _ = futures_util::SinkExt::send(&mut vandal.socket, Message::Ping(Default::default()))
            .await;
    }
    vandal.hears_error(ErrorCode::TooFast).await;
    vandal.is_closed(1008).await;
}

#[tokio::test]
async fn a_viewer_with_too_many_candidates_is_sent_away() {
    let server = Rendezvous::start_with(|config| config.limits.candidates = 3).await;
    let mut camera = server.camera("front-door").await;
    let mut viewer = server.viewer("front-door").await;
    let mut other = server.viewer("front-door").await;
    let number = session(&mut camera, &mut viewer).await;
    for _ in 0..4 {
        viewer.says(FromViewer::Candidate { candidate: candidate("c") }).await;
    }
    let sentence = viewer.hears_error(ErrorCode::Full).await;
    assert!(sentence.contains("more than 3 candidates"), "{sentence}");
    viewer.is_closed(1008).await;
    for _ in 0..3 {
        assert!(matches!(camera.hears().await, ToCamera::Candidate { .. }));
    }
    camera.hears_bye(number, ByeReason::ViewerLeft).await;
    session(&mut camera, &mut other).await;
}

#[tokio::test]
async fn a_camera_with_too_many_candidates_loses_that_session_and_no_other() {
    let server = Rendezvous::start_with(|config| config.limits.candidates = 3).await;
    let mut camera = server.camera("front-door").await;
    let mut anna = server.viewer("front-door").await;
    let mut bert = server.viewer("front-door").await;
    let annas = session(&mut camera, &mut anna).await;
    let berts = session(&mut camera, &mut bert).await;
    for _ in 0..4 {
        let candidate = candidate("c");
        camera.says(FromCamera::Candidate { session: annas, candidate }).await;
    }
    let sentence = camera.hears_error(ErrorCode::Full).await;
    assert!(sentence.contains("more than 3 candidates"), "{sentence}");
    for _ in 0..3 {
        assert!(matches!(anna.hears().await, ToViewer::Candidate { .. }));
    }
    anna.hears_error(ErrorCode::Full).await;
    camera.answers(berts, "goes on").await;
    bert.hears_answer("goes on").await;
    // And so may anna.
    session(&mut camera, &mut anna).await;
}

#[tokio::test]
async fn a_full_room_refuses_one_viewer_more_until_one_leaves() {
    let server = Rendezvous::start_with(|config| config.limits.viewers_per_room = 2).await;
    let mut camera = server.camera("front-door").await;
    let mut first = server.viewer("front-door").await;
    let second = server.viewer("front-door").await;
    let mut third = server.knock_as_viewer("front-door").await;
    let sentence = third.hears_error(ErrorCode::Full).await;
    assert!(sentence.contains("2 viewers") && sentence.contains("front-door"), "{sentence}");
    third.is_closed(1013).await;

    server.viewer("garden").await;
    session(&mut camera, &mut first).await;
    second.leaves().await;
    server.viewer("front-door").await;
}

#[tokio::test]
async fn with_all_rooms_taken_viewers_cannot_keep_a_camera_out_but_a_camera_can() {
    let server = Rendezvous::start_with(|config| config.limits.rooms = 1).await;
    // Rooms in which somebody merely waits don't count.
    let _a = server.viewer("a").await;
    let _b = server.viewer("b").await;
    let camera = server.camera("c").await;
    let mut second = server.knock_as_camera("d").await;
    let sentence = second.hears_error(ErrorCode::Full).await;
    assert!(sentence.contains("cameras in 1 rooms"), "{sentence}");
    second.is_closed(1013).await;
    // Who wants the taken room is told that, and not that the server is full.
    server.knock_as(&Identity::of("another"), "c").await.hears_error(ErrorCode::RoomClaimed).await;
    camera.leaves().await;
    server.camera("d").await;
}

#[tokio::test]
async fn connections_are_limited_in_all() {
    let server = Rendezvous::start_with(|config| config.limits.connections = 2).await;
    let mut camera = server.camera("front-door").await;
    let mut viewer = server.viewer("front-door").await;
    let mut third = server.knock_as_viewer("garden").await;
    let sentence = third.hears_error(ErrorCode::Full).await;
    assert!(sentence.contains("the server has 2 connections"), "{sentence}");
    third.is_closed(1013).await;
    session(&mut camera, &mut viewer).await;
    // A WebSocket limit is no limit for pages.
    assert_eq!(server.get("/healthz").await.status, 200);
}

#[tokio::test]
async fn one_address_gets_its_share_and_not_more() {
    let server = Rendezvous::start_with(|config| {
        config.limits.connections_per_address = 1;
        config.trusted_proxies = vec![IpAddr::from([127, 0, 0, 1])];
    })
    .await;
    let from = async |address: &str| -> Viewer {
        server.connect_with("/watch/front-door", &[("X-Forwarded-For", address)]).await
    };
    let mut first = from("192.0.2.1").await;
    first.hears().await;
    let mut again = from("192.0.2.1").await;
    let sentence = again.hears_error(ErrorCode::Full).await;
    assert!(sentence.contains("your address has 1 connections"), "{sentence}");
    assert!(!sentence.contains("192.0.2.1"), "{sentence}");
    again.is_closed(1013).await;
    // What stands before the address that the proxy saw is the client's own invention.
    from("203.0.113.9, 192.0.2.1").await.hears_error(ErrorCode::Full).await;
    from("192.0.2.2").await.hears().await;
}

#[tokio::test]
async fn one_address_begins_so_many_sessions_a_minute_on_however_many_connections() {
    let server = Rendezvous::start_with(|config| {
        config.limits.joins_per_address_per_minute = 3;
        config.trusted_proxies = vec![IpAddr::from([127, 0, 0, 1])];
    })
    .await;
    let mut camera = server.camera("front-door").await;
    let from = async |address: &str| -> Viewer {
        let header = [("X-Forwarded-For", address)];
        let mut viewer: Viewer = server.connect_with("/watch/front-door", &header).await;
        viewer.hears().await;
        viewer
    };
    let mut first = from("192.0.2.1").await;
    session(&mut camera, &mut first).await;
    for _ in 0..2 {
        // Hanging up earns nothing.
        let mut again = from("192.0.2.1").await;
        let number = session(&mut camera, &mut again).await;
        again.leaves().await;
        camera.hears_bye(number, ByeReason::ViewerLeft).await;
    }
    let mut vandal = from("192.0.2.1").await;
    vandal.joins("one more").await;
    let sentence = vandal.hears_error(ErrorCode::TooFast).await;
    assert!(sentence.contains("more than 3 times in a minute"), "{sentence}");
    assert!(!sentence.contains("192.0.2.1"), "{sentence}");
    vandal.is_closed(1008).await;
    // The camera never hears of it; others, and what runs, go on.
    let mut other = from("192.0.2.2").await;
    session(&mut camera, &mut other).await;
    first.says(FromViewer::Candidate { candidate: candidate("v") }).await;
    assert!(matches!(camera.hears().await, ToCamera::Candidate { .. }));
}

#[tokio::test]
async fn nobody_gets_another_share_by_a_header() {
    let server = Rendezvous::start_with(|config| config.limits.connections_per_address = 1).await;
    let _viewer = server.viewer("front-door").await;
    let mut liar: Viewer =
        server.connect_with("/watch/front-door", &[("X-Forwarded-For", "192.0.2.1")]).await;
    liar.hears_error(ErrorCode::Full).await;
}

#[tokio::test]
async fn a_share_is_free_again_after_its_connection() {
    let server = Rendezvous::start_with(|config| config.limits.connections_per_address = 1).await;
    for _ in 0..20 {
        server.viewer("front-door").await.leaves().await;
    }
}

#[tokio::test]
async fn sockets_that_never_ask_for_anything_are_limited_and_then_closed() {
    let server = Rendezvous::start_with(|config| {
        config.limits.http_connections_per_address = 3;
        config.limits.request_seconds = 1;
    })
    .await;
    let mut camera = server.camera("front-door").await;
    let mut viewer = server.viewer("front-door").await;
    let mut silent = Vec::new();
    for _ in 0..3 {
        silent.push(TcpStream::connect(server.address).await.unwrap());
    }
    // One of them has begun to ask, and another stays after it was answered.
    silent[0].write_all(b"GET / HTTP/1.1\r\nHost: x\r\nX-Slow: ").await.unwrap();
    silent[1].write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    let refused = Reply::parse(&server.raw(b"").await);
    assert_eq!(refused.status, 503);
    assert!(refused.body.contains("your address has 3 connections"), "{refused:?}");
    session(&mut camera, &mut viewer).await;

    for socket in &mut silent {
        let mut rest = Vec::new();
        // Closed or reset: both are an end.
        _ = soon("the end of a silent socket", socket.read_to_end(&mut rest)).await;
    }
    assert_eq!(server.get("/healthz").await.status, 200);
}

#[tokio::test]
async fn a_websocket_does_not_count_as_a_socket_that_waits() {
    let server =
        Rendezvous::start_with(|config| config.limits.http_connections_per_address = 1).await;
    let mut viewers = Vec::new();
    for _ in 0..5 {
        viewers.push(server.viewer("front-door").await);
    }
}

#[tokio::test]
async fn a_request_with_an_endless_head_is_refused() {
    let server = Rendezvous::start().await;
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    let head = format!("GET / HTTP/1.1\r\nHost: x\r\nX-Long: {}", "x".repeat(20_000));
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = vec![0; 12];
    soon("the refusal", stream.read_exact(&mut answer)).await.unwrap();
    assert_eq!(answer, b"HTTP/1.1 431");
}

#[tokio::test]
async fn a_whole_audience_may_join_at_the_same_moment() {
    let server = Rendezvous::start().await;
    let mut camera = server.camera("front-door").await;
    let mut viewers = Vec::new();
    for _ in 0..40 {
        viewers.push(server.viewer("front-door").await);
    }
    // The camera is busy meanwhile.
    let offer = "x".repeat(60_000);
    for viewer in &mut viewers {
        viewer.joins(&offer).await;
    }
    for viewer in &mut viewers {
        // Once this is answered, the join before it has been relayed.
        viewer.says_text("?").await;
        viewer.hears_error(ErrorCode::BadMessage).await;
    }
    for _ in 0..40 {
        camera.hears_join(&offer).await;
    }
}

#[tokio::test]
async fn a_viewer_that_never_reads_is_cut_off_and_holds_nobody_up() {
    let server = Rendezvous::start_with(|config| {
        config.liveness.ping_every = Duration::from_secs(3600);
        config.liveness.dead_after = Duration::from_secs(7200);
    })
    .await;
    let mut camera = server.camera("front-door").await;
    let mut reader = server.viewer("front-door").await;
    let readers = session(&mut camera, &mut reader).await;
    let mut sleeper = server.viewer("front-door").await;
    let sleepers = session(&mut camera, &mut sleeper).await;

    // The kernel's buffers take some megabytes before the server's queue fills.
    let sdp = "x".repeat(60_000);
    for _ in 0..1_000 {
        camera.answers(sleepers, &sdp).await;
    }
    camera.hears_bye(sleepers, ByeReason::ViewerLeft).await;
    camera.answers(readers, "still here").await;
    reader.hears_answer("still here").await;

    // What the sleeper finds, once it wakes, ends with the reason; or the line is dead.
    let mut last = None;
    while let Some(Message::Text(text)) = sleeper.frame().await {
        last = Some(text);
    }
    let last = last.unwrap();
    assert!(last.contains(&sdp) || last.contains("you read too slowly"), "{last}");
}
