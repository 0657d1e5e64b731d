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
mod root;
mod step;

use std::io;
use std::path::PathBuf;

use crate::board::{self, Board};
use crate::debian::{self, Archive, Pool};
use crate::hash;
use crate::manifest::{File, Manifest, PackageVersion, Part};
use crate::progress::Progress;
use crate::workspace::Workspace;
use crate::{cargo, closure, modules, tool};

use binaries::Compiled;
pub use registry::emulator;
use step::Made;

/// What `build` is asked for beside the board.
#[derive(Debug, Clone, Copy, Default)]
pub struct Options {
    /// Bring the package index up to date first.
    pub update: bool,
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
    options: Options,
    progress: &Progress,
) -> Result<Manifest, Error> {
    let out = workspace.out(&board.name).join("build");
    std::fs::create_dir_all(&out).map_err(|error| hash::at(&out, error))?;
    let context = Context { workspace, board, progress, out };

    let compiled = binaries::build(&context)?;
    let archive =
        Archive::open(workspace.cache(), &board.debian.suite, board.architecture, progress)?;
    if options.update {
        archive.refresh(progress)?;
    }
    let manifest = match context.parts(&archive, &compiled) {
        // The mirror no longer has what our index names.
        Err(Error::Package(error)) if error.may_be_stale() => {
            progress.note(&error.to_string());
            archive.refresh(progress)?;
            context.parts(&archive, &compiled)?
        }
        other => other?,
    };
    // To be shipped with the image: it stays what it is when the programs are compiled anew.
    let copyright = workspace.standard_library_copyright(&board.name);
    std::fs::copy(&compiled.copyright, &copyright).map_err(|error| hash::at(&copyright, error))?;
    Ok(manifest)
}

impl Context<'_> {
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
        fingerprint.path(&archive.index_stamp())?;
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
