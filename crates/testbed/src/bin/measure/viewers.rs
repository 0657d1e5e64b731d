//! What each further viewer costs the camera.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use peercam_protocol::signalling::Transport;
use peercam_testbed::progress::Progress;

use crate::{
    Stage,
    figures::{Figure, Row, slope},
    receiver::Receiver,
    usage,
};

/// How many viewers watch while the agent is looked at.
const VIEWERS: [usize; 4] = [1, 5, 10, 20];
/// How long it is looked at.
const WATCHED: Duration = Duration::from_secs(15);
/// After the last one joined.
const SETTLING: Duration = Duration::from_secs(4);
/// From a join to the first media.
const JOINS_WITHIN: Duration = Duration::from_secs(20);

/// Budgets for each further viewer: per cent of one core, and MB.
const BUDGET_CPU: f64 = 0.3;
const BUDGET_MEMORY: f64 = 0.5;

/// What the agent used while so many watched.
struct Usage {
    viewers: usize,
    /// Per cent of one core.
    processor: f64,
    /// MB.
    memory: f64,
    /// Mbit/s that each viewer received.
    received: f64,
}

pub async fn measure(
    stage: &Stage<'_>,
    transports: &[Transport],
    progress: Progress,
) -> Result<(String, Vec<Row>)> {
    let mut rows = Vec::new();
    for &transport in transports {
        let mut receivers: Vec<Receiver> = Vec::new();
        let mut usages = Vec::new();
        for viewers in VIEWERS {
            while receivers.len() < viewers {
                receivers.push(join(stage, transport).await?);
            }
            progress.say(format!("{transport}: {viewers} viewers"));
            tokio::time::sleep(SETTLING).await;
            usages.push(watch(stage, &receivers).await?);
        }
        rows.extend(report(transport, &usages));
        for receiver in receivers {
            receiver.leave().await?;
        }
    }
    Ok(("our own, which takes the whole stream and decodes nothing".to_owned(), rows))
}

/// A further viewer, once media arrives at it.
async fn join(stage: &Stage<'_>, transport: Transport) -> Result<Receiver> {
    let receiver = Receiver::join(&stage.rendezvous.url(), stage.camera.room(), transport).await?;
    let start = Instant::now();
    while receiver.bytes() == 0 {
        if start.elapsed() > JOINS_WITHIN {
            bail!("a viewer has got no media after {} s", JOINS_WITHIN.as_secs());
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(receiver)
}

/// Looks at the agent while these viewers watch.
async fn watch(stage: &Stage<'_>, receivers: &[Receiver]) -> Result<Usage> {
    let pid = stage.camera.pid().context("the agent does not run")?;
    let received = || receivers.iter().map(Receiver::bytes).sum::<u64>();
    let (start, time, bytes) = (Instant::now(), usage::processor_time(pid)?, received());
    // The least: pictures on their way through the pipeline come and go, what a viewer costs stays.
    let mut memory = u64::MAX;
    while start.elapsed() < WATCHED {
        memory = memory.min(usage::memory(pid)?);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let seconds = start.elapsed().as_secs_f64();
    let used = usage::processor_time(pid)?.saturating_sub(time).as_secs_f64();
    Ok(Usage {
        viewers: receivers.len(),
        processor: used / seconds * 100.0,
        memory: memory as f64 / 1e6,
        received: (received() - bytes) as f64 * 8e-6 / seconds / receivers.len() as f64,
    })
}

/// A row for each number of viewers, and what their slope says.
fn report(transport: Transport, usages: &[Usage]) -> Vec<Row> {
    let row = |what, unit, figure| Row { what, transport, unit, figures: vec![figure], samples: 1 };
    let mut rows = Vec::new();
    for Usage { viewers, processor, memory, received } in usages {
        let free = |name, value: &f64| Figure::free(name, *value);
        rows.extend([
            row(format!("{viewers} watching: processor"), "%", free("of one core", processor)),
            row(format!("{viewers} watching: memory"), "MB", free("resident", memory)),
            row(format!("{viewers} watching: each received"), "Mbit/s", free("mean", received)),
        ]);
    }
    let of = |value: fn(&Usage) -> f64| {
        slope(&usages.iter().map(|usage| (usage.viewers as f64, value(usage))).collect::<Vec<_>>())
    };
    let processor = Figure::of("of one core", of(|usage| usage.processor), BUDGET_CPU);
    let memory = Figure::of("resident", of(|usage| usage.memory), BUDGET_MEMORY);
    rows.extend([
        row("each further viewer: processor".to_owned(), "%", processor),
        row("each further viewer: memory".to_owned(), "MB", memory),
    ]);
    rows
}
