//! Whoever arrives while the camera is streaming has a picture within one second, wherever
//! between two key frames he arrives.

use peercam_protocol::signalling::Transport;

use crate::scene::{SOON, Scene};

/// A second page in the same browser, as a second person would open it; and then again.
async fn arrives_late(transport: Transport) {
    // Key frames far apart: waiting for the next one would be too late.
    let scene = Scene::with_camera(&format!("late-{transport}"), |options| {
        options.key_frame_interval_ms = Some(10_000);
    })
    .await;
    scene.watch(transport).await;
    scene.browser.wait_playing(SOON).await.unwrap();

    let add = "globalThis.late?.remove(); \
        globalThis.late = document.querySelector('peercam-player').cloneNode(); \
        document.querySelector('peercam-player').after(globalThis.late);";
    let mut waited = Vec::new();
    for _ in 0..3 {
        scene.browser.evaluate::<()>(add).await.unwrap();
        let stats = scene
            .browser
            .wait_stats_of("globalThis.late", "the late viewer's first frame", SOON, |stats| {
                stats.first_frame_ms.is_some()
            })
            .await
            .unwrap();
        waited.push(stats.first_frame_ms.unwrap());
    }
    assert!(waited.iter().all(|ms| *ms <= 1000.0), "from click to picture: {waited:?} ms");
}

#[tokio::test]
async fn a_late_viewer_has_a_picture_within_a_second_over_rtp() {
    arrives_late(Transport::Rtp).await;
}

#[tokio::test]
async fn a_late_viewer_has_a_picture_within_a_second_over_fmp4() {
    arrives_late(Transport::Fmp4).await;
}
