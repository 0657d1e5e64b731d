//! The way to the camera is lost, or the viewer's network changes: the same session goes on by an
//! ICE restart, without a reload.

use std::time::Duration;

use nix::sys::signal::Signal;
use peercam_protocol::signalling::Transport;
use peercam_testbed::{Stats, stats::State};

use crate::scene::{SOON, Scene};

/// What the browser tells a page when it is in a network again.
const NETWORK_CHANGES: &str = "dispatchEvent(new Event('online'))";

async fn playing(name: &str, transport: Transport) -> (Scene, Stats) {
    let scene = Scene::new(&format!("{name}-{transport}")).await;
    scene.watch(transport).await;
    let before = scene.browser.wait_playing(SOON).await.unwrap();
    (scene, before)
}

async fn viewer_changes_network(transport: Transport) {
    let (scene, before) = playing("moved", transport).await;
    for times in 1..=2 {
        scene.browser.evaluate::<()>(NETWORK_CHANGES).await.unwrap();
        let what = format!("ICE to restart (network change {times})");
        let restarted = |stats: &Stats| stats.restarts == times && stats.state == State::Playing;
        scene.browser.wait_stats(&what, SOON, restarted).await.unwrap();
    }
    let after = scene.browser.wait_playing(SOON).await.unwrap();
    assert_eq!(after.reconnects, before.reconnects, "the session should be the same one");
    assert_eq!(scene.camera.output().matches("joined").count(), 1, "for the camera too");
}

#[tokio::test]
async fn a_viewer_over_rtp_changes_network() {
    viewer_changes_network(Transport::Rtp).await;
}

#[tokio::test]
async fn a_viewer_over_fmp4_changes_network() {
    viewer_changes_network(Transport::Fmp4).await;
}

#[tokio::test]
async fn a_camera_that_was_silent_for_a_while_keeps_its_session() {
    let (scene, before) = playing("silent", Transport::Rtp).await;
    scene.camera.signal(Signal::SIGSTOP).unwrap();
    let stopped = |stats: &Stats| stats.state == State::Reconnecting;
    scene.browser.wait_stats("the page to say that it reconnects", SOON, stopped).await.unwrap();
    // More than one offer stays without an answer, and more than one socket.
    tokio::time::sleep(Duration::from_secs(4)).await;
    scene.camera.signal(Signal::SIGCONT).unwrap();

    let after = scene.browser.wait_playing(SOON).await.unwrap();
    assert_eq!(after.reconnects, before.reconnects, "{after:?}");
    assert!(after.restarts > before.restarts, "{after:?}");
    assert!(after.freeze_longest_ms > 1000.0, "{after:?}");
}
