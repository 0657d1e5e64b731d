//! The agent on this machine, with its test source, plays in the page over both transports.

use std::time::{SystemTime, UNIX_EPOCH};

use peercam_protocol::signalling::Transport;
use peercam_testbed::stats::{Path, Protocol, Stream};

use crate::scene::{SOON, Scene};

async fn plays(transport: Transport, audio_codec: &str) {
    let scene = Scene::new(&format!("host-{transport}")).await;
    scene.watch(transport).await;
    let stats = scene.browser.wait_playing(SOON).await.unwrap();

    assert_eq!(stats.transport.as_deref(), Some(transport.as_str()));
    assert_eq!((stats.width, stats.height), (Some(640), Some(360)));
    let video_codec = stats.video_codec.as_deref().unwrap();
    assert!(video_codec.starts_with("avc1."), "{video_codec}");
    assert_eq!(stats.audio_codec.as_deref(), Some(audio_codec));
    assert!(stats.connect_ms.unwrap() <= stats.first_frame_ms.unwrap());
    assert_eq!(stats.stream, Some(Stream::Main));
    assert!(stats.fps > 0.0 && stats.bytes_received > 0.0, "{stats:?}");
    // On one machine, but the camera may know the browser's address only by what it sends from.
    assert!(matches!(stats.path, Some(Path::Host | Path::Reflexive)), "{stats:?}");
    assert_eq!(stats.path_protocol, Some(Protocol::Udp));
    let text = scene.browser.text().await.unwrap();
    assert!(text.contains("Connected directly"), "{text}");

    // It is this camera's picture, and a fresh one: the clock drawn into it says so.
    let drawn = scene.browser.picture_time().await.unwrap();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as f64;
    assert!((now - 10_000.0..=now).contains(&drawn), "the picture says {drawn}, it is {now}");
}

#[tokio::test]
async fn picture_and_sound_play_over_rtp() {
    plays(Transport::Rtp, "opus").await;
}

#[tokio::test]
async fn picture_and_sound_play_over_fmp4() {
    plays(Transport::Fmp4, "mp4a.40.2").await;
}
