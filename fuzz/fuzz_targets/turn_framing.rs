//! STUN and ChannelData in a byte stream, as a hostile TURN server may send them: lengths that lie,
//! cut anywhere.
//!
//! - However the stream is cut, the same messages come out, and the same error.
//! - What came out goes in again and comes out the same.
//! - No more is held back than one message can be long.

#![no_main]

// The module alone: the crate around it would bring GStreamer under the sanitizer.
#[path = "../../crates/agent/src/session/turn/framing.rs"]
mod framing;

use bytes::{Bytes, BytesMut};
use framing::{Deframer, FramingError, MAX_MESSAGE, frame};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    // How many cuts, how far apart they are, and the stream.
    let Some((&cuts, rest)) = data.split_first() else { return };
    let Some((cuts, stream)) = rest.split_at_checked(usize::from(cuts)) else { return };

    let mut pieces = Vec::new();
    let mut rest = stream;
    for &cut in cuts {
        let (piece, after) = rest.split_at(usize::from(cut).min(rest.len()));
        pieces.push(piece);
        rest = after;
    }
    pieces.push(rest);

    let whole = deframe(&[stream]);
    assert_eq!(deframe(&pieces), whole);

    let mut again = BytesMut::new();
    for message in &whole.0 {
        frame(message, &mut again).expect("what came out is one message");
    }
    assert_eq!(deframe(&[&again]), (whole.0, None));
});

fn deframe(pieces: &[&[u8]]) -> (Vec<Bytes>, Option<FramingError>) {
    let (mut deframer, mut messages) = (Deframer::default(), Vec::new());
    let (mut pushed, mut taken) = (0, 0);
    for piece in pieces {
        deframer.push(piece);
        pushed += piece.len();
        loop {
            match deframer.take() {
                Ok(Some(message)) => {
                    taken += message.len();
                    messages.push(message);
                }
                Ok(None) => break,
                Err(error) => return (messages, Some(error)),
            }
        }
        // Padding, up to 3 bytes a message, is taken too.
        let held = pushed - taken;
        assert!(held <= MAX_MESSAGE + 3 * (messages.len() + 1), "{held} bytes are held back");
        assert!(deframer.is_within_message() || held <= 3 * messages.len());
    }
    (messages, None)
}
