//! `measure`: figures of DESIGN §6, taken from the real programs and printed beside their budgets.
//!
//! | verb | measures | receiver |
//! |---|---|---|
//! | `latency` | the clock drawn into the picture → that frame decoded and shown | headless Chromium |
//! | `first-frame` | click → first decoded frame, pipeline warm and cold | headless Chromium |
//! | `network` | paths through routers, lossy lines, a bottleneck | headless Chromium |
//! | `viewers` | the agent's processor time and memory for each further viewer | our own, without decoding |
//!
//! The camera is the agent of this workspace on this machine: 1280x720 at 30 frames a second, at most
//! 2 Mbit/s, software encoder. Over budget is a figure too: the exit code is 0 unless the
//! measurement itself failed.

mod figures;
mod first_frame;
mod latency;
mod network;
mod receiver;
mod usage;
mod viewers;

use std::{path::PathBuf, process::ExitCode, time::Duration};

use anyhow::{Context, Result, ensure};
use clap::{Parser, ValueEnum};
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
    /// What to measure
    what: What,

    /// For network: only this row of the table (may be given several times)
    #[arg(long = "row", value_name = "NAME")]
    rows: Vec<String>,

    /// rtp or fmp4 [default: both, one after the other]
    #[arg(long, value_parser = |text: &str| text.parse::<Transport>())]
    transport: Option<Transport>,

    /// Print one line of JSON instead of a table
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
enum What {
    /// From the clock drawn into the picture to that frame on the screen
    Latency,
    /// From the click to the first frame, encoders running and encoders stopped
    FirstFrame,
    /// Processor time and memory of the agent for each further viewer
    Viewers,
    /// Paths through routers and firewalls, lossy lines, a bottleneck; makes networks, so it needs
    /// root (or a user namespace: unshare --user --map-root-user --net)
    Network,
}

/// All that one call prints.
#[derive(Debug, Serialize)]
struct Report {
    measure: What,
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
    programs::build(&["peercam-agent", "peercam-rendezvous"])?;
    let transports = match arguments.transport {
        Some(transport) => vec![transport],
        None => vec![Transport::Rtp, Transport::Fmp4],
    };
    let progress = Progress::start();
    ensure!(
        arguments.rows.is_empty() || arguments.what == What::Network,
        "only `measure network` has rows"
    );
    if arguments.what == What::Network {
        let report = network::measure(&arguments.rows, &transports, progress).await?;
        if arguments.json {
            println!("{}", serde_json::to_string(&report).context("writing the report as JSON")?);
        } else {
            println!("receiver: {}\nseed:     {}\n", report.receiver, report.seed);
            print!("{}", report.table());
        }
        return Ok(());
    }
    let bed = Bed::new("measure")?;
    // A viewer costs what he is sent: there the picture has to fill the bit rate.
    let picture = match arguments.what {
        What::Viewers => Some(picture::busy(&bed, 1280, 720)?),
        What::Latency | What::FirstFrame | What::Network => None,
    };
    let stage = Stage::set(&bed, picture).await?;
    let (receiver, rows) = match arguments.what {
        What::Latency => latency::measure(&stage, &transports, progress).await,
        What::FirstFrame => first_frame::measure(&stage, &transports, progress).await,
        What::Viewers => viewers::measure(&stage, &transports, progress).await,
        What::Network => unreachable!("measured above, on a stage of its own"),
    }
    .with_context(|| format!("the agent's last lines:\n{}", stage.camera.last_lines()))?;
    let report = Report {
        measure: arguments.what,
        receiver,
        camera: format!("peercam-agent on this machine, {}", stage.describe()),
        rows,
    };
    if arguments.json {
        println!("{}", serde_json::to_string(&report).context("writing the report as JSON")?);
    } else {
        println!("receiver: {}\ncamera:   {}\n", report.receiver, report.camera);
        print!("{}", figures::table(&report.rows));
    }
    Ok(())
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
