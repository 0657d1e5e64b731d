//! A board's image in QEMU: its whole device, with a processor that is emulated and several times
//! slower than a real one. What is a difference, or the watchdog's own clock, is judged here too.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use peercam_testbed::{
    Bed, Browser, Guest,
    progress::Progress,
    recovery::{
        Fault, Scene,
        fault::{DEADLOCKED, KILLED, STOPPED, WATCHDOG_KILLED, WATCHDOG_STOPPED},
        pictures::Pictures,
        scene::SOON,
        watchdog::{AGENT, said_at},
    },
};

use super::{AFTER_BOOT, Costs, Judged, Measured, NOTICED, Options, seconds};

/// Faults without a reset, and the budget for noticing each.
const FAULTS: [(&Fault, Option<f64>); 4] =
    [(&KILLED, None), (&STOPPED, Some(NOTICED)), (&DEADLOCKED, None), (&WATCHDOG_KILLED, None)];

/// What the agent says when its camera can be watched: what a boot is for.
const HOSTING: &str = "hosting room";

/// The rows of `board`, and who received the stream.
pub async fn measure(
    board: &str,
    options: &Options,
    progress: Progress,
) -> Result<(String, Vec<Measured>)> {
    let bed = Bed::new("measure-recovery")?;
    progress.say(format!("{board}: booting"));
    let mut scene = Scene::set(&bed, board).await?;
    let mut rows = Vec::new();
    for (fault, noticed) in FAULTS {
        progress.say(format!("{board}: {}", fault.name));
        let recovery = scene.suffer(fault).await?;
        let mut figures = vec![seconds("noticed", recovery.noticed, noticed)];
        if fault.name == DEADLOCKED.name {
            // Its command takes seconds of its own, and hangs thread after thread.
            let last = recovery.playing.map(|back| back - recovery.longest_gap);
            let since = recovery.noticed.zip(last).map(|(noticed, last)| noticed - last);
            figures.push(seconds("after the last picture", since, Some(NOTICED)));
        }
        figures.push(seconds("playing", recovery.playing, None));
        rows.push((fault.name.to_owned(), figures));
    }
    progress.say(format!("{board}: the watchdog, for {} s", options.seconds));
    rows.push(watchdog(&mut scene, options.seconds).await?);
    progress.say(format!("{board}: hard reset ({})", WATCHDOG_STOPPED.name));
    rows.push(reset(&mut scene).await?);
    progress.say(format!("{board}: power cut"));
    let (browser, row) = power_cut(scene, &bed, board).await?;
    rows.push(row);
    let receiver = browser.version()?;
    browser.stop().await?;
    Ok((receiver, rows))
}

/// Stops the watchdog, and compares when pictures came again with when the camera was there to be
/// watched again, after the same start.
async fn reset(scene: &mut Scene) -> Result<Measured> {
    let fault = &WATCHDOG_STOPPED;
    let console = scene.guest.console_length();
    let before = Pictures::look(&scene.browser).await?.now;
    let recovery = scene.suffer(fault).await?;
    // The guest's clock, by the page's.
    let earlier = Pictures::look(&scene.browser).await?.now;
    let uptime = number(scene, "cat /proc/uptime").await?;
    let pictures = Pictures::look(&scene.browser).await?;
    let zero = (earlier + pictures.now) / 2000.0 - uptime;

    let output = scene.guest.output();
    let output = output.get(console..).unwrap_or_default();
    let (playing, started) = recovery.playing.zip(recovery.started).context("no reset")?;
    // Pictures of before the reset may have ceased for another reason.
    let back = pictures.back_at(before + (playing - started) * 1000.0);
    let back = back.context("pictures never ceased")? / 1000.0;
    let boot = |words: &str| said_at(output, words).map(|at| started - (back - (zero + at)));
    let up = boot(&format!("{AGENT}: up after"));
    let figures = vec![
        seconds("playing", Some(playing), None),
        seconds("boot to the agent up", up, None),
        seconds("boot to its room", boot(HOSTING), None),
        seconds("playing after the same start", Some(started), None),
    ];
    Ok((format!("hard reset ({})", fault.name), figures))
}

/// Switches the guest off and on, and compares as [`reset`] does. A new QEMU knows nothing of the one
/// before, so that it runs no slower: after a reset within one, code is translated two to six times
/// more slowly.
async fn power_cut(scene: Scene, bed: &Bed, board: &str) -> Result<(Browser, Measured)> {
    let Scene { browser, guest, rendezvous, room } = scene;
    guest.stop().await?;
    rendezvous.wait_online(&room, false, SOON).await?;
    let off = Pictures::look(&browser).await?;
    let mut guest = Guest::start(bed, &rendezvous, board, &room)?;
    guest.wait_hosting(&rendezvous, &room).await?;
    let hosting = Pictures::look(&browser).await?.now;
    let back = off.resumed(&browser, SOON).await?;
    let back = back.context("pictures never ceased")?;
    guest.stop().await?;
    let boot = (hosting - off.now) / 1000.0;
    let budget = rounded(boot) + AFTER_BOOT;
    let figures = vec![
        seconds("boot to its room", Some(boot), None),
        seconds("playing after the same start", Some((back - off.now) / 1000.0), Some(budget)),
    ];
    Ok((browser, ("power cut".to_owned(), figures)))
}

/// As it is shown: a sum of figures fits to what it is a sum of.
fn rounded(value: f64) -> f64 {
    (value * 10.0).round() / 10.0
}

/// What the watchdog costs while the camera plays. By now it has let go of the memory that only its
/// start needed, which it does after a minute.
async fn watchdog(scene: &mut Scene, seconds: u64) -> Result<Measured> {
    let pid = scene.status().await?.pid;
    let stat = format!("cut -d' ' -f14,15 /proc/{pid}/stat");
    let time = Duration::from_secs(seconds);
    let command = format!("{stat}; sleep {seconds}; {stat}");
    let output = scene.guest.run_within(&command, time + Duration::from_secs(60)).await?;
    let ticks: Vec<u64> = output.split_whitespace().filter_map(|it| it.parse().ok()).collect();
    let [user, system, user_later, system_later] = ticks[..] else {
        bail!("the guest's /proc/{pid}/stat says {output:?}");
    };
    // Hundredths of a second (proc(5)).
    let used = (user_later + system_later).saturating_sub(user + system);
    let used = Duration::from_millis(10 * used);
    let memory = 1024.0 * number(scene, &format!("grep VmRSS: /proc/{pid}/status")).await?;
    let size = number(scene, "wc -c /usr/bin/peercam-watchdog").await?;
    Ok(Costs { memory, size, used, time }.figures(Judged::Program))
}

/// The first number that a command in the guest prints.
async fn number(scene: &mut Scene, command: &str) -> Result<f64> {
    let output = scene.guest.run(command).await?;
    let number = output.split_whitespace().find_map(|word| word.parse().ok());
    number.with_context(|| format!("{command:?} in the guest printed {output:?}"))
}
