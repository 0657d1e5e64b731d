//! What is on a disk now, as far as its first megabyte tells.

use std::fmt;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use serde::Serialize;

use crate::build::DISK_UUID;
use crate::size::Size;

/// How much of a disk [`Contents::of`] looks at, in bytes.
pub const LOOKED_AT: usize = 1 << 20;

const SECTOR: u64 = 512;
/// More entries than any table in use has.
const MOST_ENTRIES: usize = 256;

/// What a disk holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Contents {
    /// Zeros only.
    Empty,
    /// A peercam image, whole or grown.
    Peercam {
        /// Its partitions.
        partitions: Vec<Entry>,
    },
    /// Partitions of something else.
    Partitions {
        /// `GPT` or `MBR`.
        table: &'static str,
        /// Its partitions.
        partitions: Vec<Entry>,
    },
    /// A file system or the like without a partition table.
    FileSystem {
        /// Its kind: `ext4`, `FAT`, `LUKS`.
        name: &'static str,
    },
    /// Something else.
    Data,
    /// It could not be read.
    Unknown {
        /// Why not.
        reason: String,
    },
}

/// A partition in a table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Entry {
    /// Its label; an MBR's has none.
    pub label: String,
    /// Its size in bytes.
    pub bytes: u64,
}

/// What is told by so many bytes at a place.
const MAGIC: &[(&str, usize, &[u8])] = &[
    ("squashfs", 0, b"hsqs"),
    ("XFS", 0, b"XFSB"),
    ("LUKS", 0, b"LUKS\xba\xbe"),
    ("NTFS", 3, b"NTFS    "),
    ("exFAT", 3, b"EXFAT   "),
    ("FAT", 54, b"FAT1"),
    ("FAT", 82, b"FAT32"),
    ("LVM", 512, b"LABELONE"),
    ("ext2, 3 or 4", 1080, b"\x53\xef"),
    ("swap", 4086, b"SWAPSPACE2"),
    ("ISO 9660", 32769, b"CD001"),
    ("btrfs", 65600, b"_BHRfS_M"),
];

impl Contents {
    /// Looks at the beginning of the disk or file at `path`.
    #[must_use]
    pub fn at(path: &Path) -> Self {
        let mut beginning = Vec::new();
        let read = File::open(path)
            .and_then(|file| file.take(LOOKED_AT as u64).read_to_end(&mut beginning));
        match read {
            Ok(_) => Self::of(&beginning),
            Err(error) => Self::Unknown { reason: error.to_string() },
        }
    }

    /// Looks at the beginning of a disk, [`LOOKED_AT`] bytes of it or all there is.
    #[must_use]
    pub fn of(beginning: &[u8]) -> Self {
        if let Some((uuid, partitions)) = gpt(beginning) {
            return if uuid == DISK_UUID {
                Self::Peercam { partitions }
            } else {
                Self::Partitions { table: "GPT", partitions }
            };
        }
        let known = MAGIC.iter().find(|(_, offset, magic)| {
            beginning.get(*offset..).is_some_and(|rest| rest.starts_with(magic))
        });
        // A FAT boot sector ends like an MBR: file systems come first.
        if let Some((name, ..)) = known {
            return Self::FileSystem { name };
        }
        if let Some(partitions) = mbr(beginning) {
            return Self::Partitions { table: "MBR", partitions };
        }
        if beginning.iter().all(|byte| *byte == 0) { Self::Empty } else { Self::Data }
    }
}

/// The disk's identifier and partitions, where there is a GUID partition table (UEFI
/// specification, section 5.3).
fn gpt(beginning: &[u8]) -> Option<(String, Vec<Entry>)> {
    let header = beginning.get(512..1024).filter(|header| header.starts_with(b"EFI PART"))?;
    let uuid = guid(header.get(56..72)?)?;
    let start = usize::try_from(number(header, 72, 8)?.checked_mul(SECTOR)?).ok()?;
    let count = usize::try_from(number(header, 80, 4)?).ok()?.min(MOST_ENTRIES);
    let length = usize::try_from(number(header, 84, 4)?).ok().filter(|length| *length >= 128)?;
    let entries = beginning.get(start..)?.chunks_exact(length).take(count);
    let partitions = entries.filter(|entry| entry[..16] != [0; 16]).filter_map(|entry| {
        let (first, last) = (number(entry, 32, 8)?, number(entry, 40, 8)?);
        let units = entry.get(56..128)?.chunks_exact(2).map(|b| u16::from_le_bytes([b[0], b[1]]));
        let label = char::decode_utf16(units.take_while(|unit| *unit != 0))
            .map(|letter| letter.unwrap_or(char::REPLACEMENT_CHARACTER))
            .map(|letter| if letter.is_control() { '?' } else { letter })
            .collect();
        Some(Entry { label, bytes: last.checked_sub(first)?.checked_add(1)?.checked_mul(SECTOR)? })
    });
    Some((uuid, partitions.collect()))
}

