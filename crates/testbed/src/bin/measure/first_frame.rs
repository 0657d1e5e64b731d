//! How long a person waits after the click.

use std::time::Duration;

use anyhow::{Context, Result};
use peercam_protocol::signalling::Transport;
use peercam_testbed::{Browser, progress::Progress};

use crate::{
    SOON, Stage,
    figures::{Figure, Row, percentile},
};

/// Clicks while the encoders run.
const WARM: usize = 20;
/// Clicks while they don't; each waits until they have stopped.
const COLD: usize = 10;
/// Between two warm clicks: shorter than the encoders linger.
const BETWEEN: Duration = Duration::from_millis(500);
/// Longer than the encoders linger after the last viewer (`linger-ms`, 5 s).
const COOLS_IN: Duration = Duration::from_secs(7);

/// Budgets in ms, p95.
const BUDGET_WARM: f64 = 300.0;
const BUDGET_COLD: f64 = 700.0;

pub async fn measure(
    stage: &Stage<'_>,
    transports: &[Transport],
    progress: Progress,
) -> Result<(String, Vec<Row>)> {
    let browser = Browser::start(stage.bed).await?;
    let mut rows = Vec::new();
    for &transport in transports {
        browser.open(&stage.link(transport)?).await?;
        browser.wait_playing(SOON).await?;
        progress.say(format!("{transport}: {WARM} clicks with the encoders running"));
        rows.push(clicks(&browser, transport, "warm", WARM, BETWEEN, BUDGET_WARM).await?);
        progress.say(format!("{transport}: {COLD} clicks with the encoders stopped"));
        rows.push(clicks(&browser, transport, "cold", COLD, COOLS_IN, BUDGET_COLD).await?);
    }
    let receiver = browser.version()?;
    browser.stop().await?;
    Ok((receiver, rows))
}

/// Stops the player, waits, clicks, and so on.
async fn clicks(
    browser: &Browser,
    transport: Transport,
    what: &str,
    count: usize,
    wait: Duration,
    budget: f64,
) -> Result<Row> {
    let player = "document.querySelector('peercam-player')";
    let mut waited = Vec::new();
    for _ in 0..count {
        browser.evaluate::<()>(&format!("{player}.stop()")).await?;
        tokio::time::sleep(wait).await;
        browser.evaluate::<()>(&format!("{player}.start()")).await?;
        let stats = browser
            .wait_stats("the first frame", SOON, |stats| stats.first_frame_ms.is_some())
            .await?;
        waited.extend(stats.first_frame_ms);
    }
    let p50 = percentile(&mut waited, 0.5).context("no click was measured")?;
    let p95 = percentile(&mut waited, 0.95).context("no click was measured")?;
    Ok(Row {
        what: format!("click to first frame, {what}"),
        transport,
        unit: "ms",
        figures: vec![Figure::free("p50", p50), Figure::of("p95", p95, budget)],
        samples: count,
    })
}
