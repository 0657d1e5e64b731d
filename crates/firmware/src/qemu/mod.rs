//! Running an image in QEMU: for `peercam-firmware run`, and for tests.
//!
//! | module | holds |
//! |---|---|
//! | `disk` | [`WorkingCopy`]: a copy of the image to write to, and files on its boot partition |
//! | `machine` | [`Machine`]: the command line, what is forwarded, where the console goes |
//!
//! ```no_run
//! use std::path::Path;
//! use peercam_firmware::{board::Board, qemu, workspace::Workspace};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let workspace = Workspace::find(Path::new("."))?;
//! let board = Board::load(&workspace, "qemu-aarch64")?;
//! let disk = qemu::WorkingCopy::prepare(&workspace, &board.name, Path::new("/tmp/guest"))?;
//! disk.write_boot_file("peercam.toml", b"[rendezvous]\nurls = [\"ws://10.0.2.2:8080\"]\n")?;
//! let mut machine = qemu::Machine::new(&board, &disk)?;
//! machine.serial = qemu::Serial::Socket("/tmp/guest/serial.sock".into());
//! machine.forwards = qemu::media_ports(std::net::Ipv4Addr::LOCALHOST);
//! let guest = machine.command().spawn()?;
//! # Ok(())
//! # }
//! ```

mod disk;
mod machine;

use std::io;
use std::path::PathBuf;

pub use disk::WorkingCopy;
pub use machine::{Forward, MEDIA_PORTS, Machine, Protocol, Serial, media_ports};

use crate::tool;

/// Why a guest can't be prepared.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The image isn't built.
    #[error(
        "there is no image of {board}: `peercam-firmware build --board {board}` makes it ({source})"
    )]
    NoImage {
        /// The board.
        board: String,
        /// What is missing.
        source: io::Error,
    },
    /// QEMU can't play this board.
    #[error("the board {board} has no [qemu] section: it can't be run here")]
    NoMachine {
        /// The board.
        board: String,
    },
    /// Something that QEMU needs is not installed.
    #[error("{} is missing; it is in the package {package}: `./scripts/setup firmware` installs all that is needed", path.display())]
    Missing {
        /// The file.
        path: PathBuf,
        /// The package that has it.
        package: &'static str,
    },
    /// The image has no such partition.
    #[error("the manifest of {board} names no partition {partition:?}: build the image again")]
    NoPartition {
        /// The board.
        board: String,
        /// The partition.
        partition: &'static str,
    },
    /// A file can't be read or written.
    #[error(transparent)]
    File(#[from] io::Error),
    /// mtools failed.
    #[error(transparent)]
    Tool(#[from] tool::Error),
}
