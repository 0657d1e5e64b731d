//! Whether a file has changed since it was looked at.

use std::{fs, os::unix::fs::MetadataExt, path::Path};

/// By what a change of a file is seen: its number, time of change and size. A file that is moved
/// into another's place may be older than that one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    inode: u64,
    changed: (i64, i64),
    size: u64,
}

impl Stamp {
    /// The file's as it is now; none where it can't be looked at.
    pub fn of(file: &Path) -> Option<Self> {
        let found = fs::metadata(file).ok()?;
        let changed = (found.mtime(), found.mtime_nsec());
        Some(Self { inode: found.ino(), changed, size: found.size() })
    }
}
