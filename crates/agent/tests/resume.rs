//! A session outlives its path and its line to the rendezvous: the viewer takes it up again.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::time::Duration;

use peercam_agent::session::Patience;
use peercam_protocol::signalling::{ErrorCode, FromViewer, ResumeKey, ToViewer, Transport};
use support::{Agent, ROOM, Rendezvous, Socket, Viewer, ViewerOptions};

async fn viewer(rendezvous: &Rendezvous, transport: Transport) -> Viewer {
    let viewer = Viewer::join(rendezvous.address, ROOM, ViewerOptions::new(transport)).await;
    viewer.plays_on().await;
    viewer
}

/// Waits until ICE has connected once more after `before` times, and for pictures after it.
async fn reconnects(viewer: &Viewer, before: usize) {
    viewer.until("another connection", |all| all.connections > before).await;
    viewer.plays_on().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_viewer_restarts_ice_on_his_line_again_and_again() {
    support::log();
    let rendezvous = Rendezvous::start().await;
    let agent = Agent::start(rendezvous.address, "").await;
    for transport in [Transport::Rtp, Transport::Fmp4] {
        let viewer = viewer(&rendezvous, transport).await;
        for times in 1..=3 {
            let key_frames = viewer.received().key_frames;
            viewer.restart().await;
            reconnects(&viewer, times).await;
            if transport == Transport::Rtp {
                viewer.until("a key frame", |all| all.key_frames > key_frames).await;
            }
        }
        let all = viewer.received();
        assert!(all.byes == 0 && all.errors.is_empty(), "{:?}", all.errors);
    }
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_is_taken_up_again_after_both_lost_the_rendezvous() {
    support::log();
    let rendezvous = Rendezvous::start().await;
    let agent = Agent::start(rendezvous.address, "").await;
    let rtp = viewer(&rendezvous, Transport::Rtp).await;
    let fmp4 = viewer(&rendezvous, Transport::Fmp4).await;
    let (rtp_key, fmp4_key) = (rtp.resume_key().await, fmp4.resume_key().await);
    assert_ne!(rtp_key, fmp4_key);

    let rendezvous = Rendezvous::start_at(rendezvous.stop().await).await;
    agent.hosted(rendezvous.address).await;
    for viewer in [&rtp, &fmp4] {
        let mut socket = Socket::watch(rendezvous.address, ROOM).await;
        socket.until_online().await;
        viewer.use_line(Some(socket)).await;
        viewer.restart().await;
        reconnects(viewer, 1).await;
        // And what the camera says reaches him by the new line.
        viewer.join_again("garbage".to_owned(), viewer.resume_key().await).await;
        viewer.until("an error", |all| all.errors.len() == 1).await;
    }
    agent.stop().await;
    for viewer in [&rtp, &fmp4] {
        viewer.until("bye by the new line", |all| all.byes == 1).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_got_lost_is_said_again() {
    support::log();
    let rendezvous = Rendezvous::start().await;
    let agent = Agent::start(rendezvous.address, "").await;
    let viewer = viewer(&rendezvous, Transport::Rtp).await;
    let key = viewer.resume_key().await;
    // The offer goes out on a line that is gone before the answer comes.
    let offer = viewer.offer_restart().await;
    let mut lost = Socket::watch(rendezvous.address, ROOM).await;
    lost.until_online().await;
    let join = FromViewer::Join {
        transport: Transport::Rtp,
        offer: offer.sdp.clone(),
        resume: Some(key.clone()),
        pass: None,
    };
    lost.send(&join).await;
    lost.find(|message| matches!(message, ToViewer::Answer { .. }).then_some(())).await;
    drop(lost);
    let mut socket = Socket::watch(rendezvous.address, ROOM).await;
    socket.until_online().await;
    viewer.use_line(Some(socket)).await;
    viewer.join_again(offer.sdp.clone(), key).await;
    viewer.apply_offer(offer).await;
    reconnects(&viewer, 1).await;
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_belongs_to_nobody_is_refused() {
    support::log();
    let rendezvous = Rendezvous::start().await;
    let agent = Agent::start(rendezvous.address, "").await;
    let other = viewer(&rendezvous, Transport::Rtp).await;
    let viewer = viewer(&rendezvous, Transport::Rtp).await;
    // On a line of its own, as a viewer whose camera has been started anew.
    let mut socket = Socket::watch(rendezvous.address, ROOM).await;
    socket.until_online().await;
    viewer.use_line(Some(socket)).await;
    viewer.restart_with(ResumeKey::from_bytes([7; 16])).await;
    let all = viewer.until("a refusal", |all| !all.errors.is_empty()).await;
    assert_eq!(all.errors[0].code, ErrorCode::SessionGone);
    assert_eq!(all.answers, 1);
    other.plays_on().await;
    assert!(other.received().errors.is_empty());
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_offers_are_answered_and_harm_nothing() {
    support::log();
    let rendezvous = Rendezvous::start().await;
    let agent = Agent::start(rendezvous.address, "").await;
    let other = viewer(&rendezvous, Transport::Rtp).await;
    let viewer = viewer(&rendezvous, Transport::Rtp).await;
    let key = viewer.resume_key().await;
    let good = viewer.offer_restart().await.sdp;
    let finger = good.lines().find(|line| line.starts_with("a=fingerprint:")).unwrap();
    let stranger = good.replace(finger, &finger.replace(|c: char| c.is_ascii_digit(), "1"));
    let bad = [
        "garbage".to_owned(),
        String::new(),
        good.replace("m=video", "m=application"),
        good[..good.len() / 2].to_owned(),
        stranger,
    ];
    for (nth, offer) in (1..).zip(bad) {
        viewer.join_again(offer, key.clone()).await;
        let all = viewer.until("an error", |all| all.errors.len() == nth).await;
        assert!(!all.errors[nth - 1].code.ends_session(), "{:?}", all.errors);
        viewer.plays_on().await;
    }
    // Another's key, on a line that has a session of its own.
    viewer.join_again(good.clone(), other.resume_key().await).await;
    let all = viewer.until("an error", |all| all.errors.len() == 6).await;
    assert_eq!(all.errors[5].code, ErrorCode::OutOfOrder);
    viewer.plays_on().await;
    other.plays_on().await;
    // And a good one is still welcome.
    viewer.restart().await;
    reconnects(&viewer, 1).await;
    let all = other.received();
    assert!(all.connections == 1 && all.errors.is_empty() && all.byes == 0);
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_path_that_comes_back_by_itself_needs_no_restart() {
    support::log();
    let rendezvous = Rendezvous::start().await;
    let agent = Agent::start(rendezvous.address, "").await;
    let rtp = viewer(&rendezvous, Transport::Rtp).await;
    let fmp4 = viewer(&rendezvous, Transport::Fmp4).await;
    for viewer in [&rtp, &fmp4] {
        viewer.path.cut();
    }
    for viewer in [&rtp, &fmp4] {
        viewer.until("silence", |all| all.closed).await;
    }
    tokio::time::sleep(Duration::from_secs(2)).await;
    for viewer in [&rtp, &fmp4] {
        viewer.path.mend();
    }
    for viewer in [&rtp, &fmp4] {
        reconnects(viewer, 1).await;
        assert_eq!(viewer.received().byes, 0);
    }
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_path_is_found_again_by_a_restart() {
    support::log();
    let rendezvous = Rendezvous::start().await;
    let agent = Agent::start(rendezvous.address, "").await;
    let viewer = viewer(&rendezvous, Transport::Rtp).await;
    viewer.path.cut();
    viewer.until("silence", |all| all.closed).await;
    viewer.path.mend();
    let before = viewer.received().connections;
    viewer.restart().await;
    reconnects(&viewer, before).await;
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_viewer_who_does_not_come_back_is_given_up() {
    support::log();
    let rendezvous = Rendezvous::start().await;
    let patience = Patience { lost: Duration::from_secs(3), ..Patience::default() };
    let agent = Agent::with_patience(rendezvous.address, patience).await;
    let viewer = viewer(&rendezvous, Transport::Rtp).await;
    let key = viewer.resume_key().await;
    viewer.path.cut();
    viewer.until("bye", |all| all.byes == 1).await;
    viewer.restart_with(key).await;
    let all = viewer.until("a refusal", |all| !all.errors.is_empty()).await;
    assert_eq!(all.errors[0].code, ErrorCode::SessionGone);
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_who_is_out_of_reach_makes_room_for_one_who_is_here() {
    support::log();
    let rendezvous = Rendezvous::start().await;
    let agent = Agent::start(rendezvous.address, "viewers = { max = 1 }").await;
    let first = viewer(&rendezvous, Transport::Rtp).await;
    first.path.cut();
    first.until("silence", |all| all.closed).await;
    // The camera notices as late as the viewer does; until then it is full.
    let second = loop {
        let options = ViewerOptions::new(Transport::Rtp);
        let next = Viewer::join(rendezvous.address, ROOM, options).await;
        let all = next.until("an outcome", |all| all.frames > 0 || !all.errors.is_empty()).await;
        if all.errors.is_empty() {
            break next;
        }
        assert_eq!(all.errors[0].code, ErrorCode::Full);
        tokio::time::sleep(Duration::from_millis(200)).await;
    };
    second.plays_on().await;
    first.until("bye", |all| all.byes == 1).await;
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_closed_page_is_not_waited_for_as_long_as_a_lost_path() {
    support::log();
    let rendezvous = Rendezvous::start().await;
    let patience = Patience {
        lost: Duration::from_secs(600),
        gone: Duration::from_millis(500),
        ..Patience::default()
    };
    let agent = Agent::with_patience(rendezvous.address, patience).await;
    let viewer = viewer(&rendezvous, Transport::Rtp).await;
    let key = viewer.resume_key().await;
    viewer.path.cut();
    viewer.use_line(None).await;
    viewer.until("silence", |all| all.closed).await;
    // The camera notices as late as he does.
    tokio::time::sleep(Duration::from_secs(4)).await;
    let mut socket = Socket::watch(rendezvous.address, ROOM).await;
    socket.until_online().await;
    viewer.use_line(Some(socket)).await;
    viewer.restart_with(key).await;
    let all = viewer.until("a refusal", |all| !all.errors.is_empty()).await;
    assert_eq!(all.errors[0].code, ErrorCode::SessionGone);
    agent.stop().await;
}
