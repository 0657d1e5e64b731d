//! The ELF closure: from the files that a board lists to all that must be in the root for
//! them to run, and nothing else.
//!
//! A file is taken from a package; if it is a link, so is what it points to; if it is a
//! program or library, so is every library it needs, and its dynamic linker. A package that
//! holds a needed library is searched for among the dependencies of the package whose file
//! needs it: Debian's policy is that it must be there.

use std::collections::{BTreeMap, VecDeque};
use std::path::{Component, Path, PathBuf};

use crate::board::Architecture;
use crate::debian::{self, Pool};
use crate::elf;

/// Where a file of the root comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// The package, or `peercam` for what is built here.
    pub package: String,
    /// The file itself.
    pub source: PathBuf,
}

/// The packages to search in.
pub trait Packages {
    /// The file at `path` (in the root, `usr/…`) of any package that is at hand.
    fn find(&self, path: &Path) -> Option<Origin>;

    /// Fetches one more package that may hold `library`, which a file of the package
    /// `needed_by` needs. `false` when there is none left to fetch.
    ///
    /// # Errors
    /// When a package can't be fetched.
    fn widen(&mut self, library: &str, needed_by: &str) -> Result<bool, debian::Error>;
}

/// Why the closure can't be closed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A package could not be had.
    #[error(transparent)]
    Package(#[from] debian::Error),
    /// A file can't be read.
    #[error("{}: {source}", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// A file is an ELF file, but not a whole one.
    #[error("{} (of {package}): {message}", path.display())]
    Damaged {
        /// Which.
        path: PathBuf,
        /// Whose.
        package: String,
        /// In what way.
        message: String,
    },
    /// A file is for another processor.
    #[error("{} (of {package}) is not for {architecture}", path.display())]
    WrongMachine {
        /// Which.
        path: PathBuf,
        /// Whose.
        package: String,
        /// The board's architecture.
        architecture: &'static str,
    },
    /// The board lists a file that its package does not have.
    #[error("the package {package} has no file {}: correct it in the board's file", path.display())]
    NoSuchFile {
        /// The path, in the root.
        path: PathBuf,
        /// The package.
        package: String,
    },
    /// No package has a library.
    #[error("{library} is missing: {} (of {package}) needs it, and no package that {package} depends on has it", needed_by.display())]
    MissingLibrary {
        /// Its name.
        library: String,
        /// The file that needs it.
        needed_by: PathBuf,
        /// The package of that file.
        package: String,
    },
    /// A link points to nothing.
    #[error("{} (of {package}) is a link to {}, which no package at hand has", link.display(), target.display())]
    DanglingLink {
        /// The link.
        link: PathBuf,
        /// What it points to.
        target: PathBuf,
        /// The package of the link.
        package: String,
    },
}

/// The files of a root, as they come together.
#[derive(Debug)]
pub struct Closure<'p, P> {
    packages: &'p mut P,
    architecture: Architecture,
    files: BTreeMap<PathBuf, Origin>,
}

impl<'p, P: Packages> Closure<'p, P> {
    /// Nothing in it yet.
    pub fn new(packages: &'p mut P, architecture: Architecture) -> Self {
        Self { packages, architecture, files: BTreeMap::new() }
    }

    /// Adds the file or folder at `path` of `package`, which must be at hand, and all that
    /// it needs.
    ///
    /// # Errors
    /// [`Error`]; both the file that needs something and what it needs are named.
    pub fn add(&mut self, path: &Path, package: &str) -> Result<(), Error> {
        let origin =
            self.packages.find(path).filter(|origin| origin.package == package).ok_or_else(
                || Error::NoSuchFile { path: path.to_owned(), package: package.to_owned() },
            )?;
        self.add_from(path, origin)
    }

    /// Adds a file that is in no package: it goes to `path`, and brings what it needs.
    ///
    /// # Errors
    /// As [`Closure::add`].
    pub fn add_own(&mut self, path: &Path, source: &Path) -> Result<(), Error> {
        self.add_from(path, Origin { package: OWN.to_owned(), source: source.to_owned() })
    }

