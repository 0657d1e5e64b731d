//! One `sd_notify(3)` datagram: lines of `NAME=value`, written by a service and read by its
//! supervisor.

use std::{fmt, time::Duration};

/// Largest datagram that is read or written, in bytes: what systemd takes (one `PIPE_BUF`).
pub const MAX_SIZE: usize = 4096;

/// Longest status text, in bytes; a longer one is cut. It leaves room for every other line.
pub const MAX_STATUS: usize = 1024;

/// Longest extension of a time-out that one message can ask for; a longer one is cut. A service
/// that needs more asks again.
pub const MAX_EXTENSION: Duration = Duration::from_secs(60 * 60);

/// What a service says in one datagram.
///
/// Assignments with a name, or a value, that is not known here are skipped: `sd_notify(3)` gains
/// new ones, and says that a supervisor is free to ignore them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Message {
    /// `READY=1`: start-up is finished.
    pub ready: bool,
    /// `STOPPING=1`: the service has begun to end.
    pub stopping: bool,
    /// `WATCHDOG=…`: a heartbeat, or the wish to be treated as if one had been missed.
    pub watchdog: Option<Watchdog>,
    /// `STATUS=…`: what the service is doing, one line for people, without control characters and
    /// at most [`MAX_STATUS`] bytes long.
    pub status: Option<String>,
    /// `EXTEND_TIMEOUT_USEC=…`: whatever the supervisor waits for now may take so long from this
    /// message on, at most [`MAX_EXTENSION`]. Zero asks for nothing.
    pub extension: Option<Duration>,
    /// `X_PEERCAM_EXPECTED=…` with `X_PEERCAM_PROGRESS=…`, which count only together.
    pub progress: Option<Progress>,
}

/// How a service gets on with its work. Being alive is no proof of it: a service may beat while
/// the part of it that works is stuck.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Progress {
    /// Whether there is work now (`X_PEERCAM_EXPECTED=1`). Who has nothing to do, or waits for
    /// what is not in his hands (a network, a device), says no (`0`).
    pub expected: bool,
    /// Work done so far (`X_PEERCAM_PROGRESS=`), in the service's own unit. Any other number than
    /// the last one is progress.
    pub done: u64,
}

/// The values of `WATCHDOG=`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Watchdog {
    /// `WATCHDOG=1`: alive.
    Alive,
    /// `WATCHDOG=trigger`: the service found out by itself that it is broken.
    Trigger,
}

/// Why a datagram is no [`Message`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MessageError {
    /// Longer than [`MAX_SIZE`], which it is the reader's part to notice (`MSG_TRUNC`), or here.
    TooLong(usize),
    /// Holds a NUL byte, which no text does; systemd refuses these as well.
    Nul,
}

impl fmt::Display for MessageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong(size) => {
                write!(f, "a notify message of {size} bytes: the limit is {MAX_SIZE}")
            }
            Self::Nul => f.write_str("a notify message with a NUL byte: send lines of NAME=value"),
        }
    }
}

impl std::error::Error for MessageError {}

impl Message {
    /// Reads one datagram. Time and memory are bounded by [`MAX_SIZE`].
    ///
    /// # Errors
    ///
    /// Only for what cannot be a message at all; single lines that make no sense are skipped.
    pub fn parse(datagram: &[u8]) -> Result<Self, MessageError> {
        if datagram.len() > MAX_SIZE {
            return Err(MessageError::TooLong(datagram.len()));
        }
        if datagram.contains(&0) {
            return Err(MessageError::Nul);
        }
        let mut message = Self::default();
        let (mut expected, mut done) = (None, None);
        for line in datagram.split(|&byte| byte == b'\n') {
            match line {
                b"READY=1" => message.ready = true,
                b"STOPPING=1" => message.stopping = true,
                b"WATCHDOG=1" => message.watchdog = Some(Watchdog::Alive),
                b"WATCHDOG=trigger" => message.watchdog = Some(Watchdog::Trigger),
                b"X_PEERCAM_EXPECTED=0" => expected = Some(false),
                b"X_PEERCAM_EXPECTED=1" => expected = Some(true),
                _ => {
                    if let Some(status) = line.strip_prefix(b"STATUS=") {
                        message.status = Some(one_line(&String::from_utf8_lossy(status)));
                    } else if let Some(usec) = line.strip_prefix(b"EXTEND_TIMEOUT_USEC=") {
                        let extension = number(usec).map(Duration::from_micros);
                        message.extension = extension.map(|time| time.min(MAX_EXTENSION));
                    } else if let Some(count) = line.strip_prefix(b"X_PEERCAM_PROGRESS=") {
                        done = number(count);
                    }
                }
            }
        }
        if let (Some(expected), Some(done)) = (expected, done) {
            message.progress = Some(Progress { expected, done });
        }
        Ok(message)
    }

    /// The datagram. A status is written as [`Message::status`] promises it, whatever it holds.
    pub fn encode(&self) -> Vec<u8> {
        let mut lines = Vec::with_capacity(4);
        if self.ready {
            lines.push("READY=1".to_owned());
        }
        if self.stopping {
            lines.push("STOPPING=1".to_owned());
        }
        match self.watchdog {
            Some(Watchdog::Alive) => lines.push("WATCHDOG=1".to_owned()),
            Some(Watchdog::Trigger) => lines.push("WATCHDOG=trigger".to_owned()),
            None => {}
        }
        if let Some(status) = &self.status {
            lines.push(format!("STATUS={}", one_line(status)));
        }
        if let Some(extension) = self.extension {
            let usec = extension.min(MAX_EXTENSION).as_micros();
            lines.push(format!("EXTEND_TIMEOUT_USEC={usec}"));
        }
        if let Some(Progress { expected, done }) = self.progress {
            lines.push(format!("X_PEERCAM_EXPECTED={}", u8::from(expected)));
            lines.push(format!("X_PEERCAM_PROGRESS={done}"));
        }
        lines.join("\n").into_bytes()
    }
}

