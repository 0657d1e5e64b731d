//! The folder of one test: every program's log and configuration are files in it.

use std::{
    fs,
    path::{Path, PathBuf},
};

use tempfile::TempDir;

use crate::error::{Error, Result};

/// How many lines of each log a failed test shows.
const TAIL: usize = 25;

/// A folder that goes away with its owner, unless the owner panics: then the folder stays, its
/// path is printed, and the end of every log in it too (a CI machine's files are gone afterwards).
#[derive(Debug)]
pub struct Bed {
    path: PathBuf,
    temporary: Option<TempDir>,
}

impl Bed {
    /// A fresh temporary folder for the test called `name`.
    pub fn new(name: &str) -> Result<Self> {
        let temporary = tempfile::Builder::new()
            .prefix(&format!("peercam-{name}-"))
            .tempdir()
            .map_err(Error::io("making a temporary folder"))?;
        Ok(Self { path: temporary.path().to_owned(), temporary: Some(temporary) })
    }

    /// A folder that is kept, made if it does not exist.
    pub fn at(path: impl Into<PathBuf>) -> Result<Self> {
        let path = path.into();
        fs::create_dir_all(&path).map_err(Error::io(format!("making {}", path.display())))?;
        Ok(Self { path, temporary: None })
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A file or folder in it.
    pub fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Writes a file into it and returns the file's path.
    pub fn write(&self, name: &str, contents: &str) -> Result<PathBuf> {
        let path = self.file(name);
        fs::write(&path, contents).map_err(Error::io(format!("writing {}", path.display())))?;
        Ok(path)
    }
}

impl Drop for Bed {
    fn drop(&mut self) {
        let Some(temporary) = self.temporary.take() else { return };
        if !std::thread::panicking() {
            return;
        }
        let kept = temporary.keep();
        eprintln!("\nlogs are kept in {}", kept.display());
        let mut logs: Vec<_> = fs::read_dir(&kept)
            .into_iter()
            .flatten()
            .flatten()
            .map(|entry| entry.path())
            .filter(|path| path.extension().is_some_and(|extension| extension == "log"))
            .collect();
        logs.sort();
        for log in logs {
            let name = log.file_name().unwrap_or_default().to_string_lossy().into_owned();
            eprintln!("── {name} (end) ──\n{}", tail(&log, TAIL));
        }
    }
}

/// The last `lines` lines of a file; empty where there is none.
pub fn tail(path: &Path, lines: usize) -> String {
    let text = String::from_utf8_lossy(&fs::read(path).unwrap_or_default()).into_owned();
    let all: Vec<_> = text.lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bed_goes_away_after_a_test_that_passed_and_stays_after_one_that_failed() {
        let bed = Bed::new("passes").unwrap();
        let path = bed.path().to_owned();
        bed.write("a.log", "one\ntwo\n").unwrap();
        drop(bed);
        assert!(!path.exists());

        let bed = Bed::new("fails").unwrap();
        let path = bed.path().to_owned();
        let failed = std::thread::spawn(move || {
            let _bed = bed;
            panic!("on purpose: the bed must stay");
        });
        assert!(failed.join().is_err());
        assert!(path.exists());
        fs::remove_dir_all(path).unwrap();
    }

    #[test]
    fn the_tail_of_a_log_is_its_last_lines() {
        let bed = Bed::new("tail").unwrap();
        let log = bed.write("a.log", "one\ntwo\nthree\n").unwrap();
        assert_eq!(tail(&log, 2), "two\nthree");
        assert_eq!(tail(&log, 9), "one\ntwo\nthree");
        assert_eq!(tail(&bed.file("none.log"), 9), "");
    }
}