    /// The files: path in the root → where it comes from.
    #[must_use]
    pub fn into_files(self) -> BTreeMap<PathBuf, Origin> {
        self.files
    }

    fn add_from(&mut self, path: &Path, origin: Origin) -> Result<(), Error> {
        let mut pending = VecDeque::from([(path.to_owned(), origin)]);
        while let Some((path, origin)) = pending.pop_front() {
            if self.files.contains_key(&path) {
                continue;
            }
            let read = |source| Error::Read { path: origin.source.clone(), source };
            let kind = origin.source.symlink_metadata().map_err(read)?.file_type();
            if kind.is_dir() {
                for entry in std::fs::read_dir(&origin.source).map_err(read)? {
                    let entry = entry.map_err(read)?;
                    let child = Origin { source: entry.path(), ..origin.clone() };
                    pending.push_back((path.join(entry.file_name()), child));
                }
                continue;
            }
            if kind.is_symlink() {
                let to = std::fs::read_link(&origin.source).map_err(read)?;
                let target = in_root(&path, &to);
                let found = self.packages.find(&target).ok_or_else(|| Error::DanglingLink {
                    link: path.clone(),
                    target: target.clone(),
                    package: origin.package.clone(),
                })?;
                pending.push_back((target, found));
            } else {
                let data = std::fs::read(&origin.source).map_err(read)?;
                pending.extend(self.needs_of(&path, &origin, &data)?);
            }
            self.files.insert(path, origin);
        }
        Ok(())
    }

    /// The libraries that a file needs, and its dynamic linker.
    fn needs_of(
        &mut self,
        path: &Path,
        origin: &Origin,
        data: &[u8],
    ) -> Result<Vec<(PathBuf, Origin)>, Error> {
        let damaged = |message| Error::Damaged {
            path: path.to_owned(),
            package: origin.package.clone(),
            message,
        };
        let Some(needs) = elf::needs(data).map_err(damaged)? else { return Ok(Vec::new()) };
        if needs.machine != self.architecture.elf_machine() {
            return Err(Error::WrongMachine {
                path: path.to_owned(),
                package: origin.package.clone(),
                architecture: self.architecture.debian(),
            });
        }

        let folder = path.parent().unwrap_or(Path::new(""));
        let mut folders: Vec<PathBuf> = needs
            .run_path
            .iter()
            .map(|entry| match entry.strip_prefix("$ORIGIN") {
                Some(rest) => in_root(path, Path::new(rest.trim_start_matches('/'))),
                None => in_root(folder, Path::new(entry)),
            })
            .collect();
        folders.extend(self.architecture.library_folders());

        let mut found = Vec::new();
        if let Some(interpreter) = &needs.interpreter {
            let candidates = [in_root(Path::new(""), Path::new(interpreter))];
            found.push(self.library(interpreter, &candidates, path, origin)?);
        }
        for library in &needs.libraries {
            let candidates: Vec<_> = folders.iter().map(|folder| folder.join(library)).collect();
            found.push(self.library(library, &candidates, path, origin)?);
        }
        Ok(found)
    }

    fn library(
        &mut self,
        library: &str,
        candidates: &[PathBuf],
        needed_by: &Path,
        origin: &Origin,
    ) -> Result<(PathBuf, Origin), Error> {
        loop {
            for path in candidates {
                let known = self.files.get(path).cloned();
                if let Some(found) = known.or_else(|| self.packages.find(path)) {
                    return Ok((path.clone(), found));
                }
            }
            if !self.packages.widen(library, &origin.package)? {
                return Err(Error::MissingLibrary {
                    library: library.to_owned(),
                    needed_by: needed_by.to_owned(),
                    package: origin.package.clone(),
                });
            }
        }
    }
}

/// The package name of what is built here.
pub const OWN: &str = "peercam";

