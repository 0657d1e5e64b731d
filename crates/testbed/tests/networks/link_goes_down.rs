//! A line is cut for ten seconds: the page plays again by itself when it is back, without being
//! loaded again.

use std::time::Duration;

use peercam_protocol::signalling::Transport;
use peercam_testbed::{
    Bed,
    camera::Options,
    network::{
        Impairment, Scene,
        scene::{SOON, seed},
        table::Row,
    },
};

/// How long the line is cut: longer than it takes both ends to notice (RFC 7675: at most 30 s,
/// Chromium says "disconnected" after about 5 s).
const CUT: Duration = Duration::from_secs(10);

enum Whose {
    Viewer,
    Camera,
}

async fn plays_again(transport: Transport, whose: Whose) {
    let bed = Bed::new("link-down").unwrap();
    let plan = Row::named("cone").unwrap().plan;
    let camera = Options::small("link-down".parse().unwrap());
    let scene = Scene::set(&bed, plan, camera, seed()).await.unwrap();
    let before = scene.play(transport).await.unwrap();

    let line = match whose {
        Whose::Viewer => &scene.world.viewer_line,
        Whose::Camera => &scene.world.camera_line,
    };
    line.set_both(Impairment::cut());
    tokio::time::sleep(CUT).await;
    line.set_both(Impairment::NONE);

    let after = scene.browser.wait_playing(SOON).await.unwrap();
    assert!(after.frames_decoded > before.frames_decoded, "the page was not loaded again");
}

#[tokio::test]
async fn ten_seconds_without_the_viewers_line_are_survived_over_rtp() {
    plays_again(Transport::Rtp, Whose::Viewer).await;
}

#[tokio::test]
async fn ten_seconds_without_the_viewers_line_are_survived_over_fmp4() {
    plays_again(Transport::Fmp4, Whose::Viewer).await;
}

#[tokio::test]
#[ignore = "long: run by scripts/test --all"]
async fn ten_seconds_without_the_cameras_line_are_survived() {
    plays_again(Transport::Rtp, Whose::Camera).await;
}
