//! The camera as processes of this machine, as its image runs it: the watchdog with the image's
//! configuration and the agent with its test source. What belongs to a whole device, its hardware
//! watchdog, resets and what its kernel left of a panic, is left out: see `guest`.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context, Result};
use nix::{
    sys::signal::{Signal, kill},
    time::{ClockId, clock_gettime},
    unistd::Pid,
};
use peercam_protocol::{RoomId, signalling::Transport};
use peercam_testbed::{
    Bed, Browser, Process, Rendezvous,
    camera::Options as Camera,
    programs,
    progress::Progress,
    recovery::{
        pictures::{self, Pictures},
        watchdog::{AGENT, Status, said_at},
    },
};
use toml::{Table, Value};

use super::{AFTER_BOOT, Costs, Judged, Measured, NOTICED, Options, PLAYING, seconds};
use crate::{SOON, figures::percentile, usage};

/// What cameras have.
const CONFIG: &str = "rootfs-overlay/etc/peercam/watchdog.toml";
/// How long a cure may take. What it does take is measured.
const CURED_WITHIN: Duration = Duration::from_secs(90);
/// How long everything is gone where a device would start anew.
const AWAY: Duration = Duration::from_secs(20);

/// The rows of this machine, and who received the stream.
pub async fn measure(
    options: &Options,
    transports: &[Transport],
    progress: Progress,
) -> Result<(String, Vec<Measured>)> {
    let bed = Bed::new("recovers")?;
    let program = match &options.watchdog {
        Some(file) => file.clone(),
        None => programs::workspace("peercam-watchdog")?,
    };
    progress.say("here: rendezvous, watchdog, camera, browser");
    let mut scene = Scene::set(&bed, program).await?;
    let mut rows = Vec::new();
    for &transport in transports {
        scene.play(transport).await?;
        let mut killed = Vec::new();
        for time in 1..=options.times {
            progress.say(format!("here, {transport}: agent killed, {time} of {}", options.times));
            killed.push(scene.suffer(Signal::SIGKILL, "ended by SIGKILL").await?);
        }
        rows.push((format!("agent killed, {transport}"), killed_figures(&killed)));
        progress.say(format!("here, {transport}: agent stopped"));
        let stopped = scene.suffer(Signal::SIGSTOP, "no heartbeat for").await?;
        let figures = vec![
            seconds("noticed", Some(stopped.noticed), Some(NOTICED)),
            seconds("up again", Some(stopped.up), None),
            seconds("playing", stopped.playing, None),
        ];
        rows.push((format!("agent stopped (SIGSTOP), {transport}"), figures));
    }
    progress.say(format!("here: the watchdog, for {} s", options.seconds));
    rows.push(scene.costs(Duration::from_secs(options.seconds)).await?);
    for &transport in transports {
        scene.play(transport).await?;
        progress.say(format!("here, {transport}: camera gone for {} s", AWAY.as_secs()));
        let figures = vec![seconds(
            "playing after it was in its room",
            scene.go_away(&bed).await?,
            Some(AFTER_BOOT),
        )];
        rows.push((format!("camera gone for {} s, {transport}", AWAY.as_secs()), figures));
    }
    let receiver = scene.browser.version()?;
    scene.browser.stop().await?;
    Ok((receiver, rows))
}

/// After the agent's end, each in seconds since then.
#[derive(Debug)]
struct Recovery {
    noticed: f64,
    /// The new one was ready.
    up: f64,
    /// Pictures came in the page; none if they never ceased for a second.
    playing: Option<f64>,
}

fn killed_figures(killed: &[Recovery]) -> Vec<crate::network::report::Figure> {
    let share = |of: fn(&Recovery) -> Option<f64>, share| {
        percentile(&mut killed.iter().filter_map(of).collect::<Vec<_>>(), share)
    };
    vec![
        seconds("noticed", share(|it| Some(it.noticed), 1.0), None),
        seconds("up again p50", share(|it| Some(it.up), 0.5), None),
        seconds("up again worst", share(|it| Some(it.up), 1.0), None),
        seconds("playing p50", share(|it| it.playing, 0.5), None),
        seconds("playing worst", share(|it| it.playing, 1.0), Some(PLAYING)),
    ]
}

