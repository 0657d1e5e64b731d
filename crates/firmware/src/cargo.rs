//! Asking cargo about the source tree: never with network, so that an answer does not depend
//! on the hour.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde::Deserialize;

use crate::hash::at;
use crate::tool;

/// A package as `cargo metadata` describes it.
#[derive(Debug, Deserialize)]
pub(crate) struct Package {
    pub name: String,
    pub version: String,
    pub manifest_path: PathBuf,
    pub dependencies: Vec<Dependency>,
}

/// What a package asks for.
#[derive(Debug, Deserialize)]
pub(crate) struct Dependency {
    pub name: String,
    /// `dev` or `build`; none for what gets into the package.
    pub kind: Option<String>,
}

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
}

impl Package {
    /// Where its source lies.
    pub fn folder(&self) -> PathBuf {
        self.manifest_path.parent().map(Path::to_owned).unwrap_or_default()
    }
}

/// Why cargo gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It can't be started.
    #[error(transparent)]
    Start(#[from] io::Error),
    /// It said no.
    #[error("{0}\n`cargo fetch --locked` downloads what is missing")]
    Refused(tool::Error),
    /// It answered something else.
    #[error("`cargo metadata` gave something unexpected: {0}")]
    Metadata(serde_json::Error),
}

/// What cargo prints, run in the source tree at `root`.
pub(crate) fn run(root: &Path, arguments: &[&str]) -> Result<Vec<u8>, Error> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo"));
    let mut command = Command::new(&cargo);
    command.current_dir(root).args(arguments).args(["--offline", "--quiet", "--color", "never"]);
    let output = command.stdin(Stdio::null()).output().map_err(|e| at(Path::new(&cargo), e))?;
    Ok(tool::check(&cargo, output).map_err(Error::Refused)?.stdout)
}

/// The packages of the workspace at `root`; `arguments` say which others.
pub(crate) fn metadata(root: &Path, arguments: &[&str]) -> Result<Vec<Package>, Error> {
    let arguments = [&["metadata", "--format-version", "1"], arguments].concat();
    let metadata: Metadata =
        serde_json::from_slice(&run(root, &arguments)?).map_err(Error::Metadata)?;
    Ok(metadata.packages)
}
