//! From the merged file to a [`Board`]: what is missing, and what contradicts itself.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::raw::{RawBoard, RawGstreamer, RawImage, RawQemu};
use super::{Board, Budgets, Debian, Error, ImageCompression, ImageSizes, Kernel, Plugin, Qemu};
use crate::size::Size;

pub(super) fn board(name: &str, raw: RawBoard, lineage: Vec<PathBuf>) -> Result<Board, Error> {
    let path = lineage.last().map_or_else(PathBuf::new, |folder| folder.join("board.toml"));
    let missing = |key| Error::Missing { path: path.clone(), key };
    let invalid = |message: String| Error::Invalid { path: path.clone(), message };

    let architecture = raw.architecture.ok_or_else(|| missing("architecture"))?;
    let target = raw.target.ok_or_else(|| missing("target"))?;
    if target != architecture.target() {
        return Err(invalid(format!(
            "`architecture = \"{}\"` and `target = \"{target}\"` don't go together: Debian's \
             libraries of that architecture fit the target \"{}\"",
            architecture.debian(),
            architecture.target(),
        )));
    }

    let kernel = Kernel {
        package: raw.kernel.package.ok_or_else(|| missing("kernel.package"))?,
        compression: raw.kernel.image_compression.unwrap_or(ImageCompression::None),
        command_line: raw.kernel.command_line,
        initramfs_modules: raw.kernel.modules.initramfs,
        boot_modules: raw.kernel.modules.boot,
        module_options: raw.kernel.module_options,
    };
    kernel_is_coherent(&kernel).map_err(invalid)?;

    let image = image_sizes(raw.image).map_err(missing)?;
    let budgets = Budgets {
        root: raw.budgets.root.ok_or_else(|| missing("budgets.root"))?,
        total: raw.budgets.total.ok_or_else(|| missing("budgets.total"))?,
        watchdog: raw.budgets.watchdog.ok_or_else(|| missing("budgets.watchdog"))?,
    };
    if budgets.root > budgets.total {
        return Err(invalid(format!(
            "`budgets.root` ({}) is above `budgets.total` ({}), of which it is a part",
            budgets.root, budgets.total
        )));
    }
    if budgets.root > image.root {
        return Err(invalid(format!(
            "`budgets.root` ({}) is above `image.root-size` ({}), the partition it has to fit",
            budgets.root, image.root
        )));
    }

    for file in raw.files.keys() {
        if !is_inside_root(file) {
            return Err(invalid(format!(
                "`files`: {file:?} is not a path inside a package: write it without a leading \
                 slash and without `..`, such as \"usr/bin/busybox\""
            )));
        }
    }

    Ok(Board {
        name: name.to_owned(),
        description: raw.description.unwrap_or_default(),
        architecture,
        target,
        debian: Debian {
            suite: raw.debian.suite.ok_or_else(|| missing("debian.suite"))?,
            packages: raw.debian.packages,
        },
        files: raw.files,
        plugins: plugins(raw.gstreamer).map_err(&invalid)?,
        kernel,
        image,
        budgets,
        consoles: raw.consoles.unwrap_or_default(),
        serial_shell: raw.serial_shell.unwrap_or(false),
        respawn: raw.respawn,
        qemu: raw.qemu.map(qemu).transpose().map_err(missing)?,
        lineage,
    })
}

fn kernel_is_coherent(kernel: &Kernel) -> Result<(), String> {
    let modules: Vec<_> = kernel.initramfs_modules.iter().chain(&kernel.boot_modules).collect();
    for module in kernel.module_options.keys() {
        if !modules.contains(&module) {
            return Err(format!(
                "`kernel.module-options` has options for {module:?}, which is in neither \
                 `kernel.modules.initramfs` nor `kernel.modules.boot`"
            ));
        }
    }
    for word in &kernel.command_line {
        for (start, key) in [("console=", "consoles"), ("root=", "image")] {
            if word.starts_with(start) {
                return Err(format!(
                    "`kernel.command-line` has {word:?}, which is made from `{key}`: write it there"
                ));
            }
        }
        if word.contains(|c: char| c.is_whitespace() || c == '"') {
            return Err(format!(
                "`kernel.command-line`: {word:?} has a blank or a quotation mark in it: one word \
                 an entry"
            ));
        }
    }
    Ok(())
}

fn image_sizes(raw: RawImage) -> Result<ImageSizes, &'static str> {
    Ok(ImageSizes {
        boot: raw.boot_size.ok_or("image.boot-size")?,
        root: raw.root_size.ok_or("image.root-size")?,
        data: raw.data_size.ok_or("image.data-size")?,
    })
}

fn qemu(raw: RawQemu) -> Result<Qemu, &'static str> {
    Ok(Qemu {
        machine: raw.machine.ok_or("qemu.machine")?,
        cpu: raw.cpu.ok_or("qemu.cpu")?,
        cpus: raw.cpus.unwrap_or(1).max(1),
        memory: raw.memory.unwrap_or(Size::mebibytes(512)),
        firmware: raw.firmware.ok_or("qemu.firmware")?,
        watchdog: raw.watchdog,
    })
}

/// The plugins that hold the wanted elements. An element that no plugin has, or that two
/// have, is an error: the image would be short of it, or nobody would know which one runs.
fn plugins(raw: RawGstreamer) -> Result<Vec<Plugin>, String> {
    let mut owner: BTreeMap<&str, &str> = BTreeMap::new();
    for (name, plugin) in &raw.plugins {
        if plugin.package.is_none() {
            return Err(format!("`gstreamer.plugins.{name}.package` is missing"));
        }
        for element in &plugin.elements {
            if let Some(other) = owner.insert(element, name) {
                return Err(format!(
                    "`gstreamer.plugins.{other}` and `gstreamer.plugins.{name}` both list the \
                     element {element:?}: leave it in one"
                ));
            }
        }
    }
    if let Some(unknown) = raw.elements.iter().find(|element| !owner.contains_key(element.as_str()))
    {
        return Err(format!(
            "`gstreamer.elements`: no plugin under `gstreamer.plugins` has the element \
             {unknown:?}: add `<plugin> = {{ package = \"…\", elements = [\"{unknown}\"] }}` \
             (`gst-inspect-1.0 {unknown}` names the plugin, `dpkg -S` the package)"
        ));
    }

    let mut wanted = Vec::new();
    for (name, plugin) in &raw.plugins {
        let elements: Vec<String> =
            plugin.elements.iter().filter(|e| raw.elements.contains(e)).cloned().collect();
        if !elements.is_empty() {
            let package = plugin.package.clone().unwrap_or_default();
            wanted.push(Plugin { name: name.clone(), package, elements });
        }
    }
    Ok(wanted)
}

fn is_inside_root(path: &str) -> bool {
    use std::path::Component;
    !path.is_empty()
        && Path::new(path).components().all(|part| matches!(part, Component::Normal(_)))
}