fn mbr(beginning: &[u8]) -> Option<Vec<Entry>> {
    let sector = beginning.get(..512).filter(|sector| sector[510..] == [0x55, 0xaa])?;
    let entries = sector[446..510].chunks_exact(16).filter(|entry| entry[4] != 0);
    let partitions: Vec<_> = entries
        .filter_map(|entry| {
            Some(Entry { label: String::new(), bytes: number(entry, 12, 4)? * SECTOR })
        })
        .collect();
    (!partitions.is_empty()).then_some(partitions)
}

/// A little-endian number of `length` bytes, eight at most.
fn number(bytes: &[u8], offset: usize, length: usize) -> Option<u64> {
    let bytes = bytes.get(offset..offset + length)?;
    Some(bytes.iter().rev().fold(0, |value, byte| value << 8 | u64::from(*byte)))
}

/// A GUID as it is written: its first three fields are little-endian.
fn guid(bytes: &[u8]) -> Option<String> {
    let tail: String = bytes.get(10..16)?.iter().map(|byte| format!("{byte:02x}")).collect();
    Some(format!(
        "{:08x}-{:04x}-{:04x}-{:02x}{:02x}-{tail}",
        number(bytes, 0, 4)?,
        number(bytes, 4, 2)?,
        number(bytes, 6, 2)?,
        bytes[8],
        bytes[9]
    ))
}

impl fmt::Display for Contents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |partitions: &[Entry]| -> String {
            let words = partitions.iter().map(|entry| {
                let space = if entry.label.is_empty() { "" } else { " " };
                format!("{}{space}{}", entry.label, Size::bytes(entry.bytes))
            });
            words.collect::<Vec<_>>().join(", ")
        };
        match self {
            Self::Empty => f.write_str("nothing"),
            Self::Peercam { partitions } => write!(f, "a peercam image ({})", list(partitions)),
            Self::Partitions { table, partitions } if partitions.is_empty() => {
                write!(f, "an empty partition table ({table})")
            }
            Self::Partitions { table, partitions } => {
                write!(f, "partitions ({table}): {}", list(partitions))
            }
            Self::FileSystem { name } => write!(f, "a file system ({name})"),
            Self::Data => f.write_str("data without a partition table"),
            Self::Unknown { reason } => write!(f, "not known ({reason})"),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn with(parts: &[(usize, &[u8])]) -> Vec<u8> {
        let mut disk = vec![0; LOOKED_AT];
        for (offset, bytes) in parts {
            disk[*offset..offset + bytes.len()].copy_from_slice(bytes);
        }
        disk
    }

    #[test]
    fn file_systems_and_old_tables_are_told_apart() {
        assert_eq!(Contents::of(&with(&[])), Contents::Empty);
        assert_eq!(Contents::of(&with(&[(7, b"x")])), Contents::Data);
        assert_eq!(Contents::of(&[]), Contents::Empty);
        let fat: &[(usize, &[u8])] = &[(82, b"FAT32   "), (510, &[0x55, 0xaa])];
        assert_eq!(Contents::of(&with(fat)), Contents::FileSystem { name: "FAT" });
        let ext: &[(usize, &[u8])] = &[(1080, &[0x53, 0xef])];
        assert_eq!(Contents::of(&with(ext)), Contents::FileSystem { name: "ext2, 3 or 4" });
        let mbr: &[(usize, &[u8])] = &[(450, &[0x0c]), (458, &[0, 8, 0, 0]), (510, &[0x55, 0xaa])];
        assert_eq!(Contents::of(&with(mbr)).to_string(), "partitions (MBR): 1.0 MB");
    }

    #[test]
    fn a_table_that_lies_about_itself_is_no_trouble() {
        let header = |offset: usize, bytes: &'static [u8]| -> Vec<u8> {
            with(&[(512, b"EFI PART"), (512 + offset, bytes), (510, &[0x55, 0xaa])])
        };
        for disk in [
            header(72, &[0xff; 8]),
            header(80, &[0xff; 8]),
            header(72, &[2, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0x80]),
            header(84, &[1]),
        ] {
            let _ = Contents::of(&disk).to_string();
            let _ = Contents::of(&disk[..600]);
        }
    }
}
