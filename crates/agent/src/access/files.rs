//! What outlives a restart: two files in the state directory.

use std::{
    fmt::Display,
    fs, io,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use serde::{Serialize, de::DeserializeOwned};
use tracing::warn;

use super::{book::Book, clock::Memory};
use crate::durable;

/// Largest file that is one of ours: full lists have about 400 KB.
const MAX_SIZE: u64 = 2 * 1024 * 1024;

/// It can't be written down.
#[derive(Debug, thiserror::Error)]
#[error("{} can't be written: {problem}: check state-dir, whose it is, and whether the disk is full", .file.display())]
pub struct Error {
    file: PathBuf,
    problem: String,
}

impl Error {
    /// The program is ending.
    pub(super) fn interrupted(problem: &dyn Display) -> Self {
        Self { file: "access.toml".into(), problem: problem.to_string() }
    }
}

/// Where they are. Each is written by one at a time, and the latest state wins.
#[derive(Debug)]
pub(super) struct Files {
    book: Mutex<PathBuf>,
    clock: Mutex<PathBuf>,
}

impl Files {
    pub fn new(state_dir: &Path) -> Self {
        let file = |name| Mutex::new(state_dir.join(name));
        Self { book: file("access.toml"), clock: file("clock.toml") }
    }

    /// None where it was damaged, and is gone from its place.
    pub fn book(&self) -> Option<Book> {
        self.book.lock().map_or(None, |file| read(&file))
    }

    /// A damaged one is forgotten.
    pub fn clock(&self) -> Memory {
        self.clock.lock().map_or(None, |file| read(&file)).unwrap_or_default()
    }

    /// Writes what `state` is once it is this writer's turn. Blocks.
    pub fn write_book(&self, state: impl FnOnce() -> Book) -> Result<(), Error> {
        write(&self.book, || Some(state()))
    }

    /// The same, if there is something.
    pub fn write_clock(&self, state: impl FnOnce() -> Option<Memory>) -> Result<(), Error> {
        write(&self.clock, state)
    }
}

fn write<T: Serialize>(
    file: &Mutex<PathBuf>,
    state: impl FnOnce() -> Option<T>,
) -> Result<(), Error> {
    let file = file.lock().unwrap_or_else(PoisonError::into_inner);
    let Some(state) = state() else { return Ok(()) };
    let failed = |problem: String| Error { file: file.clone(), problem };
    let text = toml::to_string(&state).map_err(|error| failed(error.to_string()))?;
    durable::write(&file, text.as_bytes()).map_err(|error| failed(error.to_string()))
}

/// None: it is damaged, and moved aside for whoever wants to know.
fn read<T: DeserializeOwned + Default>(file: &Path) -> Option<T> {
    let text = match fs::metadata(file) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Some(T::default()),
        Ok(metadata) if metadata.len() > MAX_SIZE => Err("too large".to_owned()),
        _ => fs::read_to_string(file).map_err(|error| error.to_string()),
    };
    let problem = match text.and_then(|text| toml::from_str(&text).map_err(|e| e.to_string())) {
        Ok(state) => return Some(state),
        Err(problem) => problem,
    };
    let aside = file.with_extension("toml.unusable");
    let place = match fs::rename(file, &aside) {
        Ok(()) => format!("it is in {} now", aside.display()),
        Err(error) => format!("it can't be moved aside: {error}"),
    };
    let problem = problem.trim_end().replace('\n', " ");
    warn!("{} is damaged ({problem}); {place}", file.display());
    None
}
