//! Writing an image to a disk or a file, so that a disk is bootable only when all of it is
//! right.
//!
//! ```text
//!      0          1 MiB                               image's end − 64 KiB    disk's end − 1 MiB
//!      ┌──────────┬─────────────────────────────────┬────────┬───────────────┬──────────┐
//!      │ head     │ body                            │ tail   │ stays as it is│ end      │
//!      │ table    │ partitions                      │ backup │               │          │
//!  ────┼──────────┼─────────────────────────────────┼────────┼───────────────┼──────────┤
//!  1.  │ zeros    │                                 │ zeros  │               │ zeros    │
//!  2.  │          │ written; holes become zeros     │        │               │          │
//!  3.  │          │ read back past the page cache; with head and tail: the image's hash │
//!  4.  │ written  │                                 │ written│               │          │
//!  ────┴──────────┴─────────────────────────────────┴────────┴───────────────┴──────────┘
//! ```
//!
//! Until step 4 there is no partition table, neither at the beginning nor where its backup
//! is looked for: what broke off in the middle is no disk that anything boots from.
//!
//! The image is written as it is, also to a larger disk. The backup of its partition table
//! then lies behind the image and not at the disk's end; nothing that boots looks at it as
//! long as the first one is whole, and the camera moves it when it lets `/data` grow at the
//! first boot. An older backup at the disk's end would describe another layout, so it goes.
//!
//! | module | holds |
//! |---|---|
//! | [`disk`] | what the kernel tells about a disk: model, size, bus, partitions, users |
//! | [`contents`] | what is on a disk now |
//! | [`target`] | [`target::Target`]: a disk or file, with all that speaks against writing to it |
//! | [`write`](mod@write) | the four steps |
//! | [`interrupt`] | Ctrl-C |

pub mod contents;
pub mod disk;
pub mod interrupt;
pub mod target;
pub mod write;

use std::path::{Path, PathBuf};

use nix::sys::signal::Signal;
use serde::Serialize;

use crate::hash::at;
use crate::manifest::Manifest;
use crate::size::Size;
use crate::workspace::Workspace;
use contents::Contents;
use target::Refusal;

/// The image that is to be written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Image {
    /// Where it is.
    pub path: PathBuf,
    /// The board it is for, when its manifest is known.
    pub board: Option<String>,
    /// Its size in bytes.
    pub bytes: u64,
    /// The SHA-256 that its manifest has for it, in hexadecimal; `None` without a manifest.
    pub sha256: Option<String>,
}

/// Why a disk was not written, or not as it should be.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no image of the board.
    #[error(
        "there is no image of {board} ({source}): `peercam-firmware build --board {board}` makes it"
    )]
    NoImage {
        /// The board.
        board: String,
        /// What is missing.
        source: std::io::Error,
    },
    /// A file that is no image. Nothing was written.
    #[error(
        "{} is no image of peercam ({found}): nothing was written. An image that was compressed \
         has to be unpacked first, and a bundle is for a camera that runs",
        path.display()
    )]
    NotAnImage {
        /// The file.
        path: PathBuf,
        /// What it is instead.
        found: Contents,
    },
    /// The image is not what its manifest says. Nothing was written.
    #[error(
        "{} is not the image that its manifest.json describes (SHA-256 {found}, and the manifest \
         has {expected}): it is damaged or was changed. Nothing was written. Build or download it again",
        image.display()
    )]
    ImageDiffers {
        /// The image.
        image: PathBuf,
        /// What the manifest says.
        expected: String,
        /// What it is.
        found: String,
    },
    /// Something speaks against writing there. Nothing was written.
    #[error("{}nothing was written", list(.0))]
    Refused(Vec<Refusal>),
    /// A signal ended it.
    #[error("{}", interrupted(*signal, *begun))]
    Interrupted {
        /// The signal.
        signal: Signal,
        /// Whether anything had been written.
        begun: bool,
    },
    /// What was read back is not what was written.
    #[error(
        "{} does not hold what was written to it{}. It was left without a partition table, so that \
         nothing boots from it. If writing it again fails too, the disk is worn out, or smaller \
         than it pretends to be: use another one",
        target.display(),
        first.map_or_else(String::new, |first| format!(": the first difference is at byte {first}"))
    )]
    Mismatch {
        /// The disk or file.
        target: PathBuf,
        /// Where it begins to differ, in bytes; `None` when the image changed meanwhile.
        first: Option<u64>,
    },
    /// Reading or writing failed.
    #[error(
        "{source}. {}",
        if *begun { "What is there now is not complete, and nothing boots from it: write it again" }
        else { "Nothing was written" }
    )]
    Io {
        /// What, with its path.
        source: std::io::Error,
        /// Whether anything had been written.
        begun: bool,
    },
}

