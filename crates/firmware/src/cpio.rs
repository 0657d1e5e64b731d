//! A cpio archive (`newc`), which is what the kernel unpacks as its initramfs. Written here
//! because device nodes and owners must not depend on who builds, and so that two builds
//! give the same bytes.

use std::io::{self, Write};

/// Writes an archive, entry by entry.
#[derive(Debug)]
pub struct Writer<W> {
    out: W,
    next_inode: u32,
    written: usize,
}

const FOLDER: u32 = 0o040_755;
const FILE: u32 = 0o100_000;
const LINK: u32 = 0o120_777;
const CHARACTER_DEVICE: u32 = 0o020_600;

struct Entry<'a> {
    name: &'a str,
    mode: u32,
    device: (u32, u32),
    data: &'a [u8],
}

impl<W: Write> Writer<W> {
    /// An archive that goes to `out`.
    pub fn new(out: W) -> Self {
        Self { out, next_inode: 1, written: 0 }
    }

    /// A folder; its parents must have been written.
    ///
    /// # Errors
    /// When `out` fails.
    pub fn folder(&mut self, name: &str) -> io::Result<()> {
        self.entry(&Entry { name, mode: FOLDER, device: (0, 0), data: &[] })
    }

    /// A file, executable or not.
    ///
    /// # Errors
    /// When `out` fails or the file has 4 GiB.
    pub fn file(&mut self, name: &str, executable: bool, data: &[u8]) -> io::Result<()> {
        let mode = FILE | if executable { 0o755 } else { 0o644 };
        self.entry(&Entry { name, mode, device: (0, 0), data })
    }

    /// A symbolic link.
    ///
    /// # Errors
    /// When `out` fails.
    pub fn link(&mut self, name: &str, to: &str) -> io::Result<()> {
        self.entry(&Entry { name, mode: LINK, device: (0, 0), data: to.as_bytes() })
    }

    /// A character device.
    ///
    /// # Errors
    /// When `out` fails.
    pub fn device(&mut self, name: &str, major: u32, minor: u32) -> io::Result<()> {
        self.entry(&Entry { name, mode: CHARACTER_DEVICE, device: (major, minor), data: &[] })
    }

    /// Writes the end mark and gives back what it wrote to.
    ///
    /// # Errors
    /// When `out` fails.
    pub fn finish(mut self) -> io::Result<W> {
        self.next_inode = 0;
        self.entry(&Entry { name: "TRAILER!!!", mode: 0, device: (0, 0), data: &[] })?;
        Ok(self.out)
    }

    fn entry(&mut self, entry: &Entry<'_>) -> io::Result<()> {
        let size = u32::try_from(entry.data.len())
            .map_err(|_| io::Error::other(format!("{} is too big for cpio", entry.name)))?;
        let name_size = u32::try_from(entry.name.len() + 1)
            .map_err(|_| io::Error::other("a name is too long for cpio"))?;
        let header = [
            self.next_inode,
            entry.mode,
            0, // owner: root
            0, // group: root
            1, // links
            0, // time: the same in every build
            size,
            0, // the archive's own device
            0,
            entry.device.0,
            entry.device.1,
            name_size,
            0, // no checksum
        ];
        self.next_inode += 1;
        let mut text = String::from("070701");
        for field in header {
            text.push_str(&format!("{field:08x}"));
        }
        self.write(text.as_bytes())?;
        self.write(entry.name.as_bytes())?;
        self.write(&[0])?;
        self.pad()?;
        self.write(entry.data)?;
        self.pad()
    }

    fn write(&mut self, data: &[u8]) -> io::Result<()> {
        self.written += data.len();
        self.out.write_all(data)
    }

    /// Names and contents end at a multiple of four.
    fn pad(&mut self) -> io::Result<()> {
        let missing = self.written.next_multiple_of(4) - self.written;
        self.write(&[0; 3][..missing])
    }
}
