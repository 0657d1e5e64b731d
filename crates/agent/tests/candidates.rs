//! Which candidates a camera has, and whom it asks for them.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::net::UdpSocket;

use peercam_protocol::signalling::{FromCamera, IceServer, SessionId, ToCamera, Transport};
use support::{Agent, PATIENCE, ROOM, fake_rendezvous::FakeRendezvous};

const OFFER: &str = include_str!("../src/session/offer_chromium.sdp");

fn join(session: u64) -> ToCamera {
    let offer = OFFER.replace('\n', "\r\n");
    ToCamera::Join {
        session: SessionId(session),
        transport: Transport::Fmp4,
        offer,
        resume: None,
        pass: None,
        ice_servers: vec![],
    }
}

/// Two neighbouring ports that nobody uses.
fn free_ports() -> (u16, u16) {
    (30_000..60_000)
        .step_by(2)
        .find(|&port| {
            UdpSocket::bind(("0.0.0.0", port)).is_ok()
                && UdpSocket::bind(("0.0.0.0", port + 1)).is_ok()
        })
        .map(|port| (port, port + 1))
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn sockets_are_in_the_range_and_advertised_addresses_are_offered_with_their_port() {
    support::log();
    let rendezvous = FakeRendezvous::start().await;
    let (first, last) = free_ports();
    let more =
        format!("network = {{ udp-ports = \"{first}-{last}\", advertise = [\"203.0.113.7\"] }}");
    let agent = Agent::launch(rendezvous.address(), &more);
    let mut camera = rendezvous.host().await;
    camera.send(&join(1)).await;
    let mut lines = Vec::new();
    loop {
        let line = camera.find(|message| match message {
            FromCamera::Candidate { candidate, .. } => Some(candidate.candidate),
            FromCamera::Error { error, .. } => panic!("{error}"),
            _ => None,
        });
        match line.await {
            end if end.is_empty() => break,
            line => lines.push(line),
        }
    }
    let field = |line: &str, nth: usize| line.split(' ').nth(nth).unwrap().to_owned();
    for line in &lines {
        let port: u16 = field(line, 5).parse().unwrap();
        assert!((first..=last).contains(&port), "{line}");
        assert_eq!(field(line, 7), "host", "{line}");
    }
    let outside = |line: &&String| field(line, 4) == "203.0.113.7";
    assert!(lines.iter().any(|line| outside(&line)), "{lines:?}");
    assert!(lines.iter().any(|line| !outside(&line)), "{lines:?}");
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_servers_that_the_rendezvous_names_are_asked() {
    support::log();
    let stun = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let rendezvous = FakeRendezvous::start().await;
    let agent = Agent::launch(rendezvous.address(), "");
    let mut camera = rendezvous.accept().await;
    camera.prove().await;
    let urls = vec![
        "turns:127.0.0.1:1?transport=tcp".to_owned(),
        format!("stun:{}", stun.local_addr().unwrap()),
    ];
    let secret = Some("x".to_owned());
    let server = IceServer { urls, username: secret.clone(), credential: secret };
    let room = ROOM.parse().unwrap();
    camera.send(&ToCamera::Hosting { room, ice_servers: vec![server], time: None }).await;

    // Looking names up takes a moment; a viewer who is quicker does without.
    let asked = async {
        let mut buffer = [0; 1500];
        for session in 1.. {
            camera.send(&join(session)).await;
            let question = stun.recv_from(&mut buffer);
            let wait = std::time::Duration::from_secs(2);
            if let Ok(question) = tokio::time::timeout(wait, question).await {
                let (length, _) = question.unwrap();
                // A binding request (RFC 8489 §5): type 1, and the magic cookie.
                assert_eq!(buffer[..2], [0, 1]);
                assert_eq!(buffer[4..8], [0x21, 0x12, 0xa4, 0x42]);
                return length;
            }
        }
        0
    };
    assert!(tokio::time::timeout(PATIENCE, asked).await.expect("a question") >= 20);
    agent.stop().await;
}
