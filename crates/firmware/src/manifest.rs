//! What is in an image: written beside it by `build`, read by the verbs that tell of it.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::hash::at;

/// The contents of an image.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
pub struct Manifest {
    /// The board's name.
    pub board: String,
    /// Debian's name of the architecture.
    pub architecture: String,
    /// The Debian release that the packages are from.
    #[serde(default)]
    pub suite: String,
    /// What is shipped: kernel, initramfs, root. In this order.
    pub parts: Vec<Part>,
    /// The packages that have a file in the image.
    pub packages: Vec<PackageVersion>,
    /// What our own programs in the image are made of.
    #[serde(default)]
    pub programs: Programs,
    /// The partitions, in the order of the disk.
    pub partitions: Vec<Partition>,
    /// The SHA-256 of the disk image.
    pub image_sha256: String,
}

/// A part of the image as it is shipped.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
pub struct Part {
    /// `kernel`, `initramfs`, `root`.
    pub name: String,
    /// Its size as shipped (compressed).
    pub bytes: u64,
    /// What it was made of.
    pub files: Vec<File>,
}

/// A file in a part.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize)]
pub struct File {
    /// Its path in the part, without a leading slash.
    pub path: String,
    /// The package it comes from; `peercam` for what is built here.
    pub package: String,
    /// Its size, uncompressed.
    pub bytes: u64,
}

/// A package and the version that is in the image.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize)]
pub struct PackageVersion {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// The SHA-256 of its file, as the signed index has it.
    pub sha256: String,
}

/// What our programs are made of, as it was when they were compiled: the source tree goes on,
/// an image stays.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
pub struct Programs {
    /// The crates that get into them, by name and version.
    pub crates: Vec<Crate>,
    /// Rust's own library.
    pub standard_library: StandardLibrary,
}

/// A crate in a program.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize)]
pub struct Crate {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Its licence, an SPDX expression; empty where it names none.
    pub licence: String,
    /// The SHA-256 of its file in the registry; none for those of this source tree.
    pub sha256: Option<String>,
}

/// Rust's standard library, as the compiler's container has it: a Debian package.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
pub struct StandardLibrary {
    /// The package's name.
    pub name: String,
    /// The package's version.
    pub version: String,
}

/// A partition of the disk image.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
pub struct Partition {
    /// Its label in the partition table.
    pub name: String,
    /// Where it begins, in bytes.
    pub start: u64,
    /// How long it is, in bytes.
    pub size: u64,
}

impl Manifest {
    /// Reads a manifest.
    ///
    /// # Errors
    /// When it is missing or not one, with its path.
    pub fn read(path: &Path) -> std::io::Result<Self> {
        let text = std::fs::read(path).map_err(|error| at(path, error))?;
        serde_json::from_slice(&text).map_err(|error| at(path, error.into()))
    }

    /// Writes it.
    ///
    /// # Errors
    /// When it can't be written, with its path.
    pub fn write(&self, path: &Path) -> std::io::Result<()> {
        let mut text = serde_json::to_vec_pretty(self)?;
        text.push(b'\n');
        std::fs::write(path, text).map_err(|error| at(path, error))
    }

    /// What our programs are made of.
    ///
    /// # Errors
    /// When the image is from a builder that did not write that down.
    pub fn programs(&self) -> Result<&Programs, NoPrograms> {
        if self.programs.crates.is_empty() {
            return Err(NoPrograms { board: self.board.clone() });
        }
        Ok(&self.programs)
    }

    /// The partition `name`.
    #[must_use]
    pub fn partition(&self, name: &str) -> Option<&Partition> {
        self.partitions.iter().find(|partition| partition.name == name)
    }
}

/// A manifest says nothing of the programs.
#[derive(Debug, thiserror::Error)]
#[error(
    "the image of {board} is older than the list of its crates: `peercam-firmware build --board \
     {board}` makes it anew"
)]
pub struct NoPrograms {
    /// The board.
    board: String,
}
