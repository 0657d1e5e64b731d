//! Kernel modules: which files a list of names means, in the order they must be loaded.
//!
//! Debian makes `modules.dep` in a maintainer script, which does not run here; the same
//! knowledge is in each module's `.modinfo` section, and only the modules that are needed
//! have to be read for it.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};

use object::{Object, ObjectSection};

use crate::{hash, tool};

/// The modules of one kernel.
#[derive(Debug)]
pub struct Modules {
    /// Underscored name → file.
    files: BTreeMap<String, PathBuf>,
    /// Underscored names of what is in the kernel itself.
    builtin: BTreeSet<String>,
}

/// A module that is needed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Module {
    /// Its name, with underscores.
    pub name: String,
    /// The file name in the image, `vivid.ko`.
    pub file_name: String,
    /// The module, uncompressed: the initramfs and the root are compressed as a whole.
    pub data: Vec<u8>,
    /// The modules it needs directly, with underscores; none that is built in.
    pub depends: Vec<String>,
}

/// Why a list of modules can't be had.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no such module.
    #[error(
        "the kernel has no module {name:?}{}: correct it in the board's `kernel.modules`",
        if needed_by.is_empty() { String::new() } else { format!(" (needed by {needed_by})") }
    )]
    Unknown {
        /// The name.
        name: String,
        /// The module that needs it, or nothing.
        needed_by: String,
    },
    /// Modules need each other in a circle.
    #[error("the kernel modules {} need each other in a circle", .0.join(", "))]
    Circle(Vec<String>),
    /// A file can't be read.
    #[error(transparent)]
    Read(#[from] io::Error),
    /// A module could not be unpacked.
    #[error(transparent)]
    Tool(#[from] tool::Error),
    /// A module is damaged.
    #[error("{}: {message}", path.display())]
    Damaged {
        /// Which.
        path: PathBuf,
        /// In what way.
        message: String,
    },
}

impl Modules {
    /// Looks through a kernel's module folder (`…/lib/modules/<release>`).
    ///
    /// # Errors
    /// When it can't be read.
    pub fn open(folder: &Path) -> Result<Self, Error> {
        let mut files = BTreeMap::new();
        for path in hash::tree(folder)? {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if let Some((name, _)) = name
                .split_once(".ko")
                .filter(|(_, rest)| rest.is_empty() || matches!(*rest, ".xz" | ".zst" | ".gz"))
            {
                files.insert(underscored(name), path);
            }
        }
        let list = folder.join("modules.builtin");
        let builtin = std::fs::read_to_string(&list)
            .map_err(|error| hash::at(&list, error))?
            .lines()
            .filter_map(|line| Path::new(line).file_stem())
            .map(|name| underscored(&name.to_string_lossy()))
            .collect();
        Ok(Self { files, builtin })
    }

    /// These modules and all they need, each after what it needs. What is built into the
    /// kernel is left out.
    ///
    /// # Errors
    /// [`Error::Unknown`] and [`Error::Circle`] name the modules.
    pub fn resolve(&self, names: &[String]) -> Result<Vec<Module>, Error> {
        let mut order = Order { modules: self, done: Vec::new(), open: Vec::new() };
        for name in names {
            order.visit(&underscored(name), "")?;
        }
        Ok(order.done)
    }

    /// A soft dependency is a wish: it names a module, or a crypto algorithm whose generic
    /// implementation is a module (`crypto-crc32c` is `crc32c_generic`). One that this
    /// kernel does not have is none.
    fn soft(&self, wish: &str) -> Option<String> {
        let name = underscored(wish.strip_prefix("crypto-").unwrap_or(wish));
        [format!("{name}_generic"), name].into_iter().find(|name| self.files.contains_key(name))
    }
}

/// A walk through the modules, depth first.
struct Order<'m> {
    modules: &'m Modules,
    done: Vec<Module>,
    open: Vec<String>,
}

