//! The log: standard error, colours only on a terminal.

use std::io::{self, IsTerminal};

use anyhow::{Context, anyhow};
use tracing_subscriber::EnvFilter;

/// What is logged unless [`VARIABLE`] says otherwise.
const DEFAULT: &str = "info";
/// The libraries below write viewers' addresses even at level error: they are heard only where
/// they are named (`rtc=debug`).
const SILENT: &str = "rtc=off,webrtc=off";

/// Name of the environment variable with the filter, as `tracing-subscriber` reads it.
pub const VARIABLE: &str = "RUST_LOG";

/// Starts logging.
///
/// # Errors
///
/// A filter that can't be understood; or logging was started before.
pub fn start() -> anyhow::Result<()> {
    let wanted = std::env::var(VARIABLE).unwrap_or_default();
    let wanted = if wanted.is_empty() { DEFAULT } else { &wanted };
    let filter = EnvFilter::try_new(format!("{SILENT},{wanted}")).with_context(|| {
        format!("{VARIABLE}={wanted}: write it like info or peercam_agent=debug")
    })?;
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal())
        .try_init()
        .map_err(|error| anyhow!("logging can't start: {error}"))
}
