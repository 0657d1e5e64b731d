//! What goes wrong while programs are started, waited for and looked at.

use std::{io, path::PathBuf, process::ExitStatus};

/// A result of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// Why a helper could not do its work.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A program is not where it should be.
    #[error("{program} is missing: {remedy}")]
    Missing {
        /// The program's name, or the path that was looked at.
        program: String,
        /// How to get it.
        remedy: String,
    },
    /// A file or socket of ours failed.
    #[error("{what}: {source}")]
    Io {
        /// What was being done, with the path or address.
        what: String,
        /// The system's answer.
        source: io::Error,
    },
    /// A program ended that should have gone on.
    #[error("{name} ended ({status}); its last lines (all of them: {}):\n{tail}", log.display())]
    Ended {
        /// The program, as it is called in the logs.
        name: String,
        /// How it ended.
        status: ExitStatus,
        /// Its log file.
        log: PathBuf,
        /// The log's last lines.
        tail: String,
    },
    /// Something did not happen in time.
    #[error("after {seconds:.1} s still waiting for {what}; {last}")]
    TimedOut {
        /// What was waited for.
        what: String,
        /// How long.
        seconds: f64,
        /// What was seen instead.
        last: String,
    },
    /// A server did not answer an HTTP request.
    #[error("{what}: {reason}")]
    Http {
        /// The request.
        what: String,
        /// What failed.
        reason: String,
    },
    /// The browser refused, or is gone.
    #[error("the browser, {what}: {reason}")]
    Browser {
        /// What it was asked for.
        what: String,
        /// What it, or the connection to it, said.
        reason: String,
    },
    /// A command in the guest's shell failed.
    #[error("in the guest, `{command}` ended with code {code}:\n{output}")]
    Command {
        /// The command line.
        command: String,
        /// Its exit code.
        code: i32,
        /// What it printed.
        output: String,
    },
    /// An image could not be prepared or booted.
    #[error("the guest: {0}")]
    Guest(String),
    /// An answer that makes no sense.
    #[error("{what} answered {answer:?}")]
    Answer {
        /// Who was asked, and what.
        what: String,
        /// The answer.
        answer: String,
    },
}

impl Error {
    /// For `map_err` on an I/O call: says what was being done.
    pub fn io(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let what = what.into();
        move |source| Self::Io { what, source }
    }
}
