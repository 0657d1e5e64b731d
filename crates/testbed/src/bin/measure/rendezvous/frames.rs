//! WebSocket frames (RFC 6455 §5.2) without a WebSocket library: who measures has to be much
//! quicker than what is measured.

use anyhow::{Result, bail};

const TEXT: u8 = 0x81;
const CLOSE: u8 = 0x88;
const PING: u8 = 0x89;
const PONG: u8 = 0x8a;

/// A client's frame with this text. Its mask is made once: no proxy stands in between.
pub fn text(text: &str) -> Vec<u8> {
    masked(TEXT, text.as_bytes())
}

/// A client's answer to a ping of the server, which says nothing in it.
pub fn pong() -> Vec<u8> {
    masked(PONG, &[])
}

fn masked(kind: u8, payload: &[u8]) -> Vec<u8> {
    let mask = fastrand::u32(..).to_be_bytes();
    let mut frame = vec![kind];
    match u16::try_from(payload.len()) {
        Ok(length @ 0..126) => frame.push(0x80 | length as u8),
        Ok(length) => {
            frame.push(0x80 | 126);
            frame.extend(length.to_be_bytes());
        }
        Err(_) => {
            frame.push(0x80 | 127);
            frame.extend((payload.len() as u64).to_be_bytes());
        }
    }
    frame.extend(mask);
    frame.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    frame
}

/// What a server sent.
#[derive(Debug, Default, PartialEq)]
pub struct Heard {
    /// Whole messages.
    pub texts: usize,
    /// Pings, each of which wants an answer.
    pub pings: usize,
}

/// Counts a server's frames in a stream of bytes, however it is cut.
#[derive(Debug, Default)]
pub struct Counter {
    /// Of the frame that is coming, as far as it is here.
    header: Vec<u8>,
    /// Of its payload, yet to come. None before the header is whole.
    rest: Option<u64>,
}

impl Counter {
    /// Takes some bytes, and says which frames ended in them.
    ///
    /// # Errors
    ///
    /// Where the server closes, or sends what it should not.
    pub fn take(&mut self, mut bytes: &[u8]) -> Result<Heard> {
        let mut heard = Heard::default();
        loop {
            let rest = match self.rest {
                Some(rest) => rest,
                None => {
                    let wanted = self.header_size() - self.header.len();
                    let (part, after) = bytes.split_at(wanted.min(bytes.len()));
                    self.header.extend_from_slice(part);
                    bytes = after;
                    if part.len() < wanted {
                        return Ok(heard);
                    }
                    if self.header.len() < self.header_size() {
                        continue;
                    }
                    self.payload_size()
                }
            };
            let here = rest.min(bytes.len() as u64);
            bytes = &bytes[here as usize..];
            self.rest = Some(rest - here);
            if here < rest {
                return Ok(heard);
            }
            match self.header[0] {
                TEXT => heard.texts += 1,
                PING if rest == 0 => heard.pings += 1,
                PONG => {}
                CLOSE => bail!("the server closes: see its log"),
                other => bail!("a frame that begins with {other:#04x}"),
            }
            self.header.clear();
            self.rest = None;
        }
    }

    /// As far as is known from what is here.
    fn header_size(&self) -> usize {
        match self.header.get(1) {
            None | Some(0..126) => 2,
            Some(126) => 4,
            Some(_) => 10,
        }
    }

    fn payload_size(&self) -> u64 {
        match &self.header[2..] {
            [] => self.header[1].into(),
            longer => longer.iter().fold(0, |size, &byte| size << 8 | u64::from(byte)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_counted_however_the_stream_is_cut() {
        let mut stream = vec![TEXT, 2, b'{', b'}', PING, 0, TEXT, 126, 1, 0];
        stream.extend([b'x'; 256]);
        stream.extend([TEXT, 127, 0, 0, 0, 0, 0, 1, 0, 0]);
        stream.extend([b'y'; 65536]);
        stream.extend([TEXT, 0, TEXT]);
        for cut in [1, 2, 3, 7, 100, 70_000] {
            let mut counter = Counter::default();
            let mut all = Heard::default();
            for piece in stream.chunks(cut) {
                let heard = counter.take(piece).unwrap();
                all.texts += heard.texts;
                all.pings += heard.pings;
            }
            assert_eq!(all, Heard { texts: 4, pings: 1 }, "pieces of {cut}");
        }
        Counter::default().take(&[CLOSE, 0]).unwrap_err();
    }

    #[test]
    fn a_masked_frame_says_how_long_it_is() {
        assert_eq!(text("hello").len(), 2 + 4 + 5);
        let frame = text(&"x".repeat(2048));
        assert_eq!(frame[..4], [TEXT, 0xfe, 8, 0]);
        assert_eq!(frame[8] ^ frame[4], b'x');
        assert_eq!(frame.len(), 4 + 4 + 2048);
    }
}
