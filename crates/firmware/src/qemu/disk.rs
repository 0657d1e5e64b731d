//! A copy of an image that a guest may write to.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use super::Error;
use crate::hash::at;
use crate::manifest::{Manifest, Partition};
use crate::tool;
use crate::workspace::Workspace;

const BLOCK: usize = 1 << 16;

/// A disk for one guest: starts as the board's image, keeps what the guest writes.
#[derive(Debug, Clone)]
pub struct WorkingCopy {
    image: PathBuf,
    boot_start: u64,
}

impl WorkingCopy {
    /// The working copy in `folder`; made if it isn't there, made anew if the image has
    /// changed since. `/data` is carried over then, as an update would.
    ///
    /// # Errors
    /// [`Error::NoImage`] when the board isn't built.
    pub fn prepare(workspace: &Workspace, board: &str, folder: &Path) -> Result<Self, Error> {
        let missing = |source| Error::NoImage { board: board.to_owned(), source };
        let manifest = Manifest::read(&workspace.manifest(board)).map_err(missing)?;
        let original = workspace.image(board);
        original.metadata().map_err(|error| missing(at(&original, error)))?;

        let partition = |name: &'static str| {
            manifest
                .partition(name)
                .ok_or_else(|| Error::NoPartition { board: board.to_owned(), partition: name })
        };
        let boot_start = partition("boot")?.start;
        let image = folder.join("disk.img");
        let copy = Self { image, boot_start };

        fs::create_dir_all(folder).map_err(|error| at(folder, error))?;
        let kept = folder.join("manifest.json");
        let before = Manifest::read(&kept).ok().filter(|_| copy.image.is_file());
        if before.as_ref().is_some_and(|before| before.image_sha256 == manifest.image_sha256) {
            return Ok(copy);
        }

        // Under another name until it is whole.
        let scratch = folder.join("disk.img.new");
        let mut new = File::create(&scratch).map_err(|error| at(&scratch, error))?;
        let mut source = File::open(&original).map_err(|error| at(&original, error))?;
        let size = source.metadata().map_err(|error| at(&original, error))?.len();
        let whole = Partition { name: String::new(), start: 0, size };
        copy_sparsely(&mut source, &mut new, &whole).map_err(|error| at(&scratch, error))?;
        new.set_len(size).map_err(|error| at(&scratch, error))?;
        let data = partition("data")?;
        if before.is_some_and(|before| before.partition("data") == Some(data)) {
            let mut old = File::open(&copy.image).map_err(|error| at(&copy.image, error))?;
            copy_sparsely(&mut old, &mut new, data).map_err(|error| at(&scratch, error))?;
        }
        fs::rename(&scratch, &copy.image).map_err(|error| at(&copy.image, error))?;
        manifest.write(&kept)?;
        Ok(copy)
    }

    /// The disk image, raw.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.image
    }

    /// Puts a file on the boot partition, as a person would with the card in a reader. An
    /// old one of that name is replaced. Not while the guest runs.
    ///
    /// # Errors
    /// When mtools can't write it.
    pub fn write_boot_file(&self, name: &str, contents: &[u8]) -> Result<(), Error> {
        let folder = self.image.parent().unwrap_or(Path::new("."));
        let mut file =
            tempfile::NamedTempFile::new_in(folder).map_err(|error| at(folder, error))?;
        file.write_all(contents).map_err(|error| at(file.path(), error))?;
        let mut mcopy = tool::MCOPY.command();
        mcopy.args(["-o", "-i", &self.boot_partition()]).arg(file.path()).arg(format!("::{name}"));
        tool::MCOPY.run(&mut mcopy)?;
        Ok(())
    }

    /// Reads a file of the boot partition; `None` when it has none of that name.
    ///
    /// # Errors
    /// When mtools can't read it.
    pub fn read_boot_file(&self, name: &str) -> Result<Option<Vec<u8>>, Error> {
        let mut mcopy = tool::MCOPY.command();
        mcopy.args(["-n", "-i", &self.boot_partition(), &format!("::{name}"), "-"]);
        match tool::MCOPY.run(&mut mcopy) {
            Ok(output) => Ok(Some(output.stdout)),
            Err(tool::Error::Failed { output, .. }) if output.contains("not found") => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// mtools' way to name a partition inside an image.
    fn boot_partition(&self) -> String {
        format!("{}@@{}", self.image.display(), self.boot_start)
    }
}

/// Copies a stretch to the same place in another file. Blocks of zeros are not written
/// where the other file ends before them, so that holes stay holes.
fn copy_sparsely(from: &mut File, to: &mut File, stretch: &Partition) -> io::Result<()> {
    let hole_from = to.metadata()?.len();
    from.seek(SeekFrom::Start(stretch.start))?;
    let mut buffer = vec![0; BLOCK];
    let mut position = stretch.start;
    let mut source = from.take(stretch.size);
    loop {
        let count = read_block(&mut source, &mut buffer)?;
        if count == 0 {
            return Ok(());
        }
        let block = &buffer[..count];
        if position < hole_from || block.iter().any(|byte| *byte != 0) {
            to.seek(SeekFrom::Start(position))?;
            to.write_all(block)?;
        }
        position += count as u64;
    }
}

fn read_block(source: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match source.read(&mut buffer[filled..])? {
            0 => break,
            count => filled += count,
        }
    }
    Ok(filled)
}
