//! `peercam-watchdog`: the command line. The work is done by the library beside it.

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use nix::{sys::signal::kill, unistd::Pid};
use peercam_watchdog::{
    config::{Config, ConsoleLines, EscalationConfig},
    drills, keeper,
    launch::{Launch, check_program},
    log,
    run::{LEAVE_SAFE_MODE, Plan, Wanted, run},
    show::{Selection, show},
    status::{self, describe, describe_record, json},
    supervisor::Wish,
};

const HELP: &str = "\
Starts the camera's services, restarts them when they end or hang, and feeds the
hardware watchdog as long as they are well.

Usage: peercam-watchdog --config FILE [--check-config]
       peercam-watchdog status [--json] [--config FILE]
       peercam-watchdog log [--follow] [--service NAME] [--persistent] [--json]
                            [--config FILE]
       peercam-watchdog leave-safe-mode [--config FILE]
       peercam-watchdog test [--help]

status shows how the services are, and why the device was reset; log shows what
the services printed and the watchdog said, with seconds since the start of the
device; leave-safe-mode starts services normally again; test makes each service
fail on purpose, and tells how long it takes until it is up again. FILE is then
/etc/peercam/watchdog.toml unless another one is named. Where nothing of FILE can
be used, the file of the same name with .fallback.toml for its end stands in, if
there is one.

Examples:
  peercam-watchdog log --follow --service agent
      what the agent prints, and what is done about it, from now on too
  peercam-watchdog log --persistent
      what was said before services failed and before resets, of earlier starts too

Options:
  -c, --config FILE   services and hardware watchdog, TOML; every key is described
                      in the file that cameras have as /etc/peercam/watchdog.toml
      --check-config  only say whether the configuration is good on this machine
      --console LINES what goes to standard output and standard error: all, warnings
                      or none; instead of what the file says
      --follow        with log: goes on with what comes
      --service NAME  with log: only what this service printed, or is about it
      --persistent    with log: what outlives a reset
      --json          for programs: with status, keys as in the files; with log, an
                      object a line: seconds, service or level, text
  -h, --help          this text
  -V, --version       the version

Ends on SIGTERM or SIGINT: services are stopped, the last one first, and the
hardware watchdog is disarmed. Exit codes: 0 stopped, 1 failure, 2 usage or
configuration error. With status: 1 if the watchdog does not run; what it
recorded is shown all the same. With log: 1 if there is none.
";

const INSTALLED: &str = "/etc/peercam/watchdog.toml";

enum Request {
    Run { config: PathBuf, console: Option<ConsoleLines> },
    Check { config: PathBuf },
    Status { config: PathBuf, json: bool },
    Log { config: PathBuf, persistent: bool, selection: Selection },
    LeaveSafeMode { config: PathBuf },
    Help,
    Version,
}

