//! How old a frame is when it is shown: the clock that the camera drew into it, read off the
//! decoded picture.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use peercam_protocol::signalling::Transport;
use peercam_testbed::{Browser, browser::READ_CLOCK, progress::Progress};

use crate::{
    SOON, Stage,
    figures::{Figure, Row, percentile},
};

/// How long frames are looked at.
const WATCHED: Duration = Duration::from_secs(20);
/// What comes first is left out: the jitter buffer and the encoder are still settling.
const SETTLING: Duration = Duration::from_secs(3);

/// Budgets in ms: p50 and p95.
fn budget(transport: Transport) -> (f64, f64) {
    match transport {
        Transport::Rtp => (50.0, 80.0),
        Transport::Fmp4 => (150.0, 250.0),
    }
}

pub async fn measure(
    stage: &Stage<'_>,
    transports: &[Transport],
    progress: Progress,
) -> Result<(String, Vec<Row>)> {
    let browser = Browser::start(stage.bed).await?;
    let mut rows = Vec::new();
    for &transport in transports {
        progress.say(format!("{transport}: watching for {} s", WATCHED.as_secs()));
        browser.open(&stage.link(transport)?).await?;
        browser.wait_playing(SOON).await?;
        tokio::time::sleep(SETTLING).await;
        browser.evaluate::<()>(&collect()).await?;
        tokio::time::sleep(WATCHED).await;
        let frames: Vec<(Option<f64>, f64)> =
            browser.evaluate("return globalThis.peercamFrames").await?;
        let own = browser.stats().await?.latency_ms;

        let unread = frames.iter().filter(|(drawn, _)| drawn.is_none()).count();
        ensure!(
            unread * 20 <= frames.len(),
            "the clock could not be read in {unread} of {} frames",
            frames.len()
        );
        let mut ages: Vec<_> =
            frames.iter().filter_map(|(drawn, shown)| Some(shown - (*drawn)?)).collect();
        let samples = ages.len();
        let p50 = percentile(&mut ages, 0.5).context("no frame was shown")?;
        let p95 = percentile(&mut ages, 0.95).context("no frame was shown")?;
        let (budget_p50, budget_p95) = budget(transport);
        rows.push(Row {
            what: "drawn clock to decoded frame".to_owned(),
            transport,
            unit: "ms",
            figures: vec![Figure::of("p50", p50, budget_p50), Figure::of("p95", p95, budget_p95)],
            samples,
        });
        let own_figures = [("p50", own.p50), ("p95", own.p95)];
        rows.push(Row {
            what: "the player's own figure".to_owned(),
            transport,
            unit: "ms",
            figures: own_figures
                .into_iter()
                .filter_map(|(name, value)| Some(Figure::free(name, value?)))
                .collect(),
            samples: samples.min(300),
        });
    }
    let receiver = browser.version()?;
    browser.stop().await?;
    Ok((receiver, rows))
}

/// JavaScript that notes for each frame the time drawn into it, and when it was handed to the
/// screen (`presentationTime`: decoded, and submitted for composition).
fn collect() -> String {
    format!(
        "globalThis.peercamFrames = [];
        const video = document.querySelector('peercam-player').shadowRoot.querySelector('video');
        const read = (video) => {{ {READ_CLOCK} }};
        const step = (now, frame) => {{
            const shown = performance.timeOrigin + frame.presentationTime;
            globalThis.peercamFrames.push([read(video), shown]);
            video.requestVideoFrameCallback(step);
        }};
        video.requestVideoFrameCallback(step);"
    )
}