impl Order<'_> {
    fn visit(&mut self, name: &str, needed_by: &str) -> Result<(), Error> {
        if self.modules.builtin.contains(name) || self.done.iter().any(|m| m.name == name) {
            return Ok(());
        }
        if let Some(start) = self.open.iter().position(|open| open == name) {
            return Err(Error::Circle(self.open.split_off(start)));
        }
        let path = self.modules.files.get(name).ok_or_else(|| Error::Unknown {
            name: name.to_owned(),
            needed_by: needed_by.to_owned(),
        })?;
        let data = unpack(path)?;
        let info =
            Info::read(&data).map_err(|message| Error::Damaged { path: path.clone(), message })?;

        self.open.push(name.to_owned());
        let wishes: Vec<_> = info.soft.iter().filter_map(|wish| self.modules.soft(wish)).collect();
        for wish in &wishes {
            if !self.open.contains(wish) {
                self.visit(wish, name)?;
            }
        }
        for needed in &info.depends {
            self.visit(needed, name)?;
        }
        self.open.pop();

        let mut depends = wishes;
        depends.extend(info.depends);
        depends.retain(|needed| !self.modules.builtin.contains(needed));
        depends.dedup();
        let file_name = path.file_name().unwrap_or_default().to_string_lossy();
        let file_name = file_name.split_once(".ko").map_or(name, |(stem, _)| stem);
        self.done.push(Module {
            name: name.to_owned(),
            file_name: format!("{file_name}.ko"),
            data,
            depends,
        });
        Ok(())
    }
}

/// `modules.dep` for these modules, which are in the order of loading: for each, all that it
/// needs, directly or not. modprobe loads a line from its end.
#[must_use]
pub fn dependency_file(modules: &[Module]) -> String {
    let mut needs: BTreeMap<&str, BTreeSet<usize>> = BTreeMap::new();
    let mut text = String::new();
    for module in modules {
        let mut all = BTreeSet::new();
        for (index, needed) in modules.iter().enumerate() {
            if module.depends.contains(&needed.name) {
                all.insert(index);
                all.extend(needs.get(needed.name.as_str()).into_iter().flatten());
            }
        }
        text.push_str(&format!("{}:", module.file_name));
        for index in all.iter().rev() {
            text.push_str(&format!(" {}", modules[*index].file_name));
        }
        text.push('\n');
        needs.insert(&module.name, all);
    }
    text
}

/// What a module says of itself.
#[derive(Debug, Default, PartialEq, Eq)]
struct Info {
    depends: Vec<String>,
    soft: Vec<String>,
}

impl Info {
    /// Reads `.modinfo`: `key=value` strings, each ended by NUL.
    fn read(data: &[u8]) -> Result<Self, String> {
        let file = object::File::parse(data).map_err(|error| format!("not a module: {error}"))?;
        let section = file.section_by_name(".modinfo").ok_or("not a module: no .modinfo")?;
        let section = section.data().map_err(|error| format!("damaged .modinfo: {error}"))?;
        let mut info = Self::default();
        for entry in section.split(|byte| *byte == 0) {
            let entry = String::from_utf8_lossy(entry);
            match entry.split_once('=') {
                Some(("depends", list)) => info
                    .depends
                    .extend(list.split(',').filter(|name| !name.is_empty()).map(underscored)),
                // `pre: a b post: c`; only what has to be there before matters.
                Some(("softdep", list)) => {
                    let list = list.split("post:").next().unwrap_or_default();
                    let wishes = list.split_whitespace().filter(|word| *word != "pre:");
                    info.soft.extend(wishes.map(str::to_owned));
                }
                _ => {}
            }
        }
        Ok(info)
    }
}

fn unpack(path: &Path) -> Result<Vec<u8>, Error> {
    let (tool, argument) = match path.extension().and_then(|extension| extension.to_str()) {
        Some("xz") => (tool::XZ, "--decompress"),
        Some("zst") => (tool::ZSTD, "--decompress"),
        Some("gz") => (tool::GZIP, "--decompress"),
        _ => return Ok(std::fs::read(path).map_err(|error| hash::at(path, error))?),
    };
    Ok(tool.run(tool.command().args([argument, "--stdout"]).arg(path))?.stdout)
}

/// The kernel takes `-` and `_` in a module's name for the same.
fn underscored(name: &str) -> String {
    name.replace('-', "_")
}
