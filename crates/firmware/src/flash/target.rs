//! The disk or file that is to be written, and all that speaks against it.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, Seek, SeekFrom};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::stat::{major, minor};
use serde::Serialize;

use super::contents::Contents;
use super::disk::{Disk, Kernel, Node};
use super::{Error, Image};
use crate::hash::at;
use crate::size::Size;

/// What its partition table counts in; an image is made for disks of such sectors.
const SECTOR_BYTES: u64 = 512;

/// A disk or file, looked at and not touched.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Target {
    /// Its path, links followed.
    pub path: PathBuf,
    /// What it is.
    #[serde(flatten)]
    pub kind: Kind,
    /// What is on it now.
    pub contents: Contents,
    /// What speaks against writing to it.
    pub refusals: Vec<Refusal>,
}

/// What is written to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// A disk.
    Disk(Disk),
    /// A file that is there, of so many bytes.
    File {
        /// Its size in bytes.
        bytes: u64,
    },
    /// A file that is to be made.
    NewFile,
}

/// What a person has allowed beyond the harmless.
#[derive(Debug, Clone, Copy, Default)]
pub struct Allowed {
    /// Disks that can't be taken out.
    pub fixed_disk: bool,
}

/// Why a target is not written to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Refusal {
    /// A word for machines.
    pub reason: &'static str,
    /// What is wrong and the way out, for people.
    pub message: String,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

/// A target that is open for writing; a disk is claimed, so that nothing can mount it
/// meanwhile. A new file that did not become an image is removed in the end.
#[derive(Debug)]
pub struct Claimed {
    pub(super) path: PathBuf,
    pub(super) file: File,
    /// How large a disk or file is, in bytes.
    pub(super) bytes: u64,
    pub(super) kind: ClaimedKind,
    pub(super) complete: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ClaimedKind {
    Disk,
    File,
    NewFile,
}

/// How often the kernel is asked to look at the new partitions, 100 ms apart.
const READ_ANEW: usize = 20;

mod ioctl {
    // linux/fs.h: BLKRRPART.
    nix::ioctl_none!(read_partitions_anew, 0x12, 95);
}

impl Drop for Claimed {
    fn drop(&mut self) {
        match self.kind {
            ClaimedKind::Disk => {
                for _ in 0..READ_ANEW {
                    // SAFETY: the request takes no argument, and the descriptor is open.
                    let read = unsafe { ioctl::read_partitions_anew(self.file.as_raw_fd()) };
                    // Somebody may look at an old partition just now, as udev does. Where it fails
                    // otherwise (a disk without partitions), the kernel knew of none.
                    if read != Err(Errno::EBUSY) {
                        break;
                    }
                    std::thread::sleep(Duration::from_millis(100));
                }
            }
            ClaimedKind::NewFile if !self.complete => {
                // Whether that works or not: why it did not become an image is what is told.
                let _ = std::fs::remove_file(&self.path);
            }
            ClaimedKind::File | ClaimedKind::NewFile => {}
        }
    }
}

impl Target {
    /// Looks at what is at `path`, and collects what speaks against writing the image there.
    ///
    /// # Errors
    /// When it can't be looked at, or is nothing that an image can be written to.
    pub fn examine(
        kernel: &Kernel,
        path: &Path,
        image: &Image,
        allowed: Allowed,
    ) -> Result<Self, Error> {
        let failed = |error| Error::Io { source: at(path, error), begun: false };
        let data = match std::fs::metadata(path) {
            Ok(data) => data,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return new_file(path),
            Err(error) => return Err(failed(error)),
        };
        let path = std::fs::canonicalize(path).map_err(failed)?;
        let kind = data.file_type();
        if kind.is_block_device() {
            return examine_device(kernel, &path, data.rdev(), image, allowed).map_err(|error| {
                match error {
                    Found::Refused(refusal) => Error::Refused(vec![refusal]),
                    Found::Unknown(error) => failed(error),
                }
            });
        }
        if !kind.is_file() {
            let what = if kind.is_dir() { "a folder" } else { "neither a disk nor a file" };
            return Err(refuse("not-a-disk", format!("{} is {what}", path.display())));
        }
        let mut refusals = Vec::new();
        let same = std::fs::metadata(&image.path)
            .is_ok_and(|image| (image.dev(), image.ino()) == (data.dev(), data.ino()));
        if same {
            let message = format!("{} is the image itself", path.display());
            refusals.push(Refusal { reason: "image", message });
        }
        refusals.extend(loops(kernel, &path).map_err(failed)?);
        for used in kernel.swaps(None, &path).map_err(failed)? {
            refusals.push(swap(&used.device));
        }
        let contents = Contents::at(&path);
        Ok(Self { path, kind: Kind::File { bytes: data.len() }, contents, refusals })
    }

