//! The configuration: TOML as it stands in the file (`raw`), and what the rest of the program
//! sees ([`Config`]), checked. Every key is documented in the file that is installed on cameras,
//! `rootfs-overlay/etc/peercam/watchdog.toml`.
//!
//! A mistake in one `[[service]]` or `[[monitor]]` harms only that one ([`Refusal`]); any other
//! makes the file useless ([`ConfigError`]).
//!
//! Nothing here asks the machine; whether users and programs exist is [`crate::launch`]'s part, so
//! that a configuration can be read on a machine that it isn't for.

mod order;
mod raw;
mod sections;

use std::{
    collections::BTreeMap,
    io,
    ops::Range,
    path::{Path, PathBuf},
    time::Duration,
};

use toml::de::DeTable;

use self::sections::Sections;
use crate::{escalation::Limits, keeper::read_text, monitor, service::Policy};

/// Most bytes of a file: many times what the longest configuration has.
const MAX_SIZE: u64 = 1 << 20;

/// A configuration that makes sense.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// None: there is no hardware watchdog to feed.
    pub hardware: Option<HardwareConfig>,
    /// Where the record of resets is kept; None: it isn't.
    pub state_dir: Option<PathBuf>,
    /// Where the kernel leaves what it said when it came to its end; None: nobody looks.
    pub pstore_dir: Option<PathBuf>,
    /// Where it tells how things are, on a tmpfs; None: nowhere.
    pub runtime_dir: Option<PathBuf>,
    /// What becomes of what the watchdog and its services say.
    pub log: LogConfig,
    /// What is done when restarts of a service don't help; None: the hardware watchdog is left
    /// to reset the device.
    pub escalation: Option<EscalationConfig>,
    /// What is watched beside the services; subjects differ.
    pub monitors: Vec<monitor::Limits>,
    /// In the order in which they are started; names differ.
    pub services: Vec<ServiceConfig>,
    /// What is wrong in the file and was left out; in the order of the file.
    pub refusals: Vec<Refusal>,
}

/// A section that makes no sense and is left out, or several that make none together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The services it is about; none for another section.
    pub services: Vec<String>,
    /// Line of the file, from 1.
    line: usize,
    /// File, line, what is wrong, and what would be right.
    pub problem: String,
}

/// The hardware watchdog.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HardwareConfig {
    /// Its device; None: the best one that there is.
    pub device: Option<PathBuf>,
    /// How long it waits for a feed before it resets, whole seconds.
    pub timeout: Duration,
    /// How long before the reset the kernel panics, whole seconds, below `timeout`; None: it
    /// doesn't.
    pub pretimeout: Option<Duration>,
}

/// What becomes of what the watchdog and its services say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogConfig {
    /// What of it goes to standard output and standard error.
    pub console: ConsoleLines,
    /// Most that is held of it in `runtime_dir`, in bytes; 0: nothing is.
    pub size: u64,
    /// Most that is held of it in `state_dir`, in bytes; 0: nothing is.
    pub kept: u64,
    /// Most lines of a service in [`crate::lines::WINDOW`].
    pub lines: u32,
}

/// Which lines of the log go to standard output and standard error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConsoleLines {
    /// All.
    All,
    /// Warnings and errors of the watchdog.
    Warnings,
    /// None.
    None,
}

/// What is done when restarts of a service don't help.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EscalationConfig {
    /// Absolute path of the program that reboots the device.
    pub reboot_program: PathBuf,
    /// Its arguments.
    pub reboot_arguments: Vec<String>,
    /// How far it goes.
    pub limits: Limits,
}

/// One service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceConfig {
    /// Its name in logs.
    pub name: String,
    /// Absolute path of the program.
    pub program: PathBuf,
    /// Its arguments.
    pub arguments: Vec<String>,
    /// What runs in its place in safe mode, program and arguments; None: the same.
    pub safe_command: Option<(PathBuf, Vec<String>)>,
    /// Who it runs as; None: as whom the watchdog runs.
    pub user: Option<String>,
    /// Supplementary groups.
    pub groups: Vec<String>,
    /// Environment variables beside those that every service gets.
    pub environment: BTreeMap<String, String>,
    /// Where it runs.
    pub working_directory: PathBuf,
    /// Services that are to be up before it is started the first time; each is one of
    /// [`Config::services`], before this one.
    pub after: Vec<String>,
    /// Whether the device is useless without it.
    pub critical: bool,
    /// Most file descriptors of each of its processes (`RLIMIT_NOFILE`); None: as the watchdog's.
    pub open_files: Option<u32>,
    /// Most processes and threads of all of it together; None: no limit.
    pub tasks: Option<u32>,
    /// How it is treated.
    pub policy: Policy,
}

