//! What is in an image: written beside it by `build`, read by `sizes` and `run`.

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
    /// What is shipped: kernel, initramfs, root. In this order.
    pub parts: Vec<Part>,
    /// The packages that have a file in the image.
    pub packages: Vec<PackageVersion>,
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

    /// The partition `name`.
    #[must_use]
    pub fn partition(&self, name: &str) -> Option<&Partition> {
        self.partitions.iter().find(|partition| partition.name == name)
    }
}