    /// Opens it for writing.
    ///
    /// # Errors
    /// [`Error::Refused`] when something speaks against it, or the kernel says that it is in
    /// use; [`Error::Io`] when it can't be opened.
    pub fn claim(&self) -> Result<Claimed, Error> {
        if !self.refusals.is_empty() {
            return Err(Error::Refused(self.refusals.clone()));
        }
        let mut options = OpenOptions::new();
        options.read(true).write(true);
        // The path had its links followed: one that is there now was put there since.
        let mut flags = OFlag::O_NOFOLLOW;
        match self.kind {
            // Of a block device this asks the kernel to let nobody else claim it: no mount, no
            // swap, no device mapper, in any container.
            Kind::Disk(_) => flags |= OFlag::O_EXCL,
            Kind::File { .. } => {}
            Kind::NewFile => {
                options.create_new(true);
            }
        }
        options.custom_flags(flags.bits());
        let mut file = options.open(&self.path).map_err(|error| self.not_opened(error))?;
        let failed = |error| Error::Io { source: at(&self.path, error), begun: false };
        let bytes = file.seek(SeekFrom::End(0)).map_err(failed)?;
        let now = file.metadata().map_err(failed)?;
        let same = match &self.kind {
            Kind::Disk(disk) => {
                let number = (major(now.rdev()), minor(now.rdev()));
                now.file_type().is_block_device() && disk.number == number && disk.bytes == bytes
            }
            Kind::File { .. } | Kind::NewFile => now.is_file(),
        };
        if !same {
            return Err(refuse(
                "changed",
                format!("{} has been exchanged: run this again", self.path.display()),
            ));
        }
        let kind = match self.kind {
            Kind::Disk(_) => ClaimedKind::Disk,
            Kind::File { .. } => ClaimedKind::File,
            Kind::NewFile => ClaimedKind::NewFile,
        };
        Ok(Claimed { path: self.path.clone(), file, bytes, kind, complete: false })
    }

