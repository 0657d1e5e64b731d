//! `measure`: figures of DESIGN §6, taken from the real programs and printed beside their budgets.
//!
//! | verb | measures | receiver |
//! |---|---|---|
//! | `latency` | the clock drawn into the picture → that frame decoded and shown | headless Chromium |
//! | `first-frame` | click → first decoded frame, pipeline warm and cold | headless Chromium |
//! | `network` | paths through routers, lossy lines, a bottleneck | headless Chromium |
//! | `viewers` | the agent's processor time and memory for each further viewer | our own, without decoding |
//! | `recovery` | from faults to pictures in the page, and what the watchdog costs | headless Chromium |
//! | `rendezvous` | the server's memory, processor time, and messages a second | cameras and viewers without media |
//!
//! The camera is the agent of this workspace on this machine: 1280x720 at 30 frames a second, at most
//! 2 Mbit/s, software encoder. Over budget is a figure too: the exit code is 0 unless the
//! measurement itself failed.

mod figures;
mod first_frame;
mod latency;
mod network;
mod receiver;
mod recovery;
mod rendezvous;
mod usage;
mod viewers;

use std::{path::PathBuf, process::ExitCode, time::Duration};

use anyhow::{Context, Result};
use clap::{Parser, Subcommand};
use peercam_protocol::{RoomId, signalling::Transport};
use peercam_testbed::{
    Bed, HostCamera, Rendezvous, camera::Options, picture, programs, progress::Progress,
};
use serde::Serialize;
use tokio::signal::ctrl_c;

/// Measures the camera of this machine and prints each figure beside its budget.
#[derive(Debug, Parser)]
#[command(name = "measure", version)]
struct Arguments {
    #[command(subcommand)]
    what: What,

    /// rtp or fmp4 [default: both, one after the other]
    #[arg(long, global = true, value_parser = |text: &str| text.parse::<Transport>())]
    transport: Option<Transport>,

    /// Print one line of JSON instead of a table
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum What {
    #[command(flatten)]
    Here(Here),
    /// Paths through routers and firewalls, lossy lines, a bottleneck. Makes networks, which needs
    /// root, or a user namespace: unshare --user --map-root-user measure network
    Network {
        /// Only this row of the table (may be given several times)
        #[arg(long = "row", value_name = "NAME")]
        rows: Vec<String>,
    },
    /// How long a camera takes to come back from faults, here and in guests, and what its watchdog
    /// costs. Guests need their images: peercam-firmware build --board qemu-aarch64
    Recovery(recovery::Options),
    /// Memory and processor time of the rendezvous server, cameras that come and messages that it
    /// passes on in a second
    Rendezvous(rendezvous::Options),
    /// A process of `rendezvous`
    #[command(hide = true)]
    RendezvousCameras(rendezvous::cameras::Options),
    /// A process of `rendezvous`
    #[command(hide = true)]
    RendezvousRelay(rendezvous::relay::Options),
}

/// What is measured in this machine's own network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Subcommand, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Here {
    /// From the clock drawn into the picture to that frame on the screen
    Latency,
    /// From the click to the first frame, encoders running and encoders stopped
    FirstFrame,
    /// Processor time and memory of the agent for each further viewer
    Viewers,
}

/// All that one call prints.
#[derive(Debug, Serialize)]
struct Report {
    measure: Here,
    /// Who received the stream.
    receiver: String,
    /// Who sent it.
    camera: String,
    rows: Vec<figures::Row>,
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let result = tokio::select! {
        result = measure(&arguments) => result,
        _ = ctrl_c() => Err(anyhow::anyhow!("interrupted")),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn measure(arguments: &Arguments) -> Result<()> {
    let transports = match arguments.transport {
        Some(transport) => vec![transport],
        None => vec![Transport::Rtp, Transport::Fmp4],
    };
    let progress = Progress::start();
    match &arguments.what {
        What::Here(what) => {
            programs::build(&["peercam-agent", "peercam-rendezvous"])?;
            let report = here(*what, &transports, progress).await?;
            print(arguments.json, &report, |report| {
                let table = figures::table(&report.rows);
                format!("receiver: {}\ncamera:   {}\n\n{table}", report.receiver, report.camera)
            })
        }
        What::Network { rows } => {
            programs::build(&["peercam-agent", "peercam-rendezvous"])?;
            let report = network::measure(rows, &transports, progress).await?;
            print(arguments.json, &report, network::Report::table)
        }
        What::Recovery(options) => {
            programs::build(&["peercam-agent", "peercam-rendezvous", "peercam-watchdog"])?;
            let report = recovery::measure(options, &transports, progress).await?;
            print(arguments.json, &report, recovery::Report::table)
        }
        What::Rendezvous(options) => {
            if options.builds() {
                programs::build(&["peercam-rendezvous"])?;
            }
            let report = rendezvous::measure(options, progress).await?;
            print(arguments.json, &report, rendezvous::Report::table)
        }
        What::RendezvousCameras(options) => rendezvous::cameras::run(options).await,
        What::RendezvousRelay(options) => rendezvous::relay::run(options).await,
    }
}

fn print<R: Serialize>(json: bool, report: &R, table: impl FnOnce(&R) -> String) -> Result<()> {
    if json {
        println!("{}", serde_json::to_string(report).context("writing the report as JSON")?);
    } else {
        print!("{}", table(report));
    }
    Ok(())
}

async fn here(what: Here, transports: &[Transport], progress: Progress) -> Result<Report> {
    let bed = Bed::new("measure")?;
    // A viewer costs what he is sent: there the picture has to fill the bit rate.
    let picture = match what {
        Here::Viewers => Some(picture::busy(&bed, 1280, 720)?),
        Here::Latency | Here::FirstFrame => None,
    };
    let stage = Stage::set(&bed, picture).await?;
    let (receiver, rows) = match what {
        Here::Latency => latency::measure(&stage, transports, progress).await,
        Here::FirstFrame => first_frame::measure(&stage, transports, progress).await,
        Here::Viewers => viewers::measure(&stage, transports, progress).await,
    }
    .with_context(|| format!("the agent's last lines:\n{}", stage.camera.last_lines()))?;
    let camera = format!("peercam-agent on this machine, {}", stage.describe());
    Ok(Report { measure: what, receiver, camera, rows })
}

/// The camera that is measured, in its room.
struct Stage<'a> {
    bed: &'a Bed,
    camera: HostCamera,
    rendezvous: Rendezvous,
}

impl<'a> Stage<'a> {
    async fn set(bed: &'a Bed, picture: Option<PathBuf>) -> Result<Self> {
        let rendezvous = Rendezvous::start(bed).await?;
        let room: RoomId = "measured".parse()?;
        let options = Options { picture, ..Options::full(room) };
        let camera = HostCamera::host(bed, &rendezvous, options).await?;
        Ok(Self { bed, camera, rendezvous })
    }

    fn describe(&self) -> String {
        let Options { size: (width, height), framerate, picture, .. } = self.camera.options();
        let source = if picture.is_some() { "noisy file" } else { "test source" };
        format!("{source}, {width}x{height} at {framerate} frames a second")
    }

    /// The page that plays it.
    fn link(&self, transport: Transport) -> Result<String> {
        let link = self.rendezvous.link(self.camera.room())?;
        Ok(format!("{link}?transport={transport}"))
    }
}

/// From opening a page to moving picture and sound.
const SOON: Duration = Duration::from_secs(60);
