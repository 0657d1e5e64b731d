//! A standard player: picture and sound, and no data channel on which it could be told anything.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::time::Duration;

use peercam_agent::session::Patience;
use peercam_protocol::signalling::{ByeReason, FromViewer, Transport};
use support::{Agent, ROOM, Rendezvous, Viewer, ViewerOptions};

#[tokio::test(flavor = "multi_thread")]
async fn it_watches_restarts_ice_without_a_key_and_leaves_by_its_line() {
    support::log();
    let rendezvous = Rendezvous::start().await;
    let establishment = Duration::from_secs(10);
    let lost = Duration::from_secs(600);
    let patience = Patience { establishment, lost, ..Patience::default() };
    let agent = Agent::with_patience(rendezvous.address, patience).await;
    let options = ViewerOptions { control: false, ..ViewerOptions::new(Transport::Rtp) };
    let viewer = Viewer::join(rendezvous.address, ROOM, options).await;
    viewer.plays_on().await;

    // Nobody waits for a channel that never comes.
    tokio::time::sleep(establishment + Duration::from_secs(1)).await;
    viewer.plays_on().await;

    for times in 1..=2 {
        viewer.restart_with(None).await;
        viewer.until("another connection", |all| all.connections > times).await;
        viewer.plays_on().await;
    }
    let all = viewer.received();
    assert!(all.byes == 0 && all.errors.is_empty() && all.audio > 0, "{:?}", all.errors);

    // Its goodbye is the only one there is: the path was not lost, and would be waited for.
    viewer.signal(FromViewer::Bye { reason: ByeReason::ViewerLeft }).await;
    viewer.until("the end", |all| all.closed).await;
    agent.stop().await;
}
