//! The camera's source breaks and comes back.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use peercam_protocol::{control::Event, signalling::Transport};
use support::{Agent, ROOM, Rendezvous, Viewer, ViewerOptions, viewer::Received};

fn source(all: &Received, wanted: bool) -> Option<&str> {
    all.events.iter().find_map(|event| match event {
        Event::Source { live, message } if *live == wanted => Some(message.as_str()),
        _ => None,
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn viewers_hear_that_the_source_is_broken_and_that_it_is_back() {
    support::log();
    let rendezvous = Rendezvous::start().await;

    // A recording: what one camera sends is another one's file.
    let recorded = Agent::start(rendezvous.address, "").await;
    let options = ViewerOptions::new(Transport::Fmp4);
    let viewer = Viewer::join(rendezvous.address, ROOM, options).await;
    let recording = viewer.until("three seconds", |all| all.media.len() > 45).await.media.concat();
    recorded.stop().await;

    // On a server of its own: there the room belongs to the first camera.
    let rendezvous = Rendezvous::start().await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("clip.mp4");
    let more = format!(
        "video = {{ source = \"file\", file = {file:?}, clock = true }}\naudio = {{ source = \"none\" }}"
    );
    let agent = Agent::start(rendezvous.address, &more).await;
    let options = ViewerOptions::new(Transport::Rtp);
    let viewer = Viewer::join(rendezvous.address, ROOM, options).await;
    let all = viewer.until("the bad news", |all| source(all, false).is_some()).await;
    let message = source(&all, false).unwrap();
    assert!(message.contains("clip.mp4"), "{message}");
    assert!(all.frames == 0 && !all.closed);

    std::fs::write(&file, recording).unwrap();
    viewer.until("a picture", |all| all.frames > 5).await;
    let all = viewer.received();
    let stream =
        |event: &Event| matches!(event, Event::Stream { width: 320, audio_codec: None, .. });
    assert!(all.events.iter().any(stream), "{:?}", all.events);
    viewer.until("the good news", |all| source(all, true).is_some()).await;
    agent.stop().await;
}
