//! A million messages that somebody has tampered with: each is read, or refused with an error that
//! can be sent back. Nothing panics.
#![allow(clippy::unwrap_used)]

mod mutations;

use std::fmt::Debug;

use mutations::{Mutator, OFFER, key, room, seed, token};
use peercam_protocol::{
    Fingerprint, ShareLink, Token,
    control::{Event, Request},
    link::Grant,
    signalling::{ErrorCode, FromCamera, FromViewer, ToCamera, ToViewer},
    wire::{MAX_MESSAGE_SIZE, decode, encode},
};
use serde::{Serialize, de::DeserializeOwned};

/// Of each of the six kinds of message.
const FRAMES: usize = 170_000;
/// Tokens, links and descriptions.
const OTHERS: usize = 20_000;

/// In bytes. An error is answered in a message: it must not grow with what it complains about.
const LONGEST_COMPLAINT: usize = 1800;

fn reads<M: Serialize + DeserializeOwned + PartialEq + Debug>(recorded: &[String]) {
    for text in recorded {
        decode::<M>(text).unwrap();
    }
    let mut mutator = Mutator::new(seed());
    let mut read = 0;
    for _ in 0..FRAMES {
        let text = mutator.frame(recorded);
        match decode::<M>(&text) {
            Ok(message) => {
                read += 1;
                let again = encode(&message);
                assert_eq!(decode::<M>(&again).as_ref(), Ok(&message), "{text}");
            }
            Err(error) => {
                use ErrorCode::*;
                assert!(matches!(error.code, BadMessage | UnknownType | TooLarge), "{text}");
                assert!(error.message.len() <= LONGEST_COMPLAINT, "{error}");
            }
        }
    }
    // Else the changes would be too coarse to get anywhere.
    assert!((FRAMES / 100..FRAMES).contains(&read), "{read} of {FRAMES} could be read");
}

#[test]
fn messages_from_cameras() {
    reads::<FromCamera>(&mutations::from_camera());
}

#[test]
fn messages_to_cameras() {
    reads::<ToCamera>(&mutations::to_camera());
}

#[test]
fn messages_from_viewers() {
    reads::<FromViewer>(&mutations::from_viewer());
}

#[test]
fn messages_to_viewers() {
    reads::<ToViewer>(&mutations::to_viewer());
}

#[test]
fn requests_on_the_control_channel() {
    reads::<Request>(&mutations::requests());
}

#[test]
fn events_on_the_control_channel() {
    reads::<Event>(&mutations::events());
}

#[test]
fn a_complaint_does_not_repeat_all_that_it_is_about() {
    let long = "x".repeat(MAX_MESSAGE_SIZE - 100);
    for (text, names) in [
        (format!(r#"{{"type":"{long}"}}"#), "expected one of `join`"),
        (format!(r#"{{"type":"candidate","candidate":"{long}"}}"#), "expected struct Candidate"),
        (format!(r#"{{"type":"bye","reason":["{long}"]}}"#), "bye"),
        (format!(r#"{{"type":{{"{long}":1}}}}"#), "type"),
    ] {
        let error = decode::<FromViewer>(&text).unwrap_err();
        assert!(error.message.len() <= LONGEST_COMPLAINT, "{} bytes", error.message.len());
        assert!(error.message.contains(names), "{error}");
    }
}

#[test]
fn a_token_opens_as_it_was_signed_or_not_at_all() {
    let signed = token();
    let (camera, owners, now) = (key(4).public(), [key(1).public()], 1_800_000_100);
    Token::parse(&signed).unwrap().verify(&camera, &owners, &room(), now).unwrap();
    let recorded = [signed.clone()];
    let mut mutator = Mutator::new(seed());
    for _ in 0..OTHERS {
        let text = mutator.frame(&recorded);
        let opens =
            Token::parse(&text).is_ok_and(|it| it.verify(&camera, &owners, &room(), now).is_ok());
        assert!(!opens || text == signed, "{text}");
    }
}

#[test]
fn share_links() {
    let room = room();
    let grant = Grant { token: token(), key: Some(key(2)) };
    let link = ShareLink::new("https://cam.example.org:8443", room).unwrap();
    let link = link.to_camera(key(1).public()).with_grant(grant);
    let recorded = [link.to_string()];
    let mut mutator = Mutator::new(seed());
    for _ in 0..OTHERS {
        let text = mutator.frame(&recorded);
        if let Ok(link) = text.parse::<ShareLink>() {
            assert_eq!(link.to_string().parse(), Ok(link), "{text}");
        }
    }
}

#[test]
fn fingerprints() {
    let recorded = [OFFER.to_owned()];
    let mut mutator = Mutator::new(seed());
    for _ in 0..OTHERS {
        let text = mutator.frame(&recorded);
        // Whatever ends its lines, an offer has one fingerprint or none.
        let found = Fingerprint::of_sdp(&text);
        assert_eq!(Fingerprint::of_sdp(&text.replace("\r\n", "\n")), found, "{text}");
    }
}
