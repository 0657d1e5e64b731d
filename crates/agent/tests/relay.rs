//! Media over a relay, and over nothing else.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use peercam_protocol::signalling::{IceServer, Transport};
use support::{
    Agent, ROOM, Rendezvous, Viewer, ViewerOptions,
    coturn::{Coturn, Over},
};

/// A camera that may be reached over `turn` only.
async fn relay_only(turn: &Coturn, server: IceServer) -> (Rendezvous, Agent) {
    let rendezvous = Rendezvous::start_with(vec![server]).await;
    let ca = format!("turn-ca = {:?}", turn.authority());
    let ca = if turn.authority().exists() { ca } else { String::new() };
    let more = format!("[network]\nloopback = true\nrelay-only = true\n{ca}");
    let agent = Agent::start(rendezvous.address, &more).await;
    (rendezvous, agent)
}

async fn plays_over_a_relay(over: Over, transport: Transport) {
    let turn = Coturn::start(over);
    plays_over(&turn, turn.ice_server(), over, transport).await;
}

async fn plays_over(turn: &Coturn, server: IceServer, over: Over, transport: Transport) {
    support::logged();
    let (rendezvous, agent) = relay_only(turn, server).await;
    let viewer = Viewer::join(rendezvous.address, ROOM, ViewerOptions::new(transport)).await;
    let received = viewer.until("connection", |all| all.connected).await;
    println!("{over:?} {transport:?}: connected after {:?}", received.connected_after.unwrap());
    let received = viewer.until("first frame", |all| all.first_frame_after.is_some()).await;
    println!("{over:?} {transport:?}: first frame after {:?}", received.first_frame_after.unwrap());
    viewer.plays_on().await;
    let (_, camera) = viewer.candidate_types().await;
    // A relay's first packet may be here before its candidate.
    assert!(camera == "relay" || camera == "prflx", "{camera}");
    viewer.leave().await;
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn on_udp() {
    plays_over_a_relay(Over::Udp, Transport::Rtp).await;
    plays_over_a_relay(Over::Udp, Transport::Fmp4).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn on_tcp() {
    plays_over_a_relay(Over::Tcp, Transport::Rtp).await;
    plays_over_a_relay(Over::Tcp, Transport::Fmp4).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn by_ipv6() {
    for over in [Over::Udp, Over::Tcp] {
        let turn = Coturn::start(over);
        plays_over(&turn, turn.ice_server_on_ipv6(), over, Transport::Rtp).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn on_tls() {
    plays_over_a_relay(Over::Tls, Transport::Rtp).await;
    plays_over_a_relay(Over::Tls, Transport::Fmp4).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_server_a_viewer_hears_why() {
    support::logged();
    let rendezvous = Rendezvous::start().await;
    let more = "[network]\nloopback = true\nrelay-only = true\n";
    let agent = Agent::start(rendezvous.address, more).await;
    let options = ViewerOptions::new(Transport::Rtp);
    let viewer = Viewer::join(rendezvous.address, ROOM, options).await;
    let all = viewer.until("a refusal", |all| !all.errors.is_empty()).await;
    assert!(all.errors[0].message.contains("network.relay-only"), "{:?}", all.errors);
    agent.stop().await;
}
