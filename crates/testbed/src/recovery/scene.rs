//! A guest whose camera plays in a page, and the faults that it is made to suffer.

use std::{fmt, time::Duration};

use peercam_protocol::{RoomId, signalling::Transport};

use super::{
    Cure, Deed, Fault,
    fault::PIPELINE_FAILED,
    pictures::{self, Pictures},
    watchdog::{self, Status},
};
use crate::{
    Bed, Browser, Guest, Rendezvous,
    error::{Error, Result},
    guest::BOOT,
    wait::{self, Look},
};

/// From a click to moving picture and sound on a machine that is busy with other things too.
pub const SOON: Duration = Duration::from_secs(40);

/// How long a cure may take that is no reset, on such a machine. What it does take is measured.
const CURED_WITHIN: Duration = Duration::from_secs(90);

/// How long a deed may take there: one that has to be begun anew, too.
const DONE_WITHIN: Duration = Duration::from_secs(180);

/// Between two looks, which cost an emulated processor time of its own.
const BETWEEN_LOOKS: Duration = Duration::from_millis(250);

/// A guest whose camera plays in a page. What it drops it ends, in the order of the fields.
#[derive(Debug)]
pub struct Scene {
    /// Chromium, with the camera's page.
    pub browser: Browser,
    /// The guest.
    pub guest: Guest,
    /// The rendezvous server, on this machine.
    pub rendezvous: Rendezvous,
    /// The room that the camera is in.
    pub room: RoomId,
}

/// How a camera came back.
#[derive(Debug, Clone)]
pub struct Recovery {
    /// What brought it back.
    pub cure: Cure,
    /// How long after the fault's beginning it was noticed, in seconds, by the guest's clock.
    pub noticed: Option<f64>,
    /// How long after the fault's beginning pictures came again in the page, in seconds; none where
    /// they never ceased for a second.
    pub playing: Option<f64>,
    /// The same after the first sign of life of a reset device.
    pub started: Option<f64>,
    /// The longest time without a picture since, in seconds; 0 where there was none of a second.
    pub longest_gap: f64,
    /// How the watchdog is now.
    pub status: Status,
}

impl fmt::Display for Recovery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cured by {}", self.cure)?;
        let times = [("noticed", self.noticed), ("playing again", self.playing)];
        for (what, time) in times {
            if let Some(time) = time {
                write!(f, ", {what} after {time:.1} s")?;
            }
        }
        if let Some(time) = self.started {
            write!(f, " ({time:.1} s after its start)")?;
        }
        write!(f, ", {:.1} s without a picture at most", self.longest_gap)?;
        match self.status.cause() {
            Some(cause) => write!(f, ", last failure recorded: {cause}"),
            None => Ok(()),
        }
    }
}

/// How things were before a fault.
#[derive(Debug)]
struct Before {
    status: Status,
    /// How many bytes the console had printed.
    console: usize,
    /// Seconds since the guest's start.
    uptime: f64,
    /// When its first deed began, by the page's clock.
    first: f64,
    /// When its last deed began, by the page's clock.
    begin: f64,
    /// When pictures had ceased because of it, or were to, by the page's clock.
    gone: f64,
    /// How many pictures had come then.
    pictures: u64,
}

impl Scene {
    /// Boots the image of `board`, and plays its camera.
    pub async fn set(bed: &Bed, board: &str) -> Result<Self> {
        let rendezvous = Rendezvous::start(bed).await?;
        let room: RoomId = "recovery".parse().map_err(|error| Error::Answer {
            what: "the name of a room".to_owned(),
            answer: format!("{error}"),
        })?;
        let mut guest = Guest::start(bed, &rendezvous, board, &room)?;
        guest.wait_hosting(&rendezvous, &room).await?;
        guest.wait_for_shell().await?;
        let browser = Browser::start(bed).await?;
        let link = rendezvous.link(&room)?;
        browser.open(&format!("{link}?transport={}", Transport::Rtp)).await?;
        browser.wait_playing(SOON).await?;
        pictures::watch(&browser).await?;
        Ok(Self { browser, guest, rendezvous, room })
    }

    /// Waits until the watchdog runs, and says how it is.
    pub async fn status(&mut self) -> Result<Status> {
        let guest = &mut self.guest;
        wait::until("the guest's watchdog", BOOT, async || {
            Ok(match Status::ask(guest).await {
                Ok(Some(status)) => Look::Done(status),
                Ok(None) => Look::NotYet("it doesn't run".to_owned()),
                // Somebody else's line on the console came in between.
                Err(Error::Answer { answer, .. }) => Look::NotYet(answer),
                Err(error) => return Err(error),
            })
        })
        .await
    }

