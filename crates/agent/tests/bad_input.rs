//! What a rendezvous or a viewer may send that makes no sense: each is answered, and disturbs
//! nobody.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use peercam_protocol::{
    control::Event,
    signalling::{
        ByeReason, Candidate, ErrorCode, FromCamera, FromViewer, SessionId, ToCamera, ToViewer,
        Transport,
    },
    wire,
};
use support::{
    Agent, PATIENCE, ROOM, Rendezvous, Socket, Viewer, ViewerOptions,
    fake_rendezvous::FakeRendezvous,
};

/// A browser's offer.
const OFFER: &str = include_str!("../src/session/offer_chromium.sdp");

fn offer() -> String {
    OFFER.replace('\n', "\r\n")
}

/// The same of somebody with another DTLS certificate.
fn stranger_of(offer: &str) -> String {
    let line = offer.lines().find(|line| line.starts_with("a=fingerprint:")).unwrap();
    let (hash, digits) = line.split_once(' ').unwrap();
    offer.replace(line, &format!("{hash} {}", digits.replace(|c: char| c.is_ascii_digit(), "0")))
}

fn candidate(line: &str) -> Candidate {
    Candidate {
        candidate: line.to_owned(),
        sdp_mid: Some("0".to_owned()),
        sdp_m_line_index: Some(0),
        username_fragment: None,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn offers_that_can_not_be_answered_say_what_is_missing_and_nobody_else_notices() {
    support::log();
    let rendezvous = Rendezvous::start().await;
    let agent = Agent::start(rendezvous.address, "").await;
    let watching = Viewer::join(rendezvous.address, ROOM, ViewerOptions::new(Transport::Rtp)).await;
    watching.plays_on().await;

    let no_h264 = offer().replace("H264", "H265");
    let no_data = offer().replace("m=application 9", "m=application 0");
    let no_media_line = offer().split("m=").next().unwrap().to_owned();
    let no_ice = offer().replace("a=ice-ufrag", "a=x-ufrag");
    let no_fingerprint = offer().replace("a=fingerprint", "a=x-fingerprint");
    let no_mid = offer().replace("a=mid", "a=x-mid");
    for (what, sdp, transport, say) in [
        ("nothing", String::new(), Transport::Rtp, "no SDP"),
        ("words", "let me in".to_owned(), Transport::Fmp4, "no SDP"),
        ("binary", "\u{0}\u{1}v=0".to_owned(), Transport::Rtp, "no SDP"),
        ("no H.264", no_h264, Transport::Rtp, "no H.264"),
        ("no data channel", no_data, Transport::Fmp4, "no application section"),
        ("no media", no_media_line.clone(), Transport::Rtp, "no video section"),
        ("no media", no_media_line, Transport::Fmp4, "no application section"),
        ("no ICE", no_ice, Transport::Rtp, "can't be answered"),
        ("no fingerprint", no_fingerprint, Transport::Rtp, "can't be answered"),
        ("no mid", no_mid, Transport::Rtp, "can't be answered"),
    ] {
        let mut socket = Socket::watch(rendezvous.address, ROOM).await;
        socket.send(&FromViewer::Join { transport, offer: sdp, resume: None, pass: None }).await;
        let refused = socket.find(|message| match message {
            ToViewer::Error { error } => Some(error),
            ToViewer::Answer { .. } => panic!("{what}: answered"),
            _ => None,
        });
        let error = tokio::time::timeout(PATIENCE, refused).await.expect(what);
        assert_eq!(error.code, ErrorCode::BadOffer, "{what}: {error}");
        assert!(error.message.contains(say), "{what}: {error}");
    }
    watching.plays_on().await;
    assert_eq!(watching.received().lost, 0);
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn candidates_that_make_no_sense_are_answered_and_the_session_goes_on() {
    support::log();
    let rendezvous = FakeRendezvous::start().await;
    let agent = Agent::launch(rendezvous.address(), "");
    let mut camera = rendezvous.host().await;
    let session = SessionId(1);
    let join = ToCamera::Join {
        session,
        transport: Transport::Rtp,
        offer: offer(),
        resume: None,
        pass: None,
        ice_servers: vec![],
    };
    camera.send(&join).await;
    camera.find(|message| matches!(message, FromCamera::Answer { .. }).then_some(())).await;
    let long = format!("candidate:{} 1 udp 1 10.0.0.1 5 typ host", "1".repeat(10_000));
    for line in [
        "nonsense",
        "candidate:1 1 udp",
        "candidate:1 1 udp 1 300.1.1.1 5 typ host",
        "candidate:1 1 udp 99999999999999999999 10.0.0.1 5 typ host",
        "candidate:1 1 udp 1 10.0.0.1 99999 typ host",
        "candidate:1 1 udp 1 10.0.0.1 5 typ unheard-of",
        &long,
    ] {
        camera.send(&ToCamera::Candidate { session, candidate: candidate(line) }).await;
        let code = camera.find(|message| match message {
            FromCamera::Error { session: Some(_), error } => Some(error.code),
            _ => None,
        });
        assert_eq!(code.await, ErrorCode::BadMessage, "{line}");
    }
    // Still there: the same offer gets the same answer.
    camera.send(&join).await;
    let answered = |message| matches!(message, FromCamera::Answer { .. }).then_some(());
    camera.find(answered).await;
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_viewer_who_sends_a_bad_candidate_watches_on() {
    support::log();
    let rendezvous = Rendezvous::start().await;
    let agent = Agent::start(rendezvous.address, "").await;
    let viewer = Viewer::join(rendezvous.address, ROOM, ViewerOptions::new(Transport::Rtp)).await;
    viewer.plays_on().await;
    viewer.signal(FromViewer::Candidate { candidate: candidate("nonsense") }).await;
    let all = viewer.until("an error", |all| !all.errors.is_empty()).await;
    assert_eq!(all.errors[0].code, ErrorCode::BadMessage);
    viewer.plays_on().await;
    // Well-formed, and leading nowhere: nobody, everybody, a group, ourselves, a port that is none.
    for (ip, port) in [
        ("240.1.2.3", 3478),
        ("255.255.255.255", 9),
        ("224.0.0.251", 5353),
        ("0.0.0.0", 1),
        ("127.0.0.1", 0),
        ("100::1", 3478),
        ("ff02::1", 1),
        ("no-such-name.local", 7),
    ] {
        for transport in ["udp 2130706431", "tcp 1518280447"] {
            let kind = if transport.starts_with("tcp") { " tcptype passive" } else { "" };
            let line = format!("candidate:1 1 {transport} {ip} {port} typ host{kind}");
            viewer.signal(FromViewer::Candidate { candidate: candidate(&line) }).await;
        }
    }
    viewer.plays_on().await;
    viewer.restart().await;
    viewer.until("another path", |all| all.connections > 1).await;
    viewer.plays_on().await;
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn control_messages_that_make_no_sense_are_answered_and_the_picture_goes_on() {
    support::log();
    let rendezvous = Rendezvous::start().await;
    let agent = Agent::start(rendezvous.address, "").await;
    let viewer = Viewer::join(rendezvous.address, ROOM, ViewerOptions::new(Transport::Rtp)).await;
    viewer.plays_on().await;
    for (text, code) in [
        ("not JSON".to_owned(), ErrorCode::BadMessage),
        ("{\"type\":\"snapshot\"}".to_owned(), ErrorCode::UnknownType),
        ("{\"type\":\"time\"}".to_owned(), ErrorCode::BadMessage),
        (String::new(), ErrorCode::BadMessage),
    ] {
        let before = viewer.received().events.len();
        viewer.say(&text).await;
        viewer
            .until(&format!("an error for {text:?}"), |all| {
                all.events[before..]
                    .iter()
                    .any(|event| matches!(event, Event::Error { error } if error.code == code))
            })
            .await;
    }
    viewer.plays_on().await;
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rendezvous_that_talks_nonsense_is_answered() {
    support::log();
    let rendezvous = FakeRendezvous::start().await;
    let agent = Agent::launch(rendezvous.address(), "");
    let mut camera = rendezvous.host().await;
    assert_eq!(camera.path, format!("/host/{ROOM}"));
    let oversized =
        format!("{{\"type\":\"join\",\"offer\":{:?}}}", "x".repeat(wire::MAX_MESSAGE_SIZE));
    for (text, code) in [
        ("not JSON", ErrorCode::BadMessage),
        ("[]", ErrorCode::BadMessage),
        ("{\"type\":\"update\"}", ErrorCode::UnknownType),
        ("{\"type\":\"join\",\"session\":\"one\"}", ErrorCode::BadMessage),
        ("{\"type\":\"hosting\",\"room\":\"a/b\"}", ErrorCode::BadMessage),
        ("{\"type\":\"hosting\",\"room\":\"again\"}", ErrorCode::OutOfOrder),
        (&oversized, ErrorCode::TooLarge),
    ] {
        camera.send_text(text).await;
        let FromCamera::Error { session: None, error } = camera.next().await.unwrap() else {
            panic!("no error for {text}");
        };
        assert_eq!(error.code, code, "{text}: {error}");
    }
    camera.send_binary(&[0; 100]).await;
    let FromCamera::Error { error, .. } = camera.next().await.unwrap() else { panic!() };
    assert_eq!(error.code, ErrorCode::BadMessage);
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_out_of_order_are_answered_or_passed_over() {
    support::log();
    let rendezvous = FakeRendezvous::start().await;
    let agent = Agent::launch(rendezvous.address(), "");
    let mut camera = rendezvous.host().await;
    let session = SessionId(5);
    let line = candidate("candidate:1 1 udp 2122260223 127.0.0.1 9 typ host");
    let refused = |message| match message {
        FromCamera::Error { session: Some(session), error } => Some((session, error.code)),
        _ => None,
    };

    // Nobody has joined yet.
    camera.send(&ToCamera::Candidate { session, candidate: line.clone() }).await;
    assert_eq!(camera.find(refused).await, (session, ErrorCode::OutOfOrder));
    camera.send(&ToCamera::Bye { session, reason: ByeReason::ViewerLeft }).await;

    // One joins; and again, as another one, under the same number.
    let join = |session| ToCamera::Join {
        session,
        transport: Transport::Fmp4,
        offer: offer(),
        resume: None,
        pass: None,
        ice_servers: vec![],
    };
    camera.send(&join(session)).await;
    camera.find(|message| matches!(message, FromCamera::Answer { .. }).then_some(())).await;
    let mut stranger = join(session);
    if let ToCamera::Join { offer, .. } = &mut stranger {
        *offer = stranger_of(offer);
    }
    camera.send(&stranger).await;
    assert_eq!(camera.find(refused).await, (session, ErrorCode::BadMessage));

    // The first is still there: more candidates than any browser has end it.
    for _ in 0..70 {
        camera.send(&ToCamera::Candidate { session, candidate: line.clone() }).await;
    }
    let ended = |message| refused(message).filter(|(_, code)| *code == ErrorCode::TooFast);
    assert_eq!(camera.find(ended).await.0, session);
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rendezvous_that_drops_or_refuses_the_camera_is_asked_again() {
    support::log();
    let rendezvous = FakeRendezvous::start().await;
    let agent = Agent::launch(rendezvous.address(), "");
    drop(rendezvous.accept().await);
    let mut camera = rendezvous.accept().await;
    let error = "{\"type\":\"error\",\"code\":\"a-code-of-tomorrow\",\"message\":\"no\"}";
    camera.send_text(error).await;
    assert!(camera.next().await.is_none(), "a refused camera goes");
    let mut camera = rendezvous.host().await;
    camera.send(&ToCamera::Bye { session: SessionId(1), reason: ByeReason::Other }).await;
    agent.stop().await;
}
