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
use crate::tool::{self, Tool};

/// Where it lies in the root; `GST_REGISTRY` names it.
pub(super) const PATH: &str = "usr/lib/peercam/gstreamer.registry";

const INSPECT: (&str, &str) = ("gstreamer1.0-tools", "usr/bin/gst-inspect-1.0");

/// These exist only where the device does that they drive: no registry made elsewhere can
/// have them. Loading the plugin on the board registers them.
const NEED_A_DEVICE: [&str; 1] = ["v4l2h264enc"];

/// The emulator that runs programs of this architecture. Newer releases have it without
/// `-static` in its name.
#[must_use]
pub fn emulator(architecture: Architecture) -> Tool {
    let (fixed, plain) = match architecture {
        Architecture::Arm64 => ("qemu-aarch64-static", "qemu-aarch64"),
        Architecture::Armhf => ("qemu-arm-static", "qemu-arm"),
    };
    let program = if !tool::on_path(fixed) && tool::on_path(plain) { plain } else { fixed };
    Tool {
        program,
        package: "qemu-user-static",
        purpose: "runs the target's GStreamer once, for its registry",
        version: Some("--version"),
    }
}

/// Brings the package of the program that writes it, for [`make`].
pub(super) fn bring(pool: &mut Pool<'_>) -> Result<(), Error> {
    Ok(pool.require(&[INSPECT.0.to_owned()], "GStreamer's registry")?)
}

/// Writes the registry of the plugins in `root` to a file below `out`.
pub(super) fn make(
    board: &Board,
    pool: &Pool<'_>,
    root: &Path,
    out: &Path,
) -> Result<PathBuf, Error> {
    let (package, path) = INSPECT;
    let inspect = pool.get(package).map(|package| package.folder.join(path)).unwrap_or_default();

    let registry = out.join("gstreamer.registry");
    if registry.exists() {
        std::fs::remove_file(&registry).map_err(|error| at(&registry, error))?;
    }
    let folder = board.architecture.library_folders()[0].join("gstreamer-1.0");
    let on_board = format!("/{}", folder.display());
    let copy = copy_to_memory(&root.join(&folder), &on_board)?;
    let emulator = emulator(board.architecture);
    let mut command = emulator.command();
    command.env_clear();
    command.env("PATH", "/usr/bin:/bin");
    command.arg("-L").arg(root);
    for variable in [
        "GST_REGISTRY_FORK=no".to_owned(),
        format!("GST_REGISTRY={}", registry.display()),
        format!("GST_PLUGIN_SYSTEM_PATH={}", copy.path().display()),
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
    let mut data = std::fs::read(&registry).map_err(|error| at(&registry, error))?;
    replace(&mut data, copy.path().as_os_str().as_encoded_bytes(), on_board.as_bytes());
    std::fs::write(&registry, data).map_err(|error| at(&registry, error))?;
    Ok(registry)
}

/// A copy of the plugins in a folder in memory whose path is as long as the one they have on
/// the board.
///
/// The emulator finds libraries below the root, but a 32-bit program in it can neither list
/// a folder of most file systems on disk (the positions that those hand out don't fit 32
/// bits; tmpfs counts from one) nor get a file's time by a path that only exists below the
/// root (QEMU 7.2 passes `statx` through). So the plugins lie at a path that exists, and
/// the registry gets the board's path in its place: both have the same length, so nothing
/// else in it moves.
fn copy_to_memory(folder: &Path, on_board: &str) -> Result<tempfile::TempDir, Error> {
    const MEMORY: &str = "/dev/shm/";
    const PREFIX: &str = "peercam-";
    let random = on_board.len().saturating_sub(MEMORY.len() + PREFIX.len());
    let copy = tempfile::Builder::new()
        .prefix(PREFIX)
        .rand_bytes(random)
        .tempdir_in(MEMORY)
        .map_err(|error| at(Path::new(MEMORY), error))?;
    for entry in std::fs::read_dir(folder).map_err(|error| at(folder, error))? {
        let source = entry?.path();
        let target = copy.path().join(source.file_name().unwrap_or_default());
        std::fs::copy(&source, &target).map_err(|error| at(&target, error))?;
        // The registry keeps the time, for the board to compare.
        let modified = source.metadata().and_then(|data| data.modified())?;
        let times = std::fs::FileTimes::new().set_modified(modified);
        std::fs::File::open(&target).and_then(|file| file.set_times(times))?;
    }
    Ok(copy)
}

/// Puts `new` in the place of every `old`, which is as long.
fn replace(data: &mut [u8], old: &[u8], new: &[u8]) {
    let mut start = 0;
    while let Some(found) = data[start..].windows(old.len()).position(|window| window == old) {
        let end = start + found + old.len();
        data[start + found..end].copy_from_slice(new);
        start = end;
    }
}

/// `coreelements:  queue: Queue`
fn names_element(line: &str, element: &str) -> bool {
    line.split(": ").nth(1).is_some_and(|name| name.trim() == element)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_path_of_the_registry_becomes_the_boards() {
        let mut data = *b"/a/x/liba\0\0/a/x/libb\0/a/y";
        replace(&mut data, b"/a/x", b"/usr");
        assert_eq!(&data, b"/usr/liba\0\0/usr/libb\0/a/y");
    }

    #[test]
    fn an_element_is_recognized_in_the_listing_and_nothing_else() {
        assert!(names_element("coreelements:  queue: Queue", "queue"));
        assert!(!names_element("coreelements:  queue2: Queue 2", "queue"));
        assert!(!names_element("queue: not an element", "queue"));
    }
}