impl Error {
    /// The exit status of the program: 1 failed, 3 refused, 4 read back wrong, 128 and the
    /// signal's number when interrupted.
    #[must_use]
    pub fn exit_status(&self) -> u8 {
        match self {
            Self::NoImage { .. }
            | Self::NotAnImage { .. }
            | Self::ImageDiffers { .. }
            | Self::Io { .. } => 1,
            Self::Refused(_) => 3,
            Self::Mismatch { .. } => 4,
            Self::Interrupted { signal, .. } => {
                128_u8.saturating_add(u8::try_from(*signal as i32).unwrap_or(u8::MAX))
            }
        }
    }

    /// A word for machines.
    #[must_use]
    pub fn outcome(&self) -> &'static str {
        match self {
            Self::NoImage { .. }
            | Self::NotAnImage { .. }
            | Self::ImageDiffers { .. }
            | Self::Io { .. } => "failed",
            Self::Refused(_) => "refused",
            Self::Mismatch { .. } => "mismatch",
            Self::Interrupted { .. } => "interrupted",
        }
    }
}

fn list(refusals: &[Refusal]) -> String {
    refusals.iter().map(|refusal| format!("{refusal};\n")).collect()
}

fn interrupted(signal: Signal, begun: bool) -> String {
    let state = if begun {
        "what is there now is not complete, and nothing boots from it: write it again"
    } else {
        "nothing was written"
    };
    format!("interrupted ({signal}); {state}")
}

impl Image {
    /// The image that `build` made of a board.
    ///
    /// # Errors
    /// [`Error::NoImage`] when there is none.
    pub fn of_board(workspace: &Workspace, board: &str) -> Result<Self, Error> {
        let missing = |source| Error::NoImage { board: board.to_owned(), source };
        let manifest = Manifest::read(&workspace.manifest(board)).map_err(missing)?;
        let path = workspace.image(board);
        let bytes = std::fs::metadata(&path).map_err(|error| missing(at(&path, error)))?.len();
        let sha256 = Some(manifest.image_sha256);
        Ok(Self { path, board: Some(manifest.board), bytes, sha256 })
    }

    /// An image by its path. A `manifest.json` beside it counts when it is of the board that
    /// the image's name (`peercam-<board>.img`) says.
    ///
    /// # Errors
    /// When it can't be read, or is no file.
    pub fn of_file(path: &Path) -> Result<Self, Error> {
        let failed = |error| Error::Io { source: at(path, error), begun: false };
        let data = std::fs::metadata(path).map_err(failed)?;
        if !data.is_file() || data.len() == 0 {
            let what = if data.is_file() { "is empty" } else { "is no regular file" };
            return Err(failed(std::io::Error::other(format!("{what}, and no image"))));
        }
        let found = Contents::at(path);
        if !matches!(found, Contents::Peercam { .. }) {
            return Err(Error::NotAnImage { path: path.to_owned(), found });
        }
        let manifest = Manifest::read(&path.with_file_name("manifest.json")).ok();
        let manifest = manifest.filter(|manifest| {
            let name = format!("peercam-{}.img", manifest.board);
            path.file_name().is_some_and(|file| file == name.as_str())
        });
        let (board, sha256) =
            manifest.map(|manifest| (manifest.board, manifest.image_sha256)).unzip();
        Ok(Self { path: path.to_owned(), board, bytes: data.len(), sha256 })
    }

    /// Its size, for people.
    #[must_use]
    pub fn size(&self) -> Size {
        Size::bytes(self.bytes)
    }
}
