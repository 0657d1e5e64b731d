//! The root file system: read-only, and nothing in it that is not needed.
//!
//! In this order, a later one over an earlier one: folders that every system has, the
//! closure of what the board lists, kernel modules, the overlay that all boards share, the
//! board's own, our programs and what is made here from the board's file.

use std::collections::BTreeMap;
use std::fs::{self, FileTimes, Permissions};
use std::io;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::kernel::Kernel;
use super::{Context, Error, Made, registry};
use crate::board::Board;
use crate::closure::{Closure, OWN, Origin};
use crate::debian::{Archive, Pool};
use crate::hash::{self, at};
use crate::manifest::{File, Part};
use crate::modules::{self, Module, Modules};
use crate::size::Size;
use crate::tool;

/// Every file of the root carries this time (2025-01-01). GStreamer's registry compares
/// times, and two builds are to give the same bits.
pub(super) const EPOCH: u64 = 1_735_689_600;

const FOLDERS: [&str; 12] = [
    "boot", "data", "dev", "etc", "proc", "root", "run", "sys", "tmp", "usr/bin", "usr/sbin", "var",
];
const LINKS: [(&str, &str); 3] = [("bin", "usr/bin"), ("sbin", "usr/sbin"), ("lib", "usr/lib")];

/// `out/<board>/root.squashfs`
pub(super) fn step(
    context: &Context<'_>,
    archive: &Archive,
    programs: &[PathBuf],
) -> Result<Made, Error> {
    let board = context.board;
    let mut fingerprint = context.fingerprint("root", archive)?;
    fingerprint.value(board)?;
    for input in inputs(context)?.iter().chain(programs) {
        fingerprint.path(input)?;
    }
    let output = context.out.join("root.squashfs");
    context.with_pool("root", archive, fingerprint, std::slice::from_ref(&output), |pool| {
        let mut tree = Tree::create(&context.out.join("root"))?;
        let (files, kernel) = bring(board, pool, programs)?;
        for (path, origin) in &files {
            tree.add(path, &origin.source, &origin.package)?;
        }
        let modules = Modules::open(&kernel.modules)?.resolve(&board.kernel.boot_modules)?;
        add_modules(&mut tree, &kernel, &modules)?;
        for overlay in overlays(context) {
            tree.add_overlay(&overlay)?;
        }
        tree.add(Path::new("etc/peercam/agent.toml"), &board.agent_config()?, OWN)?;
        add_generated(&mut tree, board)?;
        add_applets(&mut tree, board)?;
        tree.set_times()?;
        let registry = registry::make(board, pool, &tree.root, &context.out)?;
        tree.add(Path::new(registry::PATH), &registry, OWN)?;
        tree.set_times()?;

        let bytes = squash(&tree.root, &output)?;
        let size = Size::bytes(bytes);
        if size > board.image.root {
            let (what, key) = ("the root file system", "root-size");
            return Err(Error::TooBig { what, size, partition: board.image.root, key });
        }
        let words = format!("{} files of {} packages, {size}", files.len(), pool.packages().len());
        Ok((Part { name: "root".to_owned(), bytes, files: tree.into_files() }, words))
    })
}

/// The packages that it takes to make it: those of its files, of the kernel's modules, and what
/// runs only here.
pub(super) fn bring(
    board: &Board,
    pool: &mut Pool<'_>,
    programs: &[PathBuf],
) -> Result<(BTreeMap<PathBuf, Origin>, Kernel), Error> {
    let files = closure(board, pool, programs)?;
    let kernel = Kernel::find(board, pool)?;
    registry::bring(pool)?;
    Ok((files, kernel))
}

fn overlays(context: &Context<'_>) -> Vec<PathBuf> {
    let shared = context.workspace.root().join("rootfs-overlay");
    std::iter::once(shared).chain(context.board.overlays()).collect()
}

/// Files of the source tree that go into the root.
fn inputs(context: &Context<'_>) -> Result<Vec<PathBuf>, Error> {
    let mut inputs = overlays(context);
    inputs.push(context.board.agent_config()?);
    Ok(inputs)
}

/// All that the board lists, our programs, and everything they need.
fn closure(
    board: &Board,
    pool: &mut Pool<'_>,
    programs: &[PathBuf],
) -> Result<BTreeMap<PathBuf, Origin>, Error> {
    let plugin_folder = board.architecture.library_folders()[0].join("gstreamer-1.0");
    let plugins: Vec<(PathBuf, &str)> = board
        .plugins
        .iter()
        .map(|plugin| {
            (plugin_folder.join(format!("libgst{}.so", plugin.name)), plugin.package.as_str())
        })
        .collect();
    let listed = board.files.iter().map(|(path, package)| (PathBuf::from(path), package.as_str()));
    let wanted: Vec<_> = listed.chain(plugins).collect();

    let packages: Vec<String> = wanted.iter().map(|(_, package)| (*package).to_owned()).collect();
    pool.require(&packages, "the board's `files` and `gstreamer.plugins`")?;
    let mut closure = Closure::new(pool, board.architecture);
    for (path, package) in wanted {
        closure.add(&path, package)?;
    }
    for program in programs {
        let name = program.file_name().unwrap_or_default();
        closure.add_own(&Path::new("usr/bin").join(name), program)?;
    }
    Ok(closure.into_files())
}

