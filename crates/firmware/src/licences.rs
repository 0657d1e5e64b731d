//! The licences of what is in an image: what Debian's packages and the crates say of
//! themselves, as a text to ship with a camera.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::io;
use std::path::{Path, PathBuf};

use crate::crates::Sources;
use crate::debian;
use crate::hash::at;
use crate::manifest::{Crate, Manifest, PackageVersion, StandardLibrary};

/// How the names of files with a licence in them begin, in small letters.
const NAMES: [&str; 6] = ["license", "licence", "copying", "copyright", "notice", "unlicense"];

/// Where Debian keeps the licences that copyright files name instead of repeating them, and
/// the package that has them.
const COMMON: (&str, &str) = ("base-files", "usr/share/common-licenses");

/// Why a licence can't be told.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file.
    #[error(transparent)]
    File(#[from] io::Error),
    /// Of a package's file nothing is left in the cache.
    #[error(
        "the package {name} {version} is not in {}: `peercam-firmware build --board {board}` \
         makes the image anew, and brings its packages there", unpacked.display()
    )]
    NotUnpacked {
        /// The package.
        name: String,
        /// Its version.
        version: String,
        /// Where packages are unpacked.
        unpacked: PathBuf,
        /// The board.
        board: String,
    },
    /// The source tree went on, and does not need a crate of the image any more.
    #[error(
        "the source of the crate {name} {version} is not here: the image was built from another \
         Cargo.lock. Check out the commit that it was built from, and run `cargo fetch --locked` there"
    )]
    NoSource {
        /// The crate.
        name: String,
        /// Its version.
        version: String,
    },
    /// A package has no copyright file, nor one that it points to.
    #[error("the package {name} {version} has no copyright file")]
    NoCopyright {
        /// The package.
        name: String,
        /// Its version.
        version: String,
    },
}

/// What to have beside these packages to know their licences: those that they point to, and the
/// one with the licences that copyright files only name.
///
/// # Errors
/// When a link can't be read, with its path.
pub fn beside<'a>(
    packages: impl Iterator<Item = &'a debian::Package>,
) -> io::Result<BTreeSet<String>> {
    let mut names = BTreeSet::from([COMMON.0.to_owned()]);
    for package in packages {
        names.extend(points_to(&package.folder, &package.record.name)?);
    }
    Ok(names)
}

/// The package of the same source whose documentation stands for that of `name`.
fn points_to(folder: &Path, name: &str) -> io::Result<Option<String>> {
    let doc = folder.join("usr/share/doc").join(name);
    if !doc.is_symlink() {
        return Ok(None);
    }
    let target = std::fs::read_link(&doc).map_err(|error| at(&doc, error))?;
    Ok(target.file_name().map(|name| name.to_string_lossy().into_owned()))
}

/// The packages of an image, unpacked, and where the licence of each is.
pub struct Packages<'a> {
    manifest: &'a Manifest,
    unpacked: PathBuf,
}

impl<'a> Packages<'a> {
    /// The packages of the image with this manifest, in the folder that a build unpacks to.
    #[must_use]
    pub fn new(manifest: &'a Manifest, unpacked: PathBuf) -> Self {
        Self { manifest, unpacked }
    }

    /// Packages whose licences others of the image point to or name, and that are not unpacked:
    /// they have to be brought before [`Packages::notices`].
    ///
    /// # Errors
    /// [`Error`], which names the package.
    pub fn lacking(&self) -> Result<BTreeSet<String>, Error> {
        let mut lacking = BTreeSet::new();
        for package in &self.manifest.packages {
            if let Some(other) = self.points_to(package)?
                && self.folder(&other, &package.version, None).is_none()
            {
                lacking.insert(other);
            }
        }
        if self.any_version(COMMON.0).is_none() {
            lacking.insert(COMMON.0.to_owned());
        }
        Ok(lacking)
    }

    /// The copyright file of each package, those with the same text together; then the
    /// licences that they name and don't repeat.
    ///
    /// # Errors
    /// [`Error`], which names the package.
    pub fn notices(&self) -> Result<Vec<Notice>, Error> {
        let mut notices = Notices::default();
        for package in &self.manifest.packages {
            let PackageVersion { name, version, .. } = package;
            let none = || Error::NoCopyright { name: name.clone(), version: version.clone() };
            let (folder, of) = match self.points_to(package)? {
                Some(other) => (self.folder(&other, version, None).ok_or_else(none)?, other),
                None => (self.own(package)?, name.clone()),
            };
            let path = folder.join("usr/share/doc").join(of).join("copyright");
            if !path.is_file() {
                return Err(none());
            }
            notices.add(read(&path)?, format!("{name} {version}"));
        }
        let mut notices = notices.sorted();
        notices.extend(self.named(&notices)?);
        Ok(notices)
    }

