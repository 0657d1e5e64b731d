//! One viewer more than the camera takes is told so in words, disturbs nobody, and gets in when
//! there is room.

use peercam_protocol::signalling::Transport;
use peercam_testbed::stats::State;

use crate::scene::{SOON, Scene};

#[tokio::test]
async fn a_viewer_over_the_limit_is_told_so_and_gets_in_when_another_leaves() {
    let scene = Scene::with_camera("full", |options| options.max_viewers = Some(1)).await;
    scene.watch(Transport::Rtp).await;
    scene.browser.wait_playing(SOON).await.unwrap();

    let add = "globalThis.second = document.querySelector('peercam-player').cloneNode(); \
        document.querySelector('peercam-player').after(globalThis.second);";
    scene.browser.evaluate::<()>(add).await.unwrap();
    let second = "globalThis.second";
    let refused = scene
        .browser
        .wait_stats_of(second, "the second viewer to be refused", SOON, |stats| {
            stats.state == State::Refused
        })
        .await
        .unwrap();
    assert_eq!(refused.frames_decoded, 0.0);
    let text: String =
        scene.browser.evaluate("return globalThis.second.shadowRoot.textContent").await.unwrap();
    assert!(text.contains("The camera is full"), "{text}");

    let first = scene.browser.wait_playing(SOON).await.unwrap();
    assert_eq!(first.reconnects, 0, "the first viewer should not be disturbed");
    let leave = "document.querySelector('peercam-player').stop()";
    scene.browser.evaluate::<()>(leave).await.unwrap();
    scene
        .browser
        .wait_stats_of(second, "the second viewer to play", SOON, |stats| {
            stats.state == State::Playing && stats.frames_decoded > 0.0
        })
        .await
        .unwrap();
}
