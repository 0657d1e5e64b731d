//! Who this camera is: an Ed25519 key (RFC 8032), made on first start and kept from then on.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use ed25519_dalek::{
    SigningKey, VerifyingKey,
    pkcs8::{DecodePrivateKey, EncodePrivateKey, KeypairBytes, spki::der::pem::LineEnding},
};
use peercam_protocol::RoomId;

use crate::durable;

/// Name of the key's file in the state directory: PKCS #8 in PEM (RFC 5958, RFC 7468), as
/// `openssl genpkey -algorithm ed25519` writes it.
pub const FILE_NAME: &str = "identity.pem";

/// The camera's key pair.
#[derive(Debug)]
pub struct Identity {
    key: SigningKey,
}

/// Why there is no identity.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file or folder that can't be made, read or written.
    #[error("the identity key {}: {action}: {source}: check state-dir and whose it is", .file.display())]
    Io {
        /// The key's file.
        file: PathBuf,
        /// What was tried.
        action: &'static str,
        /// Why it failed.
        source: io::Error,
    },
    /// A file that holds no key. It is left as it is.
    #[error(
        "the identity key {} is damaged ({reason}): restore it from a copy, or move it away to \
         become a new camera with a new room", .file.display()
    )]
    Damaged {
        /// The key's file.
        file: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// No random numbers.
    #[error("no random numbers for an identity key: {0}")]
    Random(getrandom::Error),
}

impl Identity {
    /// Reads the key in `state_dir`, or makes one where there is none (the folder too).
    ///
    /// # Errors
    ///
    /// A key file that is there but can't be read or understood is an error and is never
    /// overwritten: the room, and every link to it, depends on it.
    pub fn load_or_create(state_dir: &Path) -> Result<Self, Error> {
        let file = state_dir.join(FILE_NAME);
        match fs::read_to_string(&file) {
            Ok(pem) => Self::parse(&file, &pem),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Self::create(&file),
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                Err(Error::Damaged { file, reason: "it is no text".to_owned() })
            }
            Err(source) => Err(Error::Io { file, action: "read", source }),
        }
    }

    /// The public half.
    pub fn public_key(&self) -> VerifyingKey {
        self.key.verifying_key()
    }

    /// The room that belongs to this key.
    pub fn room(&self) -> RoomId {
        RoomId::from_public_key(self.public_key().as_bytes())
    }

    fn parse(file: &Path, pem: &str) -> Result<Self, Error> {
        match SigningKey::from_pkcs8_pem(pem) {
            Ok(key) => Ok(Self { key }),
            Err(error) => Err(Error::Damaged { file: file.to_owned(), reason: error.to_string() }),
        }
    }

    fn create(file: &Path) -> Result<Self, Error> {
        let mut seed = [0; 32];
        getrandom::fill(&mut seed).map_err(Error::Random)?;
        let key = SigningKey::from_bytes(&seed);
        // Without the public half (version 1): every tool reads that.
        let bytes = KeypairBytes { secret_key: seed, public_key: None };
        let pem = bytes
            .to_pkcs8_pem(LineEnding::LF)
            .map_err(|error| Error::Damaged { file: file.to_owned(), reason: error.to_string() })?;
        durable::write(file, pem.as_bytes()).map_err(|durable::Error { action, source }| {
            Error::Io { file: file.to_owned(), action, source }
        })?;
        Ok(Self { key })
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn the_first_start_makes_a_key_and_the_next_ones_find_it() {
        let folder = tempfile::tempdir().unwrap();
        let state = folder.path().join("deep/state");
        let first = Identity::load_or_create(&state).unwrap();
        let again = Identity::load_or_create(&state).unwrap();
        assert_eq!(first.public_key(), again.public_key());
        assert_eq!(first.room(), again.room());
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&state), mode(&state.join(FILE_NAME))), (0o700, 0o600));
        assert_eq!(fs::read_dir(&state).unwrap().count(), 1, "no draft is left");
        let other = Identity::load_or_create(&folder.path().join("other")).unwrap();
        assert_ne!(first.room(), other.room());
    }

    #[test]
    fn a_power_failure_in_the_middle_leaves_no_half_key() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("identity.pem.new"), "half").unwrap();
        Identity::load_or_create(folder.path()).unwrap();
        assert!(!folder.path().join("identity.pem.new").exists());
    }

    #[test]
    fn a_damaged_key_is_an_error_and_stays_as_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join(FILE_NAME);
        for damage in [&b""[..], b"not a key", b"\xff\xfe", b"-----BEGIN PRIVATE KEY-----\n"] {
            fs::write(&file, damage).unwrap();
            let error = Identity::load_or_create(folder.path()).unwrap_err();
            assert!(matches!(error, Error::Damaged { .. }), "{error}");
            assert_eq!(fs::read(&file).unwrap(), damage);
        }
    }

    #[test]
    fn a_folder_that_can_not_be_made_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        fs::write(&file, "").unwrap();
        let error = Identity::load_or_create(&file.join("state")).unwrap_err().to_string();
        assert!(error.contains("file/state") && error.contains("state-dir"), "{error}");
    }
}
