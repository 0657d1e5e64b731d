//! From a board to its image. Each step keeps a hash of all its inputs beside what it made
//! and has nothing to do when the hash is still the same.
//!
//! | module | makes |
//! |---|---|
//! | `binaries` | our programs, with `cross` |
//! | `kernel` | the kernel as the boot partition has it |
//! | `initramfs` | the modules that reach the root, and the script that mounts it |
//! | `root` | the root file system: closure, overlay, programs, GStreamer's registry |
//! | `registry` | GStreamer's registry, under emulation |
//! | `resolve` | the choice of packages: `firmware.lock` or the newest; a new lock |
//! | `disk` | partitions, file systems, the disk image and its manifest |
//! | `step` | the hashes |
//!
//! ```text
//! board.toml ─▶ archive ─▶ pool ─┬─▶ kernel ────┐
//!                                ├─▶ initramfs ─┼─▶ disk image + manifest
//! crates ──────▶ binaries ───────┴─▶ root ──────┘
//! ```

mod binaries;
mod disk;
mod initramfs;
mod kernel;
mod registry;
mod resolve;
mod root;
mod step;

use std::io;
use std::path::{Path, PathBuf};

use crate::board::{self, Board};
use crate::debian::{self, Archive, Pool, Record};
use crate::hash;
use crate::lock::{self, Lock};
use crate::manifest::{File, Manifest, PackageVersion, Part};
use crate::progress::Progress;
use crate::workspace::Workspace;
use crate::{cargo, closure, modules, tool};

use binaries::Compiled;
pub(crate) use disk::DISK_UUID;
pub use registry::emulator;
pub use resolve::resolve;
use step::Made;

/// Which packages an image is made of.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Choice {
    /// Those of `firmware.lock`; the newest of the index, with a warning, where not all of them
    /// can be had any more or they don't do for the board.
    #[default]
    Lock,
    /// Those of `firmware.lock` and no others.
    OnlyLock,
    /// The newest of the archive, whose index is brought up to date first.
    Newest,
}

