//! `firmware.lock`: every Debian package that goes into the making of the images of a source
//! tree, by version and hash, so that the same commit makes the same image next year.
//!
//! Packages are listed for each archive (a release and an architecture) that the tree's boards
//! take theirs from, with what they depend on as far as it is in the list: a build that is held
//! to the list needs no index.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::debian::{Record, compare_versions};
use crate::hash::at;
use crate::manifest::Manifest;

/// The file's name, at the top of the source tree.
pub const FILE: &str = "firmware.lock";

const HEAD: &str = "\
# The Debian packages that images are made of, for all boards. Written by
# `peercam-firmware update-lock`; not to be edited.
";

/// What is written today, and the only thing that is read.
const VERSION: u32 = 1;

/// Why the file is of no use.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It can't be read or written.
    #[error(transparent)]
    File(#[from] std::io::Error),
    /// It is none.
    #[error("{}: {source}\n`peercam-firmware update-lock` writes it anew", path.display())]
    Broken {
        /// Where.
        path: PathBuf,
        /// What is wrong.
        source: Box<toml::de::Error>,
    },
    /// It is of another time.
    #[error(
        "{}: version {found} is not known here, only {VERSION}: `peercam-firmware update-lock` \
         writes it anew", path.display()
    )]
    Version {
        /// Where.
        path: PathBuf,
        /// What it says.
        found: u32,
    },
}

/// The packages of all archives.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Lock {
    version: u32,
    #[serde(default, rename = "archive")]
    archives: Vec<Archive>,
}

/// The packages of a release for an architecture.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Archive {
    suite: String,
    architecture: String,
    #[serde(default, rename = "package")]
    packages: Vec<Record>,
}

/// Packages of several archives: (release, architecture) → name → package.
pub type Packages = BTreeMap<(String, String), BTreeMap<String, Record>>;

impl Lock {
    /// A lock of these packages.
    #[must_use]
    pub fn new(packages: Packages) -> Self {
        let archive = |((suite, architecture), packages): (_, BTreeMap<String, Record>)| {
            let names: BTreeSet<String> = packages.keys().cloned().collect();
            let packages = packages.into_values().map(|mut package| {
                let mut seen = BTreeSet::new();
                package.depends.retain(|name| names.contains(name) && seen.insert(name.clone()));
                package
            });
            Archive { suite, architecture, packages: packages.collect() }
        };
        Self { version: VERSION, archives: packages.into_iter().map(archive).collect() }
    }

