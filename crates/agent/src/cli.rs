//! The command line.

use std::{path::PathBuf, process::ExitCode};

use clap::Parser;
use peercam_heartbeat::Notifier;
use tokio::signal::unix::{SignalKind, signal};
use tracing::error;

use crate::{agent, config::Config, logging};

/// Wrong arguments or a wrong configuration.
const USAGE: u8 = 2;

const AFTER_HELP: &str = "\
Examples:
  peercam-agent
      the test picture; nobody can find it without a rendezvous
  peercam-agent --config camera.toml
      with camera.toml:   [rendezvous]
                          urls = [\"wss://cam.example.org\"]
  peercam-agent --config /etc/peercam/agent.toml --config /data/peercam/agent.toml
      the second file overrides the first, key by key
  peercam-agent --config camera.toml --check-config
      is the file right? Exit code 0: yes; 2: no, and standard error says why
  peercam-agent --config peercam.toml --device-settings
      what [device] says, for a camera's start scripts: a line for each thing
  peercam-agent --example-config > camera.toml
      every key, explained, with its default

On first start the camera makes its identity key in state-dir; its room follows from the key unless
one is named. It logs the link to open in a browser. SIGTERM or Ctrl-C says bye to every viewer and
ends it within 3 s.

Environment:
  RUST_LOG          what is logged: info (default), debug, or peercam_agent=debug,rtc=info
  NOTIFY_SOCKET, WATCHDOG_USEC
                    set by peercam-watchdog or systemd: readiness and heartbeats go there
  PEERCAM_SAFE_MODE set by peercam-watchdog: why the camera is in safe mode; it is told to who asks
  PEERCAM_STATUS    set by peercam-watchdog: the file with what it tells of the device, for peercamctl status

Exit codes: 0 ended by a signal; 1 could not run; 2 wrong arguments or configuration.";

/// The camera's daemon: waits in its room on a rendezvous server and streams H.264 and sound
/// straight to every browser that comes.
#[derive(Debug, Parser)]
#[command(name = "peercam-agent", version, after_help = AFTER_HELP)]
struct Arguments {
    /// TOML file; may be given several times, later ones override earlier ones key by key
    #[arg(long, value_name = "FILE")]
    config: Vec<PathBuf>,

    /// Only check the configuration
    #[arg(long)]
    check_config: bool,

    /// Only check the configuration, and print what is for the device in it
    #[arg(long)]
    device_settings: bool,

    /// Print an annotated example configuration and end
    #[arg(long)]
    example_config: bool,
}

/// The whole program.
pub fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if arguments.example_config {
        print!("{}", crate::config::EXAMPLE);
        return ExitCode::SUCCESS;
    }
    let config = match Config::load(&arguments.config) {
        Ok(config) => config,
        Err(error) => {
            eprintln!("peercam-agent: {error}");
            return ExitCode::from(USAGE);
        }
    };
    if arguments.device_settings {
        print!("{}", config.device);
    }
    if arguments.check_config || arguments.device_settings {
        return ExitCode::SUCCESS;
    }
    if let Err(error) = logging::start() {
        eprintln!("peercam-agent: {error}");
        return ExitCode::from(USAGE);
    }
    match serve(config) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            error!("{}", sentence(&failure));
            ExitCode::FAILURE
        }
    }
}

/// An error and its causes, each once: many say in their own words what their cause is.
fn sentence(failure: &anyhow::Error) -> String {
    failure.chain().skip(1).fold(failure.to_string(), |said, cause| {
        let cause = cause.to_string();
        if said.contains(&cause) { said } else { format!("{said}: {cause}") }
    })
}

#[tokio::main]
async fn serve(config: Config) -> anyhow::Result<()> {
    let notifier = Notifier::from_env()?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let shutdown = async {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    };
    agent::run(config, &notifier, shutdown).await
}
