//! The loop: waits for something to happen, tells the [`Supervisor`], does what it says, and feeds
//! the hardware watchdog. One thread; nothing in it blocks but the wait,
//! and, while the hardware is fed, writing down why the device is to be reset.

use std::{
    collections::VecDeque,
    fs,
    os::fd::AsFd,
    path::PathBuf,
    time::{Duration, Instant},
};

use anyhow::Context;
use nix::{
    errno::Errno,
    libc::SI_QUEUE,
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::{
        prctl,
        signal::{SigSet, Signal},
        signalfd::{SfdFlags, SignalFd},
    },
    unistd::Pid,
};

use crate::{
    board::Board,
    collector::Collector,
    config::{EscalationConfig, HardwareConfig, LogConfig, Refusal},
    confine::Confines,
    drill::{Drills, NoDrill, Request},
    dumps::Dumps,
    ears::Ears,
    escalation::{Condition, Decision},
    hardware::Hardware,
    keeper::{self, Keeper},
    ladder::{Ladder, Reboot},
    launch::{Launch, StartError, Told},
    log, memory, monitor,
    reaper::{self, Children},
    record::{Kind, Reset, Traces},
    service::{Action, Event, Exit, Note, Service},
    status::{self, ServiceStatus, Status},
    supervisor::{Index, Step, Supervisor, Verdict, Wish},
    watch::Watch,
};

/// How long strays may take to die at the end.
const STRAYS_PATIENCE: Duration = Duration::from_secs(2);
/// How long storage may take to write down why the device is to be reset.
const INTENT_PATIENCE: Duration = Duration::from_secs(3);
/// The same for that it was stopped.
const STOP_PATIENCE: Duration = Duration::from_millis(500);
/// When memory is let go of that only the start needed, and how often that is done again.
const RELEASE_FIRST: Duration = Duration::from_secs(60);
const RELEASE_PAUSE: Duration = Duration::from_secs(10 * 60);
/// What `peercam-watchdog leave-safe-mode` sends.
pub const LEAVE_SAFE_MODE: Signal = Signal::SIGUSR1;
/// What `peercam-watchdog test` sends, with a [`Request`] as its value.
pub const DRILL: Signal = Signal::SIGUSR2;
/// Where the kernel names this start of the device.
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// What is to be run.
#[derive(Debug)]
pub struct Plan {
    /// None: there is no hardware watchdog to feed.
    pub hardware: Option<HardwareConfig>,
    /// Where resets are recorded; None: they aren't.
    pub state_dir: Option<PathBuf>,
    /// Where the kernel leaves what it said when it came to its end; None: nobody looks.
    pub pstore_dir: Option<PathBuf>,
    /// Where it is told how things are, on a tmpfs; None: nowhere.
    pub runtime_dir: Option<PathBuf>,
    /// What becomes of what is said.
    pub log: LogConfig,
    /// What is done when restarts of a service don't help; None: the hardware is starved.
    pub escalation: Option<EscalationConfig>,
    /// What is watched beside the services.
    pub monitors: Vec<monitor::Limits>,
    /// In the order in which they are started.
    pub services: Vec<Wanted>,
    /// What was left out of the configuration.
    pub refusals: Vec<Refusal>,
}

/// One service as it is wanted.
#[derive(Debug)]
pub struct Wanted {
    /// How it is started.
    pub launch: Launch,
    /// How it is treated.
    pub wish: Wish,
}

