//! What services print, read from a pipe each: neither does a service wait long for the watchdog,
//! nor the watchdog ever for a service.

use std::{
    io::{self, PipeReader, PipeWriter, Read, pipe},
    os::fd::{AsFd, BorrowedFd},
    time::{Duration, Instant},
};

use nix::fcntl::{FcntlArg, OFlag, fcntl};

use crate::{lines::Lines, log, supervisor::Index};

/// Most that is read of a service before everything else has its turn, in pieces of 4 KiB: what
/// fits into a pipe.
const PIECES_A_TURN: usize = 16;
/// A service that prints more than is said waits so long for the next turn: what it prints is still
/// read, at 3 MB/s.
const REST: Duration = Duration::from_millis(20);

/// The outputs of all services.
#[derive(Debug)]
pub struct Collector {
    streams: Vec<Stream>,
}

#[derive(Debug)]
struct Stream {
    name: String,
    /// From a start until nobody can write any more.
    pipe: Option<PipeReader>,
    lines: Lines,
    /// Not read before.
    rest: Option<Instant>,
}

impl Collector {
    /// For services with these names, of which each may say so many lines in
    /// [`crate::lines::WINDOW`].
    pub fn new<'a>(names: impl Iterator<Item = &'a str>, limit: u32) -> Self {
        let stream = |name: &str| Stream {
            name: name.to_owned(),
            pipe: None,
            lines: Lines::new(limit),
            rest: None,
        };
        Self { streams: names.map(stream).collect() }
    }

    /// A service is to be started: what it prints goes there.
    ///
    /// # Errors
    ///
    /// When the system gives no pipe.
    pub fn begin(&mut self, index: Index) -> io::Result<PipeWriter> {
        let (reader, writer) = pipe()?;
        fcntl(&reader, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
        let stream = &mut self.streams[index];
        stream.lines.begin();
        (stream.pipe, stream.rest) = (Some(reader), None);
        Ok(writer)
    }

    /// Takes what was printed.
    pub fn serve(&mut self, now: Instant) {
        self.streams.iter_mut().for_each(|stream| stream.serve(now));
    }

    /// A service has ended, and everything in its process group: takes the rest.
    pub fn end(&mut self, index: Index, now: Instant) {
        let stream = &mut self.streams[index];
        stream.read(now);
        stream.pipe = None;
        let Stream { name, lines, .. } = stream;
        lines.end(now, |line| log::service(name, line));
    }

    /// The last lines that a service printed, since its latest start.
    pub fn last_words(&self, index: Index) -> Vec<String> {
        self.streams[index].lines.last_words()
    }

    /// Where something may be printed.
    pub fn sources(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        let awake = self.streams.iter().filter(|stream| stream.rest.is_none());
        awake.filter_map(|stream| stream.pipe.as_ref()).map(AsFd::as_fd)
    }

    /// When the next [`Collector::serve`] is due, whatever is printed.
    pub fn deadline(&self) -> Option<Instant> {
        let times = self.streams.iter().flat_map(|stream| [stream.rest, stream.lines.deadline()]);
        times.flatten().min()
    }
}

impl Stream {
    fn serve(&mut self, now: Instant) {
        if self.rest.is_none_or(|rest| now >= rest) {
            self.rest = None;
            self.read(now);
        }
        let Self { name, lines, .. } = self;
        lines.tick(now, |line| log::service(name, line));
        if self.pipe.is_some() && lines.is_flooding() && self.rest.is_none() {
            self.rest = Some(now + REST);
        }
    }

    fn read(&mut self, now: Instant) {
        let Self { name, lines, pipe, .. } = self;
        let Some(reader) = pipe else { return };
        let mut buffer = [0; 4096];
        for _ in 0..PIECES_A_TURN {
            match reader.read(&mut buffer) {
                Ok(count) if count > 0 => {
                    lines.take(now, &buffer[..count], |line| log::service(name, line));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // Nobody can write any more.
                _ => {
                    *pipe = None;
                    return;
                }
            }
        }
    }
}
