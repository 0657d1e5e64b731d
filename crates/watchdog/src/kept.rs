//! What of the log outlives a reset: the last lines before each warning or error of the watchdog,
//! such as that a service failed, and before a reset. Storage that wears is written now and then
//! only, and only so often a day.

use std::{
    fs,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use crate::{
    log,
    ring::{FILE_NAME, Ring},
    writer::Writer,
};

/// Most that is written at once, in bytes: the newest lines.
const MAX_TEXT: usize = 8 * 1024;
/// What comes soon after is to be written with it.
const GATHER: Duration = Duration::from_secs(2);
/// Least time between two writes.
const PAUSE: Duration = Duration::from_secs(60);
/// Writes that may be made soon after one another …
const WRITES: u32 = 8;
/// … and how long it takes until one more may be.
const REFILL: Duration = Duration::from_secs(15 * 60);

/// What is kept of the log.
#[derive(Debug)]
pub(crate) struct Kept {
    writer: Writer,
    recent: Recent,
    wear: Wear,
    /// When it is to be written, if anything is.
    due: Option<Instant>,
}

impl Kept {
    /// In `folder`, at most `limit` bytes.
    ///
    /// # Errors
    ///
    /// When there is no thread for it, in words.
    pub fn open(folder: PathBuf, limit: u64, now: Instant) -> Result<Self, String> {
        let path = folder.join(FILE_NAME);
        let write = move |text: &str| write(&folder, limit, text);
        let writer = Writer::start(path, Box::new(write)).map_err(|error| error.to_string())?;
        Ok(Self { writer, recent: Recent::default(), wear: Wear::new(now), due: None })
    }

    /// A whole line, and whether it is one for which the last lines are kept.
    pub fn take(&mut self, now: Instant, line: &str, matters: bool) {
        self.recent.take(line);
        if matters && self.due.is_none() {
            self.due = Some(self.wear.next().max(now + GATHER));
        }
    }

    /// Has it written if it is time to.
    pub fn serve(&mut self, now: Instant) {
        if self.due.is_some_and(|due| now >= due) {
            self.due = Some(now + PAUSE);
            // Storage that still has the last one to write gets no more.
            if !self.writer.is_pending() {
                self.write(now);
            }
        }
    }

    /// When the next [`Kept::serve`] is due.
    pub fn deadline(&self) -> Option<Instant> {
        self.due
    }

    /// Has it written at once, whatever was written before: what comes next is a reset. By the
    /// writer can be waited for it.
    pub fn flush(&mut self, now: Instant) -> Writer {
        self.write(now);
        self.writer.clone()
    }

    fn write(&mut self, now: Instant) {
        self.due = None;
        self.wear.write(now);
        self.writer.add(&self.recent.hand_over());
    }
}

fn write(folder: &Path, limit: u64, text: &str) -> std::io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    let mut ring = Ring::open(folder, limit)?;
    ring.append(text)?;
    ring.sync()
}

/// The newest lines that are not written yet.
#[derive(Debug, Default)]
struct Recent {
    text: String,
    /// Lines that were older.
    gone: u64,
}

impl Recent {
    fn take(&mut self, line: &str) {
        if self.text.len() + line.len() > MAX_TEXT {
            // A quarter at a time: moving all of it for each line would be work.
            let cut = self.text.len().min(MAX_TEXT / 4 + line.len());
            let end = self.text.as_bytes()[cut..].iter().position(|byte| *byte == b'\n');
            let old = self.text.drain(..end.map_or(self.text.len(), |end| cut + end + 1));
            self.gone += old.filter(|character| *character == '\n').count() as u64;
        }
        self.text.push_str(line);
    }

    fn hand_over(&mut self) -> String {
        let text = std::mem::take(&mut self.text);
        match std::mem::take(&mut self.gone) {
            0 => text,
            gone => {
                log::format(log::Level::Info, format_args!("{gone} lines are not kept")) + &text
            }
        }
    }
}

/// How much more may be written. Per start of the watchdog: it is started anew with the device.
#[derive(Debug)]
struct Wear {
    left: u32,
    /// When the next one is added.
    refill: Instant,
    /// The last write.
    last: Option<Instant>,
}

impl Wear {
    fn new(now: Instant) -> Self {
        Self { left: WRITES, refill: now + REFILL, last: None }
    }

    /// When the next write may be made.
    fn next(&self) -> Instant {
        let pause = self.last.map(|last| last + PAUSE);
        let refill = (self.left == 0).then_some(self.refill);
        pause.max(refill).unwrap_or(self.refill - REFILL)
    }

    fn write(&mut self, now: Instant) {
        while now >= self.refill {
            self.left = (self.left + 1).min(WRITES);
            self.refill += REFILL;
        }
        self.left = self.left.saturating_sub(1);
        self.last = Some(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_in_a_day_are_bounded() {
        let begin = Instant::now();
        let mut wear = Wear::new(begin);
        let mut writes = Vec::new();
        let mut now = begin;
        while now < begin + Duration::from_secs(24 * 60 * 60) {
            if now >= wear.next() {
                wear.write(now);
                writes.push(now);
            }
            now += Duration::from_secs(1);
        }
        assert!(writes.len() <= 8 + 96, "{}", writes.len());
        assert!(writes.len() >= 96, "{}", writes.len());
        assert!(writes.windows(2).all(|pair| pair[1] - pair[0] >= PAUSE));
        assert!(writes[WRITES as usize - 1] - begin < 8 * PAUSE);
    }

    #[test]
    fn the_newest_lines_are_whole_and_few_enough() {
        let mut recent = Recent::default();
        for number in 0..10_000 {
            recent.take(&format!("line {number}\n"));
            assert!(recent.text.len() <= MAX_TEXT);
        }
        let text = recent.hand_over();
        let mut lines = text.lines();
        let first = lines.next().unwrap_or_default();
        let lines: Vec<_> = lines.collect();
        assert!(
            first.ends_with(&format!("{} lines are not kept", 10_000 - lines.len())),
            "{first}"
        );
        let wanted = (10_000 - lines.len()..10_000).map(|number| format!("line {number}"));
        assert_eq!(lines, wanted.collect::<Vec<_>>());
        assert!(text.len() > MAX_TEXT / 2 && recent.hand_over().is_empty());
        recent.take(&"ü".repeat(MAX_TEXT));
        recent.take("next\n");
        assert_eq!(recent.text, "next\n");
    }
}
