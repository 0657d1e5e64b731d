//! `peercam-rendezvous`: the server as a program. Reads its command line and configuration,
//! listens, and ends in order when it is told to.

use std::{io::IsTerminal, net::SocketAddr, path::PathBuf, process::ExitCode};

use anyhow::Context;
use clap::Parser;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use peercam_rendezvous::{Config, Server};
use tokio::signal::unix::{SignalKind, signal};
use tracing::{info, warn};
use tracing_subscriber::EnvFilter;

/// What went wrong with the command line or the configuration, not with the work.
const USAGE: u8 = 2;

/// The server where camera and browser find each other.
///
/// A camera connects and waits in its room; a browser opens the room's page; the server hands
/// their offers, answers and candidates from one to the other. The picture itself goes straight
/// from the camera to the browser.
#[derive(Debug, Parser)]
#[command(version, after_long_help = EXAMPLES)]
struct Arguments {
    /// Read the configuration from this TOML file.
    ///
    /// Without one the defaults hold. rendezvous.example.toml explains every key.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,

    /// Listen on this address and port; goes before `listen` in the configuration.
    ///
    /// 127.0.0.1 serves this machine only, 0.0.0.0 every network it is on (and [::] IPv6 too).
    /// With port 0 the system chooses one; the log says which. [default: 127.0.0.1:8080]
    #[arg(long, value_name = "ADDR:PORT")]
    listen: Option<SocketAddr>,

    /// Check the configuration, say what is wrong with it, and end.
    #[arg(long)]
    check_config: bool,
}

const EXAMPLES: &str = "\
Examples:
  Try it on this machine:
      peercam-rendezvous
      peercam-agent --config agent.toml    (with [rendezvous] urls = [\"ws://127.0.0.1:8080\"])
      then open http://127.0.0.1:8080/r/ROOM, as the agent's log says

  Serve a network:
      peercam-rendezvous --listen 0.0.0.0:8080

  Behind a web server that does TLS, which browsers ask for on anything but localhost before
  they allow a microphone; it must pass WebSockets on and set X-Forwarded-For:
      peercam-rendezvous --config rendezvous.toml    (with trusted-proxies = [\"127.0.0.1\"])

Addresses it answers:
  /                    a page that asks for a room
  /r/ROOM              the page that plays the room's camera
  /player.js           the player as a module: <peercam-player room=\"ROOM\">
  /api/rooms/ROOM      JSON: is a camera there?
  /host/ROOM           WebSocket for the camera
  /watch/ROOM          WebSocket for a viewer, from any page
  /healthz             says ok

The log goes to standard error; RUST_LOG=debug makes it say more.
Exit codes: 0 ended as asked, 1 failed (port in use), 2 wrong command line or configuration.";

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let mut config = match arguments.config.as_deref().map(Config::load).transpose() {
        Ok(config) => config.unwrap_or_default(),
        Err(error) => {
            eprintln!("peercam-rendezvous: {error}");
            return ExitCode::from(USAGE);
        }
    };
    if let Some(listen) = arguments.listen {
        config.listen = listen;
    }
    if arguments.check_config {
        match &arguments.config {
            Some(file) => println!("{}: ok", file.display()),
            None => println!("no configuration file: the defaults hold"),
        }
        return ExitCode::SUCCESS;
    }
    match run(config) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("peercam-rendezvous: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(config: Config) -> anyhow::Result<()> {
    let colours = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(colours)
        .with_target(false)
        .init();
    allow_files(config.limits.connections + config.limits.http_connections);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("cannot start the threads")?;
    runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate()).context("cannot catch SIGTERM")?;
        let mut interrupt = signal(SignalKind::interrupt()).context("cannot catch SIGINT")?;
        let server = Server::bind(config).await?;
        info!("listening on {}://{}", server.scheme(), server.local_addr());
        server
            .run(async {
                tokio::select! {
                    _ = terminate.recv() => {}
                    _ = interrupt.recv() => {}
                }
            })
            .await;
        Ok(())
    })
}

/// Every connection is an open file, and the usual soft limit is 1024: takes what the hard limit
/// allows, and says if that is too little for the configuration.
fn allow_files(connections: usize) {
    /// Standard streams, the listener, the runtime's own, and some to spare.
    const OTHERS: u64 = 64;
    let wanted = connections as u64 + OTHERS;
    let allowed = getrlimit(Resource::RLIMIT_NOFILE).and_then(|(soft, hard)| {
        let limit = soft.max(wanted.min(hard));
        setrlimit(Resource::RLIMIT_NOFILE, limit, hard).map(|()| limit)
    });
    match allowed {
        Ok(limit) if limit < wanted => warn!(
            "the system allows {limit} open files, and the configured limits add up to {wanted}: \
             raise `ulimit -Hn` (LimitNOFILE in systemd), or lower limits.connections"
        ),
        Ok(_) => {}
        Err(error) => warn!(%error, "could not raise the limit of open files"),
    }
}
