//! Lines for the person who waits: on standard error, each with the seconds since the start.

use std::{fmt::Display, time::Instant};

/// A stopwatch that speaks.
#[derive(Debug, Clone, Copy)]
pub struct Progress {
    start: Instant,
}

impl Progress {
    /// Starts at zero, now.
    pub fn start() -> Self {
        Self { start: Instant::now() }
    }

    /// Prints one line.
    pub fn say(&self, line: impl Display) {
        eprintln!("[{:6.1} s] {line}", self.start.elapsed().as_secs_f64());
    }
}
