//! Who this camera is: an Ed25519 key (RFC 8032), made on first start and kept from then on.

use std::{
    fs::{self, Permissions},
    io,
    os::unix::fs::PermissionsExt,
    path::Path,
};

use peercam_protocol::{PublicKey, RoomId, SecretKey};
use tracing::warn;

use crate::key_file;

/// Name of the key's file in the state directory; see [`key_file`].
pub const FILE_NAME: &str = "identity.pem";

/// The camera's key pair.
#[derive(Debug)]
pub struct Identity {
    key: SecretKey,
}

/// Why there is no identity.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file that holds no key. It is left as it is.
    #[error(
        "the camera's identity: {0}: restore it from a copy, or move it away to become a new \
         camera with a new room"
    )]
    Damaged(key_file::Error),
    /// Anything else.
    #[error("the camera's identity: {0}: check state-dir and whose it is")]
    Unavailable(key_file::Error),
}

impl From<key_file::Error> for Error {
    fn from(error: key_file::Error) -> Self {
        match error {
            key_file::Error::Damaged { .. } => Self::Damaged(error),
            error => Self::Unavailable(error),
        }
    }
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
        if key_file::is_exposed(&file) {
            let closed = fs::set_permissions(&file, Permissions::from_mode(0o600));
            let outcome = closed.map_or_else(|error| error.to_string(), |()| "now 0600".to_owned());
            warn!(
                "{} could be read by others on this machine, who can pass for this camera then; \
                 its mode: {outcome}",
                file.display()
            );
        }
        let key = match key_file::read(&file) {
            Err(key_file::Error::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                key_file::create(&file)
            }
            read => read,
        };
        Ok(Self { key: key? })
    }

    /// What the camera signs with.
    pub fn key(&self) -> &SecretKey {
        &self.key
    }

    /// The public half.
    pub fn public_key(&self) -> PublicKey {
        self.key.public()
    }

    /// The room that belongs to this key.
    pub fn room(&self) -> RoomId {
        RoomId::from_public_key(self.public_key().as_bytes())
    }
}

#[cfg(test)]
mod tests {
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
        // As a copy that was put back may have it.
        fs::set_permissions(state.join(FILE_NAME), Permissions::from_mode(0o644)).unwrap();
        Identity::load_or_create(&state).unwrap();
        assert_eq!(mode(&state.join(FILE_NAME)), 0o600);
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
