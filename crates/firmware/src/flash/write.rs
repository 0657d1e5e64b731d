//! The four steps of the drawing in [`super`].

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::ops::Range;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use nix::fcntl::{FallocateFlags, OFlag, PosixFadviseAdvice, fallocate, posix_fadvise};
use serde::Serialize;
use sha2::{Digest, Sha256};

use super::interrupt::Interrupt;
use super::target::{Claimed, ClaimedKind};
use super::{Error, Image};
use crate::hash::{at, hex};

/// What is read and written at once, in bytes.
const CHUNK: usize = 1 << 20;
/// What must be zeros to be left out, in bytes.
const BLOCK: usize = 1 << 16;
/// Written last: the partition table, and what a boot ROM reads in front of the partitions.
const HEAD: u64 = 1 << 20;
/// Of the head, what makes it a disk, written last of all.
const TABLE: usize = 4096;
/// Where the backup of the partition table is.
const TAIL: u64 = 1 << 16;
/// The end of a larger disk, where an older backup may be.
const END: u64 = 1 << 20;
/// So much is written between two waits for the disk: what is shown is what is done, and a
/// Ctrl-C does not wait for a gigabyte.
const FLUSHED: u64 = 16 << 20;
/// Fits the sectors of every disk, for reading past the page cache.
const ALIGNMENT: usize = 4096;

/// What is being done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// The image is compared with its manifest.
    Check,
    /// Old partition tables are removed, then the body is written.
    Write,
    /// What was written is read back.
    Verify,
    /// The partition table is written.
    Finish,
}

/// What was done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Written {
    /// Bytes written as data.
    pub data_bytes: u64,
    /// Bytes that are zeros in the image: discarded, or written as zeros where that can't be.
    pub zero_bytes: u64,
    /// The SHA-256 of what was read back, which is the image's.
    pub sha256: String,
}

/// Who wants to know how far it is: the stage, bytes done and in all.
pub type Observer<'a> = &'a mut dyn FnMut(Stage, u64, u64);

/// The image's hash, compared with the manifest's where there is one.
///
/// # Errors
/// [`Error::ImageDiffers`], [`Error::Interrupted`], [`Error::Io`]; nothing was written.
pub fn check(image: &Image, interrupt: &Interrupt, observe: Observer<'_>) -> Result<String, Error> {
    let failed = |error| Error::Io { source: at(&image.path, error), begun: false };
    let mut source = File::open(&image.path).map_err(failed)?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; CHUNK];
    let mut done = 0;
    loop {
        stop(interrupt, false)?;
        observe(Stage::Check, done, image.bytes);
        match source.read(&mut buffer).map_err(failed)? {
            0 => break,
            count => {
                hasher.update(&buffer[..count]);
                done += count as u64;
            }
        }
    }
    let found = hex(hasher);
    match &image.sha256 {
        Some(expected) if *expected != found => Err(Error::ImageDiffers {
            image: image.path.clone(),
            expected: expected.clone(),
            found,
        }),
        _ => Ok(found),
    }
}

/// Writes the image and reads it back; `sha256` is what [`check`] gave.
///
/// # Errors
/// [`Error::Mismatch`], [`Error::Interrupted`], [`Error::Io`]: nothing boots from the target
/// then.
pub fn write(
    image: &Image,
    sha256: &str,
    mut target: Claimed,
    interrupt: &Interrupt,
    observe: Observer<'_>,
) -> Result<Written, Error> {
    let written = Job::new(image, &target, interrupt)
        .map_err(|source| Error::Io { source, begun: false })?
        .run(sha256, observe)?;
    target.complete = true;
    Ok(written)
}

/// An image on its way to a target.
struct Job<'a> {
    image: &'a Image,
    target: &'a Claimed,
    interrupt: &'a Interrupt,
    source: File,
    head: Vec<u8>,
    tail: Vec<u8>,
    zeroing: Zeroing,
    data_bytes: u64,
    zero_bytes: u64,
}

/// How stretches become zeros, the best way first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Zeroing {
    /// They are zeros already: a new file.
    Done,
    /// Discarded: the disk (the file system of a file) promises zeros for what is not there.
    Punch,
    /// The disk or kernel writes zeros.
    Range,
    /// We write zeros.
    Write,
}

impl<'a> Job<'a> {
    fn new(image: &'a Image, target: &'a Claimed, interrupt: &'a Interrupt) -> io::Result<Self> {
        let source = File::open(&image.path).map_err(|error| at(&image.path, error))?;
        let head_end = HEAD.min(image.bytes);
        let tail_start = image.bytes.saturating_sub(TAIL).max(head_end);
        let read = |range: Range<u64>| {
            let mut bytes = vec![0; (range.end - range.start) as usize];
            source
                .read_exact_at(&mut bytes, range.start)
                .map_err(|error| at(&image.path, error))?;
            io::Result::Ok(bytes)
        };
        let (head, tail) = (read(0..head_end)?, read(tail_start..image.bytes)?);
        let zeroing =
            if target.kind == ClaimedKind::NewFile { Zeroing::Done } else { Zeroing::Punch };
        let (data_bytes, zero_bytes) = (0, 0);
        Ok(Self { image, target, interrupt, source, head, tail, zeroing, data_bytes, zero_bytes })
    }

