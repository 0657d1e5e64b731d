//! The log: standard error, colours only on a terminal.

use std::io::{self, IsTerminal};

use tracing_subscriber::EnvFilter;

/// What is logged unless `PEERCAM_LOG` says otherwise. The libraries below are silent: they write
/// viewers' addresses.
const DEFAULT: &str = "off,peercam_agent=info,peercam_media=info,peercam_heartbeat=info";

/// Name of the environment variable with the filter, as `tracing-subscriber` reads it.
pub const VARIABLE: &str = "PEERCAM_LOG";

/// Starts logging.
///
/// # Errors
///
/// A filter that can't be understood; or logging was started before.
pub fn start() -> anyhow::Result<()> {
    let filter = match std::env::var(VARIABLE) {
        Ok(filter) if !filter.is_empty() => EnvFilter::try_new(&filter).map_err(|error| {
            anyhow::anyhow!(
                "{VARIABLE}={filter:?}: {error}: write it like \"debug\" or \"{DEFAULT}\""
            )
        })?,
        _ => EnvFilter::try_new(DEFAULT)?,
    };
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal())
        .try_init()
        .map_err(|error| anyhow::anyhow!("logging can't start: {error}"))
}
