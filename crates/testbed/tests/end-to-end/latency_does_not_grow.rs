//! Clocks drift. A guest whose clock runs fast by 300 millionths, which is more than bad hardware
//! does, is as far behind after half an hour as it was at the beginning: over both transports, in
//! pages that were open all the time.

use std::time::{Duration, Instant};

use peercam_protocol::signalling::Transport;
use peercam_testbed::{
    Bed, Browser, Guest, Rendezvous, Stats, guest::Entrance, stats::State, wait,
};

use crate::scene::{BOARD, SOON, link, room};

/// How fast the guest's clock runs, in millionths.
const FAST: f64 = 300.0;
/// How far the latencies of beginning and end may lie apart, in ms.
const APART: f64 = 50.0;
/// How long it goes on, in minutes, unless `$PEERCAM_DRIFT_MINUTES` says otherwise.
const MINUTES: u32 = 30;
/// At the beginning and at the end latency is looked at for so long.
const LOOKED_AT: Duration = Duration::from_secs(120);
/// Before the first look, so that buffers have found their size.
const SETTLING: Duration = Duration::from_secs(60);
const BETWEEN_LOOKS: Duration = Duration::from_secs(5);

/// Puts a second player beside the page's own, on the other transport, both in sight.
const SECOND_PLAYER: &str = "const player = document.querySelector('peercam-player'); \
    const second = player.cloneNode(); \
    second.setAttribute('transport', 'fmp4'); \
    player.after(second); \
    for (const each of [player, second]) each.style.cssText = 'display: block; height: 45vh';";

const ALL_STATS: &str =
    "return [...document.querySelectorAll('peercam-player')].map(player => player.stats)";

async fn both(browser: &Browser) -> peercam_testbed::Result<[Stats; 2]> {
    browser.evaluate(ALL_STATS).await
}

/// Medians of the two players' latencies over a stretch of time, in ms.
async fn latencies(browser: &Browser) -> [f64; 2] {
    let start = Instant::now();
    let mut seen = [Vec::new(), Vec::new()];
    while start.elapsed() < LOOKED_AT {
        tokio::time::sleep(BETWEEN_LOOKS).await;
        for (seen, stats) in seen.iter_mut().zip(both(browser).await.unwrap()) {
            seen.extend(stats.latency_ms.p50);
        }
    }
    seen.map(|mut seen| {
        assert!(!seen.is_empty(), "a player does not know its latency");
        seen.sort_by(f64::total_cmp);
        seen[seen.len() / 2]
    })
}

/// Seconds since the guest's start, by its own clock, and when that was by ours.
async fn uptime(guest: &mut Guest) -> (f64, Instant) {
    let uptime = guest.run("cat /proc/uptime").await.unwrap();
    let seconds = uptime.split_whitespace().next().unwrap().parse().unwrap();
    (seconds, Instant::now())
}

#[tokio::test]
#[ignore = "long: run by scripts/test --all"]
async fn a_guest_whose_clock_runs_fast_is_no_further_behind_after_half_an_hour() {
    let minutes = std::env::var("PEERCAM_DRIFT_MINUTES")
        .map_or(MINUTES, |text| text.parse().expect("PEERCAM_DRIFT_MINUTES is a number"));
    let length = Duration::from_secs(60) * minutes;
    let bed = Bed::new("drift").unwrap();
    let rendezvous = Rendezvous::start(&bed).await.unwrap();
    let room = room("drift");
    // A small picture: it is about clocks, and an emulated processor should not be the bottleneck.
    let entrance = Entrance::find().unwrap();
    let settings = entrance.settings(&rendezvous, &room) + "\n[video]\nwidth = 320\nheight = 180\n";
    let mut guest = Guest::start_with(&bed, BOARD, &entrance, &settings).unwrap();
    guest.wait_hosting(&rendezvous, &room).await.unwrap();
    guest.wait_for_shell().await.unwrap();
    // In units of 2^-16 millionths (adjtimex(2)).
    let frequency = (FAST * 65536.0) as i64;
    guest.run(&format!("busybox adjtimex -f {frequency}")).await.unwrap();
    let began = uptime(&mut guest).await;

    let browser = Browser::start(&bed).await.unwrap();
    browser.open(&link(&rendezvous, &room, Transport::Rtp)).await.unwrap();
    browser.wait_playing(SOON).await.unwrap();
    browser.evaluate::<()>(SECOND_PLAYER).await.unwrap();
    wait::until("both players to play", SOON, async || {
        let both = both(&browser).await?;
        let play = both.iter().all(|stats| stats.state == State::Playing);
        Ok(if play { wait::Look::Done(()) } else { wait::Look::NotYet(format!("{both:?}")) })
    })
    .await
    .unwrap();

    let start = Instant::now();
    tokio::time::sleep(SETTLING).await;
    let first = latencies(&browser).await;
    eprintln!("latency in ms at the beginning: rtp {}, fmp4 {}", first[0], first[1]);
    while start.elapsed() + LOOKED_AT < length {
        tokio::time::sleep(Duration::from_secs(60).min(length - start.elapsed())).await;
        let now = both(&browser).await.unwrap().map(|stats| stats.latency_ms.p50);
        eprintln!("after {} s: {now:?}", start.elapsed().as_secs());
    }
    let last = latencies(&browser).await;
    eprintln!("latency in ms at the end: rtp {}, fmp4 {}", last[0], last[1]);

    let ended = uptime(&mut guest).await;
    let host = ended.1.duration_since(began.1).as_secs_f64();
    let drift = (ended.0 - began.0 - host) * 1000.0;
    eprintln!("in {host:.0} s the guest's clock ran ahead by {drift:.0} ms");
    // The console takes its time, so this is only about right.
    let expected = host * FAST / 1000.0;
    assert!((drift - expected).abs() < 100.0, "{drift} ms are not {expected}");
    for (first, last) in first.iter().zip(last) {
        assert!((last - first).abs() <= APART, "latency went from {first} to {last} ms");
    }
    for stats in both(&browser).await.unwrap() {
        assert_eq!((stats.state, stats.reconnects), (State::Playing, 0), "{stats:?}");
    }
}
