//! The loop: waits for something to happen, tells the [`Supervisor`], does what it says, and feeds
//! the hardware watchdog. One thread; nothing in it blocks but the wait.

use std::{
    collections::VecDeque,
    os::fd::AsFd,
    time::{Duration, Instant},
};

use anyhow::Context;
use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::{
        prctl,
        signal::{SigSet, Signal},
        signalfd::{SfdFlags, SignalFd},
    },
    unistd::Pid,
};

use crate::{
    config::HardwareConfig,
    hardware::Hardware,
    launch::Launch,
    log,
    notify::{NotifySocket, Received, belongs_to},
    reaper::{self, Children},
    service::{Action, Event, Note, Policy},
    supervisor::{Index, Step, Supervisor, Verdict},
};

/// Most notify messages that are read before everything else has its turn: a flood keeps the
/// hardware from nothing.
const MESSAGES_A_TURN: usize = 64;
/// Least time between two log lines about refused messages.
const REFUSAL_PAUSE: Duration = Duration::from_secs(10);
/// How long strays may take to die at the end.
const STRAYS_PATIENCE: Duration = Duration::from_secs(2);

/// One service as it is wanted.
#[derive(Debug)]
pub struct Wanted {
    /// How it is started.
    pub launch: Launch,
    /// How it is treated.
    pub policy: Policy,
    /// Whether the device is useless without it.
    pub critical: bool,
}

/// Runs the services until SIGTERM or SIGINT, then stops them and disarms the hardware watchdog.
///
/// # Errors
///
/// When the system refuses what this needs to begin with, or to wait. The hardware watchdog is
/// then left armed.
pub fn run(hardware: Option<HardwareConfig>, services: Vec<Wanted>) -> anyhow::Result<()> {
    prctl::set_child_subreaper(true).context("cannot become the reaper of orphaned processes")?;
    let signals = catch_signals().context("cannot catch signals")?;
    let socket = NotifySocket::bind().context("cannot make the notify socket")?;
    let now = Instant::now();
    let policies = services.iter().map(|wanted| (wanted.policy.clone(), wanted.critical));
    let mut watchdog = Watchdog {
        supervisor: Supervisor::new(policies, now),
        running: vec![None; services.len()],
        launches: services.into_iter().map(|wanted| wanted.launch).collect(),
        hardware: hardware.map(|config| Hardware::new(config, now)),
        socket,
        verdict: Verdict::Feed,
        refusals: Refusals::default(),
    };
    watchdog.work(&signals)?;
    watchdog.end_strays();
    if let Some(hardware) = watchdog.hardware {
        hardware.disarm();
    }
    Ok(())
}

fn catch_signals() -> nix::Result<SignalFd> {
    let mut set = SigSet::empty();
    for signal in [Signal::SIGCHLD, Signal::SIGTERM, Signal::SIGINT] {
        set.add(signal);
    }
    set.thread_block()?;
    SignalFd::with_flags(&set, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)
}

struct Watchdog {
    supervisor: Supervisor,
    launches: Vec<Launch>,
    /// Main processes, by service; from their start until they are reaped.
    running: Vec<Option<Pid>>,
    hardware: Option<Hardware>,
    socket: NotifySocket,
    /// The last one, to tell when it changes.
    verdict: Verdict,
    refusals: Refusals,
}

impl Watchdog {
    fn work(&mut self, signals: &SignalFd) -> anyhow::Result<()> {
        // Armed before anything else can go wrong.
        self.feed(Instant::now());
        loop {
            if asked_to_stop(signals) {
                log::info("stopping");
                let steps = self.supervisor.stop(Instant::now());
                self.perform(steps);
            }
            // What services said counts before that they ended, and both before that time passed:
            // after a pause of this process itself, nobody is late who wasn't.
            self.hear();
            self.bury();
            let now = Instant::now();
            let steps = self.supervisor.tick(now);
            self.perform(steps);
            self.feed(now);
            if self.supervisor.is_finished() {
                return Ok(());
            }
            self.wait(signals)?;
        }
    }

    /// Waits until a signal or a message comes, or time changes something.
    fn wait(&self, signals: &SignalFd) -> anyhow::Result<()> {
        let now = Instant::now();
        let hardware = self.hardware.as_ref().and_then(Hardware::deadline);
        let deadline = self.supervisor.deadline(now).into_iter().chain(hardware).min();
        let timeout = deadline.map_or(PollTimeout::NONE, |deadline| {
            // Rounded up: waking up a moment early would be waking up twice.
            let time = deadline.saturating_duration_since(now) + Duration::from_micros(999);
            PollTimeout::try_from(time).unwrap_or(PollTimeout::MAX)
        });
        let mut sources = [
            PollFd::new(signals.as_fd(), PollFlags::POLLIN),
            PollFd::new(self.socket.as_fd(), PollFlags::POLLIN),
        ];
        match poll(&mut sources, timeout) {
            Ok(_) | Err(Errno::EINTR) => Ok(()),
            Err(error) => Err(error).context("cannot wait for events"),
        }
    }

    fn hear(&mut self) {
        for _ in 0..MESSAGES_A_TURN {
            match self.socket.receive() {
                Some(Received::Message(sender, message)) => match self.service_of(sender) {
                    Some(index) => self.tell(index, Event::Message(message)),
                    None => self.refusals.log(&format!(
                        "a notify message from process {sender}, which belongs to no service"
                    )),
                },
                Some(Received::Refused(reason)) => self.refusals.log(&reason),
                None => return,
            }
        }
    }

