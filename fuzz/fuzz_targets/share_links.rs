//! Share links, as people copy them.
//!
//! - What was read is written and read again as the same.
//! - A complaint repeats nothing that stood behind `#`.

#![no_main]

use libfuzzer_sys::fuzz_target;
use peercam_protocol::ShareLink;

fuzz_target!(|text: &str| {
    match text.parse::<ShareLink>() {
        Ok(link) => assert_eq!(link.to_string().parse(), Ok(link)),
        Err(error) => assert!(error.to_string().len() < 2000),
    }
});
