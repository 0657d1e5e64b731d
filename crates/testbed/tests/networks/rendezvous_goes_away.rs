//! The rendezvous dies while somebody watches through routers: he goes on watching, and when it is
//! back, a lost way is found again through it.

use std::time::Duration;

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

#[tokio::test]
async fn a_viewer_watches_on_and_a_lost_way_is_found_when_it_is_back() {
    let bed = Bed::new("rendezvous-dies").unwrap();
    let plan = Row::named("cone").unwrap().plan;
    let camera = Options::small("rendezvous-dies".parse().unwrap());
    let mut scene = Scene::set(&bed, plan, camera, seed()).await.unwrap();
    let before = scene.play(Transport::Rtp).await.unwrap();

    scene.rendezvous.kill();
    tokio::time::sleep(Duration::from_secs(3)).await;
    let without = scene.browser.wait_playing(SOON).await.unwrap();
    assert_eq!((without.reconnects, without.restarts), (before.reconnects, before.restarts));

    // Nobody to tell of the new address.
    scene.world.change_address(Home::Camera, 77).unwrap();
    tokio::time::sleep(Duration::from_secs(3)).await;
    scene.rendezvous.restart().await.unwrap();
    let after = scene.browser.wait_playing(2 * SOON).await.unwrap();
    assert!(after.frames_decoded > before.frames_decoded, "the page was not loaded again");
}
