//! The initramfs: a static busybox, the modules that it takes to reach the root, and the
//! script that mounts it.

use std::path::Path;

use super::kernel::Kernel;
use super::{Context, Error, Made};
use crate::board::Board;
use crate::cpio;
use crate::debian::{Archive, Pool};
use crate::hash::at;
use crate::manifest::{File, Part};
use crate::modules::{Module, Modules};
use crate::size::Size;
use crate::{closure, tool};

const INIT: &str = include_str!("initramfs-init.sh");
const BUSYBOX: (&str, &str) = ("busybox-static", "usr/bin/busybox");

/// `out/<board>/initramfs`
pub(super) fn step(context: &Context<'_>, archive: &Archive) -> Result<Made, Error> {
    let board = context.board;
    let mut fingerprint = context.fingerprint("initramfs", archive)?;
    fingerprint.value(&board.kernel)?;
    let output = context.out.join("initramfs");
    context.with_pool("initramfs", archive, fingerprint, std::slice::from_ref(&output), |pool| {
        let kernel = bring(board, pool)?;
        let (package, path) = BUSYBOX;
        let folder = pool.get(package).map(|package| package.folder.join(path)).unwrap_or_default();
        let busybox = std::fs::read(&folder).map_err(|error| at(&folder, error))?;
        let modules = Modules::open(&kernel.modules)?.resolve(&board.kernel.initramfs_modules)?;

        let mut files = vec![
            file("init", closure::OWN, INIT.as_bytes()),
            file("bin/busybox", package, &busybox),
        ];
        files.extend(modules.iter().map(|module| {
            file(&format!("modules/{}", module.file_name), &kernel.package, &module.data)
        }));
        let list = load_list(&modules, &board.kernel.module_options);
        let archive = pack(&busybox, &modules, &list)?;
        let bytes = compress(&archive, &output)?;
        let words = format!("{} modules, {}", modules.len(), Size::bytes(bytes));
        Ok((Part { name: "initramfs".to_owned(), bytes, files }, words))
    })
}

/// The packages that it is made of.
pub(super) fn bring(board: &Board, pool: &mut Pool<'_>) -> Result<Kernel, Error> {
    pool.require(&[BUSYBOX.0.to_owned()], "the initramfs")?;
    Kernel::find(board, pool)
}

fn file(path: &str, package: &str, data: &[u8]) -> File {
    File { path: path.to_owned(), package: package.to_owned(), bytes: data.len() as u64 }
}

/// One line a module, in the order to load them: file name, then parameters.
fn load_list(modules: &[Module], options: &std::collections::BTreeMap<String, String>) -> String {
    let line = |module: &Module| {
        let own = options.iter().find(|(name, _)| name.replace('-', "_") == module.name);
        match own {
            Some((_, options)) => format!("{} {options}\n", module.file_name),
            None => format!("{}\n", module.file_name),
        }
    };
    modules.iter().map(line).collect()
}

fn pack(busybox: &[u8], modules: &[Module], list: &str) -> Result<Vec<u8>, Error> {
    let mut archive = cpio::Writer::new(Vec::new());
    for folder in ["bin", "dev", "modules", "proc", "root", "sys"] {
        archive.folder(folder)?;
    }
    // Before devtmpfs is mounted, the kernel opens this for the script's messages.
    archive.device("dev/console", 5, 1)?;
    archive.file("bin/busybox", true, busybox)?;
    archive.link("bin/sh", "busybox")?;
    archive.file("init", true, INIT.as_bytes())?;
    archive.file("modules.list", false, list.as_bytes())?;
    for module in modules {
        archive.file(&format!("modules/{}", module.file_name), false, &module.data)?;
    }
    Ok(archive.finish()?)
}

/// zstd: the kernel unpacks it several times quicker than xz, which counts in emulation
/// and on small boards.
fn compress(archive: &[u8], output: &Path) -> Result<u64, Error> {
    let raw = output.with_extension("cpio");
    std::fs::write(&raw, archive).map_err(|error| at(&raw, error))?;
    let mut zstd = tool::ZSTD.command();
    zstd.args(["--quiet", "--force", "-19", "--threads=1", "-o"]).arg(output).arg(&raw);
    tool::ZSTD.run(&mut zstd)?;
    std::fs::remove_file(&raw).map_err(|error| at(&raw, error))?;
    Ok(std::fs::metadata(output).map_err(|error| at(output, error))?.len())
}