/// Digits and nothing else, as far as they fit.
fn number(digits: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(digits).ok()?;
    // A sign is no digit, whatever `parse` thinks.
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

/// `text` as it may stand in a status: control characters (line ends, terminal escapes) become
/// spaces, and what is longer than [`MAX_STATUS`] is cut between two characters.
fn one_line(text: &str) -> String {
    let end = text.floor_char_boundary(MAX_STATUS);
    // Only single-byte blanks are put in, so the bound still holds afterwards.
    text[..end].replace(char::is_control, " ")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_systemd_documents_is_understood() {
        let message = Message::parse(b"READY=1\nSTATUS=Up.\nWATCHDOG=1\nSTOPPING=1").unwrap();
        assert_eq!(
            message,
            Message {
                ready: true,
                stopping: true,
                watchdog: Some(Watchdog::Alive),
                status: Some("Up.".to_owned()),
                ..Message::default()
            }
        );
        let trigger = Message::parse(b"WATCHDOG=trigger\n").unwrap();
        assert_eq!(trigger.watchdog, Some(Watchdog::Trigger));
    }

    #[test]
    fn what_is_not_known_is_skipped_and_the_rest_counts() {
        let message =
            Message::parse(b"READY=2\nFDSTORE=1\nno assignment\n=\n\nWATCHDOG=1\nX=\xff").unwrap();
        assert_eq!(message, Message { watchdog: Some(Watchdog::Alive), ..Message::default() });
    }

    #[test]
    fn an_extension_is_bounded_and_nonsense_is_none() {
        let extension = |value: &str| {
            Message::parse(format!("EXTEND_TIMEOUT_USEC={value}").as_bytes()).unwrap().extension
        };
        assert_eq!(extension("1500000"), Some(Duration::from_millis(1500)));
        assert_eq!(extension("18446744073709551615"), Some(MAX_EXTENSION));
        for nonsense in ["", "-1", "+1", "1s", "18446744073709551616", " 1"] {
            assert_eq!(extension(nonsense), None, "{nonsense:?}");
        }
    }

    #[test]
    fn progress_needs_both_its_lines() {
        let progress = |text: &str| Message::parse(text.as_bytes()).unwrap().progress;
        assert_eq!(
            progress("X_PEERCAM_PROGRESS=7\nWATCHDOG=1\nX_PEERCAM_EXPECTED=1"),
            Some(Progress { expected: true, done: 7 })
        );
        for half in [
            "X_PEERCAM_PROGRESS=7",
            "X_PEERCAM_EXPECTED=1",
            "X_PEERCAM_PROGRESS=x\nX_PEERCAM_EXPECTED=1",
            "X_PEERCAM_PROGRESS=7\nX_PEERCAM_EXPECTED=yes",
        ] {
            assert_eq!(progress(half), None, "{half:?}");
        }
    }

    #[test]
    fn a_status_cannot_break_out_of_its_line() {
        let sent =
            Message { status: Some("a\nWATCHDOG=1\x1b[2J".to_owned()), ..Message::default() };
        let read = Message::parse(&sent.encode()).unwrap();
        assert_eq!(read.watchdog, None);
        assert_eq!(read.status.as_deref(), Some("a WATCHDOG=1 [2J"));
    }

    #[test]
    fn what_cannot_be_a_message_is_refused() {
        assert_eq!(Message::parse(b"READY=1\0"), Err(MessageError::Nul));
        let long = vec![b'a'; MAX_SIZE + 1];
        assert_eq!(Message::parse(&long), Err(MessageError::TooLong(MAX_SIZE + 1)));
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(
            ready: bool,
            stopping: bool,
            watchdog in prop_oneof![
                Just(None), Just(Some(Watchdog::Alive)), Just(Some(Watchdog::Trigger))
            ],
            status in proptest::option::of("\\PC{0,400}"),
            extension in proptest::option::of(0..3_600_000_000_u64),
            progress: Option<(bool, u64)>,
        ) {
            let extension = extension.map(Duration::from_micros);
            let progress = progress.map(|(expected, done)| Progress { expected, done });
            let message = Message { ready, stopping, watchdog, status, extension, progress };
            let read = Message::parse(&message.encode()).unwrap();
            let status = message.status.as_deref().map(one_line);
            prop_assert_eq!(read, Message { status, ..message });
        }

        #[test]
        fn no_datagram_panics_and_every_status_is_one_bounded_line(
            datagram in proptest::collection::vec(any::<u8>(), 0..5000),
            status in "(?s).{0,3000}",
        ) {
            for bytes in [datagram, [b"STATUS=", status.as_bytes()].concat()] {
                if let Ok(Message { status: Some(status), .. }) = Message::parse(&bytes) {
                    prop_assert!(status.len() <= MAX_STATUS);
                    prop_assert!(!status.contains(char::is_control));
                }
            }
        }
    }
}
