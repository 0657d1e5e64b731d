//! The log: what the watchdog tells people, and what services print. Its lines go to the console,
//! to a ring on a tmpfs, and what matters of them to storage ([`keep`]); before there is any of
//! that, to standard error.
//!
//! Not `tracing`: a subscriber costs more than the rest of this program, and `eprintln!` panics
//! when standard error is gone, which must not end the process that keeps a camera alive. Times
//! are seconds since boot, as in the kernel's log: they sort together on a console, and a camera
//! without a battery does not know the date yet when this program starts.
//!
//! ```text
//! [   12.345] warn  agent: no heartbeat for 10s: killing it    the watchdog's own
//! [   12.346] agent: pipeline stalled                          of the service `agent`
//! ```

use std::{
    fmt::{Display, Write as _},
    io::{self, Write as _},
    path::Path,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use nix::time::{ClockId, clock_gettime};

use crate::{
    config::{ConsoleLines, LogConfig},
    console::Console,
    kept::Kept,
    lines::Line,
    ring::Ring,
};

/// Where lines go. One for the process, as standard error is.
static JOURNAL: Mutex<Option<Journal>> = Mutex::new(None);

/// How much a line matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Something went as it should, and people may want to know.
    Info,
    /// Something is wrong, and is being dealt with.
    Warn,
    /// Something is wrong, and nothing more can be done about it here.
    Error,
}

impl Level {
    fn word(self) -> &'static str {
        match self {
            Self::Info => "info ",
            Self::Warn => "warn ",
            Self::Error => "error",
        }
    }
}

/// A line of [`Level::Info`].
pub fn info(message: impl Display) {
    own(Level::Info, &message);
}

/// A line of [`Level::Warn`].
pub fn warn(message: impl Display) {
    own(Level::Warn, &message);
}

/// A line of [`Level::Error`].
pub fn error(message: impl Display) {
    own(Level::Error, &message);
}

/// A line of a service.
pub(crate) fn service(name: &str, line: Line<'_>) {
    match line {
        Line::Said(text) => {
            if let Some(journal) = &mut *journal() {
                journal.take(None, &format_args!("{name}: {text}"));
            }
        }
        Line::LeftOut(1) => info(format_args!("{name}: 1 line left out")),
        Line::LeftOut(count) => info(format_args!("{name}: {count} lines left out")),
    }
}

/// A whole line.
pub(crate) fn format(level: Level, message: impl Display) -> String {
    let mut line = String::new();
    write_line(Some(level), &message, &mut line);
    line
}

/// From now on lines go where the configuration says: to the ring in `runtime_dir`, and what
/// matters to `state_dir`.
pub fn keep(config: &LogConfig, runtime_dir: Option<&Path>, state_dir: Option<&Path>) {
    let now = Instant::now();
    let mut journal = Journal {
        shown: config.console,
        own: Console::open("2"),
        services: Console::open("1"),
        ring: None,
        kept: None,
        line: String::new(),
    };
    let mut problems = Vec::new();
    if let Some(folder) = runtime_dir.filter(|_| config.size > 0) {
        match Ring::open(folder, config.size) {
            Ok(ring) => journal.ring = Some(ring),
            Err(error) => problems.push(format!("{}: no log: {error}", folder.display())),
        }
    }
    if let Some(folder) = state_dir.filter(|_| config.kept > 0) {
        match Kept::open(folder.to_owned(), config.kept, now) {
            Ok(kept) => journal.kept = Some(kept),
            Err(error) => problems.push(format!("nothing of the log is kept: {error}")),
        }
    }
    *self::journal() = Some(journal);
    problems.into_iter().for_each(warn);
}

/// Does what is to be done by now.
pub(crate) fn serve(now: Instant) {
    if let Some(Journal { own, services, kept, .. }) = &mut *journal() {
        own.serve(now);
        services.serve(now);
        kept.iter_mut().for_each(|kept| kept.serve(now));
    }
}

/// When the next [`serve`] is due.
pub(crate) fn deadline() -> Option<Instant> {
    let journal = journal();
    let Journal { own, services, kept, .. } = journal.as_ref()?;
    let kept = kept.as_ref().and_then(Kept::deadline);
    [own.deadline(), services.deadline(), kept].into_iter().flatten().min()
}

/// Has the last lines kept, since a reset comes next. Waits up to `patience` until they are, and
/// does what is to be done `meanwhile`; what can't be written was said, and holds nothing up.
pub(crate) fn flush(patience: Duration, meanwhile: impl FnMut()) {
    let kept = journal().as_mut().and_then(|it| Some(it.kept.as_mut()?.flush(Instant::now())));
    if let Some(writer) = kept {
        let _ = writer.settle(patience, meanwhile);
    }
}

fn journal() -> MutexGuard<'static, Option<Journal>> {
    JOURNAL.lock().unwrap_or_else(PoisonError::into_inner)
}

fn own(level: Level, message: &dyn Display) {
    match &mut *journal() {
        Some(journal) => journal.take(Some(level), message),
        // Nobody left to tell that standard error is gone.
        None => drop(io::stderr().write_all(format(level, message).as_bytes())),
    }
}

fn write_line(level: Option<Level>, message: &dyn Display, line: &mut String) {
    let (seconds, milliseconds) = match clock_gettime(ClockId::CLOCK_BOOTTIME) {
        Ok(time) => (time.tv_sec(), time.tv_nsec() / 1_000_000),
        Err(_) => (0, 0),
    };
    let (word, gap) = level.map_or(("", ""), |level| (level.word(), " "));
    // Text takes everything.
    let _ = writeln!(line, "[{seconds:5}.{milliseconds:03}] {word}{gap}{message}");
}

#[derive(Debug)]
struct Journal {
    shown: ConsoleLines,
    own: Console,
    services: Console,
    ring: Option<Ring>,
    kept: Option<Kept>,
    /// The line, again and again.
    line: String,
}

impl Journal {
    /// A line of the watchdog, or one of a service.
    fn take(&mut self, level: Option<Level>, message: &dyn Display) {
        let now = Instant::now();
        let mut line = std::mem::take(&mut self.line);
        line.clear();
        write_line(level, message, &mut line);
        let matters = level >= Some(Level::Warn);
        let shown = match self.shown {
            ConsoleLines::All => true,
            ConsoleLines::Warnings => matters,
            ConsoleLines::None => false,
        };
        match level {
            _ if !shown => {}
            Some(_) => self.own.write(now, &line),
            None => self.services.write(now, &line),
        }
        if let Some(kept) = &mut self.kept {
            kept.take(now, &line, matters);
        }
        if let Some(Err(error)) = self.ring.as_mut().map(|ring| ring.append(&line)) {
            self.ring = None;
            self.line = line;
            return self.take(Some(Level::Warn), &format_args!("the log has no ring: {error}"));
        }
        self.line = line;
    }
}
