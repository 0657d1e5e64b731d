//! `peercam-watchdog test`: asks the running watchdog for drills, one after the other, and tells
//! what came of them. It does nothing to a service itself, so it may be ended at any time.

use std::{
    ffi::c_void,
    io::{self, BufRead, IsTerminal, Write},
    os::fd::AsFd,
    path::{Path, PathBuf},
    process::ExitCode,
    ptr,
    time::{Duration, Instant},
};

use nix::{
    errno::Errno,
    libc,
    poll::{PollFd, PollFlags, poll},
    sys::{
        signal::{SigSet, Signal},
        signalfd::{SfdFlags, SignalFd},
    },
};
use serde::Serialize;
use toml::Table;

use crate::{
    config::Config,
    drill::{Fault, Request},
    log,
    run::DRILL,
    status::{self, DrillStatus},
};

const HELP: &str = "\
Makes each service fail on purpose, and tells how long it takes until it is up again.

Usage: peercam-watchdog test [--service NAME]... [--only kill,hang,starve]
                             [--json] [--yes] [--config FILE]

  kill    its processes are killed (SIGKILL)
  hang    its processes are stopped (SIGSTOP): heartbeats stay away
  starve  it goes on, but what it reports of its work is withheld: it looks as if
          there were work, and none was done

Each is noticed, killed and started again by the running watchdog, as if it were
real, but counts for nothing: it is in the record as a drill, and leads to no
restart of others and to no reset. What can't be noticed with this configuration
(no heartbeat, no progress-timeout) is skipped. There is no drill in safe mode,
while any service is not well, or when the last hour's failures leave no room for
one that a service does not get over.

Options:
      --service NAME  only this one; may be given several times
      --only FAULTS   only these, with commas
      --json          for programs: the results as one object, times in ms
      --yes           don't ask
  -c, --config FILE   of the running watchdog (/etc/peercam/watchdog.toml)
  -h, --help          this text

Viewers see the picture stop for as long as a recovery takes. Ctrl-C ends the
drill: what was stopped goes on. Exit codes: 0 every service came back, 1 one did
not, or there was no drill, 2 usage or configuration error.
";

/// How often is looked for news, which come once a second at most.
const LOOK_PAUSE: u16 = 200;
/// The watchdog answers sooner, unless it hangs.
const ANSWER_PATIENCE: Duration = Duration::from_secs(10);

#[derive(Debug, Default)]
struct Options {
    services: Vec<String>,
    faults: Vec<Fault>,
    json: bool,
    yes: bool,
    config: Option<PathBuf>,
    help: bool,
}

fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Options, String> {
    let mut options = Options::default();
    while let Some(argument) = arguments.next() {
        let (name, value) = match argument.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (argument.as_str(), None),
        };
        let has_value = value.is_some();
        let mut value =
            || value.clone().or_else(|| arguments.next()).ok_or(format!("{name} needs a value"));
        match name {
            "--service" => options.services.push(value()?),
            "--only" => {
                for word in value()?.split(',') {
                    let fault = Fault::named(word);
                    options.faults.push(fault.ok_or_else(|| {
                        format!("--only {word:?}: use kill, hang and starve, with commas")
                    })?);
                }
            }
            "-c" | "--config" => options.config = Some(value()?.into()),
            _ if has_value => return Err(format!("{argument:?} is not known")),
            "--json" => options.json = true,
            "--yes" => options.yes = true,
            "-h" | "--help" => options.help = true,
            _ => return Err(format!("{argument:?} is not known")),
        }
    }
    if options.faults.is_empty() {
        options.faults = Fault::ALL.to_vec();
    }
    Ok(options)
}

/// Why there is nothing to tell, and the exit code.
type Failure = (String, u8);

fn failure(problem: impl ToString) -> Failure {
    (problem.to_string(), 1)
}

fn usage(problem: impl ToString) -> Failure {
    (problem.to_string(), 2)
}

