//! The `rtp` transport, as a viewer sees it.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use peercam_protocol::{
    control::{Event, Request},
    signalling::Transport,
};
use support::{Agent, ROOM, Rendezvous, Viewer, ViewerOptions};

#[tokio::test(flavor = "multi_thread")]
async fn picture_and_sound_come_and_the_control_channel_says_what_they_are() {
    support::log();
    let rendezvous = Rendezvous::start().await;
    let agent = Agent::start(rendezvous.address, "").await;
    let viewer = Viewer::join(rendezvous.address, ROOM, ViewerOptions::new(Transport::Rtp)).await;
    let all = viewer.until("picture and sound", |all| all.frames > 20 && all.audio > 20).await;
    eprintln!(
        "connected after {:?}, first frame after {:?}",
        all.connected_after, all.first_frame_after
    );
    assert_eq!(all.lost, 0);
    let all = viewer
        .until("stream and clock", |all| {
            all.events.iter().any(|event| matches!(event, Event::Clock { .. }))
        })
        .await;
    let [Event::Session { .. }, Event::Stream { width, height, video_codec, audio_codec, .. }, ..] =
        &all.events[..]
    else {
        panic!("the first events are {:?}", all.events);
    };
    assert_eq!((*width, *height, audio_codec.as_deref()), (320, 240, Some("opus")));
    assert!(video_codec.starts_with("avc1.42"), "{video_codec}");

    viewer.request(&Request::Time { id: 7 }).await;
    viewer
        .until("the time", |all| {
            all.events
                .iter()
                .any(|event| matches!(event, Event::Time { id: 7, camera_ms } if *camera_ms > 1e12))
        })
        .await;
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_comes_in_mid_stream_needs_not_wait_for_a_key_frame() {
    support::log();
    let rendezvous = Rendezvous::start().await;
    // Natural key frames are 20 s apart: none comes by chance.
    let agent = Agent::start(rendezvous.address, "video = { key-frame-interval-ms = 20000 }").await;
    let options = ViewerOptions::new(Transport::Rtp);
    let first = Viewer::join(rendezvous.address, ROOM, options.clone()).await;
    first.until("a stream in full flow", |all| all.frames > 30).await;

    let late = Viewer::join(rendezvous.address, ROOM, options).await;
    // The library's receiver drops what comes in the first milliseconds, before it has keys and a
    // track; a browser doesn't (the end-to-end tests have one). So it may have to ask.
    if late.until("a picture", |all| all.frames > 0).await.key_frames == 0 {
        late.picture_loss().await;
    }
    let all = late.until("a key frame", |all| all.key_frames > 0).await;
    assert!(all.frames < 150, "the {}th picture is the first key frame", all.frames);
    first.plays_on().await;
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_picture_brings_a_key_frame() {
    support::log();
    let rendezvous = Rendezvous::start().await;
    let agent = Agent::start(rendezvous.address, "video = { key-frame-interval-ms = 20000 }").await;
    let options = ViewerOptions::new(Transport::Rtp);
    let viewer = Viewer::join(rendezvous.address, ROOM, options).await;
    let before = viewer.until("a stream in full flow", |all| all.frames > 30).await;
    viewer.picture_loss().await;
    let after = viewer.until("a key frame", |all| all.key_frames > before.key_frames).await;
    // 20 s are 300 pictures at 15 fps: the next natural key frame is far away.
    assert!(after.frames < before.frames + 150, "{} pictures later", after.frames - before.frames);

    let before = viewer.received();
    viewer.request(&Request::KeyFrame {}).await;
    viewer.until("a key frame", |all| all.key_frames > before.key_frames).await;
    agent.stop().await;
}
