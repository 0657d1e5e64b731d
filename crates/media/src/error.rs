//! Why a camera can't start.

pub use crate::config::ConfigError;

/// Why a camera can't start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A setting is out of range or contradicts another.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A GStreamer element that the configuration needs is not installed.
    #[error(
        "GStreamer has no element {element:?}, needed {purpose}: install the Debian package {package}"
    )]
    MissingElement {
        /// The element.
        element: String,
        /// What it is for.
        purpose: String,
        /// The Debian package that brings it.
        package: String,
    },
    /// None of the configured H.264 encoders works here.
    #[error("no H.264 encoder out of video.encoders works: {}", .reasons.join("; "))]
    NoEncoder {
        /// Why each of them does not, in the configured order.
        reasons: Vec<String>,
    },
    /// GStreamer itself could not be started.
    #[error("GStreamer can't be started: {0}")]
    GStreamer(String),
    /// The camera's thread could not be started.
    #[error("the camera's thread can't be started: {0}")]
    Thread(#[source] std::io::Error),
}
