//! Files that outlive power failures.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::Path,
};

/// Why a file was not written: what was tried, and why it failed.
#[derive(Debug, thiserror::Error)]
#[error("{action}: {source}")]
pub struct Error {
    /// `create`
    pub action: &'static str,
    /// What the system says.
    pub source: io::Error,
}

/// Writes a file so that after a power failure it is there whole or not at all, readable only by
/// its owner (0600). Its folder is made where it is missing (0700).
///
/// # Errors
///
/// With what could not be done. The file is then as it was.
pub fn write(file: &Path, content: &[u8]) -> Result<(), Error> {
    let failed = |action| move |source| Error { action, source };
    // A bare name has an empty one.
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty());
    let folder = folder.unwrap_or(Path::new("."));
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)
        .map_err(failed("make its folder"))?;
    let mut draft = file.as_os_str().to_owned();
    draft.push(".new");
    let draft = Path::new(&draft);
    // What a power failure may have left of an earlier attempt.
    match fs::remove_file(draft) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(failed("remove an old draft")(error));
        }
        _ => {}
    }
    let mut output = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(draft)
        .map_err(failed("create"))?;
    output.write_all(content).and_then(|()| output.sync_all()).map_err(failed("write"))?;
    fs::rename(draft, file).map_err(failed("put in place"))?;
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(failed("sync its folder"))
}
