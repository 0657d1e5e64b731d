//! Keeps the [`Record`] in a file, from a thread of its own: storage that is slow, full or gone
//! holds nothing up.

use std::{
    fs::{self, File, Metadata, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::mpsc::{Receiver, sync_channel},
    time::{Duration, Instant},
};

use nix::time::{ClockId, clock_gettime};

use crate::{
    log,
    record::{MAX_SIZE, Record, RecordError, Reset, Traces},
    writer::{Writer, spawn},
};

/// The file's name in `state-dir`.
pub const FILE_NAME: &str = "record.toml";
/// Storage that takes longer to read at the start is not waited for.
const READ_PATIENCE: Duration = Duration::from_secs(3);
/// Least time between two writes for what can wait, such as a service that crashes in a loop:
/// flash wears.
const WRITE_PAUSE: Duration = Duration::from_secs(60);
/// The running time is written so often, if nothing else is.
const UPTIME_PAUSE: Duration = Duration::from_secs(60 * 60);

/// The record of this device.
#[derive(Debug)]
pub struct Keeper {
    record: Record,
    /// None: it is only in memory.
    writer: Option<Writer>,
    /// Why it is only in memory.
    problem: Option<String>,
    /// When it is next to be written.
    due: Instant,
    written_at: Instant,
}

impl Keeper {
    /// Reads the record in `folder` and takes note of this start; how the one before ended, if
    /// that is known. A record that makes no sense begins anew, with a word. One that can't be read
    /// may be a good one: it is left as it is, and nothing is kept from now on.
    pub fn open(folder: Option<&Path>, traces: &Traces, now: Instant) -> (Self, Option<Reset>) {
        let uptime = uptime();
        let mut reset = None;
        let mut record = Record::new(traces, uptime);
        let (mut writer, mut problem) = (None, None);
        if let Some(folder) = folder {
            let path = folder.join(FILE_NAME);
            match read_within(path.clone(), READ_PATIENCE) {
                Ok(Some(read)) => {
                    record = read;
                    reset = record.begin(traces, uptime);
                }
                Ok(None) => {}
                Err(ReadError::Record(error)) => log::warn(format_args!(
                    "{}: {error}: the record of resets begins anew",
                    path.display()
                )),
                Err(ReadError::Storage(error)) => {
                    problem = Some(format!("{} can't be read: {error}", path.display()));
                }
            }
            if problem.is_none() {
                let own = path.clone();
                match Writer::start(path, Box::new(move |text| replace(&own, text))) {
                    Ok(started) => writer = Some(started),
                    Err(error) => problem = Some(format!("there is no thread for it: {error}")),
                }
            }
        }
        if let Some(problem) = &problem {
            log::error(format_args!("{problem}: resets are not recorded, and none is made"));
        }
        let mut keeper = Self { record, writer, problem, due: now, written_at: now };
        keeper.write(now);
        (keeper, reset)
    }

    /// What is known.
    pub fn record(&self) -> &Record {
        &self.record
    }

    /// Changes what is known; it is written soon.
    pub fn note(&mut self, change: impl FnOnce(&mut Record)) {
        change(&mut self.record);
        self.due = self.due.min(self.written_at + WRITE_PAUSE);
    }

    /// Changes what is known, and has it written at once: for what the next start has to find.
    pub fn note_now(&mut self, change: impl FnOnce(&mut Record)) {
        change(&mut self.record);
        self.write(Instant::now());
    }

    /// Waits up to `patience` until everything is written, and does what is to be done `meanwhile`
    /// at once and every quarter of a second.
    ///
    /// # Errors
    ///
    /// Why it isn't, in words.
    pub fn settle(&self, patience: Duration, meanwhile: impl FnMut()) -> Result<(), String> {
        match &self.writer {
            Some(writer) => writer.settle(patience, meanwhile),
            None => Err(self.problem.as_deref().unwrap_or("there is no state-dir").to_owned()),
        }
    }

    /// Has it written if it is time to.
    pub fn serve(&mut self, now: Instant) {
        if now >= self.due {
            self.write(now);
        }
    }

    /// When the next [`Keeper::serve`] is due.
    pub fn deadline(&self) -> Option<Instant> {
        self.writer.as_ref().map(|_| self.due)
    }

    fn write(&mut self, now: Instant) {
        self.record.keep_time(uptime());
        if let Some(writer) = &self.writer {
            writer.write(self.record.encode());
        }
        self.written_at = now;
        self.due = now + UPTIME_PAUSE;
    }
}

/// How long the device has been running.
pub fn uptime() -> Duration {
    clock_gettime(ClockId::CLOCK_BOOTTIME).map_or(Duration::ZERO, Duration::from)
}

/// When a file was changed, in seconds after 1970.
pub(crate) fn modified(metadata: &Metadata) -> u64 {
    u64::try_from(metadata.mtime()).unwrap_or(0)
}

/// Why there is no record.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// What the file holds is none.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// What the file holds is not known; in words.
    #[error("{0}")]
    Storage(String),
}

/// The record in a file; none where there is no file.
///
/// # Errors
///
/// When it can't be read or makes no sense.
pub fn read(path: &Path) -> Result<Option<Record>, ReadError> {
    match read_text(path, MAX_SIZE) {
        Ok(text) => Ok(Some(Record::parse(&text)?)),
        Err(error) => match error.kind() {
            io::ErrorKind::NotFound => Ok(None),
            io::ErrorKind::InvalidData => Err(RecordError::Syntax(error.to_string()).into()),
            _ => Err(ReadError::Storage(error.to_string())),
        },
    }
}

/// A file as far as `limit` bytes.
pub(crate) fn read_text(path: &Path, limit: u64) -> io::Result<String> {
    let mut text = String::new();
    // Not blocking, should the file be something else.
    let file = OpenOptions::new().read(true).custom_flags(nix::libc::O_NONBLOCK).open(path)?;
    file.take(limit).read_to_string(&mut text)?;
    Ok(text)
}

fn read_within(path: PathBuf, patience: Duration) -> Result<Option<Record>, ReadError> {
    let (sender, result): (_, Receiver<_>) = sync_channel(1);
    spawn(move || drop(sender.send(read(&path))))
        .map_err(|error| ReadError::Storage(error.to_string()))?;
    result.recv_timeout(patience).unwrap_or_else(|_| {
        Err(ReadError::Storage(format!("it takes longer than {patience:?}, the storage hangs")))
    })
}

/// After a power failure the file is there whole, as it was or as it is to be. Its folder is made
/// where it is missing.
pub(crate) fn replace(path: &Path, content: &str) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("/"));
    fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    let draft = path.with_extension("new");
    let flags = nix::libc::O_NOFOLLOW;
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .custom_flags(flags)
        .open(&draft)?;
    file.write_all(content.as_bytes())?;
    file.sync_all()?;
    fs::rename(&draft, path)?;
    File::open(folder)?.sync_all()
}