    fn body(&self) -> Range<u64> {
        self.head.len() as u64..self.image.bytes - self.tail.len() as u64
    }

    fn run(&mut self, sha256: &str, observe: Observer<'_>) -> Result<Written, Error> {
        stop(self.interrupt, false)?;
        self.wipe().map_err(|error| self.failed(error))?;
        self.write_body(observe)?;
        let found = self.read_back(observe)?;
        if found.sha256 != sha256 {
            return Err(self.mismatch(found.first_difference));
        }
        stop(self.interrupt, true)?;
        observe(Stage::Finish, 0, self.image.bytes);
        self.finish()?;
        let Self { data_bytes, zero_bytes, .. } = *self;
        observe(Stage::Finish, self.image.bytes, self.image.bytes);
        Ok(Written { data_bytes, zero_bytes, sha256: found.sha256 })
    }

    /// Step 1: no old partition table, nor its backup, survives.
    fn wipe(&mut self) -> io::Result<()> {
        if self.target.bytes < self.image.bytes {
            // A file: a disk has been found to be large enough.
            self.target.file.set_len(self.image.bytes)?;
        }
        let disk_end = self.target.bytes.max(self.image.bytes);
        let body = self.body();
        self.write_zeros(0..body.start)?;
        self.write_zeros(body.end..self.image.bytes)?;
        self.write_zeros(disk_end.saturating_sub(END).max(self.image.bytes)..disk_end)?;
        self.target.file.sync_data()
    }

    /// Step 2.
    fn write_body(&mut self, observe: Observer<'_>) -> Result<(), Error> {
        let body = self.body();
        let mut buffer = vec![0; CHUNK];
        let mut position = body.start;
        let mut flushed = position;
        // A run of zeros may reach over many chunks: it is discarded in one go.
        let mut zeros = position..position;
        while position < body.end {
            stop(self.interrupt, true)?;
            observe(Stage::Write, position, self.image.bytes);
            let count = CHUNK.min((body.end - position) as usize);
            self.source
                .read_exact_at(&mut buffer[..count], position)
                .map_err(|error| self.failed(at(&self.image.path, error)))?;
            for block in buffer[..count].chunks(BLOCK) {
                let end = position + block.len() as u64;
                if is_zero(block) {
                    zeros.end = end;
                } else {
                    self.zero(zeros).map_err(|error| self.failed(error))?;
                    let written = self.target.file.write_all_at(block, position);
                    written.map_err(|error| self.failed(error))?;
                    self.data_bytes += block.len() as u64;
                    zeros = end..end;
                }
                position = end;
            }
            if position - flushed >= FLUSHED {
                self.target.file.sync_data().map_err(|error| self.failed(error))?;
                flushed = position;
            }
        }
        self.zero(zeros).map_err(|error| self.failed(error))?;
        observe(Stage::Write, self.image.bytes, self.image.bytes);
        self.target.file.sync_all().map_err(|error| self.failed(error))
    }

    /// Step 3.
    fn read_back(&self, observe: Observer<'_>) -> Result<Found, Error> {
        let mut disk = Uncached::open(&self.target.file).map_err(|error| self.failed(error))?;
        let body = self.body();
        let mut hasher = Sha256::new();
        hasher.update(&self.head);
        let mut original = vec![0; CHUNK];
        let mut first_difference = None;
        let mut position = body.start;
        while position < body.end {
            stop(self.interrupt, true)?;
            observe(Stage::Verify, position, self.image.bytes);
            let count = CHUNK.min((body.end - position) as usize);
            let found = disk.read(position, count).map_err(|error| self.failed(error))?;
            hasher.update(found);
            self.source
                .read_exact_at(&mut original[..count], position)
                .map_err(|error| self.failed(at(&self.image.path, error)))?;
            if first_difference.is_none() {
                first_difference = difference(found, &original[..count], position);
            }
            position += count as u64;
        }
        hasher.update(&self.tail);
        observe(Stage::Verify, self.image.bytes, self.image.bytes);
        Ok(Found { sha256: hex(hasher), first_difference })
    }

    /// Step 4: from here on it is a disk; the very beginning is last.
    fn finish(&mut self) -> Result<(), Error> {
        let (table, rest) = self.head.split_at(TABLE.min(self.head.len()));
        let body = self.body();
        let file = &self.target.file;
        let written = file
            .write_all_at(&self.tail, body.end)
            .and_then(|()| file.write_all_at(rest, table.len() as u64))
            .and_then(|()| file.sync_data())
            .and_then(|()| file.write_all_at(table, 0))
            .and_then(|()| file.sync_all())
            .and_then(|()| self.ends_differ());
        match written {
            Ok(None) => {
                self.data_bytes += (self.head.len() + self.tail.len()) as u64;
                Ok(())
            }
            Ok(first) => {
                self.unmake();
                Err(self.mismatch(first))
            }
            Err(error) => {
                self.unmake();
                Err(self.failed(error))
            }
        }
    }

