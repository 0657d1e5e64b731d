//! The one DTLS fingerprint of an offer or answer: what a viewer's and a camera's signature is over.
//!
//! - However lines end, and whatever else stands there, the same one is found.
//! - One more of another certificate, wherever it is put, and there is none.

#![no_main]

use libfuzzer_sys::fuzz_target;
use peercam_protocol::Fingerprint;

fuzz_target!(|sdp: &str| {
    let found = Fingerprint::of_sdp(sdp);
    assert_eq!(Fingerprint::of_sdp(&sdp.replace("\r\n", "\n")), found);
    assert_eq!(Fingerprint::of_sdp(&format!("v=0\r\n{sdp}\r\na=mid:0\r\n")), found);
    if let Ok(found) = found {
        let other = if found == Fingerprint::from_bytes([0xab; 32]) { "CD" } else { "AB" };
        let line = format!("a=fingerprint:sha-256 {}", [other; 32].join(":"));
        assert!(Fingerprint::of_sdp(&format!("{line}\r\n{sdp}")).is_err());
        assert!(Fingerprint::of_sdp(&format!("{sdp}\r\n{line}")).is_err());
    }
});
