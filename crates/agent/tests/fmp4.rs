//! The `fmp4` transport, as a viewer sees it.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use peercam_protocol::{
    control::{Event, MAX_MEDIA_MESSAGE},
    signalling::Transport,
};
use support::{Agent, ROOM, Rendezvous, Viewer, ViewerOptions};

/// The top-level boxes (ISO/IEC 14496-12 §4.2) of a stream, in order.
fn boxes(mut data: &[u8]) -> Vec<String> {
    let mut names = Vec::new();
    while let Some(head) = data.first_chunk::<8>() {
        let size = u32::from_be_bytes(head[..4].try_into().unwrap()) as usize;
        names.push(String::from_utf8_lossy(&head[4..]).into_owned());
        data = data.get(size.max(8)..).unwrap_or_default();
    }
    names
}

#[tokio::test(flavor = "multi_thread")]
async fn a_track_file_comes_from_its_beginning_in_small_messages() {
    support::log();
    let rendezvous = Rendezvous::start().await;
    let agent = Agent::start(rendezvous.address, "").await;
    let viewer = Viewer::join(rendezvous.address, ROOM, ViewerOptions::new(Transport::Fmp4)).await;
    let all = viewer.until("chunks and clock", |all| {
        let clock = all.events.iter().any(|event| matches!(event, Event::Clock { .. }));
        all.media.len() > 40 && clock
    });
    let all = all.await;
    assert!(all.media.iter().all(|message| message.len() <= MAX_MEDIA_MESSAGE));
    let names = boxes(&all.media.concat());
    assert_eq!(names[..2], ["ftyp", "moov"], "{names:?}");
    assert!(names[2..].iter().any(|name| name == "moof"), "{names:?}");
    assert!(names[2..].iter().all(|name| name != "moov"), "one run, one init segment");
    let [Event::Session { .. }, Event::Stream { video_codec, audio_codec, .. }, ..] =
        &all.events[..]
    else {
        panic!("the first events are {:?}", all.events);
    };
    assert!(video_codec.starts_with("avc1.42"), "{video_codec}");
    assert_eq!(audio_codec.as_deref(), Some("mp4a.40.2"));
    agent.stop().await;
}
