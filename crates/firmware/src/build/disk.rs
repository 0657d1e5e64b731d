//! The disk image.
//!
//! ```text
//!  0        1 MiB                boot-size          root-size         data-size
//!  ┌────────┬──────────────────┬──────────────────┬─────────────────┬────────┐
//!  │ GPT    │ boot (FAT)       │ root (squashfs)  │ data (ext4)     │ GPT    │
//!  │        │ boot.scr         │ read-only        │ /data: identity,│ backup │
//!  │        │ kernel           │                  │ settings; kept  │        │
//!  │        │ initramfs        │                  │ across updates  │        │
//!  │        │ (peercam.toml)   │                  │                 │        │
//!  └────────┴──────────────────┴──────────────────┴─────────────────┴────────┘
//! ```
//!
//! **Warning.** Cameras in the field find these partitions by label and keep `data` when
//! they are updated. Renaming one, moving `data` or changing sizes breaks them.

use std::path::Path;

use super::{Context, Error, Made};
use crate::hash::{self, at};
use crate::manifest::{Manifest, Part, Partition, Programs};
use crate::size::Size;
use crate::tool;

const ALIGNMENT: u64 = 1 << 20;

/// Identifiers are fixed: two builds are to give the same bits.
pub(crate) const DISK_UUID: &str = "8a1c5f0e-6d0b-4f3e-9c53-7065657263a0";

struct Slot {
    name: &'static str,
    uuid: &'static str,
    kind: &'static str,
}

const BOOT: Slot = Slot {
    name: "boot",
    uuid: "8a1c5f0e-6d0b-4f3e-9c53-7065657263a1",
    // "Linux extended boot": firmware that looks for a boot partition knows it.
    kind: "bc13c2ff-59e6-4262-a352-b275fd6f7172",
};
const ROOT: Slot = Slot {
    name: "root",
    uuid: "8a1c5f0e-6d0b-4f3e-9c53-7065657263a2",
    kind: "0fc63daf-8483-4772-8e79-3d69d8477de4",
};
const DATA: Slot = Slot {
    name: "data",
    uuid: "8a1c5f0e-6d0b-4f3e-9c53-7065657263a3",
    kind: "0fc63daf-8483-4772-8e79-3d69d8477de4",
};

/// `out/<board>/peercam-<board>.img` and the manifest beside it.
pub(super) fn step(
    context: &Context<'_>,
    made: &[Made],
    programs: &Programs,
) -> Result<Manifest, Error> {
    let board = context.board;
    let image = context.workspace.image(&board.name);
    let manifest_path = context.workspace.manifest(&board.name);
    let script = board.boot_script()?;

    let mut fingerprint = hash::Fingerprint::of("image");
    fingerprint.value(board)?;
    fingerprint.path(&script)?;
    fingerprint.value(programs)?;
    for made in made {
        fingerprint.text(&made.fingerprint);
    }
    let fingerprint = fingerprint.finish();
    let outputs = [image.clone(), manifest_path.clone()];
    if Made::read(&context.out, "image", &fingerprint, &outputs).is_some() {
        context.progress.fresh("image");
        return Ok(Manifest::read(&manifest_path)?);
    }

    let step = context.progress.step("image");
    let partitions = layout(context)?;
    let parts_folder = context.out.join("parts");
    if parts_folder.exists() {
        std::fs::remove_dir_all(&parts_folder).map_err(|error| at(&parts_folder, error))?;
    }
    std::fs::create_dir_all(&parts_folder).map_err(|error| at(&parts_folder, error))?;
    make_boot(context, &script, &parts_folder.join("boot.vfat"))?;
    make_data(board.image.data, &parts_folder.join("data.ext4"))?;
    let root = context.out.join("root.squashfs");
    link(&root, &parts_folder.join("root.squashfs"))?;
    assemble(context, &partitions, &parts_folder, &image)?;

    let mut packages: Vec<_> = made.iter().flat_map(|made| made.packages.clone()).collect();
    packages.sort();
    packages.dedup();
    let manifest = Manifest {
        board: board.name.clone(),
        architecture: board.architecture.debian().to_owned(),
        suite: board.debian.suite.clone(),
        parts: made.iter().map(|made| made.part.clone()).collect(),
        packages,
        programs: programs.clone(),
        partitions,
        image_sha256: hash::file(&image).map_err(|error| at(&image, error))?,
    };
    manifest.write(&manifest_path)?;
    let bytes = std::fs::metadata(&image).map_err(|error| at(&image, error))?.len();
    let part = Part { name: "image".to_owned(), bytes, files: Vec::new() };
    Made::write(&context.out, "image", fingerprint, part, Vec::new())?;
    step.done(&image.display().to_string());
    Ok(manifest)
}

fn layout(context: &Context<'_>) -> Result<Vec<Partition>, Error> {
    let sizes = context.board.image;
    let mut start = ALIGNMENT;
    let mut partitions = Vec::new();
    for (slot, size) in [(BOOT, sizes.boot), (ROOT, sizes.root), (DATA, sizes.data)] {
        let size = size.get().next_multiple_of(ALIGNMENT);
        partitions.push(Partition { name: slot.name.to_owned(), start, size });
        start += size;
    }
    Ok(partitions)
}

