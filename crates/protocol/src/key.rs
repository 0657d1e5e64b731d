//! Ed25519 keys and signatures (RFC 8032) as they stand in messages, tokens and links: base64url
//! without padding (RFC 4648 §5).

use std::{fmt, str::FromStr};

use data_encoding::BASE64URL_NOPAD;
use ed25519_dalek::{Signer, SigningKey, VerifyingKey};
use serde::{Deserialize, Serialize};

/// Why a text is no key, signature or nonce.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// Not base64url, or not of the right length.
    #[error("{what} is {chars} characters of base64url without padding (RFC 4648 §5)")]
    Encoding {
        /// What it should be.
        what: &'static str,
        /// How long it is in text.
        chars: usize,
    },
    /// Not a point of the curve, or one of the few with which anybody can sign.
    #[error("this is no Ed25519 public key")]
    NotAKey,
}

/// Fixed-length bytes that travel as base64url.
pub(crate) fn decode<const N: usize>(text: &str, what: &'static str) -> Result<[u8; N], KeyError> {
    let chars = (N * 8).div_ceil(6);
    let error = KeyError::Encoding { what, chars };
    if text.len() != chars {
        return Err(error);
    }
    let bytes = BASE64URL_NOPAD.decode(text.as_bytes()).map_err(|_| error)?;
    bytes.try_into().map_err(|_| error)
}

/// Text and messages have the same form.
macro_rules! as_text {
    ($type:ty) => {
        impl TryFrom<String> for $type {
            type Error = KeyError;

            fn try_from(text: String) -> Result<Self, KeyError> {
                text.parse()
            }
        }

        impl From<$type> for String {
            fn from(value: $type) -> Self {
                value.to_string()
            }
        }

        impl fmt::Debug for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }
    };
}

/// The public half of a camera's, owner's or viewer's key: 43 characters.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PublicKey([u8; 32]);

impl PublicKey {
    /// From the 32 bytes of RFC 8032 §5.1.5.
    ///
    /// # Errors
    ///
    /// [`KeyError::NotAKey`]: so that every value of this type can be verified against.
    pub fn from_bytes(bytes: [u8; 32]) -> Result<Self, KeyError> {
        match VerifyingKey::from_bytes(&bytes) {
            Ok(key) if !key.is_weak() => Ok(Self(bytes)),
            _ => Err(KeyError::NotAKey),
        }
    }

    /// The 32 bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Whether the key's owner signed exactly this statement.
    pub fn verify(&self, statement: &str, signature: &Signature) -> bool {
        let signature = ed25519_dalek::Signature::from_bytes(&signature.0);
        VerifyingKey::from_bytes(&self.0)
            .is_ok_and(|key| key.verify_strict(statement.as_bytes(), &signature).is_ok())
    }
}

impl FromStr for PublicKey {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        Self::from_bytes(decode(text, "a public key")?)
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&BASE64URL_NOPAD.encode(&self.0))
    }
}

as_text!(PublicKey);

/// A signature: 86 characters.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Signature([u8; 64]);

impl Signature {
    pub(crate) fn from_bytes(bytes: [u8; 64]) -> Self {
        Self(bytes)
    }

    pub(crate) fn as_bytes(&self) -> &[u8; 64] {
        &self.0
    }
}

impl FromStr for Signature {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        decode(text, "a signature").map(Self)
    }
}

impl fmt::Display for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&BASE64URL_NOPAD.encode(&self.0))
    }
}

as_text!(Signature);

/// 128 random bits that make a statement fresh: 22 characters. Whoever asks for a proof makes one,
/// and takes no proof without it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Nonce([u8; 16]);

impl Nonce {
    /// From 128 random bits.
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }
}

impl FromStr for Nonce {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        decode(text, "a nonce").map(Self)
    }
}

impl fmt::Display for Nonce {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&BASE64URL_NOPAD.encode(&self.0))
    }
}

as_text!(Nonce);

/// The private half of a key: 32 bytes, forgotten in memory when dropped, and never shown unless
/// asked for by [`SecretKey::reveal`].
#[derive(Clone)]
pub struct SecretKey(SigningKey);

impl SecretKey {
    /// From the 32 random bytes that RFC 8032 §5.1.5 calls the private key.
    pub fn from_bytes(bytes: &[u8; 32]) -> Self {
        Self(SigningKey::from_bytes(bytes))
    }

    /// The public half.
    pub fn public(&self) -> PublicKey {
        PublicKey(self.0.verifying_key().to_bytes())
    }

    /// Signs a statement (see [`crate::proof`]) or the signing input of a token.
    pub fn sign(&self, statement: &str) -> Signature {
        Signature(self.0.sign(statement.as_bytes()).to_bytes())
    }

    /// As text, for a share link: 43 characters.
    pub fn reveal(&self) -> String {
        BASE64URL_NOPAD.encode(self.0.as_bytes())
    }
}

impl FromStr for SecretKey {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        decode(text, "a private key").map(|bytes| Self::from_bytes(&bytes))
    }
}

impl PartialEq for SecretKey {
    /// By the public halves: those are no secret, so the time it takes tells nothing.
    fn eq(&self, other: &Self) -> bool {
        self.public() == other.public()
    }
}

impl Eq for SecretKey {}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretKey(hidden)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 8032 §7.1, test 2.
    #[test]
    fn signs_as_the_standard_does() {
        let seed = "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb";
        let seed = data_encoding::HEXLOWER.decode(seed.as_bytes()).unwrap();
        let key = SecretKey::from_bytes(&seed.try_into().unwrap());
        let signature = key.sign("r");
        let expected = "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da\
                        085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00";
        assert_eq!(data_encoding::HEXLOWER.encode(&signature.0), expected);
        assert!(key.public().verify("r", &signature));
        assert!(!key.public().verify("s", &signature));
    }

    #[test]
    fn text_survives_the_round_trip() {
        let key = SecretKey::from_bytes(&[7; 32]);
        assert_eq!(key.reveal().parse::<SecretKey>().unwrap(), key);
        assert_eq!(key.public().to_string().parse(), Ok(key.public()));
        let signature = key.sign("x");
        assert_eq!(signature.to_string().parse(), Ok(signature));
        let nonce = Nonce::from_bytes([9; 16]);
        assert_eq!(nonce.to_string().len(), 22);
        assert_eq!(nonce.to_string().parse(), Ok(nonce));
        assert_eq!(format!("{key:?}"), "SecretKey(hidden)");
    }

    #[test]
    fn keys_with_which_anybody_could_sign_are_refused() {
        for weak in [[0; 32], {
            let mut one = [0; 32];
            one[0] = 1;
            one
        }] {
            assert_eq!(PublicKey::from_bytes(weak), Err(KeyError::NotAKey));
        }
        for text in ["", "AAAA", &"A".repeat(44), &"ü".repeat(43), &"=".repeat(43)] {
            assert!(matches!(text.parse::<PublicKey>(), Err(KeyError::Encoding { .. })), "{text}");
        }
    }
}