/// Why an image could not be built.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A package.
    #[error(transparent)]
    Package(#[from] debian::Error),
    /// The closure.
    #[error(transparent)]
    Closure(#[from] closure::Error),
    /// A kernel module.
    #[error(transparent)]
    Module(#[from] modules::Error),
    /// The board.
    #[error(transparent)]
    Board(#[from] board::Error),
    /// `firmware.lock` is none.
    #[error(transparent)]
    Lock(#[from] lock::Error),
    /// A build that is to take only what the lock names has no lock.
    #[error(
        "{} has no packages for {suite} {architecture}: `peercam-firmware update-lock` writes it",
        lock::FILE
    )]
    NoLock {
        /// The release.
        suite: String,
        /// Debian's name of the architecture.
        architecture: &'static str,
    },
    /// Packages of the lock can't be had any more.
    #[error("{}", gone(packages, cache))]
    Gone {
        /// Which.
        packages: Vec<Record>,
        /// Where files of packages are looked for.
        cache: PathBuf,
    },
    /// The board wants more than the lock has.
    #[error(
        "with only what {} names: {source}\n`peercam-firmware update-lock` chooses packages \
         for the boards as they are now",
        lock::FILE
    )]
    NotInLock {
        /// What is missing.
        source: Box<Error>,
    },
    /// A program.
    #[error(transparent)]
    Tool(#[from] tool::Error),
    /// A file.
    #[error(transparent)]
    File(#[from] io::Error),
    /// Cargo said no; it has printed why.
    #[error("the programs for {target} did not compile: see above")]
    Compile {
        /// The target triple.
        target: String,
    },
    /// The crates that the programs are made of.
    #[error(transparent)]
    Crates(#[from] crate::crates::Error),
    /// The compiler's container did not say which standard library it has.
    #[error("scripts/build-container named no standard library, but said: {said}")]
    NoStandardLibrary {
        /// Its first line.
        said: String,
    },
    /// Cargo was asked for the crates, and gave no answer.
    #[error(transparent)]
    Cargo(#[from] cargo::Error),
    /// The kernel package has no kernel.
    #[error("the package {package} has no kernel (boot/vmlinuz-*), nor has any that it depends on")]
    NoKernel {
        /// The package that the board names.
        package: String,
    },
    /// The plugins in the root do not register an element.
    #[error(
        "the plugin {plugin} does not register the element {element:?}: correct \
         `gstreamer.plugins.{plugin}` in the board's file"
    )]
    NoElement {
        /// The plugin.
        plugin: String,
        /// The element.
        element: String,
    },
    /// The overlay has a file that a package has too.
    #[error("{}: {message}", path.display())]
    Overlay {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        message: String,
    },
    /// A part does not fit its partition.
    #[error("{what} ({size}) does not fit its partition ({partition}): raise `image.{key}`")]
    TooBig {
        /// Which part.
        what: &'static str,
        /// Its size.
        size: crate::size::Size,
        /// The partition's size.
        partition: crate::size::Size,
        /// The key of the board file.
        key: &'static str,
    },
}

/// A line for each package, and the ways out.
fn gone(packages: &[Record], cache: &Path) -> String {
    let line = |Record { name, version, architecture, .. }: &Record| {
        format!("{name} {version} ({architecture}) of {} is gone from the archive\n", lock::FILE)
    };
    let first = packages.first().map(|package| package.file.as_str()).unwrap_or_default();
    format!(
        "{}Either name an archive that has them, such as a snapshot \
         (PEERCAM_DEBIAN_MIRROR=https://snapshot.debian.org/archive/debian/<date>), or put their \
         files, such as {first}, into {} under the names that `apt-get download` gives; or let \
         `peercam-firmware update-lock` take newer ones",
        packages.iter().map(line).collect::<String>(),
        cache.display()
    )
}

impl Error {
    /// Whether other packages than those of a lock may cure it: a board that wants one more, or
    /// programs that need another library.
    fn wants_other_packages(&self) -> bool {
        matches!(
            self,
            Self::Package(debian::Error::NotLocked { .. })
                | Self::Closure(
                    closure::Error::NoSuchFile { .. }
                        | closure::Error::MissingLibrary { .. }
                        | closure::Error::DanglingLink { .. }
                )
                | Self::NoKernel { .. }
        )
    }
}

/// Everything the steps are given.
struct Context<'a> {
    workspace: &'a Workspace,
    board: &'a Board,
    progress: &'a Progress,
    out: PathBuf,
}

/// Builds the image of a board, or finds that it is as it should be.
///
/// # Errors
/// [`Error`], which names the package, file, key or program.
pub fn build(
    workspace: &Workspace,
    board: &Board,
    choice: Choice,
    progress: &Progress,
) -> Result<Manifest, Error> {
    let context = Context::new(workspace, board, progress)?;
    // Before anything that takes long.
    let lock = Lock::read(&workspace.lock())?;
    let compiled = binaries::build(&context)?;
    let mut archive =
        Archive::open(workspace.cache(), &board.debian.suite, board.architecture, progress)?;
    let manifest = context.image(&mut archive, &compiled, lock.as_ref(), choice)?;
    // To be shipped with the image: it stays what it is when the programs are compiled anew.
    let copyright = workspace.standard_library_copyright(&board.name);
    std::fs::copy(&compiled.copyright, &copyright).map_err(|error| hash::at(&copyright, error))?;
    Ok(manifest)
}

impl<'a> Context<'a> {
    fn new(workspace: &'a Workspace, board: &'a Board, progress: &'a Progress) -> io::Result<Self> {
        let out = workspace.out(&board.name).join("build");
        std::fs::create_dir_all(&out).map_err(|error| hash::at(&out, error))?;
        Ok(Self { workspace, board, progress, out })
    }

    fn parts(&self, archive: &Archive, compiled: &Compiled) -> Result<Manifest, Error> {
        let kernel = kernel::step(self, archive)?;
        let initramfs = initramfs::step(self, archive)?;
        let root = root::step(self, archive, &compiled.paths)?;
        disk::step(self, &[kernel, initramfs, root], &compiled.programs)
    }

    /// Runs `make` with an open pool, unless nothing it depends on has changed.
    fn with_pool(
        &self,
        name: &'static str,
        archive: &Archive,
        fingerprint: hash::Fingerprint,
        outputs: &[PathBuf],
        make: impl FnOnce(&mut Pool<'_>) -> Result<(Part, String), Error>,
    ) -> Result<Made, Error> {
        let fingerprint = fingerprint.finish();
        if let Some(made) = Made::read(&self.out, name, &fingerprint, outputs) {
            self.progress.fresh(name);
            return Ok(made);
        }
        let step = self.progress.step(name);
        let mut pool = Pool::new(archive, &step);
        pool.require(&self.board.debian.packages, "debian.packages")?;
        let (part, words) = make(&mut pool)?;
        let packages = versions(&pool, &part.files);
        let made = Made::write(&self.out, name, fingerprint, part, packages)?;
        step.done(&words);
        Ok(made)
    }

    fn fingerprint(&self, name: &str, archive: &Archive) -> io::Result<hash::Fingerprint> {
        let mut fingerprint = hash::Fingerprint::of(name);
        archive.add_to(&mut fingerprint)?;
        fingerprint.value(&self.board.debian)?;
        Ok(fingerprint)
    }
}

fn versions(pool: &Pool<'_>, files: &[File]) -> Vec<PackageVersion> {
    pool.packages()
        .values()
        .filter(|package| files.iter().any(|file| file.package == package.record.name))
        .map(|package| PackageVersion {
            name: package.record.name.clone(),
            version: package.record.version.clone(),
            sha256: package.record.sha256.clone(),
        })
        .collect()
}
