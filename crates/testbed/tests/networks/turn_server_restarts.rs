//! The TURN server dies and comes back, without its allocations: media comes again over a new one.

use peercam_protocol::signalling::Transport;
use peercam_testbed::{
    Bed,
    camera::Options,
    network::{
        Scene,
        scene::{SOON, seed},
        table::Row,
    },
    stats::Path,
};

async fn plays_again(row: &str, transport: Transport) {
    let bed = Bed::new("turn-restart").unwrap();
    let plan = Row::named(row).unwrap().plan;
    let camera = Options::small("turn-restart".parse().unwrap());
    let mut scene = Scene::set(&bed, plan, camera, seed()).await.unwrap();
    let before = scene.play(transport).await.unwrap();
    assert_eq!(before.path, Some(Path::Relay));

    scene.turn.kill();
    scene.turn.restart().await.unwrap();

    // Both ends find out that nothing comes any more, then look for a way again.
    let after = scene.browser.wait_playing(2 * SOON).await.unwrap();
    assert_eq!(after.path, Some(Path::Relay));
    assert!(after.frames_decoded > before.frames_decoded, "the page was not loaded again");
}

#[tokio::test]
async fn media_comes_again_over_a_new_allocation_on_udp() {
    plays_again("symmetric", Transport::Rtp).await;
}

#[tokio::test]
#[ignore = "long: run by scripts/test --all"]
async fn media_comes_again_over_a_new_allocation_on_udp_with_fmp4() {
    plays_again("symmetric", Transport::Fmp4).await;
}

#[tokio::test]
#[ignore = "long: run by scripts/test --all"]
async fn media_comes_again_over_a_new_allocation_on_tls() {
    plays_again("tls-only", Transport::Rtp).await;
}
