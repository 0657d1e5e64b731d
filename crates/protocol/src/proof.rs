//! What is signed, by whom, and what it proves. A rendezvous that steals, swaps or replays
//! something of it gains nothing: each statement names what it is for, where, and the two ends.
//!
//! | statement | signed by | seen by | proves |
//! |---|---|---|---|
//! | [`host`] | the camera's key | the rendezvous | that it is the camera which asks for this room, on this server, now |
//! | [`time`] | the rendezvous's key | the camera | what time it is, for a camera without a clock of its own |
//! | [`join`] | the viewer's key in his token | the camera | that who holds the token's key holds this DTLS connection too |
//! | [`answer`] | the camera's key | the viewer | that who answers this offer is the camera |
//!
//! A statement is text: its name and its fields, one a line, none of which can hold a line feed.
//! So no two statements read the same, and any language can build them.

use std::fmt;

use data_encoding::HEXLOWER;

use crate::{
    key::{Nonce, PublicKey},
    room::RoomId,
    signalling::Door,
};

/// SHA-256 of a DTLS certificate (RFC 8122 §5), which ties a signature to one connection.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fingerprint([u8; 32]);

/// Why an SDP has no [`Fingerprint`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FingerprintError {
    /// None.
    #[error("the SDP has no a=fingerprint: WebRTC needs one (RFC 8827 §6.5)")]
    Missing,
    /// Another hash function, or not the right number of hexadecimal digits.
    #[error("an a=fingerprint of the SDP is not \"sha-256\" and 32 bytes in hexadecimal")]
    Unsuitable,
    /// Several that differ: one connection has one certificate.
    #[error("the SDP has several fingerprints that differ: all media goes over one connection")]
    Several,
}

impl Fingerprint {
    /// From the 32 bytes of the hash.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The one fingerprint of an offer or answer, which all its sections share (BUNDLE).
    ///
    /// # Errors
    ///
    /// Where there is none, another hash than SHA-256, or more than one certificate: what was not
    /// signed must not be used.
    pub fn of_sdp(sdp: &str) -> Result<Self, FingerprintError> {
        let mut found = None;
        let lines = sdp.split(['\r', '\n']);
        for value in lines.filter_map(|line| line.strip_prefix("a=fingerprint:")) {
            let one = Self::parse(value).ok_or(FingerprintError::Unsuitable)?;
            if found.is_some_and(|found| found != one) {
                return Err(FingerprintError::Several);
            }
            found = Some(one);
        }
        found.ok_or(FingerprintError::Missing)
    }

    /// `sha-256 AB:CD:…`
    fn parse(value: &str) -> Option<Self> {
        let (hash, digits) = value.trim().split_once(' ')?;
        if !hash.eq_ignore_ascii_case("sha-256") || digits.len() != 95 {
            return None;
        }
        let mut bytes = [0; 32];
        let mut pairs = digits.split(':');
        for byte in &mut bytes {
            let pair = pairs.next().filter(|pair| pair.len() == 2)?;
            let digit = |at| char::from(pair.as_bytes()[at]).to_digit(16);
            *byte = u8::try_from(digit(0)? << 4 | digit(1)?).ok()?;
        }
        Some(Self(bytes))
    }
}

