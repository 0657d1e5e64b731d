//! Ten players at once: each has picture and sound, and the camera encodes as for one.

use peercam_protocol::signalling::Transport;
use peercam_testbed::{Stats, stats::State, wait};

use crate::scene::{SOON, Scene};

const VIEWERS: usize = 10;

/// Puts further players like the page's own beside it.
const MORE_PLAYERS: &str = "const player = document.querySelector('peercam-player'); \
    for (let more = 1; more < 10; more += 1) player.after(player.cloneNode());";

const ALL_STATS: &str =
    "return [...document.querySelectorAll('peercam-player')].map(player => player.stats)";

async fn all_play(transport: Transport) {
    let scene = Scene::new(&format!("ten-{transport}")).await;
    scene.watch(transport).await;
    scene.browser.wait_playing(SOON).await.unwrap();
    scene.browser.evaluate::<()>(MORE_PLAYERS).await.unwrap();

    let all = async || scene.browser.evaluate::<Vec<Stats>>(ALL_STATS).await;
    let mut before: Vec<Stats> = Vec::new();
    wait::until("ten players to play, each further than before", SOON, async || {
        let now = all().await?;
        let playing = now.iter().filter(|stats| stats.state == State::Playing).count();
        if before.is_empty() && playing == VIEWERS {
            before = now.clone();
        }
        let further = before.iter().zip(&now).filter(|(before, now)| {
            now.frames_decoded > before.frames_decoded + 5.0
                && now.audio_decoded > before.audio_decoded
        });
        Ok(match further.count() {
            VIEWERS => wait::Look::Done(()),
            further => wait::Look::NotYet(format!("{playing} play, {further} got further")),
        })
    })
    .await
    .unwrap();

    assert_eq!(scene.camera.encoder_starts(), 1, "{}", scene.camera.output());
}

#[tokio::test]
async fn ten_viewers_play_over_rtp() {
    all_play(Transport::Rtp).await;
}

#[tokio::test]
async fn ten_viewers_play_over_fmp4() {
    all_play(Transport::Fmp4).await;
}