/// Runs the services until SIGTERM or SIGINT, then stops them and disarms the hardware watchdog.
///
/// # Errors
///
/// When the system refuses what this needs to begin with, or to wait. The hardware watchdog is
/// then left armed.
pub fn run(plan: Plan) -> anyhow::Result<()> {
    prctl::set_child_subreaper(true).context("cannot become the reaper of orphaned processes")?;
    let signals = catch_signals().context("cannot catch signals")?;
    let (launches, wishes): (Vec<Launch>, Vec<Wish>) =
        plan.services.into_iter().map(|wanted| (wanted.launch, wanted.wish)).unzip();
    let begin = Instant::now();
    let ears = Ears::new(launches.iter().map(Launch::name), plan.runtime_dir.as_deref(), begin)
        .context("cannot make a notify socket")?;
    let mut hardware = plan.hardware.map(|config| Hardware::new(config, begin));
    if let Some(hardware) = &mut hardware {
        // Armed before anything else can go wrong.
        hardware.serve(begin, true);
    }
    let dumps = plan.pstore_dir.map(Dumps::find).unwrap_or_default();
    let traces = Traces {
        boot_id: fs::read_to_string(BOOT_ID).unwrap_or_default().trim().to_owned(),
        hardware: hardware.as_ref().and_then(Hardware::last_reset),
        dumps: dumps.times.clone(),
        panic: dumps.words(),
    };
    log::keep(&plan.log, plan.runtime_dir.as_deref(), plan.state_dir.as_deref());
    let (mut keeper, reset) = Keeper::open(plan.state_dir.as_deref(), &traces, begin);
    if let (Some(folder), Some(_), false) = (&plan.state_dir, &reset, dumps.times.is_empty()) {
        let feed = || hardware.iter_mut().for_each(|it| it.feed_now(Instant::now()));
        dumps.take_over(&mut keeper, folder, feed);
    }
    if let Some(told) = plan.runtime_dir.as_deref().and_then(status::last_record) {
        keeper.note(|record| record.take_over(told));
    }
    tell_of_reset(&keeper, reset);
    let ladder = plan.escalation.map(|config| Ladder::new(config, &keeper));
    let now = Instant::now();
    for refusal in &plan.refusals {
        log::error(&refusal.problem);
        for name in &refusal.services {
            keeper.note(|record| record.failed(name, &refusal.problem, None, &[]));
        }
    }
    let mut watchdog = Watchdog {
        supervisor: Supervisor::new(wishes, now),
        running: vec![None; launches.len()],
        collector: Collector::new(launches.iter().map(Launch::name), plan.log.lines),
        confines: Confines::new(&launches, now),
        launches,
        hardware,
        ears,
        keeper,
        ladder,
        watch: Watch::new(plan.monitors, plan.state_dir, now),
        board: plan.runtime_dir.map(|folder| Board::new(folder, now)),
        verdict: Verdict::Feed,
        drills: Drills::default(),
        left_out: plan.refusals,
        release_due: now + RELEASE_FIRST,
    };
    watchdog.work(&signals)?;
    watchdog.end_strays();
    // Where it can't be written that was said, and the device stops all the same.
    let _ = watchdog.keeper.settle(STOP_PATIENCE, || ());
    log::flush(STOP_PATIENCE, || ());
    match (watchdog.hardware, &watchdog.ladder) {
        (Some(_), Some(ladder)) if ladder.escalation.is_rebooting() => {
            log::info("the hardware watchdog stays armed until the device is reset");
        }
        (Some(hardware), _) => hardware.disarm(),
        (None, _) => {}
    }
    Ok(())
}

fn tell_of_reset(keeper: &Keeper, reset: Option<Reset>) {
    let record = keeper.record();
    let Some(Reset { kind, reason, .. }) = reset else { return };
    let (boots, row) = (record.boots, record.resets_in_a_row);
    let line = format!("start {boots} of this device: the one before ended {kind} ({reason})");
    match kind {
        Kind::Stopped => log::info(line),
        _ => log::warn(format_args!("{line}; {row} in a row")),
    }
}

