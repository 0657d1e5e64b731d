//! Lines that lose, delay, or are too narrow: picture and sound go on. How well is what
//! `measure network` prints; here generous limits only tell working from broken.

use std::time::{Duration, Instant};

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

async fn scene(bed: &Bed) -> Scene {
    let plan = Row::named("cone").unwrap().plan;
    let camera = Options::small("bad-line".parse().unwrap());
    Scene::set(bed, plan, camera, seed()).await.unwrap()
}

/// Frames a second over ten seconds, after the line has become so.
async fn frames_a_second(scene: &Scene, impairment: Impairment) -> f64 {
    scene.world.viewer_line.set_both(impairment);
    tokio::time::sleep(Duration::from_secs(2)).await;
    let (start, before) = (Instant::now(), scene.browser.stats().await.unwrap());
    tokio::time::sleep(Duration::from_secs(10)).await;
    let (seconds, after) = (start.elapsed().as_secs_f64(), scene.browser.stats().await.unwrap());
    // Sound too, and both still advance at the end.
    assert!(after.audio_decoded > before.audio_decoded, "no sound: {after:?}");
    scene.browser.wait_playing(SOON).await.unwrap();
    (after.frames_decoded - before.frames_decoded) / seconds
}

#[tokio::test]
async fn loss_and_delay_are_survived_over_rtp() {
    let bed = Bed::new("bad-line").unwrap();
    let scene = scene(&bed).await;
    scene.play(Transport::Rtp).await.unwrap();
    let delay = Duration::from_millis(30);
    for (impairment, least) in [
        (Impairment::lossy(0.01).and_delay(delay), 10.0),
        (Impairment::lossy(0.05).and_delay(delay), 8.0),
        (Impairment::lossy(0.10).and_delay(delay), 5.0),
        (Impairment::delayed(Duration::from_millis(100)), 10.0),
    ] {
        let fps = frames_a_second(&scene, impairment).await;
        assert!(fps >= least, "{fps} of 15 frames a second with {impairment:?}");
    }
}

#[tokio::test]
async fn a_little_loss_and_delay_are_survived_over_fmp4() {
    let bed = Bed::new("bad-line").unwrap();
    let scene = scene(&bed).await;
    scene.play(Transport::Fmp4).await.unwrap();
    let delay = Duration::from_millis(30);
    for (impairment, least) in [
        (Impairment::lossy(0.01).and_delay(delay), 8.0),
        (Impairment::delayed(Duration::from_millis(100)), 8.0),
    ] {
        let fps = frames_a_second(&scene, impairment).await;
        assert!(fps >= least, "{fps} of 15 frames a second with {impairment:?}");
    }
}

#[tokio::test]
async fn where_loss_makes_fmp4_hopeless_the_page_changes_to_rtp_and_says_so() {
    let bed = Bed::new("bad-line").unwrap();
    let scene = scene(&bed).await;
    scene.play(Transport::Fmp4).await.unwrap();
    let bad = Impairment::lossy(0.10).and_delay(Duration::from_millis(50));
    scene.world.viewer_line.set_both(bad);
    let what = "the player to change to rtp";
    let fit = |stats: &peercam_testbed::Stats| stats.transport.as_deref() == Some("rtp");
    scene.browser.wait_stats(what, 2 * SOON, fit).await.unwrap();
    scene.browser.wait_playing(SOON).await.unwrap();
}

#[tokio::test]
async fn a_bottleneck_that_comes_and_goes_is_survived_over_rtp() {
    comes_and_goes(Transport::Rtp).await;
}

#[tokio::test]
async fn a_bottleneck_that_comes_and_goes_is_survived_over_fmp4() {
    comes_and_goes(Transport::Fmp4).await;
}

/// A bit rate that the camera does not get through for 20 s: latency comes down again while it
/// lasts, and no session is lost.
async fn comes_and_goes(transport: Transport) {
    let bed = Bed::new("bottleneck").unwrap();
    let picture = peercam_testbed::picture::busy(&bed, 640, 360).unwrap();
    let plan = Row::named("cone").unwrap().plan;
    let camera = Options {
        picture: Some(picture),
        framerate: 30,
        ..Options::small("bottleneck".parse().unwrap())
    };
    let scene = Scene::set(&bed, plan, camera, seed()).await.unwrap();
    let before = scene.play(transport).await.unwrap();
    tokio::time::sleep(Duration::from_secs(5)).await;

    scene.world.viewer_line.set_both(Impairment::narrow(1_200_000));
    tokio::time::sleep(Duration::from_secs(10)).await;
    let low = |stats: &peercam_testbed::Stats| {
        stats.latency_ms.last.is_some_and(|latency| latency < 1500.0)
    };
    scene.browser.wait_stats("latency to come down", SOON, low).await.unwrap();
    scene.browser.wait_playing(SOON).await.unwrap();
    tokio::time::sleep(Duration::from_secs(10)).await;
    scene.world.viewer_line.set_both(Impairment::NONE);
    let after = scene.browser.wait_playing(SOON).await.unwrap();
    assert!(after.frames_decoded > before.frames_decoded, "the page was not loaded again");
    scene.browser.wait_stats("latency to be low", SOON, low).await.unwrap();
}
