//! What the watchdog tells people, on standard error.
//!
//! Not `tracing`: a subscriber costs more than the rest of this program, and `eprintln!` panics
//! when standard error is gone, which must not end the process that keeps a camera alive. Times
//! are seconds since boot, as in the kernel's log: they sort together on a console, and a camera
//! without a battery does not know the date yet when this program starts.

use std::{
    fmt::Display,
    io::{Write, stderr},
};

use nix::time::{ClockId, clock_gettime};

/// Something went as it should, and people may want to know.
pub fn info(message: impl Display) {
    line("info ", message);
}

/// Something is wrong, and is being dealt with.
pub fn warn(message: impl Display) {
    line("warn ", message);
}

/// Something is wrong, and nothing more can be done about it here.
pub fn error(message: impl Display) {
    line("error", message);
}

fn line(level: &str, message: impl Display) {
    let (seconds, milliseconds) = match clock_gettime(ClockId::CLOCK_BOOTTIME) {
        Ok(time) => (time.tv_sec(), time.tv_nsec() / 1_000_000),
        Err(_) => (0, 0),
    };
    // One write a line, so that the services' lines don't come in between.
    let text = format!("[{seconds:5}.{milliseconds:03}] {level} {message}\n");
    // Nobody left to tell that standard error is gone.
    let _ = stderr().write_all(text.as_bytes());
}