    /// Reads the file; none when there is no such file.
    ///
    /// # Errors
    /// [`Error`]; where the file is wrong, with the line.
    pub fn read(path: &Path) -> Result<Option<Self>, Error> {
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(at(path, error).into()),
        };
        let broken = |source| Error::Broken { path: path.to_owned(), source: Box::new(source) };
        // The version first: what else a later one has is not to be complained of.
        let version = text.parse::<toml::Table>().map_err(broken)?.get("version").cloned();
        match version.and_then(|version| version.as_integer()) {
            Some(version) if version != i64::from(VERSION) => Err(Error::Version {
                path: path.to_owned(),
                found: u32::try_from(version).unwrap_or_default(),
            }),
            _ => Ok(Some(toml::from_str(&text).map_err(broken)?)),
        }
    }

    /// Writes the file, in one go.
    ///
    /// # Errors
    /// When it can't be written, with its path.
    pub fn write(&self, path: &Path) -> Result<(), Error> {
        let text = toml::to_string(self).map_err(std::io::Error::other)?;
        let unfinished = path.with_extension("lock.new");
        std::fs::write(&unfinished, format!("{HEAD}{text}"))
            .and_then(|()| std::fs::rename(&unfinished, path))
            .map_err(|error| at(path, error).into())
    }

    /// The packages of a release for an architecture, in Debian's words; none when the lock has no
    /// such archive.
    #[must_use]
    pub fn packages(&self, suite: &str, architecture: &str) -> Option<&[Record]> {
        let mut archives = self.archives.iter();
        let archive = archives.find(|a| a.suite == suite && a.architecture == architecture)?;
        Some(&archive.packages)
    }

    /// How many packages it has.
    #[must_use]
    pub fn len(&self) -> usize {
        self.archives.iter().map(|archive| archive.packages.len()).sum()
    }

    /// Whether it has no package.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What an image was made of that is not in the lock: `libc6 2.41-12 (2.41-11)`.
    #[must_use]
    pub fn others_in(&self, manifest: &Manifest) -> Vec<String> {
        let locked = self.packages(&manifest.suite, &manifest.architecture).unwrap_or_default();
        let other = |package: &crate::manifest::PackageVersion| {
            let version = match locked.iter().find(|locked| locked.name == package.name) {
                Some(locked) if locked.sha256 == package.sha256 => return None,
                Some(locked) => locked.version.as_str(),
                None => "none",
            };
            Some(format!("{} {} ({version})", package.name, package.version))
        };
        manifest.packages.iter().filter_map(other).collect()
    }

    /// What changes from this lock to `after`, by archive and name.
    #[must_use]
    pub fn changes(&self, after: &Self) -> Vec<Change> {
        let [before, after] = [self, after].map(Self::by_name);
        let keys: BTreeSet<_> = before.keys().chain(after.keys()).copied().collect();
        let change = |key: (&str, &str, &str)| {
            let [before, after] = [&before, &after].map(|packages| packages.get(&key).copied());
            let same = before.map(|package| &package.sha256) == after.map(|p| &p.sha256);
            let version = |package: Option<&Record>| package.map(|p| p.version.clone());
            (!same).then(|| Change {
                suite: key.0.to_owned(),
                architecture: key.1.to_owned(),
                name: key.2.to_owned(),
                before: version(before),
                after: version(after),
            })
        };
        keys.into_iter().filter_map(change).collect()
    }

    fn by_name(&self) -> BTreeMap<(&str, &str, &str), &Record> {
        let packages = self.archives.iter().flat_map(|archive| {
            let key = (archive.suite.as_str(), archive.architecture.as_str());
            archive.packages.iter().map(move |package| ((key.0, key.1, &*package.name), package))
        });
        packages.collect()
    }
}

/// A package that is not the same in two locks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Change {
    /// The Debian release.
    pub suite: String,
    /// The architecture that it is for, in Debian's words.
    pub architecture: String,
    /// The package's name.
    pub name: String,
    /// Its version before; none when it is new.
    pub before: Option<String>,
    /// Its version now; none when it is gone. The same as before when only its file is another.
    pub after: Option<String>,
}

impl Change {
    /// Whether the package is of an older version now: an archive took one back, or a part of it
    /// was left out of the index.
    #[must_use]
    pub fn is_to_older(&self) -> bool {
        let Self { before: Some(before), after: Some(after), .. } = self else { return false };
        compare_versions(after, before).is_lt()
    }
}

/// Changes for people: a heading for each archive, a line for each package.
#[must_use]
pub fn to_text(changes: &[Change]) -> String {
    let mut text = String::new();
    let mut archive = None;
    for change in changes {
        let own = (&change.suite, &change.architecture);
        // Writing to a String can't fail.
        if archive != Some(own) {
            let _ = writeln!(text, "{} {}", own.0, own.1);
            archive = Some(own);
        }
        let name = &change.name;
        let _ = match (&change.before, &change.after) {
            (Some(before), Some(after)) if before == after => {
                writeln!(text, "  {name} {after} (another file)")
            }
            (Some(before), Some(after)) => {
                let older = if change.is_to_older() { " (older)" } else { "" };
                writeln!(text, "  {name} {before} -> {after}{older}")
            }
            (None, after) => writeln!(text, "+ {name} {}", after.as_deref().unwrap_or_default()),
            (Some(before), None) => writeln!(text, "- {name} {before}"),
        };
    }
    text
}
