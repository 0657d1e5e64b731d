//! The rendezvous is killed and comes back: the camera returns to its room, and whoever is
//! watching notices nothing.

use std::time::Duration;

use peercam_protocol::signalling::Transport;
use peercam_testbed::stats::State;

use crate::scene::{SOON, Scene};

/// Counts the times since it began at which no new frame had been shown for a second.
const WATCH_FOR_FREEZES: &str = "
    const video = document.querySelector('peercam-player').shadowRoot.querySelector('video');
    globalThis.longestGap = 0;
    let shown = performance.now();
    const step = () => {
        const now = performance.now();
        globalThis.longestGap = Math.max(globalThis.longestGap, now - shown);
        shown = now;
        video.requestVideoFrameCallback(step);
    };
    video.requestVideoFrameCallback(step);";

async fn stream_goes_on(transport: Transport) {
    let mut scene = Scene::new(&format!("restart-{transport}")).await;
    scene.watch(transport).await;
    let before = scene.browser.wait_playing(SOON).await.unwrap();
    scene.browser.evaluate::<()>(WATCH_FOR_FREEZES).await.unwrap();

    scene.rendezvous.kill();
    let without = scene.browser.wait_playing(SOON).await.unwrap();
    assert_eq!(without.state, State::Playing);
    // Long enough for both ends to have tried in vain.
    tokio::time::sleep(Duration::from_secs(3)).await;
    scene.rendezvous.restart().await.unwrap();
    scene.camera.wait_hosting(&scene.rendezvous).await.unwrap();

    let after = scene.browser.wait_playing(SOON).await.unwrap();
    assert_eq!(after.reconnects, before.reconnects, "the session should be the same one");
    let gap: f64 = scene.browser.evaluate("return globalThis.longestGap").await.unwrap();
    assert!(gap < 2000.0, "the picture froze for {gap} ms");
    // And the room is open to the next viewer.
    scene.browser.reload().await.unwrap();
    scene.browser.wait_playing(SOON).await.unwrap();
}

#[tokio::test]
async fn a_restart_is_not_noticed_by_a_viewer_over_rtp() {
    stream_goes_on(Transport::Rtp).await;
}

#[tokio::test]
async fn a_restart_is_not_noticed_by_a_viewer_over_fmp4() {
    stream_goes_on(Transport::Fmp4).await;
}