    fn not_opened(&self, error: io::Error) -> Error {
        let path = self.path.display();
        let is_disk = matches!(self.kind, Kind::Disk(_));
        match error.kind() {
            io::ErrorKind::ResourceBusy if is_disk => refuse(
                "busy",
                format!(
                    "{path} is in use, the kernel says: by a program or container that has it open for itself"
                ),
            ),
            io::ErrorKind::PermissionDenied if is_disk => {
                let source = io::Error::new(
                    error.kind(),
                    format!(
                        "{path} may be written by root only: put sudo in front of this command"
                    ),
                );
                Error::Io { source, begun: false }
            }
            _ => Error::Io { source: at(&self.path, error), begun: false },
        }
    }
}

enum Found {
    Refused(Refusal),
    Unknown(io::Error),
}

impl From<io::Error> for Found {
    fn from(error: io::Error) -> Self {
        Self::Unknown(error)
    }
}

fn examine_device(
    kernel: &Kernel,
    path: &Path,
    device: u64,
    image: &Image,
    allowed: Allowed,
) -> Result<Target, Found> {
    let disk = match kernel.node((major(device), minor(device)))? {
        Node::Disk(disk) => disk,
        Node::PartitionOf(disk) => {
            let message = format!(
                "{} is a partition, and an image has a partition table of its own: name the disk, \
                 /dev/{disk}",
                path.display()
            );
            return Err(Found::Refused(Refusal { reason: "partition", message }));
        }
    };
    let refusals = refusals(kernel, &disk, path, image, allowed)?;
    Ok(Target {
        path: path.to_owned(),
        kind: Kind::Disk(disk),
        contents: Contents::at(path),
        refusals,
    })
}

/// All that speaks against writing an image to a disk; `path` is the one it was named by.
///
/// # Errors
/// When the kernel does not tell who uses it.
pub fn refusals(
    kernel: &Kernel,
    disk: &Disk,
    path: &Path,
    image: &Image,
    allowed: Allowed,
) -> io::Result<Vec<Refusal>> {
    let mut refusals = in_use(kernel, disk, path)?;
    refusals.extend(unfit(disk, image, allowed));
    Ok(refusals)
}

/// Whoever uses the disk. No option overrides these.
fn in_use(kernel: &Kernel, disk: &Disk, path: &Path) -> io::Result<Vec<Refusal>> {
    let mut refusals = Vec::new();
    if let Some(point) = kernel.system_mount(disk)? {
        let message = format!("this computer runs from {}: it has {point} on it", path.display());
        refusals.push(Refusal { reason: "system", message });
    }
    for used in kernel.mounts(disk)? {
        let message = format!(
            "/dev/{0} is mounted at {1}: `umount /dev/{0}` if it is the right disk",
            used.device, used.by
        );
        refusals.push(Refusal { reason: "mounted", message });
    }
    for used in kernel.swaps(Some(disk), path)? {
        refusals.push(swap(&used.device));
    }
    for used in kernel.holders(disk)? {
        let message = format!(
            "/dev/{} is part of /dev/{} (LVM, RAID, encryption): close that first if it is the \
             right disk",
            used.device, used.by
        );
        refusals.push(Refusal { reason: "held", message });
    }
    refusals.extend(loops(kernel, path)?);
    Ok(refusals)
}

/// What the disk itself lacks.
fn unfit(disk: &Disk, image: &Image, allowed: Allowed) -> Vec<Refusal> {
    let device = format!("/dev/{}", disk.name);
    let mut refusals = Vec::new();
    if disk.bytes == 0 {
        let message = format!("{device} is empty: there is no card in the reader");
        return vec![Refusal { reason: "no-medium", message }];
    }
    if disk.bytes < image.bytes {
        let message = format!(
            "{device} is too small: it has {} ({} bytes), and the image takes {} ({} bytes)",
            Size::bytes(disk.bytes),
            disk.bytes,
            image.size(),
            image.bytes
        );
        refusals.push(Refusal { reason: "too-small", message });
    }
    if disk.read_only {
        let message = format!(
            "{device} can't be written to: an SD card has a switch at its side, a loop device \
             may have been made read-only"
        );
        refusals.push(Refusal { reason: "read-only", message });
    }
    if disk.sector_bytes != SECTOR_BYTES {
        let message = format!(
            "{device} has sectors of {} bytes, and the image's partition table counts in \
             {SECTOR_BYTES}: nothing would find its partitions",
            disk.sector_bytes
        );
        refusals.push(Refusal { reason: "sector-size", message });
    }
    if !disk.removable && !allowed.fixed_disk {
        let message = format!(
            "{device} is not removable, so it may be a disk of this computer's own: if you are \
             sure, --dangerously-write-fixed-disk allows it"
        );
        refusals.push(Refusal { reason: "fixed-disk", message });
    }
    refusals
}

fn loops(kernel: &Kernel, path: &Path) -> io::Result<Vec<Refusal>> {
    let used = kernel.loops(path)?.into_iter();
    Ok(used
        .map(|used| Refusal {
            reason: "held",
            message: format!(
                "/dev/{0} reads from {1}: `losetup -d /dev/{0}` if it is the right one, or write \
                 to /dev/{0}",
                used.by, used.device
            ),
        })
        .collect())
}

fn swap(device: &str) -> Refusal {
    let message = format!("{device} is swap: `swapoff {device}` if it is the right one");
    Refusal { reason: "swap", message }
}

fn refuse(reason: &'static str, message: String) -> Error {
    Error::Refused(vec![Refusal { reason, message }])
}

/// A file that is to be made. In `/dev` it would be a disk's name misspelt.
fn new_file(path: &Path) -> Result<Target, Error> {
    let failed = |error| Error::Io { source: at(path, error), begun: false };
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let folder = std::fs::canonicalize(folder.unwrap_or(Path::new("."))).map_err(failed)?;
    let name = path
        .file_name()
        .ok_or_else(|| refuse("not-a-disk", format!("{} is no name for a file", path.display())))?;
    if folder.starts_with("/dev") && !folder.starts_with("/dev/shm") {
        return Err(refuse(
            "no-such-disk",
            format!("there is no {}: `lsblk` lists the disks", path.display()),
        ));
    }
    Ok(Target {
        path: folder.join(name),
        kind: Kind::NewFile,
        contents: Contents::Empty,
        refusals: Vec::new(),
    })
}
