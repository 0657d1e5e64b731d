//! Our programs for the board's target, compiled by `cross` in the build container.
//!
//! Cargo itself knows best what has changed, but starting the container to ask it takes
//! seconds; so the sources are hashed here first.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde::{Deserialize, Serialize};

use super::{Context, Error};
use crate::hash::{self, at};
use crate::manifest::{Programs, StandardLibrary};
use crate::sizes::WATCHDOG;
use crate::{cargo, crates, tool};

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
fn programs() -> Vec<&'static str> {
    PACKAGES.iter().map(|(package, ..)| *package).collect()
}

/// Our programs, compiled.
pub(super) struct Compiled {
    /// Where they are.
    pub paths: Vec<PathBuf>,
    /// What they are made of.
    pub programs: Programs,
    /// The copyright file of the standard library in them.
    pub copyright: PathBuf,
}

/// What is known of programs that are there.
#[derive(Deserialize, Serialize)]
struct Stamp {
    /// The hash of all inputs.
    inputs: String,
    programs: Programs,
}

/// Builds them.
pub(super) fn build(context: &Context<'_>) -> Result<Compiled, Error> {
    let root = context.workspace.root();
    let target = &context.board.target;
    let folder = root.join("target/cross").join(target);
    let paths = |(_, profile, programs): &(&str, &str, &'static [&str])| {
        let folder = folder.join(profile);
        programs.iter().map(move |program| folder.join(program))
    };
    let paths: Vec<PathBuf> = PACKAGES.iter().flat_map(paths).collect();

    let mut fingerprint = hash::Fingerprint::of("programs");
    fingerprint.text(target);
    for input in INPUTS {
        fingerprint.path(&root.join(input))?;
    }
    for folder in folders(root)? {
        let entries = std::fs::read_dir(&folder).map_err(|error| at(&folder, error))?;
        let mut entries = entries.map(|entry| Ok(entry?.path())).collect::<io::Result<Vec<_>>>()?;
        entries.retain(|path| !NOT_INPUTS.iter().any(|name| path.ends_with(name)));
        entries.sort();
        for entry in entries {
            fingerprint.path(&entry)?;
        }
    }
    let inputs = fingerprint.finish();
    // Beside the programs, not in out/: boards of the same target share them.
    let stamp = folder.join("peercam-programs.json");
    let copyright = folder.join("rust-std.copyright");
    let known = std::fs::read(&stamp).unwrap_or_default();
    if let Ok(known) = serde_json::from_slice::<Stamp>(&known)
        && known.inputs == inputs
        && paths.iter().chain([&copyright]).all(|path| path.is_file())
    {
        context.progress.fresh("programs");
        return Ok(Compiled { paths, programs: known.programs, copyright });
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
    for path in &paths {
        std::fs::metadata(path).map_err(|error| at(path, error))?;
    }
    let crates = crates::of(root, target, &programs())?;
    let standard_library = standard_library(root, target, &copyright)?;
    let stamped = Stamp { inputs, programs: Programs { crates, standard_library } };
    std::fs::write(&stamp, serde_json::to_vec(&stamped).map_err(io::Error::from)?)
        .map_err(|error| at(&stamp, error))?;
    step.done("");
    Ok(Compiled { paths, programs: stamped.programs, copyright })
}

/// Asks the compiler's container for its standard library, whose copyright file it gives as well.
fn standard_library(root: &Path, target: &str, copyright: &Path) -> Result<StandardLibrary, Error> {
    let script = root.join("scripts/build-container");
    let mut command = Command::new(&script);
    command.current_dir(root).args(["--standard-library", target]).stdin(Stdio::null());
    let output = command.output().map_err(|error| at(&script, error))?;
    let text = tool::check(command.get_program(), output)?.stdout;
    let line = text.iter().position(|byte| *byte == b'\n').unwrap_or(text.len());
    let words = String::from_utf8_lossy(&text[..line]).into_owned();
    let (Some((name, version)), Some(licence)) = (words.split_once(' '), text.get(line + 1..))
    else {
        return Err(Error::NoStandardLibrary { said: words });
    };
    std::fs::write(copyright, licence).map_err(|error| at(copyright, error))?;
    Ok(StandardLibrary { name: name.to_owned(), version: version.to_owned() })
}

/// The folders of the workspace's crates that the programs are made of.
fn folders(root: &Path) -> Result<Vec<PathBuf>, Error> {
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
