//! This machine's clocks.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use nix::libc;

use super::clock::Reading;

/// What they say now.
pub(super) fn read() -> Reading {
    let system = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    Reading { system, synchronised: is_synchronised(), at: Instant::now() }
}

/// Whether something, such as NTP, keeps the kernel's clock right (adjtimex(2)). Where that can't
/// be asked, no.
fn is_synchronised() -> bool {
    // SAFETY: a structure of numbers, for which zero is a value: `modes` 0 changes nothing.
    let mut state: libc::timex = unsafe { std::mem::zeroed() };
    // SAFETY: the pointer is to a structure of our own, which outlives the call.
    let known = unsafe { libc::adjtimex(&mut state) };
    known >= 0 && known != libc::TIME_ERROR && state.status & libc::STA_UNSYNC == 0
}
