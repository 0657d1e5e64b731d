//! What nodes of a cluster say to each other, as another program at their NATS may say it.
//!
//! - What was read is written and read again as the same.
//! - The texts in it, which are for cameras and viewers, are read as theirs are.

#![no_main]

// The module alone: the crate around it would be built with the sanitizer, NATS and all.
#[path = "../../crates/rendezvous/src/cluster/message.rs"]
#[allow(dead_code)]
mod message;
#[path = "../../crates/rendezvous/src/system.rs"]
#[allow(dead_code)]
mod system;

use libfuzzer_sys::fuzz_target;
use message::{MAX_PAYLOAD, Message, decode, encode, node_subject};
use peercam_protocol::{
    signalling::{FromViewer, ToViewer},
    wire,
};

fuzz_target!(|payload: &[u8]| {
    let Some((from, message)) = decode(payload) else { return };
    assert!(payload.len() <= MAX_PAYLOAD);
    // NATS parts its subjects by dots, and these have a meaning of their own.
    let subject = node_subject("c", from);
    assert!(subject.split('.').count() == 3 && !subject.contains(['*', '>', ' ']), "{subject}");
    let written = encode(from, &message);
    if written.len() <= MAX_PAYLOAD {
        assert_eq!(decode(&written).as_ref(), Some(&(from, message.clone())));
    }
    match message {
        Message::Said { text, .. } => drop(wire::decode::<FromViewer>(&text)),
        Message::Told { text, .. } => drop(wire::decode::<ToViewer>(&text)),
        _ => {}
    }
});
