//! Our programs for the board's target, compiled by `cross` in the build container.
//!
//! Cargo itself knows best what has changed, but starting the container to ask it takes
//! seconds; so the sources are hashed here first.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::{Context, Error};
use crate::cargo;
use crate::hash::{self, at};
use crate::sizes::WATCHDOG;

/// The packages that our programs are made of, each with its profile in `Cargo.toml` and those of
/// its programs that go into `/usr/bin`.
const PACKAGES: [(&str, &str, &[&str]); 2] = [
    ("peercam-agent", "firmware", &["peercam-agent", "peercamctl"]),
    (WATCHDOG, "firmware-small", &[WATCHDOG]),
];

/// What else the programs depend on: the workspace, the compiler's container.
const INPUTS: [&str; 5] =
    ["Cargo.toml", "Cargo.lock", "Cross.toml", "scripts/build-container", "scripts/cross"];

/// What of a crate doesn't get into its program.
const NOT_INPUTS: [&str; 3] = ["benches", "examples", "tests"];

/// The packages of this workspace whose programs go into an image.
#[must_use]
pub fn programs() -> Vec<&'static str> {
    PACKAGES.iter().map(|(package, ..)| *package).collect()
}

/// Builds them; returns where they are.
pub(super) fn build(context: &Context<'_>) -> Result<Vec<PathBuf>, Error> {
    let root = context.workspace.root();
    let target = &context.board.target;
    let folder = root.join("target/cross").join(target);
    let programs = |(_, profile, programs): &(&str, &str, &'static [&str])| {
        let folder = folder.join(profile);
        programs.iter().map(move |program| folder.join(program))
    };
    let programs: Vec<PathBuf> = PACKAGES.iter().flat_map(programs).collect();

    let mut fingerprint = hash::Fingerprint::of("programs");
    fingerprint.text(target);
    for input in INPUTS {
        fingerprint.path(&root.join(input))?;
    }
    for folder in crates(root)? {
        let entries = std::fs::read_dir(&folder).map_err(|error| at(&folder, error))?;
        let mut entries = entries.map(|entry| Ok(entry?.path())).collect::<io::Result<Vec<_>>>()?;
        entries.retain(|path| !NOT_INPUTS.iter().any(|name| path.ends_with(name)));
        entries.sort();
        for entry in entries {
            fingerprint.path(&entry)?;
        }
    }
    let fingerprint = fingerprint.finish();
    // Beside the programs, not in out/: boards of the same target share them.
    let stamp = folder.join("peercam.inputs");
    let known = std::fs::read_to_string(&stamp).unwrap_or_default();
    if known == fingerprint && programs.iter().all(|program| program.is_file()) {
        context.progress.fresh("programs");
        return Ok(programs);
    }

    context.progress.note(&format!("programs ({target}), built by cross:"));
    let step = context.progress.quiet_step("programs");
    let cross = root.join("scripts/cross");
    for (package, profile, _) in PACKAGES {
        let mut command = Command::new(&cross);
        command
            .current_dir(root)
            .args(["build", "--locked", "--profile", profile, "--target", target, "-p", package])
            .stdin(Stdio::null())
            // Our own standard output is data; cargo's progress and errors come on the other.
            .stdout(Stdio::null());
        let status = command.status().map_err(|error| at(&cross, error))?;
        if !status.success() {
            return Err(Error::Compile { target: target.clone() });
        }
    }
    for program in &programs {
        std::fs::metadata(program).map_err(|error| at(program, error))?;
    }
    std::fs::write(&stamp, fingerprint).map_err(|error| at(&stamp, error))?;
    step.done("");
    Ok(programs)
}

/// The folders of the workspace's crates that the programs are made of.
fn crates(root: &Path) -> Result<Vec<PathBuf>, Error> {
    let packages = cargo::metadata(root, &["--no-deps"])?;
    let mut wanted: BTreeSet<&str> = BTreeSet::new();
    let mut pending: Vec<&str> = PACKAGES.iter().map(|(package, ..)| *package).collect();
    let mut folders = Vec::new();
    while let Some(name) = pending.pop() {
        let Some(package) = packages.iter().find(|package| package.name == name) else {
            continue; // from a registry: Cargo.lock stands for it
        };
        if wanted.insert(&package.name) {
            folders.push(package.folder());
            let built = |kind: &Option<String>| kind.as_deref() != Some("dev");
            let dependencies = package.dependencies.iter();
            pending.extend(dependencies.filter(|d| built(&d.kind)).map(|d| d.name.as_str()));
        }
    }
    folders.sort();
    Ok(folders)
}
