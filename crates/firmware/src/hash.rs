//! SHA-256 of files, folders and descriptions: how a step knows that nothing changed, and
//! a download that it is the right one.

use std::fmt::Write as _;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use serde::Serialize;
use sha2::{Digest, Sha256};

/// The hash of a file's content, in hexadecimal.
///
/// # Errors
/// When it can't be read.
pub fn file(path: &Path) -> io::Result<String> {
    let mut hasher = Sha256::new();
    feed(&mut hasher, path)?;
    Ok(hex(hasher))
}

fn feed(hasher: &mut Sha256, path: &Path) -> io::Result<()> {
    let mut source = std::fs::File::open(path)?;
    let mut buffer = vec![0; 1 << 16];
    loop {
        match source.read(&mut buffer)? {
            0 => return Ok(()),
            count => hasher.update(&buffer[..count]),
        }
    }
}

/// A finished hash, in hexadecimal.
pub(crate) fn hex(hasher: Sha256) -> String {
    hasher.finalize().iter().fold(String::new(), |mut text, byte| {
        // Writing to a String can't fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Collects the inputs of a step into one hash.
#[derive(Default)]
pub struct Fingerprint(Sha256);

impl Fingerprint {
    /// Begins with the step's name and this program's own source.
    #[must_use]
    pub fn of(step: &str) -> Self {
        let mut fingerprint = Self::default();
        fingerprint.text(step);
        fingerprint.text(env!("PEERCAM_FIRMWARE_SOURCE"));
        fingerprint
    }

    /// Adds words, ended so that two can't be mistaken for one.
    pub fn text(&mut self, text: &str) {
        self.0.update((text.len() as u64).to_le_bytes());
        self.0.update(text);
    }

    /// Adds a value by its JSON.
    ///
    /// # Errors
    /// When it has none.
    pub fn value(&mut self, value: &impl Serialize) -> io::Result<()> {
        self.text(&serde_json::to_string(value)?);
        Ok(())
    }

    /// Adds a file, or a folder with everything below it: names, contents, links, and whether
    /// a file is executable. The other bits of a mode are the umask of whoever made the tree,
    /// and get nowhere. What is missing is an input too.
    ///
    /// # Errors
    /// When something can't be read.
    pub fn path(&mut self, path: &Path) -> io::Result<()> {
        match path.symlink_metadata() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => self.text("missing"),
            Err(error) => return Err(at(path, error)),
            Ok(data) if data.is_dir() => {
                for entry in tree(path)? {
                    let inside = entry.strip_prefix(path).unwrap_or(&entry);
                    self.0.update(inside.as_os_str().as_bytes());
                    self.single(&entry)?;
                }
            }
            Ok(_) => self.single(path)?,
        }
        Ok(())
    }

    fn single(&mut self, path: &Path) -> io::Result<()> {
        let data = path.symlink_metadata()?;
        let executable = data.is_file() && data.permissions().mode() & 0o100 != 0;
        let bytes = if data.is_dir() { 0 } else { data.len() };
        let kind = if data.is_dir() {
            "folder"
        } else if data.is_symlink() {
            "link"
        } else {
            "file"
        };
        self.text(&format!("{kind} {executable} {bytes}"));
        if data.is_symlink() {
            self.0.update(std::fs::read_link(path)?.as_os_str().as_bytes());
        } else if data.is_file() {
            feed(&mut self.0, path).map_err(|error| at(path, error))?;
        }
        Ok(())
    }

    /// The hash, in hexadecimal.
    #[must_use]
    pub fn finish(self) -> String {
        hex(self.0)
    }
}

/// Everything below `folder`, folders before what is in them, sorted; links not followed.
///
/// # Errors
/// When a folder can't be listed.
pub fn tree(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut pending = vec![folder.to_owned()];
    while let Some(current) = pending.pop() {
        for entry in std::fs::read_dir(&current).map_err(|error| at(&current, error))? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                pending.push(entry.path());
            }
            found.push(entry.path());
        }
    }
    found.sort();
    Ok(found)
}

/// An I/O error that says which file it is about.
pub(crate) fn at(path: &Path, error: io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn fingerprint(folder: &Path) -> String {
        let mut fingerprint = Fingerprint::of("test");
        fingerprint.path(folder).unwrap();
        fingerprint.finish()
    }

    #[test]
    fn a_tree_that_another_umask_made_is_the_same() {
        let folder = tempfile::tempdir().unwrap();
        let (inside, file) = (folder.path().join("a"), folder.path().join("a/file"));
        std::fs::create_dir(&inside).unwrap();
        std::fs::write(&file, "text").unwrap();
        let mode = |path: &Path, mode| {
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
        };
        mode(&file, 0o644);
        let before = fingerprint(folder.path());
        mode(&inside, 0o700);
        mode(&file, 0o600);
        assert_eq!(fingerprint(folder.path()), before);
        mode(&file, 0o700);
        assert_ne!(fingerprint(folder.path()), before);
    }
}
