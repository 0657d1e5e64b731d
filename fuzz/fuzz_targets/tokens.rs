//! Viewer tokens, as strangers and damaged links show them.
//!
//! - Claims that nobody signed open nothing.
//! - What a key we know did sign is read without a panic, whatever it says, and opens at most what
//!   it names.

#![no_main]

use data_encoding::BASE64URL_NOPAD;
use libfuzzer_sys::fuzz_target;
use peercam_protocol::{RoomId, SecretKey, Token};

fuzz_target!(|data: (&str, u64)| {
    let (text, now) = data;
    let key = SecretKey::from_bytes(&[1; 32]);
    let camera = key.public();
    let room: RoomId = "front-door".parse().expect("a room");

    if let Ok(token) = Token::parse(text) {
        assert!(token.verify(&camera, &[], &room, now).is_err(), "nobody signed this");
    }

    // The same text as claims, honestly signed.
    let header = BASE64URL_NOPAD.encode(br#"{"alg":"EdDSA"}"#);
    let input = format!("{header}.{}", BASE64URL_NOPAD.encode(text.as_bytes()));
    let Ok(token) = Token::parse(&format!("{input}.{}", key.sign(&input))) else { return };
    if let Ok(claims) = token.verify(&camera, &[], &room, now) {
        assert!(claims.iss.is_none_or(|iss| iss == camera));
        assert_eq!(claims.room.as_ref(), Some(&room), "no name is derived from this key");
        assert!(claims.exp.saturating_add(60) > now);
    }
});
