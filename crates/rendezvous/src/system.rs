//! What the operating system knows: the time, and random numbers.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use peercam_protocol::Nonce;

/// Time since 1970.
pub(crate) fn unix_time() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// The same in milliseconds.
pub(crate) fn unix_ms() -> u64 {
    unix_time().as_millis() as u64
}

/// 128 random bits. None where the system has no random numbers.
pub(crate) fn random() -> Option<[u8; 16]> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).ok()?;
    Some(bytes)
}

/// A number that is used once. None where the system has no random numbers.
pub(crate) fn nonce() -> Option<Nonce> {
    random().map(Nonce::from_bytes)
}
