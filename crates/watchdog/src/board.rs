//! Where [`crate::status`] is told: written when it has changed, not too often, and what can't be
//! written is said once.

use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use crate::{
    log,
    status::{FILE_NAME, Status},
};

/// Least time between two changes of what is told about the moment.
const SHOW_PAUSE: Duration = Duration::from_secs(1);

/// Where it is told how things are.
#[derive(Debug)]
pub(crate) struct Board {
    folder: PathBuf,
    file: PathBuf,
    shown: Option<Status>,
    /// When it may be told again; in the past where it may now.
    pub due: Instant,
    complained: bool,
}

impl Board {
    /// In this folder, from now on.
    pub fn new(folder: PathBuf, now: Instant) -> Self {
        let file = folder.join(FILE_NAME);
        Self { folder, file, shown: None, due: now, complained: false }
    }

    /// Where it is told.
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// Tells it, if that is news.
    pub fn show(&mut self, mut status: Status, now: Instant) {
        // Computed from two clocks, it may be a second off from time to time: that is no news.
        for (old, new) in self.shown.iter().flat_map(|it| &it.services).zip(&mut status.services) {
            if old.pid == new.pid
                && old.up_since_seconds.is_some()
                && new.up_since_seconds.is_some()
            {
                new.up_since_seconds = old.up_since_seconds;
            }
        }
        if self.shown.as_ref() == Some(&status) {
            return;
        }
        self.due = now + SHOW_PAUSE;
        match status.write(&self.folder) {
            Ok(()) => self.complained = false,
            Err(error) if !self.complained => {
                self.complained = true;
                log::warn(format_args!("{}: no status: {error}", self.folder.display()));
            }
            Err(_) => {}
        }
        self.shown = Some(status);
    }
}
