//! Ed25519 keys in files: PKCS #8 in PEM (RFC 5958, RFC 7468), as
//! `openssl genpkey -algorithm ed25519` writes them.

use std::{
    fs, io,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use ed25519_dalek::{
    SigningKey,
    pkcs8::{DecodePrivateKey, EncodePrivateKey, KeypairBytes, spki::der::pem::LineEnding},
};
use peercam_protocol::SecretKey;

use crate::durable;

/// Why there is no key.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file or folder that can't be made, read or written.
    #[error("the key {}: {action}: {source}", .file.display())]
    Io {
        /// The key's file.
        file: PathBuf,
        /// What was tried.
        action: &'static str,
        /// Why it failed.
        source: io::Error,
    },
    /// A file that holds no key.
    #[error("the key {} is damaged ({reason})", .file.display())]
    Damaged {
        /// The key's file.
        file: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// There is one already.
    #[error("{} exists, and a key is never overwritten: name another file, or move it away", .file.display())]
    Exists {
        /// The key's file.
        file: PathBuf,
    },
    /// No random numbers.
    #[error("no random numbers for a key: {0}")]
    Random(getrandom::Error),
}

/// Reads a key.
///
/// # Errors
///
/// For what can't be read, or is none. The file stays as it is.
pub fn read(file: &Path) -> Result<SecretKey, Error> {
    let damaged = |reason: String| Error::Damaged { file: file.to_owned(), reason };
    let pem = fs::read_to_string(file).map_err(|source| match source.kind() {
        io::ErrorKind::InvalidData => damaged("it is no text".to_owned()),
        _ => Error::Io { file: file.to_owned(), action: "read", source },
    })?;
    let key = SigningKey::from_pkcs8_pem(&pem).map_err(|error| damaged(error.to_string()))?;
    Ok(SecretKey::from_bytes(&key.to_bytes()))
}

/// Whether others than its owner may read or change the file.
pub fn is_exposed(file: &Path) -> bool {
    fs::metadata(file).is_ok_and(|metadata| metadata.permissions().mode() & 0o077 != 0)
}

/// Makes a new key and keeps it in `file` (0600), whose folder is made where it is missing (0700).
///
/// # Errors
///
/// Also where the file exists: what a key opens is lost with it.
pub fn create(file: &Path) -> Result<SecretKey, Error> {
    if file.symlink_metadata().is_ok() {
        return Err(Error::Exists { file: file.to_owned() });
    }
    let mut seed = [0; 32];
    getrandom::fill(&mut seed).map_err(Error::Random)?;
    let key = SecretKey::from_bytes(&seed);
    // Without the public half (version 1): every tool reads that.
    let bytes = KeypairBytes { secret_key: seed, public_key: None };
    let pem = bytes
        .to_pkcs8_pem(LineEnding::LF)
        .map_err(|error| Error::Damaged { file: file.to_owned(), reason: error.to_string() })?;
    durable::write(file, pem.as_bytes()).map_err(|durable::Error { action, source }| {
        Error::Io { file: file.to_owned(), action, source }
    })?;
    Ok(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_made_once_and_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("owner.pem");
        let key = create(&file).unwrap();
        assert_eq!(read(&file).unwrap(), key);
        let error = create(&file).unwrap_err().to_string();
        assert!(error.contains("owner.pem exists"), "{error}");
        assert_eq!(read(&file).unwrap(), key);
    }
}