/// The path in the root that a link at `from` to `to` means. Every folder of the root that
/// has a counterpart below `/usr` is a link to it.
fn in_root(from: &Path, to: &Path) -> PathBuf {
    let start = if to.is_absolute() { Path::new("") } else { from.parent().unwrap_or(from) };
    let mut path = start.to_owned();
    for part in to.components() {
        match part {
            Component::ParentDir => {
                path.pop();
            }
            Component::Normal(name) => path.push(name),
            Component::CurDir | Component::RootDir | Component::Prefix(_) => {}
        }
    }
    if ["bin", "sbin", "lib"].iter().any(|merged| path.starts_with(merged)) {
        path = Path::new("usr").join(path);
    }
    path
}

impl Packages for Pool<'_> {
    fn find(&self, path: &Path) -> Option<Origin> {
        // Some packages still ship /bin, /sbin and /lib themselves.
        let unmerged = path.strip_prefix("usr").ok();
        self.packages().values().find_map(|package| {
            let paths = std::iter::once(path).chain(unmerged);
            let mut sources = paths.map(|path| package.folder.join(path));
            let source = sources.find(|source| source.symlink_metadata().is_ok())?;
            Some(Origin { package: package.record.name.clone(), source })
        })
    }

    fn widen(&mut self, library: &str, needed_by: &str) -> Result<bool, debian::Error> {
        // What is built here has no dependencies of its own that Debian knows of.
        let mut candidates: Vec<String> = match self.get(needed_by) {
            Some(package) => package.record.depends.clone(),
            None => self.packages().values().flat_map(|p| p.record.depends.clone()).collect(),
        };
        candidates.retain(|name| self.may_bring(name));
        candidates.sort_by_key(|name| std::cmp::Reverse(likeness(library, name)));
        let Some(next) = candidates.into_iter().next() else { return Ok(false) };
        self.bring(&[next])?;
        Ok(true)
    }
}

/// How much a package's name looks like a library's: packages are named after the library
/// that they hold (`libopus.so.0` is in `libopus0`), or begin like it
/// (`libgstvideo-1.0.so.0` is in `libgstreamer-plugins-base1.0-0`).
fn likeness(library: &str, package: &str) -> (usize, std::cmp::Reverse<usize>) {
    let squash = |name: &str| -> String {
        name.chars().filter(char::is_ascii_alphanumeric).collect::<String>().to_ascii_lowercase()
    };
    let library = squash(&library.replacen(".so", "", 1));
    let package = squash(package.strip_suffix("t64").unwrap_or(package));
    let common = library.bytes().zip(package.bytes()).take_while(|(a, b)| a == b).count();
    (common, std::cmp::Reverse(package.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_is_followed_inside_the_root_whichever_way_it_is_written() {
        let from = Path::new("usr/lib/aarch64-linux-gnu/libx.so.1");
        for (to, meant) in [
            ("libx.so.1.2", "usr/lib/aarch64-linux-gnu/libx.so.1.2"),
            ("../libx.so.1.2", "usr/lib/libx.so.1.2"),
            ("/lib/libx.so.1.2", "usr/lib/libx.so.1.2"),
            ("/etc/alternatives/x", "etc/alternatives/x"),
            ("../../../../../x", "x"),
        ] {
            assert_eq!(in_root(from, Path::new(to)), Path::new(meant), "{to}");
        }
    }

    #[test]
    fn the_package_named_after_the_library_is_looked_into_first() {
        for (library, first, second) in [
            ("libopus.so.0", "libopus0", "libogg0"),
            ("libglib-2.0.so.0", "libglib2.0-0t64", "libgcc-s1"),
            ("libx264.so.164", "libx264-164", "libx265-215"),
            ("libgstvideo-1.0.so.0", "libgstreamer-plugins-base1.0-0", "libgudev-1.0-0"),
        ] {
            assert!(likeness(library, first) > likeness(library, second), "{library}");
        }
    }
}