    /// Where head or tail are not what was written.
    fn ends_differ(&self) -> io::Result<Option<u64>> {
        let mut disk = Uncached::open(&self.target.file)?;
        let head = difference(disk.read(0, self.head.len())?, &self.head, 0);
        let start = self.body().end;
        let tail = difference(disk.read(start, self.tail.len())?, &self.tail, start);
        Ok(head.or(tail))
    }

    /// Takes the partition table away again. As well as can be: the disk is bad already.
    fn unmake(&mut self) {
        let _ = self.write_zeros(0..self.head.len() as u64);
        let _ = self.write_zeros(self.body().end..self.image.bytes);
        let _ = self.target.file.sync_all();
    }

    /// Makes a stretch zeros in the best way that works.
    fn zero(&mut self, range: Range<u64>) -> io::Result<()> {
        if range.is_empty() {
            return Ok(());
        }
        self.zero_bytes += range.end - range.start;
        let (offset, length) = (range.start as i64, (range.end - range.start) as i64);
        if self.zeroing == Zeroing::Punch {
            let flags = FallocateFlags::FALLOC_FL_PUNCH_HOLE | FallocateFlags::FALLOC_FL_KEEP_SIZE;
            if fallocate(self.target.file.as_fd(), flags, offset, length).is_ok() {
                return Ok(());
            }
            self.zeroing = Zeroing::Range;
        }
        if self.zeroing == Zeroing::Range {
            let flags = FallocateFlags::FALLOC_FL_ZERO_RANGE | FallocateFlags::FALLOC_FL_KEEP_SIZE;
            if fallocate(self.target.file.as_fd(), flags, offset, length).is_ok() {
                return Ok(());
            }
            self.zeroing = Zeroing::Write;
        }
        if self.zeroing == Zeroing::Done { Ok(()) } else { self.write_zeros(range) }
    }

    fn write_zeros(&self, range: Range<u64>) -> io::Result<()> {
        let mut file = &self.target.file;
        file.seek(SeekFrom::Start(range.start))?;
        let length = range.end.saturating_sub(range.start);
        io::copy(&mut io::repeat(0).take(length), &mut file).map(|_| ())
    }

    fn failed(&self, error: io::Error) -> Error {
        Error::Io { source: at(&self.target.path, error), begun: true }
    }

    fn mismatch(&self, first: Option<u64>) -> Error {
        Error::Mismatch { target: self.target.path.clone(), first }
    }
}

/// What was read back.
struct Found {
    sha256: String,
    first_difference: Option<u64>,
}

/// Reads what is on the disk, not what the kernel remembers of it.
struct Uncached {
    file: File,
    buffer: Vec<u8>,
    /// Where the aligned part of the buffer begins.
    aligned: usize,
}

impl Uncached {
    fn open(file: &File) -> io::Result<Self> {
        // Whatever the file system makes of it: the pages of a file are forgotten at least.
        posix_fadvise(file.as_fd(), 0, 0, PosixFadviseAdvice::POSIX_FADV_DONTNEED)?;
        // Again through the descriptor: the same file, whatever its name stands for by now.
        let path = format!("/proc/self/fd/{}", file.as_raw_fd());
        let mut buffer = vec![0; CHUNK + ALIGNMENT];
        let aligned = buffer.as_ptr().align_offset(ALIGNMENT);
        let mut options = OpenOptions::new();
        options.read(true).custom_flags(OFlag::O_DIRECT.bits());
        let direct = options.open(Path::new(&path)).and_then(|direct| {
            direct.read_at(&mut buffer[aligned..aligned + CHUNK], 0).map(|_| direct)
        });
        let file = match direct {
            // A file system without direct reading: tmpfs has no other place than memory.
            Err(error) if error.raw_os_error() == Some(nix::libc::EINVAL) => File::open(&path)?,
            other => other?,
        };
        Ok(Self { file, buffer, aligned })
    }

    /// So many bytes, [`CHUNK`] at most, from a multiple of the alignment on or with a whole
    /// number of chunks between.
    fn read(&mut self, position: u64, count: usize) -> io::Result<&[u8]> {
        let begin = position - position % ALIGNMENT as u64;
        let skipped = (position - begin) as usize;
        let space = &mut self.buffer[self.aligned..self.aligned + CHUNK];
        let mut filled = 0;
        while filled < skipped + count {
            match self.file.read_at(&mut space[filled..], begin + filled as u64)? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                read => filled += read,
            }
        }
        Ok(&space[skipped..skipped + count])
    }
}

fn stop(interrupt: &Interrupt, begun: bool) -> Result<(), Error> {
    match interrupt.signal() {
        Some(signal) => Err(Error::Interrupted { signal, begun }),
        None => Ok(()),
    }
}

/// Comparing slices is quick in debug builds, too.
fn is_zero(block: &[u8]) -> bool {
    static ZEROS: [u8; BLOCK] = [0; BLOCK];
    *block == ZEROS[..block.len()]
}

fn difference(found: &[u8], expected: &[u8], position: u64) -> Option<u64> {
    if found == expected {
        return None;
    }
    let first = found.iter().zip(expected).position(|(found, expected)| found != expected);
    Some(position + first.unwrap_or(0) as u64)
}
