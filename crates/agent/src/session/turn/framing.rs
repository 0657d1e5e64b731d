//! TURN messages in a byte stream, and out of it again (RFC 8656 §3.1, §12.4–12.6).
//!
//! The two leading bits of a message tell what it is and where its length stands:
//!
//! ```text
//!  00  STUN         length in bytes 2–3, without the 20 bytes of the header; a multiple of 4
//!  01  ChannelData  length in bytes 2–3, without the 4 bytes of the header; padded to 4 in a stream
//! ```
//!
//! Padding belongs to the stream: it is added outwards and taken off inwards, as over UDP there is
//! none. Pure: no I/O, no clock.

use bytes::{Buf, Bytes, BytesMut};

/// Largest message: what a 16 bit length can say, and a header.
pub const MAX_MESSAGE: usize = 20 + u16::MAX as usize;

/// Bytes before a STUN message's attributes (RFC 8489 §5).
const STUN_HEADER: usize = 20;
/// Bytes 4–7 of every STUN message (RFC 8489 §5).
const MAGIC_COOKIE: [u8; 4] = 0x2112_a442_u32.to_be_bytes();
/// Bytes before ChannelData's payload.
const CHANNEL_HEADER: usize = 4;

/// Why a stream can't be read on. What follows in it has no beginning that could be found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FramingError {
    /// The two leading bits are 1x.
    #[error("a message that begins with {0:#04x} is neither STUN nor ChannelData")]
    Neither(u8),
    /// STUN whose length is no multiple of 4.
    #[error("a STUN message of {0} bytes: the length is always a multiple of 4")]
    Unaligned(usize),
    /// STUN without its magic cookie.
    #[error("something that looks like STUN, without its magic cookie")]
    NoCookie,
}

/// Takes messages out of a stream, however it was cut.
///
/// Holds at most one message that is not complete, and what [`push`](Self::push) was last given.
#[derive(Debug, Default)]
pub struct Deframer {
    buffer: BytesMut,
    /// Set once and for all: nothing after a bad message means anything.
    broken: Option<FramingError>,
}

impl Deframer {
    /// Appends what was read.
    pub fn push(&mut self, data: &[u8]) {
        if self.broken.is_none() {
            self.buffer.extend_from_slice(data);
        }
    }

    /// The next message without its padding, once all of it is there.
    ///
    /// # Errors
    ///
    /// The stream is no TURN stream (any more). Every later call says the same.
    pub fn take(&mut self) -> Result<Option<Bytes>, FramingError> {
        if let Some(error) = self.broken {
            return Err(error);
        }
        match measure(&self.buffer) {
            Ok(Some(Extent { message, padding })) if self.buffer.len() >= message + padding => {
                let found = self.buffer.split_to(message).freeze();
                self.buffer.advance(padding);
                Ok(Some(found))
            }
            Ok(_) => Ok(None),
            Err(error) => {
                self.broken = Some(error);
                self.buffer = BytesMut::new();
                Err(error)
            }
        }
    }

    /// Whether a message has begun that is not complete.
    pub fn is_within_message(&self) -> bool {
        !self.buffer.is_empty()
    }
}

/// Appends `datagram` to `stream` as a stream carries it. ChannelData may be padded already: over
/// UDP a client may do so, and the library does.
///
/// # Errors
///
/// The datagram is not exactly one STUN or ChannelData message: sent on, it would take everything
/// after it along. Nothing is appended.
pub fn frame(datagram: &[u8], stream: &mut BytesMut) -> Result<(), NotOneMessage> {
    let Extent { message, padding } = measure(datagram).ok().flatten().ok_or(NotOneMessage)?;
    if datagram.len() != message && datagram.len() != message + padding {
        return Err(NotOneMessage);
    }
    stream.extend_from_slice(&datagram[..message]);
    stream.extend_from_slice(&[0; 3][..padding]);
    Ok(())
}

/// See [`frame`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not exactly one STUN or ChannelData message")]
pub struct NotOneMessage;

/// How far a message goes.
struct Extent {
    message: usize,
    padding: usize,
}

