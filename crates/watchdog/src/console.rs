//! Standard output and standard error, whatever is behind them: a serial line is slower than what
//! goes there, and one where somebody stopped the output takes nothing any more. Neither holds the
//! watchdog up.

use std::{
    fs::{File, OpenOptions},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    time::{Duration, Instant},
};

/// What is to be written waits for as much, in bytes; lines beyond it are left out.
const MAX_PENDING: usize = 8 * 1024;
/// It is tried again so often: at 115 200 bit/s, a terminal's buffer of 4 KiB lasts longer.
const PAUSE: Duration = Duration::from_millis(250);

/// One of the two.
#[derive(Debug)]
pub(crate) struct Console {
    file: Option<File>,
    pending: Vec<u8>,
    left_out: u64,
    /// When it is tried again.
    due: Option<Instant>,
}

impl Console {
    /// File descriptor 1 or 2 of this process. Opened once more, so that whoever shares it doesn't
    /// get one that refuses to wait; where that can't be (a socket), lines are waited for.
    pub fn open(descriptor: &str) -> Self {
        let path = format!("/proc/self/fd/{descriptor}");
        let flags = nix::libc::O_NONBLOCK | nix::libc::O_NOCTTY;
        let file = OpenOptions::new().append(true).custom_flags(flags).open(path).ok();
        Self { file, pending: Vec::new(), left_out: 0, due: None }
    }

    /// A whole line.
    pub fn write(&mut self, now: Instant, line: &str) {
        let Some(file) = &mut self.file else {
            // Nobody is left to be told that it is gone.
            let _ = io::stderr().write_all(line.as_bytes());
            return;
        };
        if self.pending.is_empty() {
            let written = write_some(file, line.as_bytes());
            self.pending.extend_from_slice(&line.as_bytes()[written..]);
        } else if self.pending.len() + line.len() <= MAX_PENDING {
            self.pending.extend_from_slice(line.as_bytes());
        } else {
            self.left_out += 1;
        }
        if !self.pending.is_empty() {
            self.due.get_or_insert(now + PAUSE);
        }
    }

    /// Tries again, if it is time to.
    pub fn serve(&mut self, now: Instant) {
        let (Some(file), Some(due)) = (&mut self.file, self.due) else { return };
        if now < due {
            return;
        }
        let written = write_some(file, &self.pending);
        self.pending.drain(..written);
        self.due = Some(now + PAUSE);
        if self.pending.is_empty() {
            self.due = None;
            match std::mem::take(&mut self.left_out) {
                0 => {}
                left_out => self.write(now, &format!("{left_out} lines left out here\n")),
            }
        }
    }

    /// When the next [`Console::serve`] is due.
    pub fn deadline(&self) -> Option<Instant> {
        self.due
    }
}

/// How much of it was taken; all of it where nobody is there to take any.
fn write_some(file: &mut File, bytes: &[u8]) -> usize {
    let mut written = 0;
    while written < bytes.len() {
        match file.write(&bytes[written..]) {
            Ok(0) => return bytes.len(),
            Ok(count) => written += count,
            Err(error) => match error.kind() {
                io::ErrorKind::WouldBlock => return written,
                io::ErrorKind::Interrupted => {}
                _ => return bytes.len(),
            },
        }
    }
    written
}