impl fmt::Display for Fingerprint {
    /// As in statements: 64 lower case digits.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&HEXLOWER.encode(&self.0))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// "I ask for this room on the server that I know as `authority`", with what the camera says about
/// it. `authority` is the host and port of the address that the camera dialled (as in its `Host`
/// header): a server can't use it with another one. `challenge` is the server's nonce, `nonce` the
/// camera's own.
pub fn host(
    authority: &str,
    room: &RoomId,
    challenge: &Nonce,
    nonce: &Nonce,
    door: Door,
    issuers: &[PublicKey],
) -> String {
    let authority: String = authority.chars().filter(|c| !c.is_control()).collect();
    let issuers: Vec<_> = issuers.iter().map(PublicKey::to_string).collect();
    let (door, issuers) = (door.as_str(), issuers.join(","));
    format!("peercam-host-v1\n{authority}\n{room}\n{challenge}\n{nonce}\n{door}\n{issuers}")
}

/// "It is `unix_ms` milliseconds after 1970": the answer to the camera's nonce in its [`host`].
pub fn time(unix_ms: u64, room: &RoomId, nonce: &Nonce) -> String {
    format!("peercam-time-v1\n{unix_ms}\n{room}\n{nonce}")
}

/// "The connection with this certificate is mine", to this camera, with a nonce of the viewer's.
pub fn join(camera: &PublicKey, room: &RoomId, nonce: &Nonce, viewer: &Fingerprint) -> String {
    format!("peercam-join-v1\n{camera}\n{room}\n{nonce}\n{viewer}")
}

/// "You, with that certificate and nonce, talk to me, with this one."
pub fn answer(room: &RoomId, nonce: &Nonce, camera: &Fingerprint, viewer: &Fingerprint) -> String {
    format!("peercam-answer-v1\n{room}\n{nonce}\n{camera}\n{viewer}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(byte: &str) -> String {
        format!("a=fingerprint:sha-256 {}\r\n", [byte; 32].join(":"))
    }

    #[test]
    fn the_one_fingerprint_is_found_wherever_it_stands() {
        let sdp = format!("v=0\r\nm=video 9\r\n{}m=audio 9\r\n{}", line("AB"), line("ab"));
        let found = Fingerprint::of_sdp(&sdp).unwrap();
        assert_eq!(found, Fingerprint::from_bytes([0xab; 32]));
        assert_eq!(found.to_string(), "ab".repeat(32));
    }

    #[test]
    fn what_was_not_signed_is_not_used() {
        let of = |sdp: &str| Fingerprint::of_sdp(sdp).unwrap_err();
        assert_eq!(of("v=0\r\n"), FingerprintError::Missing);
        assert_eq!(of(&(line("AB") + &line("CD"))), FingerprintError::Several);
        for other in [
            "a=fingerprint:sha-1 AB:CD\n".to_owned(),
            line("AB").replace("sha-256", "sha-512"),
            line("+1"),
            line("ü"),
            line("AB").replace(":AB:", ":ABAB"),
        ] {
            let sdp = line("AB") + &other;
            assert_eq!(of(&sdp), FingerprintError::Unsuitable, "{other}");
        }
    }

    /// The same stand in `player/test/link.test.js`: the player builds these texts too.
    #[test]
    fn the_player_signs_and_checks_the_same() {
        let key = |seed| crate::key::SecretKey::from_bytes(&[seed; 32]);
        let (camera, viewer) = (key(1), key(2));
        let (room, nonce) = ("garden".parse().unwrap(), Nonce::from_bytes([3; 16]));
        let theirs = Fingerprint::from_bytes([0x0a; 32]);
        let ours = Fingerprint::from_bytes([0x0b; 32]);
        assert_eq!(
            camera.sign(&answer(&room, &nonce, &theirs, &ours)).to_string(),
            "dWkEnVkwFKewczdkdiA30V_vLV_J9OPZ6p8ZlRvtYmbphMbFcZzkGfn_7Q6mPoIeJhM_IZcIX-zpsk5qlx1FDQ"
        );
        assert_eq!(
            viewer.sign(&join(&camera.public(), &room, &nonce, &ours)).to_string(),
            "1x2Z9y50HmzrFcXx6RSzywR71lec7rgjSLs87_0Xlp6BhEJvqzURRbRskabWw0xLvJSeclW3wgUy0OSLLQtVBQ"
        );
    }

    #[test]
    fn no_two_statements_read_the_same() {
        let (room, nonce) = ("a".parse().unwrap(), Nonce::from_bytes([1; 16]));
        let key = crate::key::SecretKey::from_bytes(&[1; 32]).public();
        let one = Fingerprint::from_bytes([1; 32]);
        let statements = [
            host("a\nb", &room, &nonce, &nonce, Door::Open, &[]),
            host("ab", &room, &nonce, &nonce, Door::Token, &[]),
            host("ab", &room, &nonce, &nonce, Door::Token, &[key]),
            time(1, &room, &nonce),
            join(&key, &room, &nonce, &one),
            answer(&room, &nonce, &one, &one),
        ];
        for (at, statement) in statements.iter().enumerate() {
            assert!(!statements[..at].contains(statement));
        }
        assert_eq!(statements[0].lines().count(), 6, "a field brings no line of its own");
    }
}
