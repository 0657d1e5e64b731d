//! `peercam-run`, which `scripts/run` starts once everything is built: a rendezvous on this host
//! and one camera, until Ctrl-C; or, with `--check`, until headless Chromium has seen and heard it.
//!
//! Standard output is data: the share link, or the line of JSON. All else goes to standard error.

mod check;
mod scene;

use std::{net::SocketAddr, process::ExitCode};

use anyhow::{Context, Result, bail};
use clap::Parser;
use peercam_protocol::signalling::Transport;
use peercam_testbed::{programs, progress::Progress};
use tokio::signal::unix::{SignalKind, signal};

use crate::scene::{Board, Scene};

/// Runs a rendezvous and a camera on this host and prints the link to watch it. Ctrl-C ends both.
#[derive(Debug, Parser)]
#[command(name = "scripts/run", version, after_help = EXAMPLES)]
struct Arguments {
    /// What the camera is: a folder of board/ that QEMU can boot, or `host` for the agent on this
    /// machine with its test source
    #[arg(long, default_value = "qemu-aarch64")]
    board: String,

    /// Open the link in headless Chromium instead of waiting, check that picture and sound move,
    /// write out/check.png and print one line of JSON
    #[arg(long)]
    check: bool,

    /// How media travels with --check: rtp, or fmp4 [default: the player's choice, rtp]
    #[arg(long, value_parser = |text: &str| text.parse::<Transport>())]
    transport: Option<Transport>,

    /// Where the rendezvous listens [default: 127.0.0.1:8080, or a free port if that is taken];
    /// 0.0.0.0:8080 lets a phone in the same network watch
    #[arg(long, value_name = "ADDR:PORT")]
    listen: Option<SocketAddr>,
}

const EXAMPLES: &str = "Examples:
  scripts/run                               an emulated board in QEMU
  scripts/run --board host                  this machine as the camera
  scripts/run --board host --listen 0.0.0.0:8080
  scripts/run --check --transport fmp4      does it play? One line of JSON says how";

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let board = match Board::find(&arguments.board) {
        Ok(board) => board,
        Err(unknown) => {
            eprintln!("error: {unknown:#}");
            return ExitCode::from(2);
        }
    };
    let result = match arguments.check {
        true => check(board, &arguments).await,
        false => serve(board, &arguments).await,
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Runs the camera until Ctrl-C.
async fn serve(board: Board, arguments: &Arguments) -> Result<()> {
    let progress = Progress::start();
    let mut scene = unless_interrupted(Scene::set(board, arguments.listen, progress)).await?;
    println!("{}", scene.link());
    progress.say("the camera waits there; Ctrl-C ends it");
    tokio::select! {
        ended = scene.watch() => ended?,
        ended = interrupted() => ended?,
    }
    progress.say("stopping");
    scene.strike().await
}

/// Watches the camera in a browser and reports.
async fn check(board: Board, arguments: &Arguments) -> Result<()> {
    let progress = Progress::start();
    let picture = programs::repository().join("out/check.png");
    let work = async {
        let scene = Scene::set(board, arguments.listen, progress).await?;
        let report = check::play(&scene, arguments.transport, &picture, progress)
            .await
            .with_context(|| format!("the logs are in {}", scene.bed().path().display()))?;
        scene.strike().await?;
        Ok(report)
    };
    let report = unless_interrupted(work).await?;
    println!("{}", serde_json::to_string(&report).context("writing the report as JSON")?);
    Ok(())
}

/// Does the work; on Ctrl-C drops it half done, by which everything that it started is killed.
async fn unless_interrupted<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    tokio::select! {
        result = work => result,
        stopped = interrupted() => {
            stopped?;
            bail!("interrupted");
        }
    }
}

/// Waits for Ctrl-C, or a request to end, or the terminal to close.
async fn interrupted() -> Result<()> {
    let listen = |kind| signal(kind).context("listening for signals");
    let mut interrupt = listen(SignalKind::interrupt())?;
    let mut terminate = listen(SignalKind::terminate())?;
    let mut hangup = listen(SignalKind::hangup())?;
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
        _ = hangup.recv() => {}
    }
    Ok(())
}
