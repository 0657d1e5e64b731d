//! The rendezvous goes and comes back.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use peercam_protocol::signalling::Transport;
use support::{Agent, ROOM, Rendezvous, Viewer, ViewerOptions};

#[tokio::test(flavor = "multi_thread")]
async fn running_streams_go_on_and_the_camera_comes_back_into_its_room() {
    support::log();
    let rendezvous = Rendezvous::start().await;
    let agent = Agent::start(rendezvous.address, "").await;
    let rtp = ViewerOptions::new(Transport::Rtp);
    let fmp4 = ViewerOptions::new(Transport::Fmp4);
    let old = Viewer::join(rendezvous.address, ROOM, rtp.clone()).await;
    let other = Viewer::join(rendezvous.address, ROOM, fmp4).await;
    old.plays_on().await;
    other.plays_on().await;

    let address = rendezvous.stop().await;
    old.plays_on().await;
    other.plays_on().await;

    let rendezvous = Rendezvous::start_at(address).await;
    agent.hosted(rendezvous.address).await;
    // The new server numbers its sessions anew, perhaps like the old one.
    let new = Viewer::join(rendezvous.address, ROOM, rtp).await;
    new.plays_on().await;
    for viewer in [&old, &other] {
        viewer.plays_on().await;
        let all = viewer.received();
        assert!(!all.closed && all.byes == 0 && all.lost == 0, "{all:?}");
    }
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_room_of_another_is_asked_for_again_until_the_server_forgets_him() {
    support::log();
    let rendezvous = Rendezvous::start().await;
    let first = Agent::start(rendezvous.address, "").await;
    // Finds that the room belongs to another key; `start` only waits until somebody hosts it.
    let second = Agent::start(rendezvous.address, "").await;
    first.stop().await;
    // Without a state directory the server keeps no claims.
    let rendezvous = Rendezvous::start_at(rendezvous.stop().await).await;
    second.hosted(rendezvous.address).await;
    let viewer = Viewer::join(rendezvous.address, ROOM, ViewerOptions::new(Transport::Rtp)).await;
    viewer.plays_on().await;
    second.stop().await;
}
