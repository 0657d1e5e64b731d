//! The crates that our programs on a board are made of, as cargo resolves them for its target.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::cargo;
use crate::hash::at;
use crate::manifest::Crate;

/// Why the crates can't be told.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file.
    #[error(transparent)]
    File(#[from] std::io::Error),
    /// Cargo gave no answer.
    #[error(transparent)]
    Cargo(#[from] cargo::Error),
    /// `Cargo.lock` can't be read.
    #[error("{path}: {source}")]
    Lock {
        /// The file.
        path: String,
        /// Where and what.
        source: Box<toml::de::Error>,
    },
}

#[derive(Deserialize)]
struct Lock {
    package: Vec<Locked>,
}

#[derive(Deserialize)]
struct Locked {
    name: String,
    version: String,
    checksum: Option<String>,
}

/// The crates that get into `programs` (packages of the workspace at `root`), built for
/// `target`: without those that only compile or test them.
///
/// # Errors
/// [`Error`], when cargo can't resolve them without network.
pub fn of(root: &Path, target: &str, programs: &[&str]) -> Result<Vec<Crate>, Error> {
    let mut arguments = vec!["tree", "--locked", "--target", target];
    arguments.extend(["--edges", "normal,no-proc-macro", "--prefix", "none"]);
    arguments.extend(["--format", "{p}\t{l}\t"]);
    arguments.extend(programs.iter().flat_map(|program| ["--package", program]));
    let tree = cargo::run(root, &arguments)?;

    let path = root.join("Cargo.lock");
    let text = std::fs::read_to_string(&path).map_err(|error| at(&path, error))?;
    let lock: Lock = toml::from_str(&text).map_err(|source| Error::Lock {
        path: path.display().to_string(),
        source: Box::new(source),
    })?;
    let checksums: BTreeMap<(String, String), Option<String>> =
        lock.package.into_iter().map(|p| ((p.name, p.version), p.checksum)).collect();

    let tree = String::from_utf8_lossy(&tree);
    let mut crates = BTreeSet::new();
    for line in tree.lines() {
        let Some((name, version, licence)) = parse(line) else { continue };
        let sha256 = checksums.get(&(name.clone(), version.clone())).cloned().flatten();
        crates.insert(Crate { name, version, licence, sha256 });
    }
    Ok(crates.into_iter().collect())
}

/// `serde v1.0.0 (/a/path)<tab>MIT OR Apache-2.0<tab> (*)`
fn parse(line: &str) -> Option<(String, String, String)> {
    let mut fields = line.split('\t');
    let mut words = fields.next()?.split_whitespace();
    let name = words.next()?.to_owned();
    let version = words.next()?.strip_prefix('v')?.to_owned();
    Some((name, version, fields.next().unwrap_or_default().trim().to_owned()))
}

/// Where the sources of crates lie on this machine.
pub struct Sources {
    known: BTreeMap<(String, String), PathBuf>,
    /// The folders that hold them: what the tree needs no longer may still lie there.
    around: BTreeSet<PathBuf>,
}

impl Sources {
    /// Those that the source tree at `root` is made of now, for `target`.
    ///
    /// # Errors
    /// [`Error`], when cargo can't resolve them without network.
    pub fn find(root: &Path, target: &str) -> Result<Self, Error> {
        let packages = cargo::metadata(root, &["--locked", "--filter-platform", target])?;
        let folder = |package: cargo::Package| {
            let folder = package.folder();
            ((package.name, package.version), folder)
        };
        let known: BTreeMap<_, _> = packages.into_iter().map(folder).collect();
        let around = known.values().filter_map(|folder| folder.parent().map(Path::to_owned));
        Ok(Self { around: around.collect(), known })
    }

    /// The folder of a crate.
    #[must_use]
    pub fn of(&self, part: &Crate) -> Option<PathBuf> {
        if let Some(folder) = self.known.get(&(part.name.clone(), part.version.clone())) {
            return Some(folder.clone());
        }
        let name = format!("{}-{}", part.name, part.version);
        self.around.iter().map(|folder| folder.join(&name)).find(|folder| folder.is_dir())
    }
}