/// What is wrong with a configuration, in one line.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file can't be read.
    #[error("{}: {error}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        error: io::Error,
    },
    /// No TOML, an unknown key, a value of the wrong type.
    #[error("{file}:{line}: {message}")]
    Syntax {
        /// The file.
        file: String,
        /// Line in it, from 1.
        line: usize,
        /// What is wrong there.
        message: String,
    },
    /// A value that can't be meant.
    #[error("{file}: {place}: {message}")]
    Value {
        /// The file.
        file: String,
        /// The section or service.
        place: String,
        /// What is wrong with it, and what would be right.
        message: String,
    },
}

impl Config {
    /// Reads and checks a file.
    ///
    /// # Errors
    ///
    /// Every [`ConfigError`].
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let unreadable = |error| ConfigError::Read { path: path.to_owned(), error };
        let text = read_text(path, MAX_SIZE + 1).map_err(unreadable)?;
        if text.len() as u64 > MAX_SIZE {
            let error = format!("it has more than {MAX_SIZE} bytes: that is no configuration");
            return Err(unreadable(io::Error::new(io::ErrorKind::FileTooLarge, error)));
        }
        Self::parse(&text, &path.display().to_string())
    }

    /// The same for a device that is to be reached whatever the file holds: where nothing of it can
    /// be used, [`Config::fallback`] stands in, with what is wrong among its refusals.
    ///
    /// # Errors
    ///
    /// Every [`ConfigError`] of the file, where there is nothing to stand in for it.
    pub fn read_usable(path: &Path) -> Result<Self, ConfigError> {
        let own = Self::read(path);
        if own.as_ref().is_ok_and(|config| !config.services.is_empty()) {
            return own;
        }
        let fallback = Self::fallback(path);
        if !fallback.exists() {
            return own;
        }
        let mut config = Self::read(&fallback)?;
        let refusals = match own {
            Ok(own) => own.refusals,
            Err(error) => {
                let (services, problem) = (vec!["(all)".to_owned()], error.to_string());
                vec![Refusal { services, line: 0, problem }]
            }
        };
        config.refusals.extend(refusals);
        let problem = format!("nothing of it can be used, but {}", fallback.display());
        let problem = format!("{}: {problem}", path.display());
        config.refusals.push(Refusal { services: Vec::new(), line: 0, problem });
        Ok(config)
    }

    /// What stands in for a file that can't be used: beside `watchdog.toml` it is
    /// `watchdog.fallback.toml`.
    pub fn fallback(path: &Path) -> PathBuf {
        path.with_extension("fallback.toml")
    }

    /// Checks the text of a file; `file` is its name in errors.
    ///
    /// # Errors
    ///
    /// Every [`ConfigError`] but [`ConfigError::Read`].
    pub fn parse(text: &str, file: &str) -> Result<Self, ConfigError> {
        let syntax = |error: toml::de::Error| ConfigError::Syntax {
            file: file.to_owned(),
            line: line_of(text, error.span()),
            message: one_line(&error),
        };
        let mut root = DeTable::parse(text).map_err(syntax)?;
        let sections = Sections::take(root.get_mut()).map_err(|(span, message)| {
            ConfigError::Syntax { file: file.to_owned(), line: line_of(text, Some(span)), message }
        })?;
        let common = raw::Config::read(root.get_ref()).map_err(|(span, message)| {
            ConfigError::Syntax { file: file.to_owned(), line: line_of(text, span), message }
        })?;
        let value = |(place, message)| ConfigError::Value { file: file.to_owned(), place, message };
        let mut config = common.check().map_err(value)?;
        for refused in sections.read_into(&mut config) {
            let line = line_of(text, Some(refused.span));
            let problem = format!("{file}:{line}: {}", refused.message);
            config.refusals.push(Refusal { services: refused.services, line, problem });
        }
        config.refusals.sort_by_key(|refusal| refusal.line);
        if config.services.is_empty() && config.refusals.is_empty() {
            return Err(value(("[[service]]".into(), "there is none: name at least one".into())));
        }
        Ok(config)
    }
}

fn line_of(text: &str, span: Option<Range<usize>>) -> usize {
    let offset = span.map_or(0, |span| span.start);
    1 + text.bytes().take(offset).filter(|&byte| byte == b'\n').count()
}

fn one_line(error: &toml::de::Error) -> String {
    error.message().lines().collect::<Vec<_>>().join(" ")
}
