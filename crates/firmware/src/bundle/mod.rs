//! Update bundles: what is in a slot, signed, in RAUC's `verity` format
//! (<https://rauc.readthedocs.io/en/latest/reference.html>).
//!
//! ```text
//!  out/<board>/build/boot.slot ─┐
//!  out/<board>/build/root.slot ─┼─▶ rauc bundle ─▶ rauc info ─▶ peercam-<board>-<version>.raucb
//!  key and certificate ─────────┘                  against the keyring and the files
//! ```
//!
//! A camera takes a bundle of its own board (`compatible`) whose signer is in its keyring. A
//! bundle is not the same bits twice: its salt is random.

pub mod key;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::hash::{self, at};
use crate::tool;
use key::Signer;

/// The longest version and board name, in bytes.
const MOST_LETTERS: usize = 64;

/// What goes into a bundle.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contents {
    /// The board: a camera takes its own only.
    pub board: String,
    /// The version, as people say it: `1.4.2`.
    pub version: String,
    /// What is written to the slot's boot partition.
    pub boot: PathBuf,
    /// What is written to the slot's root partition.
    pub root: PathBuf,
}

/// A bundle that has been made and read again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Bundle {
    /// Where it is.
    pub path: PathBuf,
    /// The board that it is for.
    pub compatible: String,
    /// Its version.
    pub version: String,
    /// Its size in bytes.
    pub bytes: u64,
    /// Whether it is signed with a development key.
    pub development: bool,
    /// What is in it.
    pub images: Vec<Image>,
}

/// What a bundle has for a partition of a slot.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Image {
    /// `boot` or `root`.
    pub slot: String,
    /// Its size in bytes.
    pub bytes: u64,
    /// Its SHA-256 in hexadecimal.
    pub sha256: String,
}

/// Why there is no bundle.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The image of the board is not there, or was made without slots.
    #[error(
        "there is no slot of {board} to make an update of ({source}): `peercam-firmware build \
         --board {board}` makes it for boards whose images have slots A and B"
    )]
    NoSlot {
        /// The board.
        board: String,
        /// What is missing.
        source: std::io::Error,
    },
    /// A version that a bundle can't have.
    #[error(
        "{0:?} can't be the version of a bundle: write 1 to {MOST_LETTERS} of the letters a-z, A-Z, \
         0-9 and . + ~ _ -"
    )]
    Version(String),
    /// A program.
    #[error(transparent)]
    Tool(#[from] tool::Error),
    /// A file.
    #[error(transparent)]
    Io(#[from] std::io::Error),
    /// The key and the certificate.
    #[error(transparent)]
    Key(#[from] key::Error),
    /// The bundle could not be signed.
    #[error("{source}\nthe key must be the certificate's, and rauc be able to read both")]
    NotSigned {
        /// What rauc says.
        source: tool::Error,
    },
    /// The bundle does not verify. It is not kept.
    #[error(
        "the bundle does not verify against {}: a camera with that keyring would refuse it. Name \
         the certificate of the authority that issued the signer's with --keyring:\n{source}",
        keyring.display()
    )]
    Unverified {
        /// The certificates that it was checked with.
        keyring: PathBuf,
        /// What rauc says.
        source: tool::Error,
    },
    /// What is in the bundle is not what went into it. It is not kept.
    #[error("the bundle that rauc made holds {found}, and not {expected}: it was not kept")]
    Different {
        /// What went in.
        expected: String,
        /// What `rauc info` shows.
        found: String,
    },
}

impl Contents {
    /// What `build` made for a slot of a board.
    ///
    /// # Errors
    /// When there is none, or the version can't be one.
    pub fn of_board(out: &Path, board: &str, version: &str) -> Result<Self, Error> {
        let known = |letter: u8| letter.is_ascii_alphanumeric() || b".+~_-".contains(&letter);
        if !(1..=MOST_LETTERS).contains(&version.len()) || !version.bytes().all(known) {
            return Err(Error::Version(version.to_owned()));
        }
        let part = |name: &str| {
            let path = out.join("build").join(name);
            let missing = |source| Error::NoSlot { board: board.to_owned(), source };
            path.metadata().map_err(|error| missing(at(&path, error)))?;
            Ok::<_, Error>(path)
        };
        let (boot, root) = (part("boot.slot")?, part("root.slot")?);
        Ok(Self { board: board.to_owned(), version: version.to_owned(), boot, root })
    }

