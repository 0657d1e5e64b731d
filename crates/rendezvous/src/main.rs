//! `peercam-rendezvous`: the server as a program. Reads its command line and configuration,
//! listens, and ends in order when it is told to.

use std::{
    io::IsTerminal, net::SocketAddr, path::PathBuf, pin::pin, process::ExitCode, time::Duration,
};

use anyhow::{Context, anyhow};
use clap::Parser;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use peercam_rendezvous::{Config, ConfigError, Control, LogFormat, Server, stamp::Stamp};
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    time::sleep,
};
use tracing::{info, warn};
use tracing_subscriber::EnvFilter;

/// What went wrong with the command line or the configuration, not with the work.
const USAGE: u8 = 2;

/// How often it is looked whether the configuration's file has changed.
const CONFIG_LOOK: Duration = Duration::from_secs(2);

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

    /// Check the configuration and the files it names, say what is wrong with them, and end.
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
  /whep/ROOM           where a standard player (WHEP) POSTs its offer
  /healthz             says ok
  /readyz              says whether anybody should be sent here: 503 while it ends, and in a
                       cluster until it has reached NATS for the first time

Signals:
  SIGTERM, SIGINT      end in order: cameras are told to move, see drain-seconds; a second one
                       ends at once
  SIGHUP               read the configuration and the files that it names again

The log goes to standard error; RUST_LOG=debug makes it say more.
Exit codes: 0 ended as asked, 1 failed (port in use), 2 wrong command line or configuration.";

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let Arguments { config: file, listen, check_config } = arguments;
    let files = Files { config: file, listen };
    let stamp = files.stamp();
    let config = match files.load() {
        Ok(config) => config,
        Err(error) => {
            eprintln!("peercam-rendezvous: {error}");
            return ExitCode::from(USAGE);
        }
    };
    if check_config {
        if let Err(error) = Server::check(&config) {
            eprintln!("peercam-rendezvous: {error}");
            return ExitCode::from(USAGE);
        }
        match &files.config {
            Some(file) => println!("{}: ok", file.display()),
            None => println!("no configuration file: the defaults hold"),
        }
        return ExitCode::SUCCESS;
    }
    match run(config, files, stamp) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("peercam-rendezvous: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(config: Config, files: Files, stamp: Option<Stamp>) -> anyhow::Result<()> {
    start_log(config.log_format);
    allow_files(config.limits.connections + config.limits.http_connections);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("cannot start the threads")?;
    runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate()).context("cannot catch SIGTERM")?;
        let mut interrupt = signal(SignalKind::interrupt()).context("cannot catch SIGINT")?;
        let hang_up = signal(SignalKind::hangup()).context("cannot catch SIGHUP")?;
        // What the system said stands in the sentence already.
        let server = Server::bind(config).await.map_err(|error| anyhow!("{error}"))?;
        info!("listening on {}://{}", server.scheme(), server.local_addr());
        if let Some(address) = server.admin_addr() {
            info!("the administrator's interface is on {address}");
        }
        let control = server.control();
        let reloading = tokio::spawn(reload(files, stamp, control.clone(), hang_up));
        let mut told = async || {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
        };
        let mut running = pin!(server.run(std::future::pending()));
        tokio::select! {
            () = running.as_mut() => {}
            () = told() => {
                control.drain();
                tokio::select! {
                    () = running.as_mut() => {}
                    () = told() => {
                        info!("told twice: ending now");
                        control.end();
                        running.await;
                    }
                }
            }
        }
        reloading.abort();
        Ok(())
    })
}

fn start_log(format: LogFormat) {
    let filter = EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| EnvFilter::new("info,async_nats=warn"));
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_target(false);
    match format {
        LogFormat::Text => {
            let colours = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
            log.with_ansi(colours).init();
        }
        LogFormat::Json => log.json().flatten_event(true).with_current_span(false).init(),
    }
}

/// Where the configuration comes from.
struct Files {
    config: Option<PathBuf>,
    /// From the command line.
    listen: Option<SocketAddr>,
}

impl Files {
    fn load(&self) -> Result<Config, ConfigError> {
        let mut config = self.config.as_deref().map(Config::load).transpose()?.unwrap_or_default();
        if let Some(listen) = self.listen {
            config.listen = listen;
        }
        Ok(config)
    }

    fn stamp(&self) -> Option<Stamp> {
        Stamp::of(self.config.as_deref()?)
    }
}

/// Reads the configuration again when its file changes, and on SIGHUP: that also where only a file
/// changed that it names. A broken one is said and not used. `seen`: of the one that holds, from
/// before it was read, so that no change falls in between.
async fn reload(files: Files, mut seen: Option<Stamp>, control: Control, mut hang_up: Signal) {
    loop {
        let asked = tokio::select! {
            asked = hang_up.recv() => asked.is_some(),
            () = sleep(CONFIG_LOOK) => false,
        };
        let now = files.stamp();
        // A file that is away for a moment is being replaced.
        if !asked && (now.is_none() || now == seen) {
            continue;
        }
        seen = now;
        match files.load() {
            Ok(config) => control.reload(config),
            Err(error) => warn!("{error}; the configuration from before stays"),
        }
    }
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
