//! Camera or viewer get another address, as after a change of network: media comes again without
//! the page being loaded again, and over rtp in the same session.

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
    // Over fmp4 a new session may be quicker: the data channel's timer for sending again, which
    // doubles each time (RFC 9260 §6.3.3), may be at seconds.
    if transport == Transport::Rtp {
        assert_eq!(after.reconnects, before.reconnects, "it should be the same one: {after:?}");
    }
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