/// The FAT partition, with what U-Boot needs.
fn make_boot(context: &Context<'_>, script: &Path, output: &Path) -> Result<(), Error> {
    let board = context.board;
    let text = std::fs::read_to_string(script).map_err(|error| at(script, error))?;
    let command_line = format!("{} root=PARTLABEL={}", board.command_line(), ROOT.name);
    let text = text.replace("@command-line@", &command_line);
    let source = context.out.join("boot.cmd");
    std::fs::write(&source, text).map_err(|error| at(&source, error))?;
    let compiled = context.out.join("boot.scr");
    let mut mkimage = tool::MKIMAGE.command();
    mkimage
        .env("SOURCE_DATE_EPOCH", super::root::EPOCH.to_string())
        .args(["-A", board.architecture.u_boot(), "-O", "linux", "-T", "script", "-C", "none"])
        .args(["-n", "peercam", "-d"])
        .args([&source, &compiled]);
    tool::MKIMAGE.run(&mut mkimage)?;

    let files = [compiled, context.out.join("kernel"), context.out.join("initramfs")];
    let mut size = 0;
    for file in &files {
        size += std::fs::metadata(file).map_err(|error| at(file, error))?.len();
    }
    let partition = board.image.boot;
    // A little is for the file system itself, and for a person's peercam.toml.
    let size = Size::bytes(size + (1 << 20));
    if size > partition {
        return Err(Error::TooBig { what: "what boots", size, partition, key: "boot-size" });
    }
    sparse(output, partition)?;
    let mut mkdosfs = tool::MKDOSFS.command();
    mkdosfs.args(["-F", "32", "-n", "PEERCAM", "-i", "70656572", "--invariant"]).arg(output);
    tool::MKDOSFS.run(&mut mkdosfs)?;
    let mut mcopy = tool::MCOPY.command();
    mcopy
        .env("SOURCE_DATE_EPOCH", super::root::EPOCH.to_string())
        .env("TZ", "UTC")
        .arg("-i")
        .arg(output)
        .args(&files)
        .arg("::");
    tool::MCOPY.run(&mut mcopy)?;
    Ok(())
}

/// An empty ext4 file system.
fn make_data(size: Size, output: &Path) -> Result<(), Error> {
    sparse(output, size)?;
    let mut mke2fs = tool::MKE2FS.command();
    mke2fs
        .env("E2FSPROGS_FAKE_TIME", super::root::EPOCH.to_string())
        .args(["-q", "-F", "-t", "ext4", "-L", "data", "-m", "1"])
        .args(["-U", DATA.uuid])
        // No lazy work for the camera's first minutes.
        .args(["-E", &format!("hash_seed={},root_owner=0:0,lazy_itable_init=0", DATA.uuid)])
        .arg(output);
    tool::MKE2FS.run(&mut mke2fs)?;
    Ok(())
}

/// genimage joins the parts under a partition table.
fn assemble(
    context: &Context<'_>,
    partitions: &[Partition],
    parts: &Path,
    image: &Path,
) -> Result<(), Error> {
    let name = image.file_name().unwrap_or_default().to_string_lossy();
    let mut config = format!(
        "image {name} {{\n\
         \thdimage {{\n\t\tpartition-table-type = gpt\n\t\tdisk-uuid = {DISK_UUID}\n\t}}\n"
    );
    let contents = ["boot.vfat", "root.squashfs", "data.ext4"];
    for ((slot, content), partition) in [BOOT, ROOT, DATA].iter().zip(contents).zip(partitions) {
        config.push_str(&format!(
            "\tpartition {} {{\n\t\timage = {content}\n\t\tpartition-uuid = {}\n\
             \t\tpartition-type-uuid = {}\n\t\toffset = {}\n\t\tsize = {}\n\t}}\n",
            slot.name, slot.uuid, slot.kind, partition.start, partition.size
        ));
    }
    config.push_str("}\n");
    let config_path = context.out.join("genimage.cfg");
    std::fs::write(&config_path, config).map_err(|error| at(&config_path, error))?;

    let scratch = tempfile::tempdir_in(&context.out).map_err(|error| at(&context.out, error))?;
    let (empty, finished) = (scratch.path().join("root"), scratch.path().join("images"));
    std::fs::create_dir(&empty).map_err(|error| at(&empty, error))?;
    let mut genimage = tool::GENIMAGE.command();
    genimage.arg("--config").arg(&config_path);
    genimage.arg("--rootpath").arg(&empty).arg("--tmppath").arg(scratch.path().join("tmp"));
    genimage.arg("--inputpath").arg(parts).arg("--outputpath").arg(&finished);
    tool::GENIMAGE.run(&mut genimage)?;
    // Into place in one go: a build that is broken off leaves the old image whole.
    let made = finished.join(image.file_name().unwrap_or_default());
    std::fs::rename(&made, image).map_err(|error| at(&made, error))?;
    Ok(())
}

fn sparse(path: &Path, size: Size) -> Result<(), Error> {
    let file = std::fs::File::create(path).map_err(|error| at(path, error))?;
    file.set_len(size.get()).map_err(|error| at(path, error).into())
}

fn link(original: &Path, name: &Path) -> Result<(), Error> {
    std::fs::hard_link(original, name).map_err(|error| at(name, error).into())
}
