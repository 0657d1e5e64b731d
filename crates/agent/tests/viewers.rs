//! Many viewers at once, and one more than the camera takes.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use peercam_protocol::{
    control::Request,
    signalling::{ErrorCode, Transport},
};
use support::{Agent, ROOM, Rendezvous, Viewer, ViewerOptions};

#[tokio::test(flavor = "multi_thread")]
async fn the_eleventh_of_ten_is_refused_and_the_others_play_on() {
    support::log();
    let rendezvous = Rendezvous::start().await;
    let agent = Agent::start(rendezvous.address, "viewers = { max = 10 }").await;
    let options = |n: usize| {
        ViewerOptions::new(if n.is_multiple_of(2) { Transport::Rtp } else { Transport::Fmp4 })
    };
    let mut viewers = Vec::new();
    for n in 0..10 {
        viewers.push(Viewer::join(rendezvous.address, ROOM, options(n)).await);
    }
    for viewer in &viewers {
        viewer.plays_on().await;
    }

    let eleventh = Viewer::join(rendezvous.address, ROOM, options(0)).await;
    let all = eleventh.until("a refusal", |all| !all.errors.is_empty()).await;
    assert_eq!(all.errors[0].code, ErrorCode::Full);
    assert!(all.errors[0].message.contains("10 viewers"), "{}", all.errors[0]);
    assert!(!all.connected);
    for viewer in &viewers {
        viewer.plays_on().await;
        assert!(viewer.received().errors.is_empty());
    }

    // One who goes makes room.
    let gone = viewers.pop().unwrap();
    gone.request(&Request::Bye {}).await;
    gone.until("the end of his connection", |all| all.closed).await;
    let next = Viewer::join(rendezvous.address, ROOM, options(0)).await;
    next.plays_on().await;
    agent.stop().await;
}
