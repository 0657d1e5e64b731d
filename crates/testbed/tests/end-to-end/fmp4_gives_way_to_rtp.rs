//! Where the picture stops again and again over `fmp4`, the player changes to `rtp` by itself and
//! says so, unless it was told not to.

use std::time::Duration;

use nix::sys::signal::Signal;
use peercam_protocol::signalling::Transport;
use peercam_testbed::{Stats, stats::State};

use crate::scene::{SOON, Scene, link};

/// Three pauses, such as losses make them: longer than what the player keeps in store.
async fn stumble(scene: &Scene) {
    for _ in 0..3 {
        scene.camera.signal(Signal::SIGSTOP).unwrap();
        tokio::time::sleep(Duration::from_millis(1300)).await;
        scene.camera.signal(Signal::SIGCONT).unwrap();
        tokio::time::sleep(Duration::from_millis(1500)).await;
    }
}

#[tokio::test]
async fn a_picture_that_stops_again_and_again_comes_by_rtp() {
    let scene = Scene::new("stumbles").await;
    scene.watch(Transport::Fmp4).await;
    let before = scene.browser.wait_playing(SOON).await.unwrap();
    assert_eq!(before.transport.as_deref(), Some("fmp4"));

    stumble(&scene).await;
    let changed =
        |stats: &Stats| stats.transport.as_deref() == Some("rtp") && stats.state == State::Playing;
    scene.browser.wait_stats("the player to change to rtp", SOON, changed).await.unwrap();
    let after = scene.browser.wait_playing(SOON).await.unwrap();
    assert_eq!(after.audio_codec.as_deref(), Some("opus"));
    let text = scene.browser.text().await.unwrap();
    assert!(text.contains("transport changed to rtp"), "{text}");
}

#[tokio::test]
async fn a_player_that_is_told_to_stay_stays() {
    let scene = Scene::new("stays").await;
    let link = link(&scene.rendezvous, scene.camera.room(), Transport::Fmp4);
    scene.browser.open(&format!("{link}&transport-fallback=off")).await.unwrap();
    scene.browser.wait_playing(SOON).await.unwrap();

    stumble(&scene).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let after = scene.browser.wait_playing(SOON).await.unwrap();
    assert_eq!(after.transport.as_deref(), Some("fmp4"));
}
