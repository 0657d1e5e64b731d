//! What a board is: read from `board/<name>/board.toml`, checked once, then passed around.
//!
//! | module | holds |
//! |---|---|
//! | `raw` | the file as it is written: every key optional, unknown ones refused |
//! | `source` | the files, and where in them a key stands |
//! | `merge` | inheritance: how a file and its parents become one |
//! | `validate` | from the merged file to a [`Board`]: what is missing or contradicts itself |
//! | [`check`] | everything that is wrong with a board: its file, and the files beside it |
//! | [`new`] | a folder for a new board |
//!
//! Only [`Board`], what is wrong with one, and where leave this module.

pub mod check;
mod merge;
pub mod new;
mod raw;
mod source;
mod validate;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Serialize;

pub use raw::{Architecture, ImageCompression};
pub use source::Place;

use crate::size::Size;
use crate::workspace::Workspace;

/// The file that makes a folder in `board/` a board.
const FILE: &str = "board.toml";

/// A board, checked: everything `build` and `run` need to know about a target device.
#[derive(Debug, Clone, Serialize)]
pub struct Board {
    /// The name of its folder.
    pub name: String,
    /// One line for people.
    pub description: String,
    /// The folders it is made of, the oldest ancestor's first, its own last. Overlays and
    /// the agent's configuration are looked for in them; not each has to exist.
    #[serde(skip)]
    pub lineage: Vec<PathBuf>,
    /// Which processor, as Debian names it.
    pub architecture: Architecture,
    /// The Rust target triple that `cross` builds for.
    pub target: String,
    /// The Debian release, and packages that are fetched before anything is searched for.
    pub debian: Debian,
    /// Path in the root → package that has it.
    pub files: BTreeMap<String, String>,
    /// The plugins that hold the elements which the board lists.
    pub plugins: Vec<Plugin>,
    /// The kernel, its command line and modules.
    pub kernel: Kernel,
    /// Sizes of the partitions.
    pub image: ImageSizes,
    /// What it may weigh.
    pub budgets: Budgets,
    /// Serial consoles, the kernel's messages go to all of them.
    pub consoles: Vec<String>,
    /// A root shell on every console, without a password: development boards only.
    pub serial_shell: bool,
    /// Programs that init keeps running beside the watchdog's services: stand-ins for what
    /// a real camera has around it. The camera's health does not depend on them.
    pub respawn: Vec<String>,
    /// How QEMU plays this board, if it can.
    pub qemu: Option<Qemu>,
}

/// Where packages come from.
#[derive(Debug, Clone, Serialize)]
pub struct Debian {
    /// The release, `trixie`.
    pub suite: String,
    /// Packages that are fetched first.
    pub packages: Vec<String>,
}

/// One GStreamer plugin file and the elements that are wanted of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Plugin {
    /// `libgst<name>.so`.
    pub name: String,
    /// The package that has it.
    pub package: String,
    /// Those of its elements that the board lists.
    pub elements: Vec<String>,
}

/// The kernel of a board.
#[derive(Debug, Clone, Serialize)]
pub struct Kernel {
    /// A Debian kernel package or the meta package that depends on one.
    pub package: String,
    /// How the kernel lies on the boot partition.
    pub compression: ImageCompression,
    /// Words of the kernel command line, beside the consoles and the root partition.
    pub command_line: Vec<String>,
    /// Modules that the initramfs loads, in this order.
    pub initramfs_modules: Vec<String>,
    /// Modules that the root file system loads at boot, in this order.
    pub boot_modules: Vec<String>,
    /// Module → its parameters.
    pub module_options: BTreeMap<String, String>,
}

/// Sizes of the partitions. `build/disk.rs` has the map.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct ImageSizes {
    /// The FAT partition with kernel, initramfs and boot script.
    pub boot: Size,
    /// The read-only root.
    pub root: Size,
    /// `/data`.
    pub data: Size,
}

/// What an image may weigh.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Budgets {
    /// The compressed root file system.
    pub root: Size,
    /// Kernel + initramfs + root, as shipped.
    pub total: Size,
    /// The program of the watchdog, uncompressed.
    pub watchdog: Size,
}

/// How QEMU plays a board.
#[derive(Debug, Clone, Serialize)]
pub struct Qemu {
    /// `-M`
    pub machine: String,
    /// `-cpu`
    pub cpu: String,
    /// `-smp`
    pub cpus: u32,
    /// `-m`
    pub memory: Size,
    /// `-bios`: U-Boot, which finds the boot script on the first partition.
    pub firmware: PathBuf,
    /// The watchdog device; its expiry resets the machine.
    pub watchdog: Option<String>,
}

/// What is wrong with a board, or with the wish for one.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no folder of that name.
    #[error("there is no board {name:?}; there are: {}", known.join(", "))]
    Unknown {
        /// What was asked for.
        name: String,
        /// What there is.
        known: Vec<String>,
    },
    /// A file can't be read.
    #[error("{}: {source}", path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// A file is not what a board file may be.
    #[error("{place}: {message}")]
    Syntax {
        /// Where.
        place: Place,
        /// What, with the key.
        message: String,
    },
    /// Boards inherit from each other in a circle.
    #[error("{place}: `inherits` goes round in a circle: {}", chain.join(" → "))]
    Circle {
        /// Where the circle closes.
        place: Place,
        /// The names on the way.
        chain: Vec<String>,
    },
    /// A key that every board needs is in none of its files.
    #[error("{}: `{key}` is missing, here and in what it inherits", path.display())]
    Missing {
        /// The board's own file.
        path: PathBuf,
        /// The key, with dots.
        key: &'static str,
    },
    /// A value makes no sense, alone or beside another one.
    #[error("{place}: {message}")]
    Invalid {
        /// Where the value stands.
        place: Place,
        /// Which keys and values, and the way out.
        message: String,
    },
}

