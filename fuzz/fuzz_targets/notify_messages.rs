//! Datagrams on a notify socket (`sd_notify(3)`), as any process of the device may send them.
//!
//! - What is taken is bounded, and its status is one line.
//! - What was read is written and read again as the same.

#![no_main]

use libfuzzer_sys::fuzz_target;
use peercam_heartbeat::message::{MAX_EXTENSION, MAX_SIZE, MAX_STATUS, Message};

fuzz_target!(|datagram: &[u8]| {
    let Ok(message) = Message::parse(datagram) else { return };
    assert!(datagram.len() <= MAX_SIZE);
    if let Some(status) = &message.status {
        assert!(status.len() <= MAX_STATUS && !status.contains(char::is_control), "{status:?}");
    }
    assert!(message.extension.is_none_or(|time| time <= MAX_EXTENSION));
    assert_eq!(Message::parse(&message.encode()), Ok(message));
});
