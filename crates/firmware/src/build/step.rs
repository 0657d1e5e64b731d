//! What a step made, and from what: kept in `out/<board>/build/<step>.json`.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::hash::at;
use crate::manifest::{PackageVersion, Part};

/// The record of a step.
#[derive(Debug, Clone, Deserialize, Serialize)]
pub(super) struct Made {
    /// The hash of all inputs.
    pub fingerprint: String,
    /// What came out.
    pub part: Part,
    /// The packages that have a file in it.
    pub packages: Vec<PackageVersion>,
}

impl Made {
    /// The record, if the step was done with the same inputs and its outputs are there.
    pub fn read(out: &Path, name: &str, fingerprint: &str, outputs: &[PathBuf]) -> Option<Self> {
        let text = std::fs::read(out.join(format!("{name}.json"))).ok()?;
        let made: Self = serde_json::from_slice(&text).ok()?;
        let same = made.fingerprint == fingerprint && outputs.iter().all(|path| path.is_file());
        same.then_some(made)
    }

    pub fn write(
        out: &Path,
        name: &str,
        fingerprint: String,
        part: Part,
        packages: Vec<PackageVersion>,
    ) -> std::io::Result<Self> {
        let made = Self { fingerprint, part, packages };
        let path = out.join(format!("{name}.json"));
        std::fs::write(&path, serde_json::to_vec(&made)?).map_err(|error| at(&path, error))?;
        Ok(made)
    }
}