/// The verb, with the arguments after it. `installed` is the configuration unless one is named.
pub fn main(arguments: impl Iterator<Item = String>, installed: &Path) -> ExitCode {
    match parse(arguments) {
        Ok(options) if options.help => match io::stdout().write_all(HELP.as_bytes()) {
            Ok(()) => ExitCode::SUCCESS,
            Err(_) => ExitCode::FAILURE,
        },
        Ok(options) => test(&options, installed).unwrap_or_else(|(problem, code)| {
            log::error(problem);
            ExitCode::from(code)
        }),
        Err(problem) => {
            log::error(format_args!("{problem}: see peercam-watchdog test --help"));
            ExitCode::from(2)
        }
    }
}

/// What came of them, for programs.
#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct Report {
    all_came_back: bool,
    drills: Vec<DrillStatus>,
}

fn test(options: &Options, installed: &Path) -> Result<ExitCode, Failure> {
    let path = options.config.as_deref().unwrap_or(installed);
    let config = Config::read_usable(path).map_err(usage)?;
    let folder = config.runtime_dir.ok_or_else(|| {
        usage(format!("{}: without runtime-dir the watchdog can't be heard", path.display()))
    })?;
    let status = status::read(&folder).map_err(failure)?;
    let plan = plan(options, &status)?;
    if !options.yes {
        ask(options)?;
    }
    let watchdog = Watchdog { folder, interrupts: interrupts().map_err(failure)? };
    let mut drills = Vec::new();
    for (service, name, fault) in plan {
        let drill = watchdog.drill(service, &name, fault)?;
        if !options.json {
            // Somebody has seen enough: that is no reason to leave off.
            let _ = writeln!(io::stdout(), "{name}: {drill}");
        }
        let goes_on = ["recovered", "skipped"].contains(&drill.outcome.as_str());
        drills.push(drill);
        if !goes_on {
            break;
        }
    }
    let came_back = |outcome: &str| drills.iter().filter(|it| it.outcome == outcome).count();
    let all_came_back =
        came_back("recovered") > 0 && came_back("recovered") + came_back("skipped") == drills.len();
    if options.json {
        let report = Table::try_from(Report { all_came_back, drills }).map_err(failure)?;
        io::stdout().write_all(status::json(&report).as_bytes()).map_err(failure)?;
    }
    Ok(if all_came_back { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Which services, by place and name, are to fail in which way.
fn plan(options: &Options, status: &Table) -> Result<Vec<(usize, String, Fault)>, Failure> {
    let known = status::services(status);
    for name in &options.services {
        if !known.contains(&name.as_str()) {
            let known = known.join(", ");
            return Err(usage(format!("there is no service {name:?}: there are {known}")));
        }
    }
    let wanted =
        |name: &str| options.services.is_empty() || options.services.iter().any(|it| it == name);
    let services = known.into_iter().enumerate().filter(|(_, name)| wanted(name));
    let plan = services.flat_map(|(index, name)| {
        options.faults.iter().map(move |fault| (index, name.to_owned(), *fault))
    });
    Ok(plan.collect())
}

fn ask(options: &Options) -> Result<(), Failure> {
    let services = match &options.services[..] {
        [] => "every service".to_owned(),
        services => services.join(", "),
    };
    if !io::stdin().is_terminal() {
        return Err(usage(format!("this makes {services} fail: say --yes")));
    }
    eprint!("This makes {services} fail on purpose; viewers see it. Go on? [y/N] ");
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer).map_err(failure)?;
    match answer.trim() {
        "y" | "Y" | "yes" => Ok(()),
        _ => Err(failure("not begun")),
    }
}

/// SIGINT, SIGTERM and SIGHUP become something to wait for.
fn interrupts() -> nix::Result<SignalFd> {
    let mut set = SigSet::empty();
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
        set.add(signal);
    }
    set.thread_block()?;
    SignalFd::with_flags(&set, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)
}

/// The running one.
struct Watchdog {
    folder: PathBuf,
    interrupts: SignalFd,
}

impl Watchdog {
    /// One drill from begin to end, however it ends.
    fn drill(&self, service: usize, name: &str, fault: Fault) -> Result<DrillStatus, Failure> {
        let number = self.look()?.map_or(0, |drill| drill.number).wrapping_add(1);
        let service = u8::try_from(service).map_err(failure)?;
        let mut request = Request::Begin { number, service, fault };
        let mut began = Instant::now();
        let mut progress = Progress::new(name, fault);
        loop {
            let answer = self.look()?.filter(|drill| drill.number == number);
            let patience = match &answer {
                Some(drill) if drill.service != name || drill.fault != fault.name() => {
                    return Err(failure("somebody else has begun a drill meanwhile"));
                }
                Some(drill) if drill.outcome != "running" => {
                    progress.end();
                    return Ok(drill.clone());
                }
                Some(drill) => Duration::from_secs(drill.patience_seconds),
                None => Duration::ZERO,
            };
            if began.elapsed() > patience + ANSWER_PATIENCE {
                return Err(failure("the watchdog does not answer: see its log"));
            }
            if answer.is_none() || request == Request::End {
                // Again and again: of two signals that wait, the second is lost.
                self.send(request)?;
            }
            progress.show(began.elapsed(), patience);
            if self.is_interrupted() && request != Request::End {
                (request, began) = (Request::End, Instant::now());
            }
        }
    }

    fn look(&self) -> Result<Option<DrillStatus>, Failure> {
        status::read(&self.folder).map(|status| status::drill(&status)).map_err(failure)
    }

    fn send(&self, request: Request) -> Result<(), Failure> {
        let status = status::read(&self.folder).map_err(failure)?;
        let pid = status::pid(&status).unwrap_or_default();
        let value =
            libc::sigval { sival_ptr: ptr::without_provenance_mut::<c_void>(request.encode()) };
        // SAFETY: the value is a number that nobody follows as a pointer; no memory is passed.
        let sent = unsafe { libc::sigqueue(pid, DRILL as libc::c_int, value) };
        Errno::result(sent).map(drop).map_err(|error| match error {
            Errno::EPERM => {
                failure("only the user that the watchdog runs as may ask it for a drill")
            }
            error => failure(format!("the watchdog can't be told: {error}")),
        })
    }

    /// Waits a little; whether somebody wants no more.
    fn is_interrupted(&self) -> bool {
        let mut sources = [PollFd::new(self.interrupts.as_fd(), PollFlags::POLLIN)];
        // Without it, the next look comes sooner.
        let _ = poll(&mut sources, LOOK_PAUSE);
        matches!(self.interrupts.read_signal(), Ok(Some(_)))
    }
}

/// What is going on, on standard error: one line that is kept up to date on a terminal, and one
/// line in all elsewhere.
struct Progress<'a> {
    name: &'a str,
    fault: Fault,
    terminal: bool,
    said: bool,
}

impl<'a> Progress<'a> {
    fn new(name: &'a str, fault: Fault) -> Self {
        Self { name, fault, terminal: io::stderr().is_terminal(), said: false }
    }

    fn show(&mut self, time: Duration, patience: Duration) {
        if patience.is_zero() || (self.said && !self.terminal) {
            return;
        }
        self.said = true;
        let (start, end) = if self.terminal { ("\r\x1b[K", "") } else { ("", "\n") };
        let (time, patience) = (time.as_secs(), patience.as_secs());
        let line = format!("{start}{}: {}: {time} s of {patience} s{end}", self.name, self.fault);
        let _ = io::stderr().write_all(line.as_bytes());
    }

    fn end(&self) {
        if self.terminal && self.said {
            let _ = io::stderr().write_all(b"\r\x1b[K");
        }
    }
}
