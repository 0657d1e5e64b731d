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
    eprintln!("connected after {:?}, first frame after {:?}", all.connected_after, all.first_frame_after);
    assert_eq!(all.lost, 0);
    let all = viewer
        .until("stream and clock", |all| {
            all.events.iter().any(|event| matches!(event, Event::Clock { .. }))
        })
        .await;
    let Event::Stream { width, height, video_codec, audio_codec } = &all.events[0] else {
        panic!("the first event is {:?}", all.events[0]);
    };
    assert_eq!((*width, *height, audio_codec.as_deref()), (320, 240, Some("opus")));
    assert!(video_codec.starts_with("avc1.42"), "{video_codec}");

    viewer.request(&Request::Time { id: 7 }).await;
    viewer
        .until("the time", |all| {
            all.events.iter().any(|event| matches!(event, Event::Time { id: 7, camera_ms } if *camera_ms > 1e12))
        })
        .await;
    agent.stop().await;
}
