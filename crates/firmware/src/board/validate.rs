//! From the merged file to a [`Board`]: what is missing, and what contradicts itself.

use std::collections::BTreeMap;
use std::path::Path;

use super::merge::Merged;
use super::raw::{RawBoard, RawGstreamer, RawImage, RawQemu};
use super::source::Sources;
use super::{Board, Budgets, Debian, Error, FILE, ImageCompression, ImageSizes, Kernel};
use super::{Plugin, Qemu};
use crate::size::Size;

/// The board, or everything that is wrong with it.
pub(super) fn board(name: &str, merged: Merged) -> Result<Board, Vec<Error>> {
    let Merged { raw, lineage, sources } = merged;
    let own = lineage.last().map(|folder| folder.join(FILE)).unwrap_or_default();
    let mut problems = Problems { sources: &sources, found: Vec::new() };
    problems.kernel(&raw);
    problems.sizes(&raw);
    problems.files(&raw);
    problems.plugins(&raw.gstreamer);
    problems.words(&raw);
    let mut found = problems.found;

    match complete(name, raw, &sources) {
        Ok(board) if found.is_empty() => return Ok(Board { lineage, ..board }),
        Ok(_) => {}
        Err(Lack::Key(key)) => found.push(Error::Missing { path: own, key }),
        Err(Lack::Other(error)) => found.push(error),
    }
    Err(found)
}

/// Why what was merged is not a whole board.
enum Lack {
    /// A key that nobody sets.
    Key(&'static str),
    Other(Error),
}

impl From<&'static str> for Lack {
    fn from(key: &'static str) -> Self {
        Self::Key(key)
    }
}

fn complete(name: &str, raw: RawBoard, sources: &Sources) -> Result<Board, Lack> {
    let architecture = raw.architecture.ok_or("architecture")?;
    let target = raw.target.ok_or("target")?;
    if target != architecture.target() {
        return Err(Lack::Other(Error::Invalid {
            place: sources.place(&["target"]),
            message: format!(
                "`architecture = \"{}\"` and `target = \"{target}\"` don't go together: Debian's \
                 libraries of that architecture fit the target \"{}\"",
                architecture.debian(),
                architecture.target(),
            ),
        }));
    }
    Ok(Board {
        name: name.to_owned(),
        description: raw.description.unwrap_or_default(),
        lineage: Vec::new(),
        architecture,
        target,
        debian: Debian {
            suite: raw.debian.suite.ok_or("debian.suite")?,
            packages: raw.debian.packages,
        },
        files: raw.files,
        plugins: plugins(raw.gstreamer),
        kernel: Kernel {
            package: raw.kernel.package.ok_or("kernel.package")?,
            compression: raw.kernel.image_compression.unwrap_or(ImageCompression::None),
            command_line: raw.kernel.command_line,
            initramfs_modules: raw.kernel.modules.initramfs,
            boot_modules: raw.kernel.modules.boot,
            module_options: raw.kernel.module_options,
        },
        image: image_sizes(&raw.image)?,
        budgets: Budgets {
            root: raw.budgets.root.ok_or("budgets.root")?,
            total: raw.budgets.total.ok_or("budgets.total")?,
            watchdog: raw.budgets.watchdog.ok_or("budgets.watchdog")?,
        },
        consoles: raw.consoles.unwrap_or_default(),
        serial_shell: raw.serial_shell.unwrap_or(false),
        respawn: raw.respawn,
        qemu: raw.qemu.map(qemu).transpose()?,
    })
}

/// What contradicts itself or can't be meant, each with the line that it stands in.
struct Problems<'a> {
    sources: &'a Sources,
    found: Vec<Error>,
}

