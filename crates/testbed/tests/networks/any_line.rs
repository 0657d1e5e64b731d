//! Lines as chance has them, worse and better in turn: whatever they were, on a good line the page
//! plays again. `$PEERCAM_SEED` brings one back.

use std::time::Duration;

use peercam_protocol::signalling::Transport;
use peercam_testbed::{
    Bed,
    camera::Options,
    network::{
        Impairment, Scene, Way,
        scene::{SOON, seed},
        table::ROWS,
    },
};

/// Lines for each scene.
const LINES: usize = 5;
const SCENES: usize = 6;

fn any(random: &mut fastrand::Rng) -> Impairment {
    let narrow = random.bool().then(|| random.u64(200_000..4_000_000));
    Impairment {
        rate: narrow,
        queue: Duration::from_millis(random.u64(20..1000)),
        delay: Duration::from_millis(random.u64(0..200)),
        loss: if random.bool() { random.f64() * 0.2 } else { 0.0 },
        down: random.u8(..) < 32,
    }
}

#[tokio::test]
#[ignore = "long: run by scripts/test --all"]
async fn after_any_line_the_page_plays_again_on_a_good_one() {
    let seed = seed();
    let mut random = fastrand::Rng::with_seed(seed);
    for _ in 0..SCENES {
        let row = ROWS[random.usize(..ROWS.len())];
        let transport = if random.bool() { Transport::Rtp } else { Transport::Fmp4 };
        let bed = Bed::new("any-line").unwrap();
        let camera = Options::small("any-line".parse().unwrap());
        let scene = Scene::set(&bed, row.plan, camera, random.u64(..)).await.unwrap();
        scene.play(transport).await.unwrap();
        for _ in 0..LINES {
            let (there, back) = (any(&mut random), any(&mut random));
            eprintln!("{} {transport}: {there:?}, back {back:?}", row.name);
            scene.world.viewer_line.set(Way::In, there);
            scene.world.viewer_line.set(Way::Out, back);
            tokio::time::sleep(Duration::from_millis(random.u64(2_000..12_000))).await;
        }
        scene.world.viewer_line.set_both(Impairment::NONE);
        scene.browser.wait_playing(3 * SOON).await.unwrap();
    }
}
