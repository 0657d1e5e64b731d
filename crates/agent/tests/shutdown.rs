//! The camera stops.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use peercam_protocol::{
    control::Event,
    signalling::{ByeReason, Transport},
};
use support::{Agent, ROOM, Rendezvous, Viewer, ViewerOptions};

#[tokio::test(flavor = "multi_thread")]
async fn every_viewer_hears_bye_on_both_ways() {
    support::log();
    let rendezvous = Rendezvous::start().await;
    let agent = Agent::start(rendezvous.address, "").await;
    let rtp = Viewer::join(rendezvous.address, ROOM, ViewerOptions::new(Transport::Rtp)).await;
    let fmp4 = Viewer::join(rendezvous.address, ROOM, ViewerOptions::new(Transport::Fmp4)).await;
    rtp.plays_on().await;
    fmp4.plays_on().await;
    agent.stop().await;
    for viewer in [rtp, fmp4] {
        let bye = Event::Bye { reason: ByeReason::CameraStopping };
        viewer.until("bye on the control channel", |all| all.events.contains(&bye)).await;
        viewer.until("bye from the rendezvous", |all| all.byes == 1).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_viewer_who_leaves_without_a_word_is_noticed() {
    support::log();
    let rendezvous = Rendezvous::start().await;
    let agent = Agent::start(rendezvous.address, "viewers = { max = 1 }").await;
    let options = ViewerOptions::new(Transport::Rtp);
    let first = Viewer::join(rendezvous.address, ROOM, options.clone()).await;
    first.plays_on().await;
    first.leave().await;
    // His place is free as soon as his line to the rendezvous is gone.
    let second = Viewer::join(rendezvous.address, ROOM, options).await;
    second.plays_on().await;
    agent.stop().await;
}