    fn parts(&self) -> [(&'static str, &Path); 2] {
        [("boot", &self.boot), ("root", &self.root)]
    }

    /// RAUC's manifest. Nothing in it needs to be escaped: versions are checked, and boards
    /// are named like folders.
    fn manifest(&self) -> String {
        let mut text = format!(
            "[update]\ncompatible={}\nversion={}\n\n[bundle]\nformat=verity\n",
            self.board, self.version
        );
        for (slot, _) in self.parts() {
            // Writing to a String can't fail.
            let _ = write!(text, "\n[image.{slot}]\nfilename={slot}.img\n");
        }
        text
    }

    fn images(&self) -> Result<Vec<Image>, Error> {
        let image = |(slot, path): (&str, &Path)| {
            let bytes = path.metadata().map_err(|error| at(path, error))?.len();
            let sha256 = hash::file(path).map_err(|error| at(path, error))?;
            Ok(Image { slot: slot.to_owned(), bytes, sha256 })
        };
        self.parts().into_iter().map(image).collect()
    }
}

/// Makes a bundle at `output`, where an older one is replaced; it appears there only when it
/// has been verified.
///
/// # Errors
/// When it can't be made, or what was made is not right.
pub fn make(contents: &Contents, signer: &Signer, output: &Path) -> Result<Bundle, Error> {
    let folder = output.parent().filter(|folder| !folder.as_os_str().is_empty());
    let folder = folder.unwrap_or(Path::new("."));
    let scratch = tempfile::tempdir_in(folder).map_err(|error| at(folder, error))?;
    let input = scratch.path().join("contents");
    std::fs::create_dir(&input).map_err(|error| at(&input, error))?;
    let manifest = input.join("manifest.raucm");
    std::fs::write(&manifest, contents.manifest()).map_err(|error| at(&manifest, error))?;
    for (slot, original) in contents.parts() {
        let image = input.join(format!("{slot}.img"));
        // A copy where the output is on another disk.
        std::fs::hard_link(original, &image)
            .or_else(|_| std::fs::copy(original, &image).map(|_| ()))
            .map_err(|error| at(original, error))?;
    }

    let made = scratch.path().join("bundle.raucb");
    let mut rauc = tool::RAUC.command();
    rauc.arg("bundle");
    rauc.arg(format!("--cert={}", signer.certificate)).arg(format!("--key={}", signer.key));
    rauc.arg(&input).arg(&made);
    tool::RAUC.run(&mut rauc).map_err(|source| Error::NotSigned { source })?;

    let images = contents.images()?;
    let found = inspect(&made, &signer.keyring)?;
    let expected = Info {
        compatible: contents.board.clone(),
        version: contents.version.clone(),
        images: images.clone(),
    };
    if found != expected {
        let (expected, found) = (format!("{expected:?}"), format!("{found:?}"));
        return Err(Error::Different { expected, found });
    }
    let bytes = made.metadata().map_err(|error| at(&made, error))?.len();
    std::fs::rename(&made, output).map_err(|error| at(output, error))?;
    Ok(Bundle {
        path: output.to_owned(),
        compatible: found.compatible,
        version: found.version,
        bytes,
        development: signer.development,
        images,
    })
}

/// What a bundle says that it is, its signature checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Info {
    /// The board that it is for.
    pub compatible: String,
    /// Its version.
    pub version: String,
    /// What is in it, sorted.
    pub images: Vec<Image>,
}

/// Asks rauc what is in a bundle that somebody in the keyring signed.
///
/// # Errors
/// [`Error::Unverified`] when nobody in the keyring did, or the signature is damaged.
pub fn inspect(bundle: &Path, keyring: &Path) -> Result<Info, Error> {
    let mut rauc = tool::RAUC.command();
    rauc.arg("info").arg("--output-format=json");
    rauc.arg(format!("--keyring={}", keyring.display())).arg(bundle);
    let output = tool::RAUC
        .run(&mut rauc)
        .map_err(|source| Error::Unverified { keyring: keyring.to_owned(), source })?;
    let raw: RawInfo = serde_json::from_slice(&output.stdout).map_err(std::io::Error::from)?;
    let mut images: Vec<Image> = raw
        .images
        .into_iter()
        .flatten()
        .map(|(slot, image)| Image { slot, bytes: image.size, sha256: image.checksum })
        .collect();
    images.sort();
    Ok(Info { compatible: raw.compatible, version: raw.version, images })
}

/// `rauc info --output-format=json`.
#[derive(Deserialize)]
struct RawInfo {
    compatible: String,
    version: String,
    images: Vec<std::collections::BTreeMap<String, RawImage>>,
}

#[derive(Deserialize)]
struct RawImage {
    checksum: String,
    size: u64,
}
