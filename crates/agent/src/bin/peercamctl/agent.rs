//! The line to the agent's control socket.

use std::{
    io::{self, BufRead, BufReader, Read, Write},
    os::unix::net::UnixStream,
    path::Path,
    time::Duration,
};

use peercam_agent::control_socket::{Answer, Request};
use serde::de::DeserializeOwned;

use crate::{Common, Failure, say};

/// For the agent to answer: longer than it gives itself.
const PATIENCE: Duration = Duration::from_secs(15);
/// Longest answer. One with everything in it has a tenth of that.
const MAX_ANSWER: u64 = 4 * 1024 * 1024;

/// Asks, and prints the answer where it is wanted as JSON. The data, and the sentence with it.
pub fn ask<T: DeserializeOwned>(
    common: &Common,
    request: &Request,
) -> Result<(T, String), Failure> {
    let answer = exchange(&common.socket, request)?;
    if common.json {
        print(&answer)?;
    }
    if !answer.is_success() {
        return Err(Failure::Refused(answer.description));
    }
    let data = answer.read().map_err(Failure::Refused)?;
    Ok((data, answer.description))
}

/// One line of JSON.
pub fn print(answer: &Answer) -> Result<(), Failure> {
    say::data(serde_json::to_string(answer).unwrap_or_default())
}

fn exchange(socket: &Path, request: &Request) -> Result<Answer, Failure> {
    let unreachable = |error: io::Error| Failure::Unreachable(explain(socket, &error));
    let mut stream = UnixStream::connect(socket).map_err(unreachable)?;
    stream.set_read_timeout(Some(PATIENCE)).map_err(unreachable)?;
    stream.set_write_timeout(Some(PATIENCE)).map_err(unreachable)?;
    let mut text = serde_json::to_string(request).unwrap_or_default();
    text.push('\n');
    // Who is turned away finds the reason there, though nobody reads what he sends.
    let written = stream.write_all(text.as_bytes());
    let mut line = String::new();
    let read = BufReader::new(stream.take(MAX_ANSWER)).read_line(&mut line);
    if line.is_empty() {
        let error = written.and(read).err();
        let error = error.unwrap_or_else(|| io::Error::from(io::ErrorKind::UnexpectedEof));
        return Err(unreachable(error));
    }
    serde_json::from_str(&line).map_err(|error| {
        let socket = socket.display();
        Failure::Unreachable(format!("{socket} answers, but not as an agent does: {error}"))
    })
}

/// What went wrong, and the way out.
fn explain(socket: &Path, error: &io::Error) -> String {
    let way_out = match error.kind() {
        io::ErrorKind::NotFound => {
            "is the agent running, and is this its control.socket? Name another with --socket"
        }
        io::ErrorKind::ConnectionRefused => "the agent that made this socket has ended: start it",
        io::ErrorKind::PermissionDenied => {
            "run this as root, as the agent's user, or as a member of the socket's group"
        }
        _ => "is it the agent's control.socket?",
    };
    format!("no agent answers on {}: {error}: {way_out}", socket.display())
}