impl Board {
    /// Reads and checks the board `name` with all it inherits.
    ///
    /// # Errors
    /// [`Error`], which names the file and the key.
    pub fn load(workspace: &Workspace, name: &str) -> Result<Self, Error> {
        let folder = workspace.boards();
        let known = Self::list(workspace)?;
        if !known.iter().any(|board| board == name) {
            return Err(Error::Unknown { name: name.to_owned(), known });
        }
        let board = merge::load(&folder, name).and_then(|merged| validate::board(name, merged));
        // The first one will do; `check` has all.
        board.map_err(|mut errors| errors.swap_remove(0))
    }

    /// The names of all boards, sorted.
    ///
    /// # Errors
    /// [`Error::Read`] when `board/` can't be listed.
    pub fn list(workspace: &Workspace) -> Result<Vec<String>, Error> {
        let folder = workspace.boards();
        let read = |source| Error::Read { path: folder.clone(), source };
        let mut names = Vec::new();
        for entry in std::fs::read_dir(&folder).map_err(read)? {
            let entry = entry.map_err(read)?;
            if entry.path().join(FILE).is_file() {
                names.push(entry.file_name().to_string_lossy().into_owned());
            }
        }
        names.sort();
        Ok(names)
    }

    /// The folders to lay over the root, in order: every ancestor's, then its own.
    #[must_use]
    pub fn overlays(&self) -> Vec<PathBuf> {
        self.lineage
            .iter()
            .map(|folder| folder.join("overlay"))
            .filter(|path| path.is_dir())
            .collect()
    }

    /// The agent's configuration: the nearest `agent.toml` up the line.
    ///
    /// # Errors
    /// [`Error::Invalid`] when no folder has one.
    pub fn agent_config(&self) -> Result<PathBuf, Error> {
        self.nearest("agent.toml").ok_or_else(|| {
            self.lacks("agent.toml", "write one, it becomes /etc/peercam/agent.toml")
        })
    }

    /// U-Boot's script: the nearest `boot.cmd` up the line.
    ///
    /// # Errors
    /// [`Error::Invalid`] when no folder has one.
    pub fn boot_script(&self) -> Result<PathBuf, Error> {
        self.nearest("boot.cmd").ok_or_else(|| {
            self.lacks("boot.cmd", "write one, it is what U-Boot runs to start the kernel")
        })
    }

    fn nearest(&self, name: &str) -> Option<PathBuf> {
        self.lineage.iter().rev().map(|folder| folder.join(name)).find(|path| path.is_file())
    }

    fn lacks(&self, name: &str, cure: &str) -> Error {
        let own = self.lineage.last().map_or_else(PathBuf::new, |folder| folder.join(FILE));
        Error::Invalid {
            place: Place::file(&own),
            message: format!("there is no {name} beside it nor beside what it inherits: {cure}"),
        }
    }

    /// The whole kernel command line: consoles, the board's words, the root partition.
    #[must_use]
    pub fn command_line(&self) -> String {
        let consoles = self.consoles.iter().map(|console| format!("console={console}"));
        consoles.chain(self.kernel.command_line.iter().cloned()).collect::<Vec<_>>().join(" ")
    }
}

impl Architecture {
    /// Debian's multiarch folder below `/usr/lib`.
    #[must_use]
    pub fn multiarch(self) -> &'static str {
        match self {
            Self::Arm64 => "aarch64-linux-gnu",
            Self::Armhf => "arm-linux-gnueabihf",
        }
    }

    /// What Debian calls it.
    #[must_use]
    pub fn debian(self) -> &'static str {
        match self {
            Self::Arm64 => "arm64",
            Self::Armhf => "armhf",
        }
    }

    /// The first part of QEMU's program names.
    #[must_use]
    pub fn qemu(self) -> &'static str {
        match self {
            Self::Arm64 => "aarch64",
            Self::Armhf => "arm",
        }
    }

    /// What U-Boot's `mkimage -A` calls it.
    #[must_use]
    pub fn u_boot(self) -> &'static str {
        match self {
            Self::Arm64 => "arm64",
            Self::Armhf => "arm",
        }
    }

    /// The Rust target triple that Debian's libraries of this architecture fit.
    #[must_use]
    pub fn target(self) -> &'static str {
        match self {
            Self::Arm64 => "aarch64-unknown-linux-gnu",
            Self::Armhf => "armv7-unknown-linux-gnueabihf",
        }
    }

    /// `e_machine` of its ELF files.
    #[must_use]
    pub fn elf_machine(self) -> u16 {
        match self {
            Self::Arm64 => object::elf::EM_AARCH64,
            Self::Armhf => object::elf::EM_ARM,
        }
    }

    /// Where libraries lie in the root, the most likely folder first.
    #[must_use]
    pub fn library_folders(self) -> [PathBuf; 2] {
        [Path::new("usr/lib").join(self.multiarch()), PathBuf::from("usr/lib")]
    }
}
