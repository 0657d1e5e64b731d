//! The part of the configuration that is about running the server: how it is reached.

use std::path::PathBuf;

use serde::Deserialize;

/// Where certificate and key lie. Both are read again when they change.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct TlsFiles {
    /// PEM: the server's certificate, and behind it those that lead to the authority.
    pub certificate: PathBuf,
    /// PEM: the key of the first certificate.
    pub key: PathBuf,
}
