//! Connecting several times, and a stretch of watching.

use std::time::{Duration, Instant};

use anyhow::Result;
use peercam_protocol::signalling::Transport;
use peercam_testbed::{
    Browser, Stats,
    network::{Impairment, Scene, table::Row},
    progress::Progress,
    stats::{Path, State},
};

use super::report::{Budget, Figure, Line};
use crate::{SOON, figures::percentile};

/// Clicks for the time to connect.
const CLICKS: usize = 10;
/// Between two clicks: shorter than the encoders linger, so that they go on running.
const BETWEEN: Duration = Duration::from_millis(500);
/// Before figures are taken: buffers and the bit rate are still settling.
pub const SETTLING: Duration = Duration::from_secs(4);
/// How long is watched on a good line.
const WATCHED: Duration = Duration::from_secs(10);
/// The same on a bad one: chance needs time.
const WATCHED_BAD: Duration = Duration::from_secs(20);

const PLAYER: &str = "document.querySelector('peercam-player')";

/// A row of the table.
pub async fn path(
    scene: &Scene,
    row: Row,
    transport: Transport,
    progress: Progress,
) -> Result<Line> {
    scene.play(transport).await?;
    progress.say(format!("{} {transport}: {CLICKS} clicks", row.name));
    let (mut connects, mut first_frames) = clicks(&scene.browser).await?;
    scene.browser.wait_playing(SOON).await?;
    tokio::time::sleep(SETTLING).await;
    progress.say(format!("{} {transport}: watching", row.name));
    let watched = watch(&scene.browser, WATCHED).await?;

    let most = if row.path == Path::Relay { 1000.0 } else { 400.0 };
    let mut figures = vec![
        Figure::free("connect p50", percentile(&mut connects, 0.5), "ms"),
        Figure::free("connect p95", percentile(&mut connects, 0.95), "ms")
            .within(Some(Budget::AtMost(most))),
        Figure::free("first frame p50", percentile(&mut first_frames, 0.5), "ms"),
        Figure::free("first frame p95", percentile(&mut first_frames, 0.95), "ms"),
    ];
    figures.extend(watched.figures(&Budgets::default()));
    Ok(Line::new(row.name, transport, &watched.stats, figures))
}

/// A line that is bad all the time.
pub async fn bad_line(
    scene: &Scene,
    name: &'static str,
    impairment: Impairment,
    transport: Transport,
    progress: Progress,
) -> Result<Line> {
    scene.world.viewer_line.set_both(impairment);
    scene.watch(transport).await?;
    scene.browser.wait_state(State::Playing, SOON).await?;
    tokio::time::sleep(SETTLING).await;
    progress.say(format!("{name} {transport}: watching"));
    let watched = watch(&scene.browser, WATCHED_BAD).await?;
    let budgets = match (name, transport) {
        ("loss5", Transport::Rtp) => {
            Budgets { fps: Some(28.0), freeze: Some(300.0), ..Budgets::default() }
        }
        ("loss10", Transport::Rtp) => Budgets { fps: Some(24.0), ..Budgets::default() },
        ("loss1", Transport::Fmp4) => Budgets { latency: Some(800.0), ..Budgets::default() },
        _ => Budgets::default(),
    };
    let mut figures = vec![
        Figure::free("connect", watched.stats.connect_ms, "ms"),
        Figure::free("first frame", watched.stats.first_frame_ms, "ms"),
    ];
    figures.extend(watched.figures(&budgets));
    Ok(Line::new(name, transport, &watched.stats, figures))
}

/// Stops and starts the player again and again: milliseconds to connected, and to the first frame.
async fn clicks(browser: &Browser) -> Result<(Vec<f64>, Vec<f64>)> {
    let (mut connects, mut first_frames) = (Vec::new(), Vec::new());
    for _ in 0..CLICKS {
        browser.evaluate::<()>(&format!("{PLAYER}.stop()")).await?;
        tokio::time::sleep(BETWEEN).await;
        browser.evaluate::<()>(&format!("{PLAYER}.start()")).await?;
        let stats = browser
            .wait_stats("the first frame", SOON, |stats| stats.first_frame_ms.is_some())
            .await?;
        connects.extend(stats.connect_ms);
        first_frames.extend(stats.first_frame_ms);
    }
    Ok((connects, first_frames))
}

/// What a stretch of watching came to.
struct Watched {
    stats: Stats,
    fps: f64,
    megabytes: f64,
    megabits_per_second: f64,
}

/// Most latency (p95, ms), least frames a second, longest freeze (ms).
#[derive(Default)]
struct Budgets {
    latency: Option<f64>,
    fps: Option<f64>,
    freeze: Option<f64>,
}

async fn watch(browser: &Browser, time: Duration) -> Result<Watched> {
    browser.reset_stats().await?;
    let (start, before) = (Instant::now(), browser.stats().await?);
    tokio::time::sleep(time).await;
    let (seconds, stats) = (start.elapsed().as_secs_f64(), browser.stats().await?);
    let megabytes = (stats.bytes_received - before.bytes_received) / 1e6;
    Ok(Watched {
        fps: (stats.frames_decoded - before.frames_decoded) / seconds,
        megabytes,
        megabits_per_second: megabytes * 8.0 / seconds,
        stats,
    })
}

impl Watched {
    fn figures(&self, budgets: &Budgets) -> Vec<Figure> {
        let stats = &self.stats;
        let mut figures = vec![
            Figure::free("latency p50", stats.latency_ms.p50, "ms"),
            Figure::free("latency p95", stats.latency_ms.p95, "ms")
                .within(budgets.latency.map(Budget::AtMost)),
            Figure::free("fps", Some(self.fps), "").within(budgets.fps.map(Budget::AtLeast)),
            Figure::free("longest freeze", Some(stats.freeze_longest_ms), "ms")
                .within(budgets.freeze.map(Budget::AtMost)),
            Figure::free("received", Some(self.megabytes), "MB"),
            Figure::free("bit rate", Some(self.megabits_per_second), "Mbit/s"),
        ];
        if stats.restarts + stats.reconnects > 0 {
            figures.push(Figure::free("restarts", Some(stats.restarts.into()), ""));
            figures.push(Figure::free("reconnects", Some(stats.reconnects.into()), ""));
        }
        figures
    }
}