    /// The licences that Debian's systems have in one place and copyright files only name.
    fn named(&self, notices: &[Notice]) -> Result<Vec<Notice>, Error> {
        let (package, path) = COMMON;
        let Some(folder) = self.any_version(package).map(|folder| folder.join(path)) else {
            return Ok(Vec::new());
        };
        let start = format!("/{path}/");
        let names: BTreeSet<&str> = notices
            .iter()
            .flat_map(|notice| notice.text.split(&start).skip(1))
            .map(|rest| {
                let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && !"-.".contains(c));
                rest[..end.unwrap_or(rest.len())].trim_end_matches(['-', '.'])
            })
            .collect();
        let mut texts = Vec::new();
        // A name that Debian doesn't have is a slip of the copyright file.
        for name in names.into_iter().filter(|name| folder.join(name).is_file()) {
            let text = read(&folder.join(name))?;
            texts.push(Notice { of: vec![format!("{start}{name}, named above")], text });
        }
        Ok(texts)
    }

    /// The newest of a package that the image does not have itself.
    fn any_version(&self, name: &str) -> Option<PathBuf> {
        let start = format!("{name}_");
        let entries = std::fs::read_dir(&self.unpacked).ok()?;
        let version = |path: &Path| {
            let name = path.file_name()?.to_string_lossy();
            let (version, _) = name.strip_prefix(&start)?.split_once('_')?;
            Some(version.replace("%3a", ":"))
        };
        let folders = entries.filter_map(|entry| {
            let path = entry.ok()?.path();
            Some((version(&path)?, path))
        });
        folders.max_by(|(a, _), (b, _)| debian::compare_versions(a, b)).map(|(_, path)| path)
    }

    fn own(&self, package: &PackageVersion) -> Result<PathBuf, Error> {
        let PackageVersion { name, version, sha256 } = package;
        self.folder(name, version, Some(sha256)).ok_or_else(|| Error::NotUnpacked {
            name: name.clone(),
            version: version.clone(),
            unpacked: self.unpacked.clone(),
            board: self.manifest.board.clone(),
        })
    }

    /// The package of the same source whose documentation stands for this one's.
    fn points_to(&self, package: &PackageVersion) -> Result<Option<String>, Error> {
        Ok(points_to(&self.own(package)?, &package.name)?)
    }

    /// `libc6_2.41-1_arm64.deb-<hash>`
    fn folder(&self, name: &str, version: &str, sha256: Option<&str>) -> Option<PathBuf> {
        let start = format!("{name}_{}_", version.replace(':', "%3a"));
        let end = sha256.map(|hash| format!("-{}", hash.get(..16).unwrap_or(hash)));
        let fits = |path: &PathBuf| {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            name.starts_with(&start) && end.as_ref().is_none_or(|end| name.ends_with(end))
        };
        let entries = std::fs::read_dir(&self.unpacked).ok()?;
        entries.filter_map(|entry| Some(entry.ok()?.path())).find(fits)
    }
}

/// The licence of Rust's standard library: `copyright`, as the compiler's container has it.
///
/// # Errors
/// When the file can't be read.
pub fn of_standard_library(library: &StandardLibrary, copyright: &Path) -> Result<Notice, Error> {
    let of = format!("{} {} (Rust's standard library)", library.name, library.version);
    Ok(Notice { of: vec![of], text: read(copyright)? })
}

/// The licence files of crates, those with the same text together. Crates of the workspace
/// at `root` have its licence.
///
/// # Errors
/// [`Error::NoSource`] for a crate that is not on this machine, or when a file can't be read.
pub fn of_crates(root: &Path, crates: &[Crate], sources: &Sources) -> Result<Vec<Notice>, Error> {
    let mut notices = Notices::default();
    for part in crates {
        let words = if part.licence.is_empty() { "names no licence" } else { &part.licence };
        let of = format!("{} {} ({words})", part.name, part.version);
        let mut paths = match (sources.of(part), &part.sha256) {
            (Some(folder), _) => licence_files(&folder)?,
            (None, None) => Vec::new(),
            (None, Some(_)) => {
                let (name, version) = (part.name.clone(), part.version.clone());
                return Err(Error::NoSource { name, version });
            }
        };
        if paths.is_empty() && part.sha256.is_none() {
            paths = licence_files(root)?;
        }
        if paths.is_empty() {
            notices.add("(no licence file in its source)\n".to_owned(), of);
            continue;
        }
        for path in paths {
            notices.add(read(&path)?, of.clone());
        }
    }
    Ok(notices.sorted())
}

fn licence_files(folder: &Path) -> Result<Vec<PathBuf>, Error> {
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(|error| at(folder, error))? {
        let path = entry.map_err(|error| at(folder, error))?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().to_lowercase();
        if path.is_file() && NAMES.iter().any(|start| name.starts_with(start)) {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}

/// A text, and what it is the licence of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    /// Packages or crates with their versions, sorted.
    pub of: Vec<String>,
    /// The text as it is.
    pub text: String,
}

#[derive(Default)]
struct Notices(BTreeMap<String, Vec<String>>);

impl Notices {
    fn add(&mut self, text: String, of: String) {
        self.0.entry(text).or_default().push(of);
    }

    /// In the order of what they are for.
    fn sorted(self) -> Vec<Notice> {
        let notice = |(text, of)| Notice { of, text };
        let mut notices: Vec<Notice> = self.0.into_iter().map(notice).collect();
        notices.sort_by(|a, b| a.of.cmp(&b.of));
        notices
    }
}

/// The notices one after the other, for people.
#[must_use]
pub fn to_text(board: &str, notices: &[Notice]) -> String {
    let mut text = format!("Licences of what is in the image for {board}\n");
    for Notice { of, text: licence } in notices {
        // Writing to a String can't fail.
        let _ = write!(text, "\n{}\n", "=".repeat(78));
        for name in of {
            let _ = writeln!(text, "{name}");
        }
        let _ = writeln!(text, "{}\n\n{}", "-".repeat(78), licence.trim_end());
    }
    text
}

/// Old files are not all UTF-8.
fn read(path: &Path) -> Result<String, Error> {
    let bytes = std::fs::read(path).map_err(|error| at(path, error))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
