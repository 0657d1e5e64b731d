//! The watchdog's record of resets, as storage that was damaged gives it back.
//!
//! - A start, a failure and a reset can be noted in whatever was read.
//! - What is then written is read back as the same, and stays within its limits.

#![no_main]

use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use peercam_watchdog::record::{MAX_SIZE, Record, Traces};

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Ok(mut record) = Record::parse(text) else { return };
    let traces = Traces { boot_id: "another".to_owned(), ..Traces::default() };
    record.begin(&traces, Duration::from_secs(1));
    record.failed("agent", "no heartbeat for 10s", Some("streaming"), &["a line".to_owned()]);
    record.intend("agent: stays broken");
    record.keep_time(Duration::from_secs(60));
    let _ = record.resets_today(Duration::from_secs(60));
    let written = record.encode();
    assert!(written.len() as u64 <= MAX_SIZE, "{} bytes", written.len());
    assert_eq!(Record::parse(&written).ok().as_ref(), Some(&record));
});