/// A handful of verbs and options; a parser for them would be larger than they are.
fn parse_arguments(mut arguments: impl Iterator<Item = String>) -> Result<Request, String> {
    let (mut config, mut check, mut verb) = (None, false, None);
    let (mut console, mut persistent, mut selection) = (None, false, Selection::default());
    while let Some(argument) = arguments.next() {
        let (name, mut value) = match argument.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (argument.as_str(), None),
        };
        let mut value = |what| {
            let value = value.take().or_else(|| arguments.next());
            value.ok_or_else(|| format!("{name} needs {what}"))
        };
        match name {
            "-c" | "--config" => config = Some(PathBuf::from(value("a file")?)),
            "--console" => console = Some(console_lines(&value("all, warnings or none")?)?),
            "--service" => selection.service = Some(value("the name of a service")?),
            _ if argument != name => return Err(format!("{argument:?} is not known")),
            "--check-config" => check = true,
            "status" | "log" | "leave-safe-mode" if verb.is_none() => verb = Some(argument),
            "--follow" => selection.follow = true,
            "--persistent" => persistent = true,
            "--json" => selection.json = true,
            "-h" | "--help" => return Ok(Request::Help),
            "-V" | "--version" => return Ok(Request::Version),
            other => return Err(format!("{other:?} is not known")),
        }
    }
    if let Some(verb) = &verb
        && (check || console.is_some())
    {
        let option = if check { "--check-config" } else { "--console" };
        return Err(format!("{verb} and {option} are two things"));
    }
    let verb = verb.as_deref();
    if selection.json && !matches!(verb, Some("status" | "log")) {
        return Err("--json goes with status and log".to_owned());
    }
    if (selection.follow || persistent || selection.service.is_some()) && verb != Some("log") {
        return Err("--follow, --service and --persistent go with log".to_owned());
    }
    if selection.follow && persistent {
        return Err("--follow and --persistent are two things: what comes is kept later".to_owned());
    }
    let installed = || config.clone().unwrap_or(INSTALLED.into());
    Ok(match verb {
        Some("status") => Request::Status { config: installed(), json: selection.json },
        Some("log") => Request::Log { config: installed(), persistent, selection },
        Some(_) => Request::LeaveSafeMode { config: installed() },
        None => {
            let config = config.ok_or("--config FILE is missing")?;
            if check { Request::Check { config } } else { Request::Run { config, console } }
        }
    })
}

fn console_lines(word: &str) -> Result<ConsoleLines, String> {
    match word {
        "all" => Ok(ConsoleLines::All),
        "warnings" => Ok(ConsoleLines::Warnings),
        "none" => Ok(ConsoleLines::None),
        other => Err(format!("--console {other:?}: use all, warnings or none")),
    }
}

/// What can't be used on this machine: in a line each.
fn check(config: &Config) -> Vec<String> {
    let mut problems: Vec<String> =
        config.refusals.iter().map(|refusal| refusal.problem.clone()).collect();
    for service in &config.services {
        if let Err(problem) = Launch::new(service.clone()).check() {
            problems.push(format!("service {:?}: {problem}", service.name));
        }
    }
    problems.extend(check_reboot(config).err());
    problems
}

/// Whether the device could be rebooted. Without that, services can still be looked after.
fn check_reboot(config: &Config) -> Result<(), String> {
    let Some(EscalationConfig { reboot_program, .. }) = &config.escalation else { return Ok(()) };
    check_program(reboot_program).map_err(|reason| {
        format!("[escalation] reboot-command {}: {reason}", reboot_program.display())
    })
}

/// How the watchdog with this configuration is.
fn ask(path: &Path, config: &Config) -> Result<toml::Table, String> {
    match &config.runtime_dir {
        Some(folder) => status::read(folder),
        None => Err(format!("{}: runtime-dir is not set", path.display())),
    }
}

fn leave_safe_mode(path: &Path) -> ExitCode {
    let asked = Config::read_usable(path)
        .map_err(|error| (error.to_string(), 2))
        .and_then(|config| ask(path, &config).map_err(|problem| (problem, 1)))
        .and_then(|status| match (status::safe_mode(&status), status::pid(&status)) {
            (Some(_), Some(pid)) => kill(Pid::from_raw(pid), LEAVE_SAFE_MODE)
                .map_err(|error| (format!("the watchdog can't be told: {error}"), 1)),
            _ => Err(("services don't run in safe mode".to_owned(), 1)),
        });
    match asked {
        Ok(()) => ExitCode::SUCCESS,
        Err((problem, code)) => {
            log::error(problem);
            ExitCode::from(code)
        }
    }
}

/// How things are, or how they were, on standard output.
fn show_status(path: &Path, as_json: bool) -> ExitCode {
    let config = match Config::read_usable(path) {
        Ok(config) => config,
        Err(error) => {
            log::error(error);
            return ExitCode::from(2);
        }
    };
    let problem = match ask(path, &config) {
        Ok(status) if as_json => return print(&json(&status)),
        Ok(status) => return print(&describe(&status, keeper::uptime().as_secs())),
        Err(problem) => problem,
    };
    log::error(problem);
    let record = config.state_dir.map(|folder| keeper::read(&folder.join(keeper::FILE_NAME)));
    match record {
        Some(Ok(Some(record))) => {
            let record = record.table();
            print(&if as_json { json(&record) } else { describe_record(&record) })
        }
        Some(Err(problem)) => {
            log::error(problem);
            ExitCode::FAILURE
        }
        None | Some(Ok(None)) => ExitCode::FAILURE,
    };
    ExitCode::FAILURE
}