/// The modules that are loaded at boot, and what busybox's modprobe needs to find them.
fn add_modules(tree: &mut Tree, kernel: &Kernel, modules: &[Module]) -> Result<(), Error> {
    let folder = Path::new("usr/lib/modules").join(&kernel.release);
    for module in modules {
        tree.write(&folder.join(&module.file_name), &module.data, &kernel.package)?;
    }
    tree.write(&folder.join("modules.dep"), modules::dependency_file(modules).as_bytes(), OWN)
}

/// How `/etc/inittab` begins the line that starts the watchdog.
const WATCHDOG: &str = "::respawn:/usr/bin/peercam-watchdog";

/// What follows from the board's file.
fn add_generated(tree: &mut Tree, board: &Board) -> Result<(), Error> {
    let lines = |words: &[String]| words.iter().map(|word| format!("{word}\n")).collect::<String>();
    tree.write(Path::new("etc/modules"), lines(&board.kernel.boot_modules).as_bytes(), OWN)?;
    let options: String = board
        .kernel
        .module_options
        .iter()
        .map(|(module, options)| format!("options {module} {options}\n"))
        .collect();
    tree.write(Path::new("etc/modprobe.d/board.conf"), options.as_bytes(), OWN)?;
    tree.write(Path::new("etc/peercam/board"), format!("{}\n", board.name).as_bytes(), OWN)?;
    let path = Path::new("etc/inittab");
    let own = tree.root.join(path);
    let shared = fs::read_to_string(&own).map_err(|error| at(&own, error))?;
    let inittab = inittab(shared, &board.respawn, &board.consoles, board.serial_shell);
    tree.write(path, inittab.as_bytes(), OWN)
}

/// What init does on a board, by what it does on all of them: runs `respawn` too and, on a board
/// for development, a shell on every console.
fn inittab(
    mut inittab: String,
    respawn: &[String],
    consoles: &[String],
    serial_shell: bool,
) -> String {
    for program in respawn {
        inittab.push_str(&format!("::respawn:{program}\n"));
    }
    if serial_shell {
        // Whoever sits there wants to see everything; other consoles have warnings.
        inittab = inittab.replace(WATCHDOG, &format!("{WATCHDOG} --console all"));
        for console in consoles {
            inittab.push_str(&format!("{console}::respawn:-/bin/sh\n"));
        }
    }
    inittab
}

/// A link for each of busybox's applets, where nothing else has that name. Only busybox
/// itself knows them: it is asked under emulation.
fn add_applets(tree: &mut Tree, board: &Board) -> Result<(), Error> {
    let busybox = tree.root.join("usr/bin/busybox");
    if !busybox.is_file() {
        return Ok(());
    }
    let emulator = registry::emulator(board.architecture);
    let mut command = emulator.command();
    command.arg("-L").arg(&tree.root).arg(&busybox).arg("--list-full");
    let list = emulator.run(&mut command)?.stdout;
    for applet in String::from_utf8_lossy(&list).lines() {
        let merged = if applet.starts_with("usr/") { applet } else { &format!("usr/{applet}") };
        let path = Path::new(merged);
        if !tree.root.join(path).exists() {
            tree.link(path, Path::new("/usr/bin/busybox"))?;
        }
    }
    Ok(())
}

fn squash(root: &Path, output: &Path) -> Result<u64, Error> {
    if output.exists() {
        fs::remove_file(output).map_err(|error| at(output, error))?;
    }
    let mut mksquashfs = tool::MKSQUASHFS.command();
    mksquashfs
        .arg(root)
        .arg(output)
        .args(["-comp", "zstd", "-Xcompression-level", "19", "-b", "256K"])
        .args(["-all-root", "-no-xattrs", "-no-progress", "-quiet", "-noappend"])
        .args(["-mkfs-time", &EPOCH.to_string(), "-all-time", &EPOCH.to_string()])
        .env_remove("SOURCE_DATE_EPOCH");
    tool::MKSQUASHFS.run(&mut mksquashfs)?;
    Ok(fs::metadata(output).map_err(|error| at(output, error))?.len())
}

/// The root as it grows, as a folder on this machine, with a note on each file.
struct Tree {
    root: PathBuf,
    files: BTreeMap<PathBuf, String>,
}

impl Tree {
    fn create(root: &Path) -> Result<Self, Error> {
        if root.exists() {
            fs::remove_dir_all(root).map_err(|error| at(root, error))?;
        }
        for folder in FOLDERS {
            let path = root.join(folder);
            fs::create_dir_all(&path).map_err(|error| at(&path, error))?;
        }
        for (link, to) in LINKS {
            let path = root.join(link);
            symlink(to, &path).map_err(|error| at(&path, error))?;
        }
        Ok(Self { root: root.to_owned(), files: BTreeMap::new() })
    }

