//! A log of bounded size in two files: the current one, and the one before, which the next one
//! takes the place of. Whole lines are written at once, so that a program that dies loses nothing
//! that it had said.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::{FileExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

/// The current file's name in its folder.
pub const FILE_NAME: &str = "log";
/// The one before.
pub const OLD_FILE_NAME: &str = "log.old";

/// Such a log, to be written.
#[derive(Debug)]
pub struct Ring {
    folder: PathBuf,
    /// Both files together, in bytes.
    limit: u64,
    file: File,
    size: u64,
}

impl Ring {
    /// Goes on with what is there. A folder that is missing is made.
    ///
    /// # Errors
    ///
    /// When the system refuses it.
    pub fn open(folder: &Path, limit: u64) -> io::Result<Self> {
        fs::create_dir_all(folder)?;
        let file = open(folder)?;
        let mut ring =
            Self { folder: folder.to_owned(), limit, size: file.metadata()?.len(), file };
        let mut last = [0];
        if ring.size > 0 && (ring.file.read_at(&mut last, ring.size - 1)?, last) != (1, *b"\n") {
            // Power was cut in the middle of a line.
            ring.append("\n")?;
        }
        Ok(ring)
    }

    /// Appends whole lines.
    ///
    /// # Errors
    ///
    /// When they can't be written; then none of them is.
    pub fn append(&mut self, lines: &str) -> io::Result<()> {
        let length = lines.len() as u64;
        if self.size > 0 && self.size + length > self.limit / 2 {
            fs::rename(self.folder.join(FILE_NAME), self.folder.join(OLD_FILE_NAME))?;
            self.file = open(&self.folder)?;
            self.size = 0;
        }
        if let Err(error) = self.file.write_all(lines.as_bytes()) {
            // Half a line would spoil the next one. It was there before: that needs no space.
            let _ = self.file.set_len(self.size);
            return Err(error);
        }
        self.size += length;
        Ok(())
    }

    /// Waits until it would outlive a power cut.
    ///
    /// # Errors
    ///
    /// When storage fails.
    pub fn sync(&self) -> io::Result<()> {
        self.file.sync_data()?;
        File::open(&self.folder)?.sync_all()
    }
}

fn open(folder: &Path) -> io::Result<File> {
    // Services may print what is not for everybody.
    OpenOptions::new()
        .read(true)
        .append(true)
        .create(true)
        .mode(0o640)
        .custom_flags(nix::libc::O_NOFOLLOW | nix::libc::O_NONBLOCK)
        .open(folder.join(FILE_NAME))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    #[test]
    fn it_holds_the_newest_lines_within_its_limit() {
        let folder = tempfile::tempdir().unwrap();
        let mut ring = Ring::open(folder.path(), 1000).unwrap();
        let size = |name| fs::metadata(folder.path().join(name)).map_or(0, |file| file.len());
        for number in 0..500 {
            ring.append(&format!("line {number}\n")).unwrap();
            assert!(size(FILE_NAME) + size(OLD_FILE_NAME) <= 1000);
        }
        let read = |name| fs::read_to_string(folder.path().join(name)).unwrap();
        let text = read(OLD_FILE_NAME) + &read(FILE_NAME);
        let lines: Vec<_> = text.lines().collect();
        assert!(lines.len() > 40, "{}", lines.len());
        let wanted: Vec<_> =
            (500 - lines.len()..500).map(|number| format!("line {number}")).collect();
        assert_eq!(lines, wanted);
    }

    #[test]
    fn the_next_one_goes_on_behind_a_line_that_was_cut() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("new/folder");
        Ring::open(&path, 1000).unwrap().append("whole\ncut").unwrap();
        let mut ring = Ring::open(&path, 1000).unwrap();
        ring.append("next\n").unwrap();
        ring.sync().unwrap();
        assert_eq!(fs::read_to_string(path.join(FILE_NAME)).unwrap(), "whole\ncut\nnext\n");
    }

    #[test]
    fn storage_that_refuses_leaves_whole_lines() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("in-the-way");
        fs::write(&path, "").unwrap();
        assert!(Ring::open(&path, 1000).is_err());
        let mut ring = Ring::open(folder.path(), 1000).unwrap();
        ring.append("one\n").unwrap();
        ring.file = File::open(folder.path().join(FILE_NAME)).unwrap();
        assert!(ring.append("two\n").is_err());
        assert_eq!(fs::read_to_string(folder.path().join(FILE_NAME)).unwrap(), "one\n");
    }
}
