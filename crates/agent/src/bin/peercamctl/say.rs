//! What goes out: data to standard output, the rest to standard error.

use std::{
    fmt::Display,
    io::{self, Write},
};

use crate::Failure;

/// One line of data. Who reads may have had enough (`| head`).
///
/// # Errors
///
/// It can't be written: a full disk, for instance.
pub fn data(line: impl Display) -> Result<(), Failure> {
    let mut output = io::stdout().lock();
    match writeln!(output, "{line}").and_then(|()| output.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::Refused(format!("standard output can't be written: {error}")))
        }
        _ => Ok(()),
    }
}

/// One line for a person. Where nobody can hear it, nobody does.
pub fn hint(line: impl Display) {
    drop(writeln!(io::stderr(), "{line}"));
}
