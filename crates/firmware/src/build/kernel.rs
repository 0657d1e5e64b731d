//! The kernel: Debian's, as the boot partition has it. Where another source of kernels
//! joins one day, it gives the same two things: [`Kernel::image`] and [`Kernel::modules`].

use std::path::PathBuf;

use super::{Context, Error, Made};
use crate::board::{Board, ImageCompression};
use crate::debian::{Archive, Pool};
use crate::hash::at;
use crate::manifest::{File, Part};
use crate::size::Size;
use crate::tool;

/// An unpacked kernel.
pub(super) struct Kernel {
    /// The package that has it.
    pub package: String,
    /// `uname -r`
    pub release: String,
    /// The bootable image.
    pub image: PathBuf,
    /// The folder of its modules.
    pub modules: PathBuf,
}

impl Kernel {
    /// Finds the kernel in the package that the board names, or, when that is a meta
    /// package, in the one that it depends on.
    pub fn find(board: &Board, pool: &mut Pool<'_>) -> Result<Self, Error> {
        let named = &board.kernel.package;
        pool.require(std::slice::from_ref(named), "kernel.package")?;
        if let Some(kernel) = Self::in_package(pool, named) {
            return Ok(kernel);
        }
        let depends = pool.get(named).map(|package| package.record.depends.clone());
        for package in depends.unwrap_or_default() {
            if package.starts_with("linux-image-") {
                pool.bring(std::slice::from_ref(&package))?;
                if let Some(kernel) = Self::in_package(pool, &package) {
                    return Ok(kernel);
                }
            }
        }
        Err(Error::NoKernel { package: named.clone() })
    }

    fn in_package(pool: &Pool<'_>, package: &str) -> Option<Self> {
        let folder = &pool.get(package)?.folder;
        let image = std::fs::read_dir(folder.join("boot"))
            .ok()?
            .filter_map(Result::ok)
            .find(|entry| entry.file_name().to_string_lossy().starts_with("vmlinuz-"))?
            .path();
        let release = image.file_name()?.to_str()?.strip_prefix("vmlinuz-")?.to_owned();
        let modules = ["usr/lib/modules", "lib/modules"]
            .into_iter()
            .map(|path| folder.join(path).join(&release))
            .find(|path| path.is_dir())?;
        Some(Self { package: package.to_owned(), release, image, modules })
    }
}

/// `out/<board>/kernel`
pub(super) fn step(context: &Context<'_>, archive: &Archive) -> Result<Made, Error> {
    let mut fingerprint = context.fingerprint("kernel", archive)?;
    fingerprint.text(&context.board.kernel.package);
    fingerprint.value(&context.board.kernel.compression)?;
    let output = context.out.join("kernel");
    context.with_pool("kernel", archive, fingerprint, std::slice::from_ref(&output), |pool| {
        let kernel = Kernel::find(context.board, pool)?;
        let raw = std::fs::metadata(&kernel.image).map_err(|error| at(&kernel.image, error))?.len();
        match context.board.kernel.compression {
            ImageCompression::None => {
                std::fs::copy(&kernel.image, &output).map_err(|error| at(&output, error))?;
            }
            ImageCompression::Gzip => {
                let mut gzip = tool::GZIP.command();
                gzip.args(["--best", "--no-name", "--stdout"]).arg(&kernel.image);
                let compressed = tool::GZIP.run(&mut gzip)?.stdout;
                std::fs::write(&output, compressed).map_err(|error| at(&output, error))?;
            }
        }
        let bytes = std::fs::metadata(&output).map_err(|error| at(&output, error))?.len();
        let path = format!("vmlinuz-{}", kernel.release);
        let files = vec![File { path, package: kernel.package, bytes: raw }];
        let words = format!("{}, {}", kernel.release, Size::bytes(bytes));
        Ok((Part { name: "kernel".to_owned(), bytes, files }, words))
    })
}
