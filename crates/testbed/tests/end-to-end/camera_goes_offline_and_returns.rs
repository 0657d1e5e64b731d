//! A camera that goes away: the page says so, and plays again by itself when it is back.

use peercam_protocol::signalling::Transport;
use peercam_testbed::{Bed, Browser, HostCamera, Rendezvous, camera::Options, stats::State};

use crate::scene::{SOON, Scene, link, room};

async fn goes_and_returns(transport: Transport) {
    let mut scene = Scene::new(&format!("gone-{transport}")).await;
    scene.watch(transport).await;
    let before = scene.browser.wait_playing(SOON).await.unwrap();

    scene.camera.kill();
    scene.browser.wait_state(State::Offline, SOON).await.unwrap();
    let text = scene.browser.text().await.unwrap();
    assert!(text.contains("The camera is offline"), "{text}");

    scene.camera.restart().unwrap();
    let after = scene.browser.wait_playing(SOON).await.unwrap();
    assert!(after.reconnects > before.reconnects, "{after:?}");
    assert!(after.frames_decoded > before.frames_decoded, "the page was not loaded again");
}

#[tokio::test]
async fn the_page_says_offline_and_recovers_over_rtp() {
    goes_and_returns(Transport::Rtp).await;
}

#[tokio::test]
async fn the_page_says_offline_and_recovers_over_fmp4() {
    goes_and_returns(Transport::Fmp4).await;
}

#[tokio::test]
async fn a_viewer_may_come_before_the_camera() {
    let bed = Bed::new("early").unwrap();
    let rendezvous = Rendezvous::start(&bed).await.unwrap();
    let browser = Browser::start(&bed).await.unwrap();
    browser.open(&link(&rendezvous, &room("early"), Transport::Rtp)).await.unwrap();
    browser.wait_state(State::Offline, SOON).await.unwrap();

    let camera = HostCamera::host(&bed, &rendezvous, Options::small(room("early"))).await.unwrap();
    browser.wait_playing(SOON).await.unwrap();
    // Goodbye is said before the camera is gone: the page need not find out by itself.
    camera.stop().await.unwrap();
    browser.wait_state(State::Offline, SOON).await.unwrap();
}