    fn service_of(&self, sender: Pid) -> Option<Index> {
        self.running.iter().position(|main| main.is_some_and(|main| belongs_to(sender, main)))
    }

    /// Takes note of children that ended, and ends what they left behind.
    fn bury(&mut self) {
        let mut some = false;
        while let Children::Ended(pid, exit) = reaper::look() {
            some = true;
            let index = self.running.iter().position(|main| *main == Some(pid));
            if index.is_some() {
                // At one blow, so that nothing in the group can fork away; what left the group is
                // looked for below.
                reaper::kill_group(pid);
            }
            reaper::reap(pid);
            if let Some(index) = index {
                self.running[index] = None;
                self.tell(index, Event::Exited(exit));
            }
        }
        if some {
            reaper::kill_strays(&self.main_processes());
        }
    }

    fn main_processes(&self) -> Vec<Pid> {
        self.running.iter().flatten().copied().collect()
    }

    fn tell(&mut self, index: Index, event: Event) {
        let steps = self.supervisor.handle(Instant::now(), index, event);
        self.perform(steps);
    }

    fn perform(&mut self, steps: Vec<Step>) {
        let mut steps = VecDeque::from(steps);
        while let Some((index, action)) = steps.pop_front() {
            match (action, self.running[index]) {
                (Action::Start, _) => {
                    let event = self.start(index);
                    steps.extend(self.supervisor.handle(Instant::now(), index, event));
                }
                (Action::Terminate, Some(main)) => reaper::terminate_group(main),
                (Action::Kill, Some(main)) => reaper::kill_group(main),
                (Action::Terminate | Action::Kill, None) => {}
                (Action::Note(note), _) => tell_people(self.launches[index].name(), &note),
            }
        }
    }

    fn start(&mut self, index: Index) -> Event {
        let launch = &self.launches[index];
        match launch.start(self.socket.name()) {
            Ok(pid) => {
                log::info(format_args!("{}: started as process {pid}", launch.name()));
                self.running[index] = Some(pid);
                Event::Started
            }
            Err(error) => Event::StartFailed(error),
        }
    }

    fn feed(&mut self, now: Instant) {
        let verdict = self.supervisor.verdict(now);
        if let Some(hardware) = &mut self.hardware {
            hardware.serve(now, verdict == Verdict::Feed);
        }
        match (self.verdict, verdict) {
            (Verdict::Feed, Verdict::Starve { service, broken }) => {
                let name = self.launches[service].name();
                let device = self.hardware.as_ref().and_then(Hardware::resets_after);
                match device {
                    Some(timeout) => log::error(format_args!(
                        "{name}: stays broken ({broken}): the hardware watchdog is no longer fed, \
                         and resets the device within {timeout:?}"
                    )),
                    None => log::error(format_args!(
                        "{name}: stays broken ({broken}); there is no hardware watchdog to reset \
                         the device"
                    )),
                }
            }
            (Verdict::Starve { .. }, Verdict::Feed) => {
                log::info("every critical service is well or being restarted: feeding again");
            }
            _ => {}
        }
        self.verdict = verdict;
    }

    /// At the end: what left its service's session ends too.
    fn end_strays(&self) {
        let deadline = Instant::now() + STRAYS_PATIENCE;
        loop {
            reaper::kill_strays(&[]);
            match reaper::look() {
                Children::Ended(pid, _) => reaper::reap(pid),
                Children::None => return,
                Children::Alive if Instant::now() > deadline => {
                    log::warn("some processes did not die of SIGKILL: leaving them behind");
                    return;
                }
                Children::Alive => std::thread::sleep(Duration::from_millis(5)),
            }
        }
    }
}

/// Reads all signals that came; SIGCHLD needs no more than that the loop goes round.
fn asked_to_stop(signals: &SignalFd) -> bool {
    let mut stop = false;
    while let Ok(Some(signal)) = signals.read_signal() {
        stop |= signal.ssi_signo != Signal::SIGCHLD as u32;
    }
    stop
}

fn tell_people(name: &str, note: &Note) {
    let line = format_args!("{name}: {note}");
    match note {
        Note::Up { .. } | Note::Stable { .. } | Note::Finished | Note::Stopped(_) => {
            log::info(line)
        }
        Note::Unkillable => log::error(line),
        Note::Killing { .. }
        | Note::Failed { .. }
        | Note::Misconfigured { .. }
        | Note::StopTimeout(_) => log::warn(line),
    }
}

/// Messages that were not taken: a line now and then, however many they are.
#[derive(Debug, Default)]
struct Refusals {
    last: Option<Instant>,
    unsaid: u64,
}

impl Refusals {
    fn log(&mut self, reason: &str) {
        let now = Instant::now();
        if self.last.is_some_and(|last| now < last + REFUSAL_PAUSE) {
            self.unsaid += 1;
            return;
        }
        let others = match std::mem::take(&mut self.unsaid) {
            0 => String::new(),
            unsaid => format!(" (and {unsaid} more since the last such line)"),
        };
        log::warn(format_args!("ignored {reason}{others}"));
        self.last = Some(now);
    }
}