/// What was said, on standard output.
fn show_log(path: &Path, persistent: bool, selection: &Selection) -> ExitCode {
    let config = match Config::read_usable(path) {
        Ok(config) => config,
        Err(error) => {
            log::error(error);
            return ExitCode::from(2);
        }
    };
    let (key, folder) = match persistent {
        true => ("state-dir", config.state_dir),
        false => ("runtime-dir", config.runtime_dir),
    };
    let Some(folder) = folder else {
        log::error(format_args!("{}: {key} is not set: there is no log", path.display()));
        return ExitCode::FAILURE;
    };
    let mut output = std::io::BufWriter::new(std::io::stdout().lock());
    match show(&folder, selection, &mut output) {
        Ok(()) => ExitCode::SUCCESS,
        // Somebody has seen enough (`log | head`).
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => {
            log::error(format_args!("{}: no log: {error}", folder.display()));
            ExitCode::FAILURE
        }
    }
}

fn supervise(config: Config) -> anyhow::Result<()> {
    let names: Vec<String> = config.services.iter().map(|service| service.name.clone()).collect();
    let index = |name: &String| names.iter().position(|other| other == name);
    let services = config.services.into_iter().map(|service| {
        let (policy, critical) = (service.policy.clone(), service.critical);
        let after = service.after.iter().filter_map(index).collect();
        Wanted { launch: Launch::new(service), wish: Wish { policy, critical, after } }
    });
    run(Plan {
        hardware: config.hardware,
        state_dir: config.state_dir,
        pstore_dir: config.pstore_dir,
        runtime_dir: config.runtime_dir,
        log: config.log,
        escalation: config.escalation,
        monitors: config.monitors,
        services: services.collect(),
        refusals: config.refusals,
    })
}

fn main() -> ExitCode {
    let arguments = std::env::args_os().skip(1).map(|a| a.to_string_lossy().into_owned());
    let mut arguments = arguments.peekable();
    if arguments.next_if(|argument| argument == "test").is_some() {
        return drills::main(arguments, Path::new(INSTALLED));
    }
    let (path, check_only, console) = match parse_arguments(arguments) {
        Ok(Request::Run { config, console }) => (config, false, console),
        Ok(Request::Check { config }) => (config, true, None),
        Ok(Request::LeaveSafeMode { config }) => return leave_safe_mode(&config),
        Ok(Request::Status { config, json }) => return show_status(&config, json),
        Ok(Request::Log { config, persistent, selection }) => {
            return show_log(&config, persistent, &selection);
        }
        Ok(Request::Help) => return print(HELP),
        Ok(Request::Version) => {
            return print(concat!("peercam-watchdog ", env!("CARGO_PKG_VERSION"), "\n"));
        }
        Err(error) => {
            log::error(format_args!("{error}: see peercam-watchdog --help"));
            return ExitCode::from(2);
        }
    };
    let read = if check_only { Config::read } else { Config::read_usable };
    let mut config = match read(&path) {
        Ok(config) => config,
        Err(error) => {
            log::error(error);
            return ExitCode::from(2);
        }
    };
    if check_only {
        let problems = check(&config);
        problems.iter().for_each(log::error);
        if problems.is_empty() {
            log::info(format_args!("{}: good on this machine", path.display()));
        }
        return if problems.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(2) };
    }
    if let Err(problem) = check_reboot(&config) {
        log::warn(format_args!("{problem}: only the hardware watchdog can reset the device"));
    }
    config.log.console = console.unwrap_or(config.log.console);
    match supervise(config) {
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
