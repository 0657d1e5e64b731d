//! A secret from a file: compared without telling by the time it takes how much of it was right,
//! and used to sign.

use std::{
    fmt, fs, io,
    path::{Path, PathBuf},
};

use hmac::{Hmac, Mac};
use sha2::Sha256;

/// Fewest characters. `openssl rand -base64 24` makes 32.
const LEAST: usize = 16;

/// A secret. Never shown.
#[derive(Clone)]
pub(crate) struct Secret(Hmac<Sha256>, Vec<u8>);

/// Why there is none.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// The file can't be read.
    #[error("{}: {source}: put a secret there, with `openssl rand -base64 24` for instance", .file.display())]
    Read {
        /// The file.
        file: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// What is in it can be guessed.
    #[error("{}: a secret of {length} characters: use {LEAST} or more, `openssl rand -base64 24` \
             makes 32", .file.display())]
    Short {
        /// The file.
        file: PathBuf,
        /// How many it has.
        length: usize,
    },
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(hidden)")
    }
}

impl Secret {
    /// The file's text, without space at its ends.
    pub(crate) fn load(file: &Path) -> Result<Self, SecretError> {
        let text = fs::read_to_string(file)
            .map_err(|source| SecretError::Read { file: file.to_owned(), source })?;
        let text = text.trim();
        let key = Hmac::new_from_slice(text.as_bytes()).ok().filter(|_| text.len() >= LEAST);
        match key {
            Some(key) => Ok(Self(key, text.as_bytes().to_owned())),
            None => Err(SecretError::Short { file: file.to_owned(), length: text.len() }),
        }
    }

    /// Whether somebody knows it. Compares codes of both, which takes the same time for any text
    /// of the same length.
    pub(crate) fn is(&self, text: &str) -> bool {
        let code = |bytes: &[u8]| self.0.clone().chain_update(bytes).finalize();
        code(text.as_bytes()) == code(&self.1)
    }

    /// HMAC-SHA256 (RFC 2104) over all parts, in hexadecimal.
    pub(crate) fn sign(&self, parts: &[&[u8]]) -> String {
        let mac = parts.iter().fold(self.0.clone(), |mac, part| mac.chain_update(part));
        mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(text: &str) -> Result<Secret, SecretError> {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("secret");
        fs::write(&file, text).unwrap();
        Secret::load(&file)
    }

    #[test]
    fn only_the_whole_secret_is_the_secret() {
        let secret = secret("  0123456789abcdef\n").unwrap();
        assert!(secret.is("0123456789abcdef"));
        for other in ["", "0123456789abcde", "0123456789abcdef ", "0123456789abcdeF"] {
            assert!(!secret.is(other), "{other:?}");
        }
        assert!(!format!("{secret:?}").contains("0123"));
    }

    #[test]
    fn what_can_be_guessed_is_refused() {
        let error = secret("hunter2\n").unwrap_err().to_string();
        assert!(error.contains("7 characters") && !error.contains("hunter2"), "{error}");
    }

    /// RFC 4231 has no key that is text of this length: the code is openssl's,
    /// `printf '1700000000.{}' | openssl dgst -sha256 -hmac 0123456789abcdef`.
    #[test]
    fn it_signs_as_others_do() {
        let secret = secret("0123456789abcdef").unwrap();
        let code = "e4f8e2ecae2295b2ddb2f0b5584c8275\
                    e226c0ebe9b3b819e70156bb67122e3e";
        assert_eq!(secret.sign(&[b"1700000000.", b"{}"]), code);
    }
}
