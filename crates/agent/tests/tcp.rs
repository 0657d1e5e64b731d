//! Viewers who connect by TCP (ICE over TCP, RFC 6544), and those who misuse it.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::{net::SocketAddr, time::Duration};

use peercam_protocol::signalling::{FromCamera, SessionId, ToCamera, Transport};
use support::{
    Agent, PATIENCE, ROOM, Rendezvous, Viewer, ViewerOptions, fake_rendezvous::FakeRendezvous,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

#[tokio::test(flavor = "multi_thread")]
async fn a_viewer_without_udp_plays() {
    support::log();
    let rendezvous = Rendezvous::start().await;
    let agent = Agent::start(rendezvous.address, "").await;
    for transport in [Transport::Rtp, Transport::Fmp4] {
        let options = ViewerOptions { tcp: true, ..ViewerOptions::new(transport) };
        let viewer = Viewer::join(rendezvous.address, ROOM, options).await;
        let all = viewer.until("connection", |all| all.connected).await;
        println!("{transport}: connected after {:?}", all.connected_after.unwrap());
        viewer.plays_on().await;
        viewer.leave().await;
    }
    agent.stop().await;
}

const OFFER: &str = include_str!("../src/session/offer_chromium.sdp");

/// A session that waits for its viewer, and where it listens.
async fn listening(more: &str) -> (Agent, support::fake_rendezvous::Camera, Vec<SocketAddr>) {
    support::log();
    let rendezvous = FakeRendezvous::start().await;
    let agent = Agent::launch(rendezvous.address(), more);
    let mut camera = rendezvous.host().await;
    let offer = OFFER.replace('\n', "\r\n");
    let (session, transport) = (SessionId(1), Transport::Fmp4);
    camera
        .send(&ToCamera::Join {
            session,
            transport,
            offer,
            resume: None,
            pass: None,
            ice_servers: vec![],
        })
        .await;
    let mut listening = Vec::new();
    loop {
        let line = camera.find(|message| match message {
            FromCamera::Candidate { candidate, .. } => Some(candidate.candidate),
            FromCamera::Error { error, .. } => panic!("{error}"),
            _ => None,
        });
        let line = line.await;
        let fields: Vec<&str> = line.split(' ').collect();
        match fields[..] {
            [_, _, "tcp", _, ip, port, "typ", "host", "tcptype", kind] => {
                assert_eq!(kind, "passive", "nobody could make use of {line}");
                listening.push(SocketAddr::new(ip.parse().unwrap(), port.parse().unwrap()));
            }
            [""] => return (agent, camera, listening),
            _ => {}
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_who_connect_are_few_and_gone_soon() {
    let (agent, _camera, listening) = listening("").await;
    let loopback = *listening.iter().find(|address| address.ip().is_loopback()).unwrap();
    let mut streams = Vec::new();
    for nth in 0..40_u8 {
        let mut stream = TcpStream::connect(loopback).await.unwrap();
        // Nothing; a packet that says it is longer; garbage.
        let said: &[u8] = match nth % 3 {
            0 => &[],
            1 => &[0xff, 0xff, 1, 2, 3],
            _ => b"\x00\x04abcd\x00\x00\x00\x01x",
        };
        let _ = stream.write_all(said).await;
        streams.push(stream);
    }
    let mut closed = 0;
    for mut stream in streams {
        let mut buffer = [0; 64];
        let end = tokio::time::timeout(Duration::from_millis(100), stream.read(&mut buffer));
        closed += usize::from(matches!(end.await, Ok(Ok(0) | Err(_))));
    }
    assert!(closed >= 32, "{closed} of 40 were closed at once");
    // Those who say nothing are closed a little later.
    let mut silent = TcpStream::connect(loopback).await.unwrap();
    let end = tokio::time::timeout(PATIENCE, silent.read(&mut [0; 64])).await;
    assert!(matches!(end, Ok(Ok(0) | Err(_))), "{end:?}");
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sockets_on_tcp_have_the_port_of_those_on_udp() {
    let port = (30_000..60_000)
        .find(|&port| {
            std::net::TcpListener::bind(("0.0.0.0", port)).is_ok()
                && std::net::UdpSocket::bind(("0.0.0.0", port)).is_ok()
        })
        .unwrap();
    let more = format!("network = {{ udp-ports = \"{port}-{port}\", loopback = true }}");
    let (agent, _camera, listening) = listening(&more).await;
    assert!(!listening.is_empty());
    assert!(listening.iter().all(|address| address.port() == port), "{listening:?}");
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_tcp_nobody_listens() {
    let (agent, _camera, listening) = listening("network = { tcp = false }").await;
    assert!(listening.is_empty(), "{listening:?}");
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_camera_connects_nowhere_because_a_viewer_says_so() {
    let (agent, mut camera, _) = listening("").await;
    let inside = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = inside.local_addr().unwrap().port();
    let candidate = peercam_protocol::signalling::Candidate {
        candidate: format!(
            "candidate:1 1 tcp 1671430143 127.0.0.1 {port} typ host tcptype passive"
        ),
        sdp_mid: Some("0".to_owned()),
        sdp_m_line_index: Some(0),
        username_fragment: None,
    };
    camera.send(&ToCamera::Candidate { session: SessionId(1), candidate }).await;
    let asked = tokio::time::timeout(Duration::from_secs(2), inside.accept()).await;
    assert!(asked.is_err(), "the camera connected");
    agent.stop().await;
}
