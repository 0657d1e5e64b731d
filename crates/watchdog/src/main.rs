//! `peercam-watchdog`: the command line. The work is done by the library beside it.

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use peercam_watchdog::{
    config::{Config, EscalationConfig},
    launch::{Launch, check_program},
    log,
    run::{Plan, Wanted, run},
};

const HELP: &str = "\
Starts the camera's services, restarts them when they end or hang, and feeds the
hardware watchdog as long as they are well.

Usage: peercam-watchdog --config FILE [--check-config]

Options:
  -c, --config FILE   services and hardware watchdog, TOML; every key is described
                      in the file that cameras have as /etc/peercam/watchdog.toml
      --check-config  only say whether the configuration is good on this machine
  -h, --help          this text
  -V, --version       the version

Ends on SIGTERM or SIGINT: services are stopped, the last one first, and the
hardware watchdog is disarmed. Exit codes: 0 stopped, 1 failure, 2 usage or
configuration error.
";

enum Request {
    Run { config: PathBuf },
    Check { config: PathBuf },
    Help,
    Version,
}

/// Four options; a parser for them would be larger than they are.
fn parse_arguments(mut arguments: impl Iterator<Item = String>) -> Result<Request, String> {
    let (mut config, mut check) = (None, false);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "-c" | "--config" => {
                let value = arguments.next().ok_or_else(|| format!("{argument} needs a file"))?;
                config = Some(PathBuf::from(value));
            }
            "--check-config" => check = true,
            "-h" | "--help" => return Ok(Request::Help),
            "-V" | "--version" => return Ok(Request::Version),
            other => match other.strip_prefix("--config=") {
                Some(value) => config = Some(PathBuf::from(value)),
                None => return Err(format!("{other:?} is not known")),
            },
        }
    }
    let config = config.ok_or("--config FILE is missing")?;
    Ok(if check { Request::Check { config } } else { Request::Run { config } })
}

fn load(path: &Path) -> anyhow::Result<(Config, Vec<Launch>)> {
    let config = Config::read(path)?;
    let launches =
        config.services.iter().cloned().map(Launch::resolve).collect::<Result<_, _>>()?;
    Ok((config, launches))
}

/// Whether the device could be rebooted. Without that, services can still be looked after.
fn check_reboot(config: &Config) -> Result<(), String> {
    let Some(EscalationConfig { reboot_program, .. }) = &config.escalation else { return Ok(()) };
    check_program(reboot_program).map_err(|reason| {
        format!("[escalation] reboot-command {}: {reason}", reboot_program.display())
    })
}

fn supervise(config: Config, launches: Vec<Launch>) -> anyhow::Result<()> {
    let services = config.services.into_iter().zip(launches).map(|(service, launch)| Wanted {
        launch,
        policy: service.policy,
        critical: service.critical,
    });
    run(Plan {
        hardware: config.hardware,
        state_dir: config.state_dir,
        escalation: config.escalation,
        services: services.collect(),
    })
}

fn main() -> ExitCode {
    let arguments = std::env::args_os().skip(1).map(|a| a.to_string_lossy().into_owned());
    let (path, check) = match parse_arguments(arguments) {
        Ok(Request::Run { config }) => (config, false),
        Ok(Request::Check { config }) => (config, true),
        Ok(Request::Help) => return print(HELP),
        Ok(Request::Version) => {
            return print(concat!("peercam-watchdog ", env!("CARGO_PKG_VERSION"), "\n"));
        }
        Err(error) => {
            log::error(format_args!("{error}: see peercam-watchdog --help"));
            return ExitCode::from(2);
        }
    };
    let (config, launches) = match load(&path) {
        Ok(loaded) => loaded,
        Err(error) => {
            log::error(format_args!("{error:#}"));
            return ExitCode::from(2);
        }
    };
    if let Err(problem) = check_reboot(&config) {
        if check {
            log::error(problem);
            return ExitCode::from(2);
        }
        log::warn(format_args!("{problem}: only the hardware watchdog can reset the device"));
    }
    if check {
        log::info(format_args!("{}: good on this machine", path.display()));
        return ExitCode::SUCCESS;
    }
    match supervise(config, launches) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            log::error(format_args!("{error:#}"));
            ExitCode::FAILURE
        }
    }
}

/// On standard output, where somebody may have hung up (`--help | head -1`).
fn print(text: &str) -> ExitCode {
    use std::io::Write;
    match std::io::stdout().write_all(text.as_bytes()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}