fn catch_signals() -> nix::Result<SignalFd> {
    let mut set = SigSet::empty();
    for signal in [Signal::SIGCHLD, Signal::SIGTERM, Signal::SIGINT, LEAVE_SAFE_MODE, DRILL] {
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
    collector: Collector,
    confines: Confines,
    hardware: Option<Hardware>,
    ears: Ears,
    keeper: Keeper,
    ladder: Option<Ladder>,
    watch: Watch,
    board: Option<Board>,
    /// The last one, to tell when it changes.
    verdict: Verdict,
    drills: Drills,
    /// Services that its configuration says nothing sensible of.
    left_out: Vec<Refusal>,
    /// When memory is next let go of. Nothing wakes up for it.
    release_due: Instant,
}

impl Watchdog {
    fn work(&mut self, signals: &SignalFd) -> anyhow::Result<()> {
        let mut leaving = false;
        loop {
            let wishes = read(signals);
            if wishes.leave_safe_mode {
                self.leave_safe_mode();
            }
            if wishes.stop {
                log::info("stopping");
                leaving = true;
                let rebooting = self.ladder.as_ref().is_some_and(|it| it.reboot.is_some());
                self.keeper.note_now(|record| {
                    record.stop();
                    if !rebooting {
                        record.forget_intent();
                    }
                });
                let steps = self.supervisor.stop(Instant::now());
                self.perform(steps);
            }
            // What services said counts before that they ended, and both before that time passed:
            // after a pause of this process itself, nobody is late who wasn't.
            self.hear();
            self.collector.serve(Instant::now());
            self.bury();
            if let Some(request) = wishes.drill {
                self.drill(request);
            }
            let now = Instant::now();
            let steps = self.supervisor.tick(now);
            self.perform(steps);
            if self.drills.is_late(now) {
                self.end_drill(Drills::give_up);
            }
            self.measure(now);
            self.escalate(now);
            self.feed(now);
            if self.supervisor.is_finished() {
                if leaving {
                    return Ok(());
                }
                self.reboot(now);
            }
            self.keeper.serve(now);
            log::serve(now);
            self.show(now);
            if now >= self.release_due {
                self.release_due = now + RELEASE_PAUSE;
                memory::release();
            }
            self.wait(signals)?;
        }
    }

    /// Waits until a signal or a message comes, or time changes something.
    fn wait(&self, signals: &SignalFd) -> anyhow::Result<()> {
        let now = Instant::now();
        let hardware = self.hardware.as_ref().and_then(Hardware::deadline);
        let ladder = self.ladder.as_ref();
        let steady = ladder.and_then(|ladder| ladder.escalation.deadline(now));
        let reboot = ladder.and_then(|ladder| ladder.reboot.as_ref()?.due);
        let board = self.board.as_ref().and_then(|board| Some(board.due).filter(|due| *due > now));
        let own = [
            self.keeper.deadline(),
            self.watch.deadline(),
            self.confines.deadline(),
            self.ears.deadline(),
            self.collector.deadline(),
            log::deadline(),
            self.drills.deadline(),
        ];
        let others = own.into_iter().chain([hardware, steady, reboot, board]);
        let deadline = self.supervisor.deadline(now).into_iter().chain(others.flatten()).min();
        let timeout = deadline.map_or(PollTimeout::NONE, |deadline| {
            // Rounded up: waking up a moment early would be waking up twice.
            let time = deadline.saturating_duration_since(now) + Duration::from_micros(999);
            PollTimeout::try_from(time).unwrap_or(PollTimeout::MAX)
        });
        let sources = [signals.as_fd()].into_iter().chain(self.ears.sources());
        let sources = sources.chain(self.collector.sources());
        let mut sources: Vec<_> =
            sources.map(|source| PollFd::new(source, PollFlags::POLLIN)).collect();
        match poll(&mut sources, timeout) {
            Ok(_) | Err(Errno::EINTR) => Ok(()),
            Err(error) => Err(error).context("cannot wait for events"),
        }
    }

    fn hear(&mut self) {
        let name = |index: Index| self.launches[index].name().to_owned();
        for (index, message) in self.ears.hear(Instant::now(), &self.running, name) {
            self.tell(index, Event::Message(message));
        }
    }

    /// Takes note of children that ended, and ends what they left behind.
    fn bury(&mut self) {
        let mut some = false;
        while let Children::Ended(pid, exit) = reaper::look() {
            some = true;
            let index = self.running.iter().position(|main| *main == Some(pid));
            if let Some(index) = index {
                // At one blow, so that nothing in the group can fork away; what left the group is
                // looked for below, where there is no control group.
                reaper::kill_group(pid);
                self.confines.kill(index);
                if self.confines.has_run_out_of_memory(index) {
                    self.tell(index, Event::OverMemory);
                }
            }
            reaper::reap(pid);
            self.bury_reboot(pid, exit);
            if let Some(index) = index {
                self.running[index] = None;
                self.collector.end(index, Instant::now());
                self.tell(index, Event::Exited(exit));
            }
        }
        if some {
            reaper::kill_strays(&self.main_processes());
        }
    }

    fn bury_reboot(&mut self, pid: Pid, exit: Exit) {
        let reboot = self.ladder.as_mut().and_then(|ladder| ladder.reboot.as_mut());
        if let Some(reboot) = reboot.filter(|reboot| reboot.process == Some(pid)) {
            reboot.process = None;
            if exit != Exit::Code(0) {
                log::error(format_args!("the reboot command {exit}"));
            }
        }
    }

    fn main_processes(&self) -> Vec<Pid> {
        let reboot = self.ladder.as_ref().and_then(|ladder| ladder.reboot.as_ref()?.process);
        self.running.iter().flatten().copied().chain(reboot).collect()
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
                (Action::Kill, Some(main)) => {
                    reaper::kill_group(main);
                    self.confines.kill(index);
                }
                (Action::Suspend, Some(main)) => reaper::suspend_group(main, true),
                (Action::Resume, Some(main)) => reaper::suspend_group(main, false),
                (Action::Terminate | Action::Kill | Action::Suspend | Action::Resume, None) => {}
                (Action::Note(note), _) => {
                    tell_people(self.launches[index].name(), &note);
                    self.remember(index, &note);
                    if let Some(outcome) = self.drills.take(Instant::now(), index, &note) {
                        self.remember_drill(index, &outcome);
                    }
                }
            }
        }
    }

    /// Failures are recorded, and count against the budget.
    fn remember(&mut self, index: Index, note: &Note) {
        let cause = match note {
            Note::Failed { cause, .. } => cause.to_string(),
            Note::Misconfigured { code, .. } => Exit::Code(*code).to_string(),
            Note::Refused(error) => format!("could not be started: {error}"),
            _ => return,
        };
        let name = self.launches[index].name();
        let words = self.supervisor.services().nth(index).and_then(Service::status);
        let lines = self.collector.last_words(index);
        self.keeper.note(|record| record.failed(name, &cause, words, &lines));
        if let (Note::Failed { .. }, true, Some(ladder)) =
            (note, self.supervisor.is_critical(index), &mut self.ladder)
        {
            ladder.escalation.failed(Instant::now());
        }
    }

    fn drill(&mut self, request: Request) {
        let Request::Begin { number, service, fault } = request else {
            return self.end_drill(Drills::stop);
        };
        let service = Index::from(service);
        let name = self.launches.get(service).map_or("?", Launch::name);
        if !self.drills.ask(number, name, fault) {
            return;
        }
        let allowed = match &self.ladder {
            Some(ladder) => ladder.escalation.bears_drill().map_err(str::to_owned),
            None if self.verdict == Verdict::Feed => Ok(()),
            None => Err("the device is about to be reset".to_owned()),
        };
        let now = Instant::now();
        let begun = allowed
            .map_err(NoDrill::NotNow)
            .and_then(|()| self.supervisor.drill(now, service, fault));
        match begun {
            Ok((patience, steps)) => {
                log::warn(format_args!("{name}: {fault}, in a drill: it has {patience:?}"));
                self.drills.begin(now, service, patience);
                self.perform(steps);
            }
            Err(why) => self.drills.refuse(why),
        }
    }

    /// Undoes what is left of the drill.
    fn end_drill(&mut self, how: fn(&mut Drills) -> String) {
        let Some(index) = self.drills.service() else { return };
        let outcome = how(&mut self.drills);
        self.tell(index, Event::EndDrill);
        self.remember_drill(index, &outcome);
    }

    fn remember_drill(&mut self, index: Index, outcome: &str) {
        let name = self.launches[index].name();
        log::warn(format_args!("{name}: drill {outcome}"));
        self.keeper.note(|record| record.drilled(name, outcome));
    }

    fn leave_safe_mode(&mut self) {
        if self.ladder.as_mut().is_some_and(|ladder| ladder.escalation.leave_safe_mode()) {
            log::info("safe mode ends on request: starting all services normally");
            self.keeper.note_now(|record| record.proved_stable());
            let steps = self.supervisor.restart_all(Instant::now(), Duration::ZERO);
            self.perform(steps);
        }
    }

    /// What is done when restarts of a service don't help.
    fn escalate(&mut self, now: Instant) {
        let Some(ladder) = &mut self.ladder else { return };
        let mut condition = self.supervisor.condition(now, |index| self.launches[index].name());
        match condition {
            // What services need comes first.
            Condition::Ailing | Condition::Broken(_) => self.watch.give_time(now),
            Condition::Well => {
                if let Some(trouble) = self.watch.trouble(now) {
                    condition = Condition::Broken(trouble);
                    self.watch.give_time(now);
                }
            }
        }
        let today = self.keeper.record().resets_today(keeper::uptime());
        let Some(decision) = ladder.escalation.step(now, condition, today) else { return };
        let steps = match decision {
            Decision::RestartAll { pause, ref reason } => {
                log::error(reason);
                self.supervisor.restart_all(now, pause)
            }
            Decision::Reboot { ref reason } => {
                log::error(format_args!("{reason}: rebooting"));
                self.keeper.note_now(|record| record.intend(reason));
                // Storage may take longer than the hardware's timeout.
                let hardware = &mut self.hardware;
                let mut feed = || hardware.iter_mut().for_each(|it| it.feed_now(Instant::now()));
                if let Err(problem) = self.keeper.settle(INTENT_PATIENCE, &mut feed) {
                    // It could go on like that without end.
                    let why = format!("that can't be recorded, {problem}");
                    log::error(format_args!("not rebooting: {why}"));
                    self.keeper.note_now(|record| record.forget_intent());
                    ladder.escalation.forbid_resets(why);
                    return self.escalate(now);
                }
                log::flush(INTENT_PATIENCE, feed);
                ladder.reboot = Some(Reboot::default());
                self.supervisor.stop(now)
            }
            Decision::Stable => {
                self.keeper.note(|record| record.proved_stable());
                Vec::new()
            }
            Decision::LeaveSafeMode => {
                log::info("well for long enough in safe mode: starting all services normally");
                self.supervisor.restart_all(now, Duration::ZERO)
            }
        };
        self.perform(steps);
    }

    /// All services have ended, so that the device can be told to reboot.
    fn reboot(&mut self, now: Instant) {
        let Some(ladder) = &mut self.ladder else { return };
        let due = ladder.reboot.as_ref().is_some_and(|it| it.due.is_none_or(|due| now >= due));
        if due {
            // For the last time: what follows has the hardware's timeout to get done.
            if let Some(hardware) = self.hardware.as_mut().filter(|_| !ladder.has_told()) {
                hardware.feed_now(now);
            }
            ladder.tell_to_reboot(now);
        }
    }

    fn start(&mut self, index: Index) -> Event {
        let launch = &mut self.launches[index];
        let safe_mode = self.ladder.as_ref().and_then(|ladder| ladder.escalation.safe_mode());
        let told = Told {
            notify_socket: self.ears.socket(index),
            status: self.board.as_ref().map(Board::file),
            safe_mode: safe_mode.as_deref(),
        };
        let door = self.confines.door(index);
        let started =
            self.collector.begin(index).map_err(|error| StartError::Failed(error.to_string()));
        match started.and_then(|output| launch.start(told, door, output)) {
            Ok(pid) => {
                log::info(format_args!("{}: started as process {pid}", launch.name()));
                self.running[index] = Some(pid);
                Event::Started
            }
            Err(StartError::Failed(error)) => Event::StartFailed(error),
            Err(StartError::Misconfigured(error)) => Event::StartRefused(error),
        }
    }

    fn feed(&mut self, now: Instant) {
        if let Some(ladder) = &self.ladder {
            if let Some(hardware) = &mut self.hardware {
                hardware.serve(now, !ladder.has_told());
            }
            return;
        }
        let verdict = self.supervisor.verdict(now);
        if let Some(hardware) = &mut self.hardware {
            hardware.serve(now, verdict == Verdict::Feed);
        }
        match (self.verdict, verdict) {
            (Verdict::Feed, Verdict::Starve { service, broken }) => {
                let name = self.launches[service].name();
                let reason = format!("{name}: stays broken ({broken})");
                self.keeper.note_now(|record| record.intend(&reason));
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
                self.keeper.note_now(|record| record.forget_intent());
            }
            _ => {}
        }
        self.verdict = verdict;
    }

    fn measure(&mut self, now: Instant) {
        self.watch.measure(now, || self.running.iter().flatten().copied().collect());
        for index in self.confines.look(now, &self.running) {
            self.tell(index, Event::OverMemory);
        }
    }

    /// Tells how things are, if that has changed.
    fn show(&mut self, now: Instant) {
        if self.board.as_ref().is_none_or(|board| now < board.due) {
            return;
        }
        let status = self.status(now);
        if let Some(board) = &mut self.board {
            board.show(status, now);
        }
    }

    fn status(&self, now: Instant) -> Status {
        let uptime = keeper::uptime();
        let services = self.supervisor.services().enumerate().map(|(index, service)| {
            let since = service.up_since();
            let since = since.map(|at| uptime.saturating_sub(now.saturating_duration_since(at)));
            ServiceStatus {
                name: self.launches[index].name().to_owned(),
                state: service.state().to_owned(),
                up_since_seconds: since.map(|since| since.as_secs()),
                pid: self.running[index].map(Pid::as_raw),
                failures: service.failures(),
                problem: service.refusal().map(str::to_owned),
                status: service.status().unwrap_or_default().to_owned(),
            }
        });
        let left_out = self.left_out.iter().flat_map(|refusal| {
            refusal.services.iter().map(|name| ServiceStatus::left_out(name, &refusal.problem))
        });
        let ladder = self.ladder.as_ref();
        Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id().cast_signed(),
            safe_mode: ladder.and_then(|ladder| ladder.escalation.safe_mode()),
            resetting: ladder.is_some_and(|ladder| ladder.escalation.is_rebooting())
                || self.verdict != Verdict::Feed,
            hardware: self.hardware.as_ref().map(Hardware::status),
            drill: self.drills.status(),
            monitors: self.watch.status(),
            services: services.chain(left_out).collect(),
            record: self.keeper.record().clone(),
        }
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

/// What signals ask for.
#[derive(Default)]
struct Wishes {
    stop: bool,
    leave_safe_mode: bool,
    drill: Option<Request>,
}

/// Reads all signals that came; SIGCHLD needs no more than that the loop goes round.
fn read(signals: &SignalFd) -> Wishes {
    let mut wishes = Wishes::default();
    while let Ok(Some(signal)) = signals.read_signal() {
        let is = |signals: &[Signal]| signals.iter().any(|it| signal.ssi_signo == *it as u32);
        wishes.stop |= is(&[Signal::SIGTERM, Signal::SIGINT]);
        wishes.leave_safe_mode |= is(&[LEAVE_SAFE_MODE]);
        // One without a number is none.
        if is(&[DRILL]) && signal.ssi_code == SI_QUEUE {
            wishes.drill = usize::try_from(signal.ssi_ptr).ok().and_then(Request::decode);
        }
    }
    wishes
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
        | Note::Drilled { .. }
        | Note::Misconfigured { .. }
        | Note::Refused(_)
        | Note::StopTimeout(_) => log::warn(line),
    }
}