impl Problems<'_> {
    fn add(&mut self, key: &[&str], message: String) {
        self.found.push(Error::Invalid { place: self.sources.place(key), message });
    }

    fn kernel(&mut self, raw: &RawBoard) {
        let kernel = &raw.kernel;
        let loaded = |module| {
            kernel.modules.initramfs.contains(module) || kernel.modules.boot.contains(module)
        };
        for module in kernel.module_options.keys().filter(|module| !loaded(module)) {
            self.add(
                &["kernel", "module-options", module],
                format!(
                    "`kernel.module-options` has options for {module:?}, which is in neither \
                     `kernel.modules.initramfs` nor `kernel.modules.boot`: load it there, or \
                     leave its options out"
                ),
            );
        }
        for word in &kernel.command_line {
            let place = ["kernel", "command-line", word.as_str()];
            for (start, key) in [("console=", "consoles"), ("root=", "image")] {
                if word.starts_with(start) {
                    self.add(
                        &place,
                        format!(
                            "`kernel.command-line` has {word:?}, which is made from `{key}`: \
                             write it there"
                        ),
                    );
                }
            }
            if word.contains(|c: char| c.is_whitespace() || c == '"') {
                self.add(
                    &place,
                    format!(
                        "`kernel.command-line`: {word:?} has a blank or a quotation mark in it: \
                         one word an entry"
                    ),
                );
            }
        }
    }

    /// Partitions against budgets; what is missing is not compared.
    fn sizes(&mut self, raw: &RawBoard) {
        let (image, budgets) = (&raw.image, &raw.budgets);
        let partitions = [
            ("boot-size", image.boot_size),
            ("root-size", image.root_size),
            ("data-size", image.data_size),
        ];
        for (key, size) in partitions {
            if size.is_some_and(|size| size < Size::mebibytes(1)) {
                self.add(
                    &["image", key],
                    format!("`image.{key}` is no size of a partition: write 1 MiB at least"),
                );
            }
        }
        if let (Some(root), Some(total)) = (budgets.root, budgets.total)
            && root > total
        {
            self.add(
                &["budgets", "root"],
                format!(
                    "`budgets.root` ({root}) is above `budgets.total` ({total}), of which it is a \
                     part: lower it, or raise `budgets.total`"
                ),
            );
        }
        if let (Some(root), Some(partition)) = (budgets.root, image.root_size)
            && root > partition
        {
            self.add(
                &["budgets", "root"],
                format!(
                    "`budgets.root` ({root}) is above `image.root-size` ({partition}), the \
                     partition it has to fit: lower it, or raise `image.root-size`"
                ),
            );
        }
    }

    fn files(&mut self, raw: &RawBoard) {
        for file in raw.files.keys().filter(|file| !is_inside_root(file)) {
            self.add(
                &["files", file],
                format!(
                    "`files`: {file:?} is not a path inside a package: write it without a leading \
                     slash and without `..`, such as \"usr/bin/busybox\""
                ),
            );
        }
    }

    /// An element that no plugin has, or that two have, is an error: the image would be short
    /// of it, or nobody would know which one runs.
    fn plugins(&mut self, raw: &RawGstreamer) {
        let mut owner: BTreeMap<&str, &str> = BTreeMap::new();
        for (name, plugin) in &raw.plugins {
            if plugin.package.is_none() {
                self.add(
                    &["gstreamer", "plugins", name],
                    format!(
                        "`gstreamer.plugins.{name}.package` is missing: name the package that has \
                         libgst{name}.so"
                    ),
                );
            }
            for element in &plugin.elements {
                if let Some(other) = owner.insert(element, name) {
                    self.add(
                        &["gstreamer", "plugins", name, "elements", element],
                        format!(
                            "`gstreamer.plugins.{other}` and `gstreamer.plugins.{name}` both list \
                             the element {element:?}: leave it in one"
                        ),
                    );
                }
            }
        }
        for unknown in raw.elements.iter().filter(|name| !owner.contains_key(name.as_str())) {
            self.add(
                &["gstreamer", "elements", unknown],
                format!(
                    "`gstreamer.elements`: no plugin under `gstreamer.plugins` has the element \
                     {unknown:?}: add `<plugin> = {{ package = \"…\", elements = [\"{unknown}\"] \
                     }}` (`gst-inspect-1.0 {unknown}` names the plugin, `dpkg -S` the package)"
                ),
            );
        }
    }

    /// Names that go into files and command lines as they are.
    fn words(&mut self, raw: &RawBoard) {
        for console in raw.consoles.iter().flatten() {
            if console.is_empty() || !console.chars().all(|c| c.is_ascii_alphanumeric()) {
                self.add(
                    &["consoles", console],
                    format!(
                        "`consoles`: {console:?} is not the name of a console: write it without \
                         /dev/, such as \"ttyAMA0\""
                    ),
                );
            }
        }
        let mut packages: Vec<(Vec<&str>, &str)> = Vec::new();
        packages.extend(raw.kernel.package.iter().map(|p| (vec!["kernel", "package"], p.as_str())));
        let listed = raw.debian.packages.iter();
        packages.extend(listed.map(|p| (vec!["debian", "packages", p], p.as_str())));
        packages.extend(raw.files.iter().map(|(f, p)| (vec!["files", f], p.as_str())));
        for (name, plugin) in &raw.gstreamer.plugins {
            let package = plugin.package.as_deref();
            packages.extend(package.map(|p| (vec!["gstreamer", "plugins", name, "package"], p)));
        }
        for (key, package) in packages {
            if !is_package_name(package) {
                let dotted = key.join(".");
                self.add(
                    &key,
                    format!(
                        "`{dotted}`: {package:?} is not the name of a Debian package, such as \
                         \"libc6\" (`dpkg -S` finds a file's)"
                    ),
                );
            }
        }
    }
}

fn image_sizes(raw: &RawImage) -> Result<ImageSizes, &'static str> {
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

/// The plugins that hold the wanted elements.
fn plugins(raw: RawGstreamer) -> Vec<Plugin> {
    let mut wanted = Vec::new();
    for (name, plugin) in raw.plugins {
        let mut elements = plugin.elements;
        elements.retain(|element| raw.elements.contains(element));
        if !elements.is_empty() {
            let package = plugin.package.unwrap_or_default();
            wanted.push(Plugin { name, package, elements });
        }
    }
    wanted
}

fn is_inside_root(path: &str) -> bool {
    use std::path::Component;
    !path.is_empty()
        && Path::new(path).components().all(|part| matches!(part, Component::Normal(_)))
}

/// Debian Policy 5.6.1.
fn is_package_name(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    name.len() >= 2
        && name.starts_with(plain)
        && name.chars().all(|c| plain(c) || "+-.".contains(c))
}
