//! Room ids: where a camera waits.

use std::{fmt, str::FromStr};

use data_encoding::BASE32_NOPAD;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// The name of a room: 1 to [`RoomId::MAX_LEN`] characters out of `a-z`, `0-9`, `-`, `_` and `.`,
/// beginning with a letter or a digit.
///
/// The alphabet is what needs no escaping in a URL path (RFC 3986 "unreserved", lower case only,
/// so that two rooms never differ by case alone).
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RoomId(String);

/// Why a text is no [`RoomId`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RoomIdError {
    /// Nothing at all.
    #[error("a room name is empty: use 1 to {max} characters", max = RoomId::MAX_LEN)]
    Empty,
    /// Longer than [`RoomId::MAX_LEN`].
    #[error("a room name has {0} characters: use at most {max}", max = RoomId::MAX_LEN)]
    TooLong(usize),
    /// A character outside the alphabet.
    #[error("a room name holds {0:?}: use only a-z, 0-9, '-', '_' and '.'")]
    Character(char),
    /// Begins with punctuation.
    #[error("a room name begins with {0:?}: begin with a letter or a digit")]
    Start(char),
}

impl RoomId {
    /// Longest room name, in characters (all of them ASCII, so also in bytes).
    pub const MAX_LEN: usize = 64;

    /// The room that belongs to a camera's Ed25519 public key: the first 160 bits of the key's
    /// SHA-256 in base32 (RFC 4648, lower case, no padding), 32 characters. Nobody without the
    /// key can come up with another key for the same room.
    pub fn from_public_key(key: &[u8; 32]) -> Self {
        Self(BASE32_NOPAD.encode(&Sha256::digest(key)[..20]).to_ascii_lowercase())
    }

    /// Whether the room can only belong to one key, the one it is derived from: it looks like a
    /// room of [`RoomId::from_public_key`]. Any other is the first comer's.
    pub fn is_derived(&self) -> bool {
        self.0.len() == 32 && self.0.bytes().all(|c| matches!(c, b'a'..=b'z' | b'2'..=b'7'))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for RoomId {
    type Err = RoomIdError;

    fn from_str(text: &str) -> Result<Self, RoomIdError> {
        // Counted before anything else looks at it: a refusal costs the same for any input.
        if text.len() > Self::MAX_LEN {
            return Err(RoomIdError::TooLong(text.chars().count()));
        }
        let first = text.chars().next().ok_or(RoomIdError::Empty)?;
        let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-_.".contains(c);
        if let Some(c) = text.chars().find(|&c| !allowed(c)) {
            return Err(RoomIdError::Character(c));
        }
        if !first.is_ascii_alphanumeric() {
            return Err(RoomIdError::Start(first));
        }
        Ok(Self(text.to_owned()))
    }
}

impl TryFrom<String> for RoomId {
    type Error = RoomIdError;

    fn try_from(text: String) -> Result<Self, RoomIdError> {
        text.parse()
    }
}

impl From<RoomId> for String {
    fn from(room: RoomId) -> Self {
        room.0
    }
}

impl fmt::Display for RoomId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for RoomId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RoomId({})", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_people_use_are_allowed() {
        for name in ["front-door", "a", "0", "cam.garden_2", &"x".repeat(RoomId::MAX_LEN)] {
            assert_eq!(name.parse::<RoomId>().unwrap().as_str(), name);
        }
    }

    #[test]
    fn every_refusal_names_what_is_wrong() {
        let refusal = |name: &str| name.parse::<RoomId>().unwrap_err();
        assert_eq!(refusal(""), RoomIdError::Empty);
        assert_eq!(refusal("a/b"), RoomIdError::Character('/'));
        assert_eq!(refusal("Küche"), RoomIdError::Character('K'));
        assert_eq!(refusal("-a"), RoomIdError::Start('-'));
        assert_eq!(refusal(".."), RoomIdError::Start('.'));
        assert_eq!(refusal(&"ü".repeat(10_000)), RoomIdError::TooLong(10_000));
    }

    #[test]
    fn a_key_always_has_the_same_room() {
        let room = RoomId::from_public_key(&[7; 32]);
        assert_eq!(room, RoomId::from_public_key(&[7; 32]));
        assert_ne!(room, RoomId::from_public_key(&[8; 32]));
        assert_eq!(room.as_str().len(), 32);
        assert_eq!(room.as_str().parse(), Ok(room.clone()));
        assert!(room.is_derived());
        assert!(!"front-door".parse::<RoomId>().unwrap().is_derived());
    }
}