/// The camera and who watches it. What it drops it ends, in the order of the fields.
struct Scene {
    browser: Browser,
    camera: Supervised,
    rendezvous: Rendezvous,
    room: RoomId,
}

/// The watchdog with its agent. Dropping it ends both.
struct Supervised {
    watchdog: Process,
    program: PathBuf,
    config: PathBuf,
}

impl Supervised {
    fn start(bed: &Bed, program: PathBuf, config: PathBuf) -> Result<Self> {
        let watchdog = Self::spawn(bed, &program, &config)?;
        Ok(Self { watchdog, program, config })
    }

    fn spawn(bed: &Bed, program: &Path, config: &Path) -> Result<Process> {
        let mut command = Command::new(program);
        command.arg("--config").arg(config).args(["--console", "all"]);
        Ok(Process::spawn("the watchdog", command, &bed.file("watchdog.log"))?)
    }

    /// Ends both without a word, as a reset does.
    fn kill(&mut self) {
        let agent = self.status().ok().and_then(|status| status.agent());
        // First: it would start another agent.
        self.watchdog.kill();
        if let Some(agent) = agent {
            // It may have ended by itself.
            let _ = kill(Pid::from_raw(agent.cast_signed()), Signal::SIGKILL);
        }
    }

    fn status(&self) -> Result<Status> {
        let mut command = Command::new(&self.program);
        command.args(["status", "--json", "--config"]).arg(&self.config);
        let output = command.output().context("peercam-watchdog status")?;
        let said = String::from_utf8_lossy(&output.stderr);
        serde_json::from_slice(&output.stdout)
            .with_context(|| format!("peercam-watchdog status: {said}"))
    }
}

impl Drop for Supervised {
    fn drop(&mut self) {
        self.kill();
    }
}

impl Scene {
    async fn set(bed: &Bed, program: PathBuf) -> Result<Self> {
        let rendezvous = Rendezvous::start(bed).await?;
        let room: RoomId = "recovery".parse()?;
        let agent_config = Camera::full(room.clone()).write(bed, &rendezvous)?;
        let installed = programs::repository().join(CONFIG);
        let toml = fs::read_to_string(&installed)
            .with_context(|| format!("reading {}", installed.display()))?;
        let agent = programs::workspace("peercam-agent")?;
        let toml = without_device(&toml, bed.path(), &agent, &agent_config)
            .with_context(|| format!("taking over {}", installed.display()))?;
        let config = bed.write("watchdog.toml", &toml)?;
        let camera = Supervised::start(bed, program, config)?;
        rendezvous.wait_online(&room, true, SOON).await?;
        let browser = Browser::start(bed).await?;
        Ok(Self { browser, camera, rendezvous, room })
    }

    /// Opens the camera's page.
    async fn play(&mut self, transport: Transport) -> Result<()> {
        let link = self.rendezvous.link(&self.room)?;
        self.browser.open(&format!("{link}?transport={transport}")).await?;
        self.browser.wait_playing(SOON).await?;
        Ok(pictures::watch(&self.browser).await?)
    }

    /// Sends the agent a signal, and waits until the watchdog has noticed, as it says in `words`,
    /// the new one has been up for so long that the old one's end is forgotten, and it plays.
    async fn suffer(&mut self, signal: Signal, words: &str) -> Result<Recovery> {
        let agent = self.camera.status()?.agent().context("the agent is not up")?;
        let from = self.camera.watchdog.output().len();
        let before = Pictures::look(&self.browser).await?;
        let begin = uptime()?;
        kill(Pid::from_raw(agent.cast_signed()), signal).context("a signal to the agent")?;
        let noticed = format!("{AGENT}: {words}");
        let [up, stable] = ["up after", "stable again"].map(|words| format!("{AGENT}: {words}"));
        let times = |output: &str| {
            said_at(output, &stable)?;
            Some((said_at(output, &noticed)?, said_at(output, &up)?))
        };
        let what = format!("{noticed:?}, {up:?} and {stable:?}");
        let (noticed, up) =
            self.camera.watchdog.wait_for_output(&what, from, CURED_WITHIN, times).await?;
        let back = before.resumed(&self.browser, CURED_WITHIN).await?;
        let playing = back.map(|at| (at - before.now) / 1000.0);
        Ok(Recovery { noticed: noticed - begin, up: up - begin, playing })
    }

