//! From text to message and back.
//!
//! A message is one JSON object (RFC 8259) in one text frame, with its kind under `"type"`.
//! Fields nobody knows are skipped, so a newer peer may say more; a type nobody knows is an
//! error that is answered, so a newer peer learns that it was not understood.

use serde::{Serialize, de::DeserializeOwned};

use crate::signalling::{Error, ErrorCode};

/// The WebSocket subprotocol (RFC 6455 §1.9) both ends must agree on; its number changes when an
/// old peer would misunderstand a new one.
pub const SUBPROTOCOL: &str = "peercam.v1";

/// A viewer shows his token when he connects, too, as a second subprotocol: this and the token. So
/// it stands in no address and in no log, and costs no round trip before the rendezvous can hand
/// out TURN credentials.
pub const TOKEN_SUBPROTOCOL: &str = "peercam.token.";

/// Largest message either end accepts, in bytes. An offer of a current browser has 2 to 8 KB.
pub const MAX_MESSAGE_SIZE: usize = 64 * 1024;

/// The message as the text of one frame.
pub fn encode<M: Serialize>(message: &M) -> String {
    // The types of this crate hold nothing that JSON can't (no maps with other keys than text,
    // no fallible Serialize); a property test goes through all of them.
    serde_json::to_string(message).unwrap_or_default()
}

/// Most characters of a complaint: it goes back to who sent the message, and must not grow with it.
const MAX_COMPLAINT: usize = 400;

/// Reads the text of one frame. The error says what was wrong in words for the peer's log: it is
/// ready to be sent back.
pub fn decode<M: DeserializeOwned>(text: &str) -> Result<M, Error> {
    if text.len() > MAX_MESSAGE_SIZE {
        return Err(Error::new(
            ErrorCode::TooLarge,
            format!("a message of {} bytes: the limit is {MAX_MESSAGE_SIZE}", text.len()),
        ));
    }
    serde_json::from_str(text).map_err(|error| diagnose(text, &error))
}

/// Why `text` is no message: not JSON, no type, a type nobody knows, or wrong fields.
fn diagnose(text: &str, error: &serde_json::Error) -> Error {
    use serde_json::error::Category;
    if error.classify() != Category::Data {
        return Error::new(ErrorCode::BadMessage, format!("not JSON: {error}"));
    }
    let message = error.to_string();
    let kind = serde_json::from_str::<serde_json::Value>(text)
        .ok()
        .and_then(|value| Some(value.get("type")?.as_str()?.to_owned()));
    let Some(kind) = kind else {
        return Error::new(
            ErrorCode::BadMessage,
            "a message is a JSON object with a text under \"type\"".to_owned(),
        );
    };
    let (code, complaint) = match message.strip_prefix(&format!("unknown variant `{kind}`")) {
        // "unknown variant `x`, expected one of …" names the type and the way out.
        Some(rest) => (ErrorCode::UnknownType, format!("unknown message type `{kind}`{rest}")),
        None => (ErrorCode::BadMessage, format!("in {kind:?}: {message}")),
    };
    Error::new(code, shorten(complaint))
}

/// A complaint without its middle, where the peer's own text stands, if it is too long to be sent
/// back.
pub fn shorten(complaint: String) -> String {
    let characters = complaint.chars().count();
    if characters <= MAX_COMPLAINT {
        return complaint;
    }
    let half = MAX_COMPLAINT / 2;
    let start = complaint.chars().take(half);
    let end = complaint.chars().skip(characters - half);
    start.chain(" … ".chars()).chain(end).collect()
}
