//! Debian packages for the target: resolved, downloaded and checked by apt, unpacked by
//! dpkg-deb. No maintainer script runs and nothing is installed.
//!
//! | module | holds |
//! |---|---|
//! | `archive` | an apt of our own: its sources, its index, its downloads |
//! | `record` | what the index says of a package |
//! | `pool` | the packages of one build, unpacked; more are fetched as they turn out to be needed |
//! | `version` | which of two versions is older |

mod archive;
mod pool;
mod record;
mod version;

use std::path::PathBuf;

pub use archive::{Archive, KEYRING};
pub use pool::{Package, Pool};
pub use record::Record;
pub use version::compare as compare_versions;

use crate::tool;

/// What can go wrong between the archive and an unpacked package.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file of ours can't be read or written.
    #[error("{}: {source}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// A program failed.
    #[error(transparent)]
    Tool(#[from] tool::Error),
    /// The keys that the archive is signed with are not on this machine.
    #[error(
        "{} is missing: packages can't be checked without it; it is in the package \
         debian-archive-keyring (`./scripts/setup firmware`)", path.display()
    )]
    NoKeyring {
        /// Where it should be.
        path: PathBuf,
    },
    /// mmdebstrap did not say where packages come from.
    #[error("mmdebstrap named no package source for the release {suite:?}:\n{output}")]
    NoSources {
        /// The release.
        suite: String,
        /// What it said.
        output: String,
    },
    /// The index could not be brought up to date, after several tries.
    #[error(
        "the package index of {suite} could not be fetched or its signature does not hold, after \
         {tries} tries (an archive can be out of step with itself for a while: try again):\n{source}"
    )]
    Index {
        /// The release.
        suite: String,
        /// How often it was tried.
        tries: usize,
        /// What apt said last.
        source: tool::Error,
    },
    /// The index has no such package.
    #[error("there is no package {name:?} in {suite} for {architecture}{}",
        if needed_by.is_empty() { String::new() } else { format!(" (needed by {needed_by})") })]
    NoSuchPackage {
        /// The package.
        name: String,
        /// The release.
        suite: String,
        /// Debian's name of the architecture.
        architecture: &'static str,
        /// Who wants it, or nothing.
        needed_by: String,
    },
    /// A build that is held to a list of packages wants another one.
    #[error("the package {name} is not among those of firmware.lock for {suite} {architecture}")]
    NotLocked {
        /// The package.
        name: String,
        /// The release.
        suite: String,
        /// Debian's name of the architecture.
        architecture: &'static str,
    },
    /// A package could not be downloaded.
    #[error("the package {name} {version} could not be downloaded:\n{reason}")]
    Download {
        /// The package.
        name: String,
        /// Its version.
        version: String,
        /// What apt said.
        reason: String,
    },
    /// What lies there is not what the signed index names.
    #[error(
        "the package {name} {version} is broken: {} has the SHA-256 {found}, the signed index or \
         firmware.lock says {expected}", path.display()
    )]
    Broken {
        /// The package.
        name: String,
        /// Its version.
        version: String,
        /// The file.
        path: PathBuf,
        /// Its hash.
        found: String,
        /// The hash it should have.
        expected: String,
    },
    /// It could not be unpacked.
    #[error("the package {name} {version} could not be unpacked: {source}")]
    Unpack {
        /// The package.
        name: String,
        /// Its version.
        version: String,
        /// What dpkg-deb said.
        source: tool::Error,
    },
}

impl Error {
    /// Whether a fresh index may cure it: the archive drops a version as soon as it has a
    /// newer one.
    #[must_use]
    pub fn may_be_stale(&self) -> bool {
        matches!(self, Self::Download { .. } | Self::Broken { .. })
    }
}