    /// Ends watchdog and agent, starts them again after [`AWAY`], and says how many seconds after the
    /// camera was in its room pictures came in the page.
    async fn go_away(&mut self, bed: &Bed) -> Result<Option<f64>> {
        let before = Pictures::look(&self.browser).await?;
        self.camera.kill();
        tokio::time::sleep(AWAY).await;
        self.camera.watchdog = Supervised::spawn(bed, &self.camera.program, &self.camera.config)?;
        self.rendezvous.wait_online(&self.room, true, SOON).await?;
        let room = Pictures::look(&self.browser).await?.now;
        let back = before.resumed(&self.browser, CURED_WITHIN).await?;
        Ok(back.map(|at| (at - room).max(0.0) / 1000.0))
    }

    /// What the watchdog costs while the camera plays. By now it has let go of the memory that only
    /// its start needed, which it does after a minute.
    async fn costs(&self, time: Duration) -> Result<Measured> {
        let pid = self.camera.watchdog.pid();
        let before = usage::processor_time(pid)?;
        tokio::time::sleep(time).await;
        let used = usage::processor_time(pid)?.saturating_sub(before);
        let size = fs::metadata(&self.camera.program).context("the watchdog's program")?.len();
        let costs = Costs { memory: usage::memory(pid)? as f64, size: size as f64, used, time };
        Ok(costs.figures(Judged::Processor))
    }
}

/// The image's configuration for this machine: no hardware watchdog, no resets, no user of its own,
/// and everything it keeps below `folder`.
fn without_device(toml: &str, folder: &Path, agent: &Path, camera: &Path) -> Result<String> {
    let mut config: Table = toml.parse()?;
    for key in ["hardware", "escalation", "pstore-dir"] {
        config.remove(key);
    }
    let text = |path: &Path| Value::from(path.display().to_string());
    config.insert("state-dir".to_owned(), text(&folder.join("state")));
    config.insert("runtime-dir".to_owned(), text(&folder.join("run")));
    let services = config.get_mut("service").and_then(Value::as_array_mut);
    let services = services.context("it has no services")?;
    services.retain(|service| service.get("name").and_then(Value::as_str) == Some(AGENT));
    let service = services.first_mut().and_then(Value::as_table_mut);
    let service = service.with_context(|| format!("it has no service {AGENT:?}"))?;
    for key in ["safe-command", "user", "groups", "after"] {
        service.remove(key);
    }
    let command = vec![text(agent), "--config".into(), text(camera)];
    service.insert("command".to_owned(), command.into());
    // GStreamer looks at all its plugins at the first start, and no more: as in an image.
    let registry = text(&folder.join("gstreamer.registry"));
    let environment = Table::from_iter([
        ("GST_REGISTRY".to_owned(), registry),
        ("RUST_LOG".to_owned(), "info".into()),
    ]);
    service.insert("environment".to_owned(), environment.into());
    Ok(toml::to_string(&config)?)
}

/// Seconds since the start of this machine, as the watchdog counts them before its lines.
fn uptime() -> Result<f64> {
    let now = clock_gettime(ClockId::CLOCK_BOOTTIME).context("reading the clock")?;
    Ok(now.tv_sec() as f64 + now.tv_nsec() as f64 / 1e9)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_of_this_machine_is_touched_and_all_limits_stay() {
        let installed = fs::read_to_string(programs::repository().join(CONFIG)).unwrap();
        let [folder, agent, camera] = ["/bed", "/here/agent", "/bed/camera.toml"].map(Path::new);
        let text = without_device(&installed, folder, agent, camera).unwrap();
        for word in ["reboot", "/dev/", "/sys/", "/data", "/run/", "/etc", "/usr"] {
            assert!(!text.contains(word), "{word} is left in {text}");
        }
        let [installed, here]: [Table; 2] = [&installed, &text].map(|it| it.parse().unwrap());
        assert_eq!(here["monitor"], installed["monitor"]);
        for key in ["heartbeat", "progress-timeout", "restart-delay", "stable-after", "memory"] {
            assert_eq!(here["service"][0][key], installed["service"][0][key], "{key}");
        }
        assert!(without_device("[log]", folder, agent, camera).is_err());
    }
}
