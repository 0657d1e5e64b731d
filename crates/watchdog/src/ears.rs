//! Hears what services say: each on a socket of its own, so that whoever floods one of them
//! disturbs no other, and nobody for another one.

use std::{
    fmt::Display,
    fs::{self, File, OpenOptions, TryLockError},
    io,
    os::{
        fd::{AsFd, BorrowedFd},
        unix::fs::{DirBuilderExt, OpenOptionsExt},
    },
    path::Path,
    time::{Duration, Instant},
};

use nix::unistd::Pid;
use peercam_heartbeat::message::Message;

use crate::{
    log,
    notify::{NotifySocket, Received, belongs_to},
    supervisor::Index,
};

/// Most messages that are read from one socket in so much time. Where there are more, they wait, and
/// whoever sends them waits with them: a flood keeps neither the hardware nor another service from
/// anything, and costs little.
const MOST_MESSAGES: u32 = 64;
const TIME_FOR_THEM: Duration = Duration::from_millis(20);
/// Least time between two lines in the log about what can't be taken from one socket.
const WORD_PAUSE: Duration = Duration::from_secs(10);

/// Held while the sockets of a folder are a running watchdog's.
const LOCK: &str = "lock";

/// One ear for each service.
#[derive(Debug)]
pub(crate) struct Ears {
    ears: Vec<Ear>,
    /// The folder is this watchdog's as long as this is open.
    _lock: Option<File>,
}

#[derive(Debug)]
struct Ear {
    socket: NotifySocket,
    /// Messages since, and since when.
    heard: u32,
    since: Instant,
    /// Until when it doesn't listen.
    deaf_until: Option<Instant>,
    said: Said,
}

impl Ears {
    /// For services with these names; with sockets in `folder`, if there is to be one.
    ///
    /// # Errors
    ///
    /// When the system gives no sockets, or the folder is another watchdog's.
    pub fn new<'a>(
        names: impl Iterator<Item = &'a str>,
        folder: Option<&Path>,
        now: Instant,
    ) -> io::Result<Self> {
        let lock = folder.map(claim).transpose()?.flatten();
        let ear = |name| {
            let socket = NotifySocket::bind(folder, name)?;
            Ok(Ear { socket, heard: 0, since: now, deaf_until: None, said: Said::default() })
        };
        let ears = names.map(ear).collect::<io::Result<_>>()?;
        Ok(Self { ears, _lock: lock })
    }

    /// On which a service is heard.
    pub fn socket(&self, index: Index) -> &NotifySocket {
        &self.ears[index].socket
    }

    /// What to wait for.
    pub fn sources(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.ears.iter().filter(|ear| ear.deaf_until.is_none()).map(|ear| ear.socket.as_fd())
    }

    /// When the next [`Ears::hear`] is due, if it isn't only when one of the sources says so.
    pub fn deadline(&self) -> Option<Instant> {
        self.ears.iter().filter_map(|ear| ear.deaf_until).min()
    }

    /// What services said; `running` are their main processes.
    pub fn hear(
        &mut self,
        now: Instant,
        running: &[Option<Pid>],
        name: impl Fn(Index) -> String,
    ) -> Vec<(Index, Message)> {
        let mut heard = Vec::new();
        for (index, ear) in self.ears.iter_mut().enumerate() {
            ear.hear(now, running[index], || name(index), |message| heard.push((index, message)));
        }
        heard
    }
}

/// Takes the folder, so that nobody takes the sockets in it from a watchdog that runs. One that can't
/// be written to is nobody's.
fn claim(folder: &Path) -> io::Result<Option<File>> {
    let made = fs::DirBuilder::new().recursive(true).mode(0o755).create(folder);
    let lock = made.and_then(|()| {
        OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(folder.join(LOCK))
    });
    match lock.map(|file| (file.try_lock(), file)) {
        Ok((Err(TryLockError::WouldBlock), _)) => Err(io::Error::other(format!(
            "{} is in use by another watchdog: stop that one, or use another runtime-dir",
            folder.display()
        ))),
        Ok((_, file)) => Ok(Some(file)),
        Err(_) => Ok(None),
    }
}

impl Ear {
    fn hear(
        &mut self,
        now: Instant,
        main: Option<Pid>,
        name: impl Fn() -> String,
        mut tell: impl FnMut(Message),
    ) {
        if self.deaf_until.is_some_and(|until| now < until) {
            return;
        }
        self.deaf_until = None;
        if now >= self.since + TIME_FOR_THEM {
            (self.heard, self.since) = (0, now);
        }
        while self.heard < MOST_MESSAGES {
            let Some(received) = self.socket.receive() else { return };
            self.heard += 1;
            match received {
                Received::Message(sender, message) => {
                    if main.is_some_and(|main| belongs_to(sender, main)) {
                        tell(message);
                    } else {
                        self.said.warn(now, || {
                            let name = name();
                            format!(
                                "{name}: ignored a notify message from process {sender}, which \
                                 does not belong to it"
                            )
                        });
                    }
                }
                Received::Refused(reason) => {
                    self.said.warn(now, || format!("{}: ignored {reason}", name()));
                }
            }
        }
        self.deaf_until = Some(self.since + TIME_FOR_THEM);
        self.said.warn(now, || {
            let name = name();
            format!("{name}: a flood of notify messages: they are heard with pauses")
        });
    }
}

/// What was said about one socket: a line now and then, however much there is to say.
#[derive(Debug, Default)]
struct Said {
    last: Option<Instant>,
    unsaid: u64,
}

impl Said {
    fn warn(&mut self, now: Instant, line: impl FnOnce() -> String) {
        if self.last.is_some_and(|last| now < last + WORD_PAUSE) {
            self.unsaid += 1;
            return;
        }
        let others: &dyn Display = match std::mem::take(&mut self.unsaid) {
            0 => &"",
            unsaid => &format!(" (and {unsaid} more since the last such line)"),
        };
        log::warn(format_args!("{}{others}", line()));
        self.last = Some(now);
    }
}
