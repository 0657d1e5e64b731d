//! GStreamer's registry: what each plugin offers, so that a starting camera doesn't have to
//! load every plugin to find out.
//!
//! GStreamer itself writes it, in a format of its own, so the target's `gst-inspect-1.0`
//! runs here in QEMU's user emulation. That also proves that every element which the board
//! lists is really there.

use std::path::{Path, PathBuf};

use super::Error;
use crate::board::{Architecture, Board};
use crate::debian::Pool;
use crate::hash::at;
use crate::tool::Tool;

/// Where it lies in the root; `GST_REGISTRY` names it.
pub(super) const PATH: &str = "usr/lib/peercam/gstreamer.registry";

const INSPECT: (&str, &str) = ("gstreamer1.0-tools", "usr/bin/gst-inspect-1.0");

/// These exist only where the device does that they drive: no registry made elsewhere can
/// have them. Loading the plugin on the board registers them.
const NEED_A_DEVICE: [&str; 1] = ["v4l2h264enc"];

/// The emulator that runs programs of this architecture.
#[must_use]
pub fn emulator(architecture: Architecture) -> Tool {
    let program = match architecture {
        Architecture::Arm64 => "qemu-aarch64-static",
        Architecture::Armhf => "qemu-arm-static",
    };
    Tool {
        program,
        package: "qemu-user-static",
        purpose: "runs the target's GStreamer once, for its registry",
        version: Some("--version"),
    }
}

/// Writes the registry of the plugins in `root` to a file below `out`.
pub(super) fn make(
    board: &Board,
    pool: &mut Pool<'_>,
    root: &Path,
    out: &Path,
) -> Result<PathBuf, Error> {
    let (package, path) = INSPECT;
    pool.require(&[package.to_owned()], "GStreamer's registry")?;
    let inspect = pool.get(package).map(|package| package.folder.join(path)).unwrap_or_default();

    let registry = out.join("gstreamer.registry");
    if registry.exists() {
        std::fs::remove_file(&registry).map_err(|error| at(&registry, error))?;
    }
    let emulator = emulator(board.architecture);
    let mut command = emulator.command();
    command.env_clear();
    command.env("PATH", "/usr/bin:/bin");
    // QEMU looks for every absolute path below `-L` first; so the registry gets the paths
    // that the files will have on the board.
    command.arg("-L").arg(root);
    for variable in [
        "GST_REGISTRY_FORK=no".to_owned(),
        format!("GST_REGISTRY={}", registry.display()),
        format!("GST_PLUGIN_SYSTEM_PATH=/usr/lib/{}/gstreamer-1.0", board.architecture.multiarch()),
    ] {
        command.args(["-E", &variable]);
    }
    let listing = emulator.run(command.arg(inspect))?.stdout;
    let listing = String::from_utf8_lossy(&listing);
    for plugin in &board.plugins {
        for element in &plugin.elements {
            let found = listing.lines().any(|line| names_element(line, element));
            if !found && !NEED_A_DEVICE.contains(&element.as_str()) {
                return Err(Error::NoElement {
                    plugin: plugin.name.clone(),
                    element: element.clone(),
                });
            }
        }
    }
    std::fs::metadata(&registry).map_err(|error| at(&registry, error))?;
    Ok(registry)
}

/// `coreelements:  queue: Queue`
fn names_element(line: &str, element: &str) -> bool {
    line.split(": ").nth(1).is_some_and(|name| name.trim() == element)
}
