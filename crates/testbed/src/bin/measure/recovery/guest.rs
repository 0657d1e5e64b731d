//! A board's image in QEMU: its whole device, with a processor that is emulated and several times
//! slower than a real one. What is a difference, or the watchdog's own clock, is judged here too.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use peercam_testbed::{
    Bed,
    progress::Progress,
    recovery::{
        Fault, Scene,
        fault::{DEADLOCKED, KILLED, STOPPED, WATCHDOG_KILLED, WATCHDOG_STOPPED},
        pictures::Pictures,
        watchdog::{AGENT, said_at},
    },
};

use super::{AFTER_START, Measured, NOTICED, Options, costs, seconds};

/// Faults without a reset, and the budget for noticing each.
const FAULTS: [(&Fault, Option<f64>); 4] = [
    (&KILLED, None),
    (&STOPPED, Some(NOTICED)),
    (&DEADLOCKED, Some(NOTICED)),
    (&WATCHDOG_KILLED, None),
];

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
        let figures = vec![
            seconds("noticed", recovery.noticed, noticed),
            seconds("playing", recovery.playing, None),
        ];
        rows.push((fault.name.to_owned(), figures));
    }
    progress.say(format!("{board}: the watchdog, for {} s", options.seconds));
    rows.push(watchdog(&mut scene, options.seconds).await?);
    progress.say(format!("{board}: hard reset ({})", WATCHDOG_STOPPED.name));
    rows.push(reset(&mut scene).await?);
    let receiver = scene.browser.version()?;
    scene.browser.stop().await?;
    Ok((receiver, rows))
}

/// Stops the watchdog, and compares when pictures came again with when the camera was up again
/// after the same start.
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
    let up = said_at(output, &format!("{AGENT}: up after")).context("the agent was never up")?;
    let (playing, started) = recovery.playing.zip(recovery.started).context("no reset")?;
    // Pictures of before the reset may have ceased for another reason.
    let back = pictures.back_at(before + (playing - started) * 1000.0);
    let back = back.context("pictures never ceased")? / 1000.0;
    let boot = started - (back - (zero + up));
    let figures = vec![
        seconds("playing", Some(playing), None),
        seconds("boot, to the agent up", Some(boot), None),
        seconds("playing after the same start", Some(started), Some(rounded(boot) + AFTER_START)),
    ];
    Ok((format!("hard reset ({})", fault.name), figures))
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
    Ok(costs(memory, size, used, time))
}

/// The first number that a command in the guest prints.
async fn number(scene: &mut Scene, command: &str) -> Result<f64> {
    let output = scene.guest.run(command).await?;
    let number = output.split_whitespace().find_map(|word| word.parse().ok());
    number.with_context(|| format!("{command:?} in the guest printed {output:?}"))
}
