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

pub async fn measure(
    stage: &Stage<'_>,
    transports: &[Transport],
    progress: Progress,
) -> Result<(String, Vec<Row>)> {
    let mut rows = Vec::new();
    for &transport in transports {
        let pid = stage.camera.pid().context("the agent does not run")?;
        let mut receivers: Vec<Receiver> = Vec::new();
        let (mut cpu, mut memory) = (Vec::new(), Vec::new());
        for viewers in VIEWERS {
            while receivers.len() < viewers {
                receivers.push(join(stage, transport).await?);
            }
            progress.say(format!("{transport}: {viewers} viewers"));
            tokio::time::sleep(SETTLING).await;
            let (before, bytes, start) =
                (usage::processor_time(pid)?, received(&receivers), Instant::now());
            let resident = lowest_memory(pid).await?;
            let seconds = start.elapsed().as_secs_f64();
            let used = usage::processor_time(pid)?.saturating_sub(before).as_secs_f64();
            let megabytes = resident as f64 / 1e6;
            let mbits = (received(&receivers) - bytes) as f64 * 8e-6 / seconds / viewers as f64;
            let percent = used / seconds * 100.0;
            cpu.push((viewers as f64, percent));
            memory.push((viewers as f64, megabytes));
            rows.push(row(
                format!("viewers: {viewers}, agent's processor"),
                transport,
                "%",
                vec![Figure::free("of one core", percent)],
            ));
            rows.push(row(
                format!("viewers: {viewers}, agent's memory"),
                transport,
                "MB",
                vec![Figure::free("resident", megabytes)],
            ));
            rows.push(row(
                format!("viewers: {viewers}, each received"),
                transport,
                "Mbit/s",
                vec![Figure::free("mean", mbits)],
            ));
        }
        rows.push(row(
            "each further viewer: processor".to_owned(),
            transport,
            "%",
            vec![Figure::of("of one core", slope(&cpu), BUDGET_CPU)],
        ));
        rows.push(row(
            "each further viewer: memory".to_owned(),
            transport,
            "MB",
            vec![Figure::of("resident", slope(&memory), BUDGET_MEMORY)],
        ));
        for receiver in receivers {
            receiver.leave().await?;
        }
    }
    Ok(("our own, which takes the whole stream and decodes nothing".to_owned(), rows))
}

fn row(what: String, transport: Transport, unit: &'static str, figures: Vec<Figure>) -> Row {
    Row { what, transport, unit, figures, samples: 1 }
}

fn received(receivers: &[Receiver]) -> u64 {
    receivers.iter().map(Receiver::bytes).sum()
}

/// The least resident memory in bytes while the camera is watched: pictures on their way through
/// the pipeline come and go, what a viewer costs stays.
async fn lowest_memory(pid: u32) -> Result<u64> {
    let start = Instant::now();
    let mut lowest = u64::MAX;
    while start.elapsed() < WATCHED {
        lowest = lowest.min(usage::memory(pid)?);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    Ok(lowest)
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
