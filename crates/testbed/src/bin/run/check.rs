//! Does it play? Headless Chromium opens the link and watches for a while.

use std::{path::Path, time::Duration};

use anyhow::{Result, ensure};
use peercam_protocol::signalling::Transport;
use peercam_testbed::{Browser, Stats, progress::Progress, stats::Latency};
use serde::Serialize;

use crate::scene::Scene;

/// From opening the page to moving picture and sound; generous, an emulated board is slow.
const PLAYS_WITHIN: Duration = Duration::from_secs(60);
/// How long latency is looked at; the player's percentiles are over its last 300 frames.
const WATCHED: Duration = Duration::from_secs(12);

/// What `--check` prints.
#[derive(Debug, Serialize)]
pub struct Report {
    board: String,
    transport: Option<String>,
    width: Option<u32>,
    height: Option<u32>,
    video_codec: Option<String>,
    audio_codec: Option<String>,
    /// Frames of picture.
    frames_decoded: u64,
    /// Samples (`rtp`) or bytes (`fmp4`) of sound.
    audio_decoded: u64,
    connect_ms: Option<f64>,
    first_frame_ms: Option<f64>,
    latency_ms: Latency,
}

/// Watches the scene's camera; an error unless picture and sound kept advancing.
pub async fn play(
    scene: &Scene,
    transport: Option<Transport>,
    picture: &Path,
    progress: Progress,
) -> Result<Report> {
    progress.say("opening it in headless Chromium");
    let browser = Browser::start(scene.bed()).await?;
    let mut address = scene.link().to_string();
    if let Some(transport) = transport {
        // Before what opens the door, which is behind `#`.
        let page = address.find('#').unwrap_or(address.len());
        address.insert_str(page, &format!("?transport={transport}"));
    }
    browser.open(&address).await?;
    let began = browser.wait_playing(PLAYS_WITHIN).await?;
    progress
        .say(format!("picture and sound play; watching the latency for {} s", WATCHED.as_secs()));
    tokio::time::sleep(WATCHED).await;
    // And they still do.
    let stats = browser.wait_playing(Duration::from_secs(10)).await?;
    browser.screenshot(picture).await?;
    progress.say(format!("screenshot: {}", picture.display()));
    browser.stop().await?;

    ensure!(
        stats.reconnects == began.reconnects,
        "the player had to connect again while it was watched"
    );
    let used = stats.transport.as_deref().unwrap_or_default();
    if let Some(asked) = transport {
        ensure!(used == asked.as_str(), "the player was asked for {asked} and used {used:?}");
    }
    Ok(report(scene.board().name(), stats))
}

fn report(board: &str, stats: Stats) -> Report {
    let tenths = |ms: f64| (ms * 10.0).round() / 10.0;
    Report {
        board: board.to_owned(),
        transport: stats.transport,
        width: stats.width,
        height: stats.height,
        video_codec: stats.video_codec,
        audio_codec: stats.audio_codec,
        frames_decoded: stats.frames_decoded as u64,
        audio_decoded: stats.audio_decoded as u64,
        connect_ms: stats.connect_ms.map(tenths),
        first_frame_ms: stats.first_frame_ms.map(tenths),
        latency_ms: Latency {
            p50: stats.latency_ms.p50.map(tenths),
            p95: stats.latency_ms.p95.map(tenths),
            last: None,
        },
    }
}