    /// Lets the guest suffer a fault, and waits until what is to cure it has, the camera is up and
    /// its pictures come in the page: the page is the same all the time, as is its guest but for
    /// resets.
    pub async fn suffer(&mut self, fault: &Fault) -> Result<Recovery> {
        let status = self.status().await?;
        let console = self.guest.console_length();
        let uptime = self.uptime().await?;
        let first = Pictures::look(&self.browser).await?.now;
        for _ in 1..fault.rounds {
            for deed in fault.deeds {
                self.perform(fault, deed).await?;
            }
        }
        let mut begin = first;
        for deed in fault.deeds {
            begin = Pictures::look(&self.browser).await?.now;
            self.perform(fault, deed).await?;
        }
        if fault.cure == Cure::Reset {
            self.guest.wait_for_start(console, BOOT).await?;
        }
        let pictures = Pictures::look(&self.browser).await?;
        // On a busy machine pictures may have ceased for another reason before a reset.
        let gone = if fault.cure == Cure::Reset { pictures.now } else { begin };
        let before =
            Before { status, console, uptime, first, begin, gone, pictures: pictures.count };
        if fault.cure == Cure::Reset {
            self.guest.wait_for_shell().await?;
        }
        self.wait_cured(fault, &before).await
    }

    async fn perform(&mut self, fault: &Fault, deed: &Deed) -> Result<()> {
        match deed {
            // No shell survives it.
            Deed::Shell(command) if fault.cure == Cure::Reset => {
                self.guest.type_in(&format!("{command}\n"))
            }
            Deed::Shell(command) => self.guest.run_within(command, DONE_WITHIN).await.map(drop),
            Deed::Machine(command, arguments) => {
                self.guest.change_machine(command, arguments).await
            }
            Deed::Page(script) => self.browser.evaluate(script).await,
        }
    }

    async fn wait_cured(&mut self, fault: &Fault, before: &Before) -> Result<Recovery> {
        let deadline = if fault.cure == Cure::Reset { BOOT } else { CURED_WITHIN };
        let what = format!("{} to be cured by {}", fault.name, fault.cure);
        wait::until(&what, deadline, async || {
            tokio::time::sleep(BETWEEN_LOOKS).await;
            let pictures = Pictures::look(&self.browser).await?;
            if !pictures.flow(before.gone, before.pictures) {
                return Ok(Look::NotYet(format!("{pictures:?}")));
            }
            let recovery = self.look(fault, before, &pictures).await?;
            let told = recovery.noticed.is_some() == fault.noticed_by.is_some();
            Ok(if told && recovery.status.agent().is_some() && recovery.cure >= fault.cure {
                Look::Done(recovery)
            } else {
                Look::NotYet(format!("{recovery:?}"))
            })
        })
        .await
    }

    /// How far it has come back.
    async fn look(
        &mut self,
        fault: &Fault,
        before: &Before,
        pictures: &Pictures,
    ) -> Result<Recovery> {
        let status = self.status().await?;
        let console = self.guest.output();
        let console = console.get(before.console..).unwrap_or_default();
        let playing = pictures.back_at(before.gone).map(|at| (at - before.begin) / 1000.0);
        let cure = cure(&before.status, &status, console);
        let noticed = fault.noticed_by.and_then(|words| watchdog::said_at(console, words));
        let noticed = noticed.map(|at| at - before.uptime);
        let started = pictures.back_at(before.gone).map(|at| (at - before.gone) / 1000.0);
        let started = started.filter(|_| fault.cure == Cure::Reset);
        let longest_gap = pictures.longest_gap(before.first);
        Ok(Recovery { cure, noticed, playing, started, longest_gap, status })
    }

    /// Seconds since the guest's start, by its own clock.
    async fn uptime(&mut self) -> Result<f64> {
        let output = self.guest.run("cat /proc/uptime").await?;
        let mut words = output.split_whitespace();
        words.find_map(|word| word.parse().ok()).ok_or_else(|| Error::Answer {
            what: "/proc/uptime".to_owned(),
            answer: output.clone(),
        })
    }
}

/// What brought the camera back, as far as it is back.
fn cure(before: &Status, after: &Status, console: &str) -> Cure {
    if after.record.boot_id != before.record.boot_id {
        Cure::Reset
    } else if after.record.watchdog_restarts > before.record.watchdog_restarts {
        Cure::Init
    } else if watchdog::said_at(console, "restarting all services").is_some() {
        Cure::RestartAll
    } else if after.failures() > before.failures() {
        Cure::Restart
    } else if watchdog::said_at(console, PIPELINE_FAILED).is_some() {
        Cure::Agent
    } else {
        Cure::Nothing
    }
}
