//! A steady picture on a path that is narrow or lossy, and nobody pays for a viewer who reads nothing.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::time::Duration;

use peercam_protocol::{
    control::{Event, Request, Stream},
    signalling::Transport,
};
use support::{Agent, ROOM, Rendezvous, Viewer, ViewerOptions, viewer::Received};

/// A picture that needs its bit rate.
const VIDEO: &str = "video = { width = 640, height = 360, framerate = 30, bitrate-kbps = 1000, min-bitrate-kbps = 150 }";

/// bit/s that come through in so much time.
async fn rate(viewer: &Viewer, time: Duration) -> u64 {
    let before = viewer.path.bytes();
    tokio::time::sleep(time).await;
    ((viewer.path.bytes() - before) as f64 * 8.0 / time.as_secs_f64()) as u64
}

#[tokio::test(flavor = "multi_thread")]
async fn a_narrow_path_is_followed_down_and_up_again() {
    support::log();
    let rendezvous = Rendezvous::start().await;
    let agent = Agent::start(rendezvous.address, VIDEO).await;
    let viewer = Viewer::join(rendezvous.address, ROOM, ViewerOptions::new(Transport::Rtp)).await;
    viewer.until("a stream in full flow", |all| all.frames > 60).await;
    let free = rate(&viewer, Duration::from_secs(3)).await;

    let narrow = free * 7 / 10;
    viewer.path.narrow(narrow);
    tokio::time::sleep(Duration::from_secs(6)).await;
    let frames = viewer.received().frames;
    let mut queues = Vec::new();
    for _ in 0..60 {
        tokio::time::sleep(Duration::from_millis(100)).await;
        queues.push(viewer.path.queue());
    }
    queues.sort();
    // Without rate control the queue holds seconds by now, and grows.
    let (median, worst) = (queues[30], queues[59]);
    eprintln!("{free} bit/s, then {narrow}: queue {median:?}, at worst {worst:?}");
    assert!(median < Duration::from_millis(500) && worst < Duration::from_secs(2));
    let shown = viewer.received().frames - frames;
    assert!(shown > 40, "{shown} pictures in 6 s");

    viewer.path.narrow(0);
    let mut now = 0;
    for _ in 0..15 {
        now = rate(&viewer, Duration::from_secs(2)).await;
        if now > free * 8 / 10 {
            break;
        }
    }
    assert!(now > free * 8 / 10, "{now} of {free} bit/s");
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_lost_comes_again_and_loss_is_not_taken_for_a_narrow_path() {
    support::log();
    let rendezvous = Rendezvous::start().await;
    let agent = Agent::start(rendezvous.address, VIDEO).await;
    let viewer = Viewer::join(rendezvous.address, ROOM, ViewerOptions::new(Transport::Rtp)).await;
    viewer.until("a stream in full flow", |all| all.frames > 60).await;
    let free = rate(&viewer, Duration::from_secs(2)).await;
    viewer.path.lose_one_of(20);
    let before = viewer.received();
    tokio::time::sleep(Duration::from_secs(4)).await;
    let lossy = rate(&viewer, Duration::from_secs(4)).await;
    let after = viewer.received();
    viewer.path.lose_one_of(0);
    let frames = after.frames - before.frames;
    eprintln!("{frames} pictures in 8 s, {} packets missing; {free}, then {lossy}", after.lost);
    assert!(frames > 120, "{frames} pictures in 8 s");
    // A twentieth of about a hundred packets a second.
    assert!(after.lost - before.lost < 15, "{} packets never came", after.lost - before.lost);
    assert!(lossy > free * 7 / 10, "{lossy} of {free} bit/s");
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_viewer_who_reads_nothing_is_sent_nothing_more() {
    support::log();
    let rendezvous = Rendezvous::start().await;
    let agent = Agent::start(rendezvous.address, VIDEO).await;
    let options = ViewerOptions { reads: false, ..ViewerOptions::new(Transport::Fmp4) };
    let lazy = Viewer::join(rendezvous.address, ROOM, options).await;
    let other = Viewer::join(rendezvous.address, ROOM, ViewerOptions::new(Transport::Fmp4)).await;
    lazy.until("connection", |all| all.connected).await;
    let begun = rate(&lazy, Duration::from_secs(2)).await;
    let mut now = begun;
    for _ in 0..10 {
        now = rate(&lazy, Duration::from_secs(3)).await;
        if now < begun / 10 {
            break;
        }
    }
    assert!(now < begun / 10, "{now} of {begun} bit/s");
    // His session is alive, and others notice nothing.
    lazy.request(&Request::Time { id: 1 }).await;
    lazy.until("an answer", |all| all.events.len() > 2).await;
    other.plays_on().await;
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_cannot_follow_gets_the_smaller_encode_and_comes_back_while_others_notice_nothing() {
    support::log();
    let rendezvous = Rendezvous::start().await;
    let agent = Agent::start(rendezvous.address, VIDEO).await;
    let options = ViewerOptions::new(Transport::Rtp);
    let other = Viewer::join(rendezvous.address, ROOM, options.clone()).await;
    let viewer = Viewer::join(rendezvous.address, ROOM, options).await;
    viewer.until("a stream in full flow", |all| all.frames > 60).await;
    assert_eq!(streams(&viewer.received()), [(Stream::Main, 640)]);

    viewer.path.narrow(180_000);
    let all = viewer.until("the smaller encode", |all| streams(all).len() > 1).await;
    assert_eq!(streams(&all)[1], (Stream::Sub, 320));
    let key_frames = all.key_frames;
    viewer.until("a picture of it", |all| all.key_frames > key_frames).await;
    viewer.plays_on().await;

    viewer.path.narrow(0);
    let all = viewer.until("the main encode again", |all| streams(all).len() > 2).await;
    assert_eq!(streams(&all)[2], (Stream::Main, 640));
    viewer.plays_on().await;
    assert_eq!(streams(&other.received()), [(Stream::Main, 640)]);
    assert_eq!(other.received().lost, 0);
    agent.stop().await;
}

/// What the viewer was told he gets, with its width.
fn streams(all: &Received) -> Vec<(Stream, u32)> {
    all.events
        .iter()
        .filter_map(|event| match event {
            Event::Stream { stream, width, .. } => Some((*stream, *width)),
            _ => None,
        })
        .collect()
}
