//! Camera or viewer get another address, as after a change of network: media comes again in the
//! same session, without the page being loaded again.

use peercam_protocol::signalling::Transport;
use peercam_testbed::{
    Bed,
    camera::Options,
    network::{
        Scene,
        scene::{SOON, seed},
        table::Row,
        world::Home,
    },
};

async fn plays_on(row: &str, transport: Transport, home: Home) {
    let bed = Bed::new("address").unwrap();
    let plan = Row::named(row).unwrap().plan;
    let camera = Options::small("address".parse().unwrap());
    let scene = Scene::set(&bed, plan, camera, seed()).await.unwrap();
    let before = scene.play(transport).await.unwrap();

    scene.world.change_address(home, 77).unwrap();

    let after = scene.browser.wait_playing(SOON).await.unwrap();
    assert!(after.frames_decoded > before.frames_decoded, "the page was not loaded again");
    assert_eq!(after.reconnects, before.reconnects, "it should be the same session: {after:?}");
    // The camera is in its room under its new address, for the next viewer.
    scene.browser.reload().await.unwrap();
    scene.browser.wait_playing(SOON).await.unwrap();
}

#[tokio::test]
async fn a_camera_with_another_address_goes_on_over_rtp() {
    plays_on("cone", Transport::Rtp, Home::Camera).await;
}

#[tokio::test]
async fn a_camera_with_another_address_goes_on_over_fmp4() {
    plays_on("cone", Transport::Fmp4, Home::Camera).await;
}

#[tokio::test]
async fn a_viewer_with_another_address_goes_on_over_rtp() {
    plays_on("cone", Transport::Rtp, Home::Viewer).await;
}

#[tokio::test]
async fn a_viewer_with_another_address_goes_on_over_fmp4() {
    plays_on("cone", Transport::Fmp4, Home::Viewer).await;
}

#[tokio::test]
#[ignore = "long: run by scripts/test --all"]
async fn a_camera_with_another_address_goes_on_over_the_relay() {
    plays_on("symmetric", Transport::Rtp, Home::Camera).await;
}

#[tokio::test]
#[ignore = "long: run by scripts/test --all"]
async fn a_viewer_with_another_address_goes_on_over_the_relay() {
    plays_on("symmetric", Transport::Rtp, Home::Viewer).await;
}
