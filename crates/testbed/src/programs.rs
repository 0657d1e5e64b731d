//! Where the programs are that the testbed starts.

use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
};

use crate::error::{Error, Result};

/// The repository this testbed was built from.
pub fn repository() -> PathBuf {
    // crates/testbed/../..
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(2).unwrap_or(here).to_owned()
}

/// A binary of this workspace, built with the same profile as the program that asks: it lies
/// beside it (`target/<profile>/`), or one folder up for a test (`target/<profile>/deps/`).
pub fn workspace(package: &str) -> Result<PathBuf> {
    let me = env::current_exe().map_err(Error::io("finding this program's own path"))?;
    me.ancestors()
        .skip(1)
        .take(2)
        .map(|folder| folder.join(package))
        .find(|path| path.is_file())
        .ok_or_else(|| {
            let folder = me.parent().map(|folder| folder.display().to_string());
            Error::Missing {
                program: format!("{}/{package}", folder.unwrap_or_default()),
                remedy: format!("build it: cargo build {}-p {package}", profile()),
            }
        })
}

/// Builds packages of this workspace with this program's profile, if cargo runs us (it tells by
/// `$CARGO`); otherwise what is there is used. Shows cargo's progress.
pub fn build(packages: &[&str]) -> Result<()> {
    let Some(cargo) = env::var_os("CARGO") else { return Ok(()) };
    let mut command = Command::new(cargo);
    command.current_dir(repository()).arg("build").args(profile().split_whitespace());
    for package in packages {
        command.args(["-p", package]);
    }
    // What cargo says about the package it runs would be taken for a change by build scripts that
    // look at it, and half of the workspace be built again.
    let told = env::vars_os().map(|(name, _)| name).filter(|name| {
        let name = name.to_string_lossy();
        ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_", "CARGO_CRATE_", "CARGO_PRIMARY_"]
            .iter()
            .any(|prefix| name.starts_with(prefix))
    });
    for name in told {
        command.env_remove(name);
    }
    let what = format!("building {}", packages.join(", "));
    let status = command.status().map_err(Error::io(what.clone()))?;
    if status.success() {
        return Ok(());
    }
    Err(Error::Missing {
        program: packages.join(", "),
        remedy: "cargo could not build it: see its lines above".to_owned(),
    })
}

/// What tells cargo to use the profile this program was built with.
fn profile() -> &'static str {
    if cfg!(debug_assertions) { "" } else { "--release " }
}

/// Chromium: `$CHROMIUM`, or the first of its usual names on `$PATH`.
pub fn chromium() -> Result<PathBuf> {
    installed("CHROMIUM", &["chromium", "chromium-browser", "google-chrome"], "chromium")
}

/// The WebDriver server of Chromium: `$CHROMEDRIVER`, or `chromedriver` on `$PATH`.
pub fn chromedriver() -> Result<PathBuf> {
    installed("CHROMEDRIVER", &["chromedriver"], "chromium-driver")
}

/// The NATS server: `$NATS_SERVER`, or `nats-server` on `$PATH` or in `/usr/sbin`, where Debian has
/// it.
pub fn nats_server() -> Result<PathBuf> {
    installed("NATS_SERVER", &["nats-server", "/usr/sbin/nats-server"], "nats-server")
}

fn installed(variable: &str, names: &[&str], package: &str) -> Result<PathBuf> {
    if let Some(path) = env::var_os(variable) {
        let path = PathBuf::from(path);
        if path.is_file() {
            return Ok(path);
        }
        return Err(Error::Missing {
            program: path.display().to_string(),
            remedy: format!("${variable} names it: correct the variable or unset it"),
        });
    }
    let folders: Vec<_> =
        env::var_os("PATH").map(|path| env::split_paths(&path).collect()).unwrap_or_default();
    names
        .iter()
        .flat_map(|name| folders.iter().map(move |folder| folder.join(name)))
        .find(|path| path.is_file())
        .ok_or_else(|| Error::Missing {
            program: names.join(" or "),
            remedy: format!(
                "install it with scripts/setup (Debian package {package}), or name it in ${variable}"
            ),
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_repository_is_the_folder_with_the_workspace() {
        assert!(repository().join("crates/testbed/Cargo.toml").is_file());
    }

    #[test]
    fn a_missing_program_is_named_with_the_way_to_get_it() {
        let error = workspace("peercam-nonsense").unwrap_err().to_string();
        assert!(error.contains("cargo build -p peercam-nonsense"), "{error}");
        let error = installed("PEERCAM_NO_SUCH", &["no-such-browser"], "chromium").unwrap_err();
        assert!(error.to_string().contains("scripts/setup"), "{error}");
    }
}