/// The extent of the message that `data` begins with; none while too little of it is there.
fn measure(data: &[u8]) -> Result<Option<Extent>, FramingError> {
    let &[first, _, high, low, ref rest @ ..] = data else {
        return match data.first() {
            Some(&first) if first >> 6 > 1 => Err(FramingError::Neither(first)),
            _ => Ok(None),
        };
    };
    let length = usize::from(u16::from_be_bytes([high, low]));
    match first >> 6 {
        0 if length % 4 != 0 => Err(FramingError::Unaligned(length)),
        0 => match rest.first_chunk::<4>() {
            Some(&MAGIC_COOKIE) => Ok(Some(Extent { message: STUN_HEADER + length, padding: 0 })),
            Some(_) => Err(FramingError::NoCookie),
            None => Ok(None),
        },
        1 => {
            let message = CHANNEL_HEADER + length;
            Ok(Some(Extent { message, padding: message.next_multiple_of(4) - message }))
        }
        _ => Err(FramingError::Neither(first)),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn channel_data(payload: &[u8]) -> Vec<u8> {
        let length = u16::try_from(payload.len()).unwrap().to_be_bytes();
        [&[0x40, 0x01], &length[..], payload].concat()
    }

    fn stun(words: usize) -> Vec<u8> {
        let length = u16::try_from(words * 4).unwrap().to_be_bytes();
        [&[0x01, 0x03], &length[..], &MAGIC_COOKIE, &[7; 12], &vec![9; words * 4]].concat()
    }

    fn deframe(pieces: &[&[u8]]) -> (Vec<Bytes>, Option<FramingError>) {
        let (mut deframer, mut all) = (Deframer::default(), Vec::new());
        for piece in pieces {
            deframer.push(piece);
            loop {
                match deframer.take() {
                    Ok(Some(message)) => all.push(message),
                    Ok(None) => break,
                    Err(error) => return (all, Some(error)),
                }
            }
        }
        (all, None)
    }

    #[test]
    fn channel_data_is_padded_outwards_and_stripped_inwards() {
        for length in 0..9 {
            let message = channel_data(&vec![0xff; length]);
            let mut stream = BytesMut::new();
            frame(&message, &mut stream).unwrap();
            assert_eq!(stream.len(), message.len().next_multiple_of(4));
            let mut again = BytesMut::new();
            frame(&stream, &mut again).unwrap();
            assert_eq!(again, stream, "padding is not padded");
            frame(&stun(1), &mut stream).unwrap();
            let (messages, error) = deframe(&[&stream]);
            assert_eq!((messages.len(), error), (2, None));
            assert_eq!(messages[0], message);
            assert_eq!(messages[1], stun(1));
        }
    }

    #[test]
    fn what_is_not_one_message_is_not_sent() {
        let mut stream = BytesMut::new();
        let lying = [&channel_data(&[1, 2, 3])[..], &[4, 5]].concat();
        let short = &channel_data(&[1, 2, 3])[..6];
        // DTLS, RTP, nothing, STUN of the wrong length.
        for datagram in [&lying[..], short, &[22, 254, 253], &[0x80; 20], &[], &stun(2)[..24]] {
            assert_eq!(frame(datagram, &mut stream), Err(NotOneMessage));
        }
        assert!(stream.is_empty());
    }

    #[test]
    fn nonsense_is_known_by_its_first_byte_and_stays_nonsense() {
        let mut deframer = Deframer::default();
        deframer.push(&stun(0));
        deframer.push(b"\xc0");
        assert_eq!(deframer.take().unwrap().unwrap(), stun(0));
        assert_eq!(deframer.take(), Err(FramingError::Neither(0xc0)));
        deframer.push(&stun(0));
        assert_eq!(deframer.take(), Err(FramingError::Neither(0xc0)));
        assert!(!deframer.is_within_message(), "nothing is kept of it");

        let http = b"HTTP/1.1 400 Bad Request\r\n\r\n";
        assert!(matches!(deframe(&[http]).1, None | Some(FramingError::Neither(_))));
        let mut unaligned = stun(1);
        unaligned[3] = 5;
        assert_eq!(deframe(&[&unaligned]).1, Some(FramingError::Unaligned(5)));
        let mut cookie = stun(1);
        cookie[7] ^= 1;
        assert_eq!(deframe(&[&cookie]).1, Some(FramingError::NoCookie));
    }

    #[test]
    fn a_lying_length_waits_for_no_more_than_it_can_say() {
        let mut deframer = Deframer::default();
        deframer.push(&[0x7f, 0xff, 0xff, 0xff]);
        for _ in 0..64 {
            deframer.push(&[0; 1024]);
            if let Some(message) = deframer.take().unwrap() {
                assert_eq!(message.len(), 4 + 0xffff);
                return;
            }
            assert!(deframer.is_within_message());
        }
        panic!("more than {MAX_MESSAGE} bytes were held back");
    }

    /// Bytes as a hostile server may send them: whole messages, and anything.
    fn stream() -> impl Strategy<Value = Vec<u8>> {
        let piece = prop_oneof![
            prop::collection::vec(any::<u8>(), 0..40).prop_map(|payload| {
                let mut stream = BytesMut::new();
                frame(&channel_data(&payload), &mut stream).unwrap();
                stream.to_vec()
            }),
            (0..6_usize).prop_map(stun),
            prop::collection::vec(any::<u8>(), 0..12),
        ];
        prop::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat())
    }

    proptest! {
        #[test]
        fn cuts_make_no_difference(stream in stream(), cuts in prop::collection::vec(0..300_usize, 0..20)) {
            let mut pieces = Vec::new();
            let mut rest = &stream[..];
            for cut in cuts {
                let (piece, after) = rest.split_at(cut.min(rest.len()));
                pieces.push(piece);
                rest = after;
            }
            pieces.push(rest);
            prop_assert_eq!(deframe(&pieces), deframe(&[&stream]));
        }

        #[test]
        fn what_came_out_goes_in_again(stream in stream()) {
            let (messages, _) = deframe(&[&stream]);
            let mut again = BytesMut::new();
            for message in &messages {
                frame(message, &mut again).unwrap();
            }
            prop_assert_eq!(deframe(&[&again]), (messages, None));
        }
    }
}