    /// Copies a file or a link to `path`.
    fn add(&mut self, path: &Path, source: &Path, package: &str) -> Result<(), Error> {
        let data = source.symlink_metadata().map_err(|error| at(source, error))?;
        if data.is_symlink() {
            let to = fs::read_link(source).map_err(|error| at(source, error))?;
            let target = self.place(path)?;
            symlink(to, &target).map_err(|error| at(&target, error))?;
        } else {
            let target = self.place(path)?;
            fs::copy(source, &target).map_err(|error| at(source, error))?;
            // The packages' modes without what only makes sense for other owners; a source
            // tree knows one bit only.
            let executable = data.permissions().mode() & 0o100 != 0;
            mode(&target, if executable { 0o755 } else { 0o644 })?;
        }
        self.files.insert(path.to_owned(), package.to_owned());
        Ok(())
    }

    fn write(&mut self, path: &Path, data: &[u8], package: &str) -> Result<(), Error> {
        let target = self.place(path)?;
        fs::write(&target, data).map_err(|error| at(&target, error))?;
        mode(&target, 0o644)?;
        self.files.insert(path.to_owned(), package.to_owned());
        Ok(())
    }

    fn link(&mut self, path: &Path, to: &Path) -> Result<(), Error> {
        let target = self.place(path)?;
        symlink(to, &target).map_err(|error| at(&target, error))?;
        self.files.insert(path.to_owned(), OWN.to_owned());
        Ok(())
    }

    fn add_overlay(&mut self, overlay: &Path) -> Result<(), Error> {
        for source in hash::tree(overlay)? {
            let path = source.strip_prefix(overlay).unwrap_or(&source);
            if let Some((link, to)) = LINKS.iter().find(|(link, _)| path.starts_with(link)) {
                return Err(Error::Overlay {
                    message: format!("/{link} is a link to /{to}: put it there"),
                    path: source,
                });
            }
            if source.is_dir() && !source.is_symlink() {
                let folder = self.root.join(path);
                fs::create_dir_all(&folder).map_err(|error| at(&folder, error))?;
            } else {
                self.add(path, &source, OWN)?;
            }
        }
        Ok(())
    }

    /// Makes room at `path`: its folder is there, itself is not.
    fn place(&self, path: &Path) -> Result<PathBuf, Error> {
        let target = self.root.join(path);
        if let Some(folder) = target.parent() {
            fs::create_dir_all(folder).map_err(|error| at(folder, error))?;
        }
        match fs::remove_file(&target) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(at(&target, error).into()),
        }
        Ok(target)
    }

    /// Gives every file and folder the time that mksquashfs gives them, for the registry to
    /// see the same, and every folder the same mode.
    fn set_times(&self) -> Result<(), Error> {
        let time = SystemTime::UNIX_EPOCH + Duration::from_secs(EPOCH);
        let times = FileTimes::new().set_modified(time).set_accessed(time);
        let mut paths = hash::tree(&self.root)?;
        paths.push(self.root.clone());
        // Children before their folders, whose time a change inside would move.
        for path in paths.iter().rev() {
            if path.is_symlink() {
                continue;
            }
            if path.is_dir() {
                mode(path, 0o755)?;
            }
            let file = fs::File::open(path).map_err(|error| at(path, error))?;
            file.set_times(times).map_err(|error| at(path, error))?;
        }
        Ok(())
    }

    fn into_files(self) -> Vec<File> {
        let Self { root, files } = self;
        let size = |path: &Path| root.join(path).symlink_metadata().map_or(0, |data| data.len());
        files
            .into_iter()
            .map(|(path, package)| File {
                bytes: size(&path),
                path: path.to_string_lossy().into_owned(),
                package,
            })
            .collect()
    }
}

fn mode(path: &Path, mode: u32) -> Result<(), Error> {
    fs::set_permissions(path, Permissions::from_mode(mode)).map_err(|error| at(path, error).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHARED: &str = include_str!("../../../../rootfs-overlay/etc/inittab");

    fn made(serial_shell: bool) -> String {
        inittab(SHARED.to_owned(), &[], &["ttyAMA0".to_owned()], serial_shell)
    }

    #[test]
    fn only_a_board_for_development_can_be_talked_to_on_its_console() {
        for words in ["ttyAMA0::respawn:-/bin/sh\n", "peercam-watchdog --console all "] {
            assert!(made(true).contains(words), "{words}");
            assert!(!made(false).contains(words), "{words}");
        }
        let production = made(false);
        // The first field is a terminal to run on.
        for line in production.lines().filter(|line| !line.starts_with('#')) {
            assert!(line.starts_with("::"), "{line}");
            for program in ["/sh", "login", "getty"] {
                assert!(!line.contains(program), "{line}");
            }
        }
    }
}
