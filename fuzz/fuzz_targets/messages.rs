//! Every kind of message on the WebSocket and on the `control` data channel, as a hostile peer may
//! send it.
//!
//! - What was read is written and read again as the same.
//! - What was not read is complained about in a few words.

#![no_main]

use std::fmt::Debug;

use libfuzzer_sys::fuzz_target;
use peercam_protocol::{
    control::{Event, Request},
    signalling::{FromCamera, FromViewer, ToCamera, ToViewer},
    wire::{decode, encode},
};
use serde::{Serialize, de::DeserializeOwned};

fuzz_target!(|text: &str| {
    read::<FromCamera>(text);
    read::<ToCamera>(text);
    read::<FromViewer>(text);
    read::<ToViewer>(text);
    read::<Request>(text);
    read::<Event>(text);
});

fn read<M: Serialize + DeserializeOwned + PartialEq + Debug>(text: &str) {
    match decode::<M>(text) {
        Ok(message) => assert_eq!(decode::<M>(&encode(&message)), Ok(message)),
        Err(error) => assert!(error.message.len() < 2000, "{} bytes", error.message.len()),
    }
}
