//! 1.2 Mbit/s for 20 s on a line that was free, and is again afterwards.

use std::time::Duration;

use anyhow::{Context, Result};
use peercam_protocol::signalling::Transport;
use peercam_testbed::{
    Browser,
    network::{Impairment, Scene},
    progress::Progress,
};

use super::{
    report::{Budget, Figure, Line},
    watch::SETTLING,
};

/// Bits a second while it is narrow.
const RATE: u64 = 1_200_000;
/// How long it is narrow, and how long it is watched afterwards.
const NARROW: f64 = 20_000.0;
const AFTERWARDS: f64 = 20_000.0;
/// How long the bit rate is taken at the end of a time, in ms.
const WINDOW: f64 = 5_000.0;
/// How high latency may be in ms, and how soon after the drop it has to be below.
const LATENCY: f64 = 400.0;
const SOON: f64 = 5_000.0;

/// In the page, since it costs less there: every 100 ms the time, the newest frame's latency, how
/// many frames there were, and how many bytes.
const SAMPLE: &str = "
    const player = document.querySelector('peercam-player');
    globalThis.peercamSamples = [];
    globalThis.peercamSampler = setInterval(() => {
        const { latency_ms, frames_decoded, bytes_received } = player.stats;
        globalThis.peercamSamples.push(
            [performance.now(), latency_ms.last, frames_decoded, bytes_received]);
    }, 100);";

/// One look at the player.
type Sample = (f64, Option<f64>, f64, f64);

pub async fn measure(
    scene: &Scene,
    name: &'static str,
    transport: Transport,
    progress: Progress,
) -> Result<Line> {
    let browser = &scene.browser;
    let line = &scene.world.viewer_line;
    line.set_both(Impairment::NONE);
    scene.play(transport).await?;
    tokio::time::sleep(SETTLING).await;
    browser.evaluate::<()>(SAMPLE).await?;
    tokio::time::sleep(ms(WINDOW)).await;

    progress.say(format!("{name} {transport}: {} Mbit/s", RATE as f64 / 1e6));
    let drop = now(browser).await?;
    line.set_both(Impairment::narrow(RATE));
    tokio::time::sleep(ms(NARROW)).await;
    let end = now(browser).await?;
    line.set_both(Impairment::NONE);
    progress.say(format!("{name} {transport}: free again"));
    tokio::time::sleep(ms(AFTERWARDS)).await;
    browser.evaluate::<()>("clearInterval(globalThis.peercamSampler)").await?;
    let stats = browser.stats().await?;
    let samples: Vec<Sample> = browser.evaluate("return globalThis.peercamSamples").await?;

    let before = bit_rate(&samples, drop - WINDOW, drop).context("too few samples")?;
    let narrow = bit_rate(&samples, end - WINDOW, end).context("too few samples")?;
    let back = end + AFTERWARDS;
    let after = bit_rate(&samples, back - WINDOW, back).context("too few samples")?;
    let most = |value: f64| Some(Budget::AtMost(value));
    let figures = vec![
        Figure::free("latency < 400 ms after", settled(&samples, drop, end), "ms")
            .within(most(SOON)),
        Figure::free("worst latency after 5 s", worst_latency(&samples, drop + SOON, end), "ms")
            .within(most(LATENCY)),
        Figure::free("longest freeze after 5 s", longest_freeze(&samples, drop + SOON, end), "ms")
            .within(most(1000.0)),
        Figure::free("bit rate before", Some(before), "Mbit/s"),
        Figure::free("narrow", Some(narrow), "Mbit/s"),
        Figure::free("20 s after its end", Some(after), "Mbit/s"),
        Figure::free("share", Some(after / before * 100.0), "%")
            .within(Some(Budget::AtLeast(90.0))),
        Figure::free("restarts", Some(stats.restarts.into()), ""),
        Figure::free("reconnects", Some(stats.reconnects.into()), ""),
    ];
    Ok(Line::new(name, transport, &stats, figures))
}

async fn now(browser: &Browser) -> Result<f64> {
    Ok(browser.evaluate("return performance.now()").await?)
}

fn ms(ms: f64) -> Duration {
    Duration::from_secs_f64(ms / 1000.0)
}

fn between(samples: &[Sample], from: f64, to: f64) -> impl Iterator<Item = &Sample> {
    samples.iter().filter(move |(at, ..)| (from..=to).contains(at))
}

/// Mbit/s in a stretch of time.
fn bit_rate(samples: &[Sample], from: f64, to: f64) -> Option<f64> {
    let (first, last) = (between(samples, from, to).next()?, between(samples, from, to).last()?);
    let seconds = (last.0 - first.0) / 1000.0;
    (seconds > 0.0).then(|| (last.3 - first.3) * 8e-6 / seconds)
}

/// When after `drop` latency was high for the last time.
fn settled(samples: &[Sample], drop: f64, end: f64) -> Option<f64> {
    let high = between(samples, drop, end)
        .filter(|(_, latency, ..)| latency.is_none_or(|latency| latency >= LATENCY))
        .last();
    Some(high.map_or(0.0, |(at, ..)| at - drop))
}

fn worst_latency(samples: &[Sample], from: f64, to: f64) -> Option<f64> {
    between(samples, from, to).filter_map(|(_, latency, ..)| *latency).max_by(f64::total_cmp)
}

/// The longest time in which the number of frames stayed the same.
fn longest_freeze(samples: &[Sample], from: f64, to: f64) -> Option<f64> {
    let mut samples = between(samples, from, to);
    let (mut since, _, mut frames, _) = *samples.next()?;
    let mut longest: f64 = 0.0;
    for (at, _, now, _) in samples {
        longest = longest.max(at - since);
        if *now != frames {
            (since, frames) = (*at, *now);
        }
    }
    Some(longest)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Ten samples a second: latency high until 2 s, no new frames from 3 s to 4.2 s.
    fn samples() -> Vec<Sample> {
        (0..100)
            .map(|number| {
                let at = f64::from(number) * 100.0;
                let latency = if at < 2000.0 { 500.0 } else { 100.0 };
                let frames = if (3000.0..4200.0).contains(&at) { 90.0 } else { at / 33.0 };
                (at, Some(latency), frames, f64::from(number) * 12_500.0)
            })
            .collect()
    }

    #[test]
    fn samples_tell_when_it_was_well_again() {
        let samples = samples();
        assert_eq!(settled(&samples, 0.0, 9900.0), Some(1900.0));
        assert_eq!(settled(&samples, 2000.0, 9900.0), Some(0.0));
        assert_eq!(worst_latency(&samples, 1000.0, 3000.0), Some(500.0));
        assert_eq!(worst_latency(&samples, 2000.0, 3000.0), Some(100.0));
        let freeze = longest_freeze(&samples, 2000.0, 9900.0).unwrap();
        assert!((1200.0..=1300.0).contains(&freeze), "{freeze}");
        assert!(longest_freeze(&samples, 5000.0, 9900.0).unwrap() <= 100.0);
        assert_eq!(bit_rate(&samples, 0.0, 9900.0), Some(1.0));
        assert_eq!(bit_rate(&samples, 20_000.0, 30_000.0), None);
    }
}
