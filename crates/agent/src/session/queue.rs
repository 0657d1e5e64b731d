//! Messages that wait for a byte stream to take them: TURN's and ICE's streams stand in for
//! datagrams, so what waits too long or finds no place is dropped, and whoever sends never waits.

use std::{io, time::Duration};

use bytes::{Bytes, BytesMut};
use socket2::SockRef;
use tokio::{
    io::{AsyncWrite, AsyncWriteExt},
    net::TcpStream,
    sync::mpsc,
    time::{Instant, timeout},
};

/// For the other end to take what is written.
pub(super) const STALLED: Duration = Duration::from_secs(10);

/// Messages that wait: a key frame of 20 Mbit/s is some 200.
const QUEUE: usize = 512;
/// Places that media can't have, so that what keeps a connection alive still finds one when media
/// comes faster than it goes.
const RESERVED: usize = 64;
/// Media that has waited so long is dropped: what comes late is as lost, and what waits behind it
/// comes later still.
const STALE: Duration = Duration::from_millis(500);
/// What the kernel may hold that is not on its way: latency that nobody sees.
const UNSENT: u32 = 32 * 1024;
/// Written at once: one TLS record.
const BATCH: usize = 16 * 1024;
/// Largest message. Packets to a viewer are below 1500 bytes.
const MAX_MESSAGE: usize = 4096;

/// The end to put in.
#[derive(Debug, Clone)]
pub(super) struct Queue(mpsc::Sender<Waiting>);

/// The end to take out.
pub(super) type Waiters = mpsc::Receiver<Waiting>;

/// A message in the queue.
#[derive(Debug)]
pub(super) struct Waiting {
    message: Bytes,
    media: bool,
    since: Instant,
}

/// A queue for one stream.
pub(super) fn queue() -> (Queue, Waiters) {
    let (sender, receiver) = mpsc::channel(QUEUE);
    (Queue(sender), receiver)
}

impl Queue {
    /// Queues `message`; what finds no place is dropped, as a full router does. False: the stream
    /// has ended.
    pub fn send(&self, message: &[u8], media: bool) -> bool {
        if message.len() > MAX_MESSAGE || (media && self.0.capacity() <= RESERVED) {
            return !self.0.is_closed();
        }
        let message = Bytes::copy_from_slice(message);
        let waiting = Waiting { message, media, since: Instant::now() };
        !matches!(self.0.try_send(waiting), Err(mpsc::error::TrySendError::Closed(_)))
    }
}

/// Whether a packet to a viewer may be lost (by first byte, RFC 7983 §7): RTP, RTCP, and what runs
/// over DTLS. All of that is repaired by those who need it; a connectivity check that is lost
/// counts as a dead path, and a handshake takes a second longer.
pub(super) fn is_media(packet: &[u8]) -> bool {
    let application_data = 23;
    packet.first().is_some_and(|&kind| kind == application_data || kind >= 128)
}

/// Prepares a stream for media: at once, or not at all.
pub(super) fn prepare(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    // Without it latency is worse, nothing else.
    drop(SockRef::from(stream).set_tcp_notsent_lowat(UNSENT));
    Ok(())
}

/// Writes what waits, until nobody puts anything in any more. `frame` appends a message as the
/// stream carries it.
///
/// # Errors
///
/// The stream broke, or took nothing for [`STALLED`] (`TimedOut`).
pub(super) async fn write_all(
    mut stream: impl AsyncWrite + Unpin,
    mut waiters: Waiters,
    mut frame: impl FnMut(&[u8], &mut BytesMut),
) -> io::Result<()> {
    let mut batch = BytesMut::with_capacity(BATCH);
    while let Some(first) = waiters.recv().await {
        let mut next = Some(first);
        while let Some(Waiting { message, media, since }) = next.take() {
            if !media || since.elapsed() < STALE {
                frame(&message, &mut batch);
            }
            if batch.len() < BATCH - MAX_MESSAGE {
                next = waiters.try_recv().ok();
            }
        }
        let written = async {
            stream.write_all(&batch).await?;
            stream.flush().await
        };
        timeout(STALLED, written).await.map_err(|_| io::ErrorKind::TimedOut)??;
        batch.clear();
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn media_is_dropped_before_anything_else_is() {
        let (queue, mut waiters) = queue();
        for _ in 0..2 * QUEUE {
            assert!(queue.send(&[0x80], true), "dropping is no end");
        }
        assert_eq!(queue.0.capacity(), RESERVED);
        assert!(queue.send(&[0], false));
        assert_eq!(queue.0.capacity(), RESERVED - 1);
        assert!(queue.send(&[0; MAX_MESSAGE + 1], false));
        assert_eq!(queue.0.capacity(), RESERVED - 1, "nothing is that large");
        waiters.close();
        assert!(!queue.send(&[0x80], true));
    }

    #[test]
    fn checks_and_handshakes_are_no_media() {
        let (check, handshake, data, rtp) = (0, 22, 23, 0x80);
        assert!(!is_media(&[check]) && !is_media(&[handshake]) && !is_media(&[]));
        assert!(is_media(&[data]) && is_media(&[rtp]));
    }

    #[tokio::test(start_paused = true)]
    async fn media_that_waited_too_long_is_not_sent() {
        let (queue, waiters) = queue();
        queue.send(b"old", true);
        queue.send(b"check ", false);
        tokio::time::advance(STALE).await;
        queue.send(b"new", true);
        drop(queue);
        let mut written = Vec::new();
        let frame = |message: &[u8], stream: &mut BytesMut| stream.extend_from_slice(message);
        write_all(&mut written, waiters, frame).await.unwrap();
        assert_eq!(written, b"check new");
    }

    #[tokio::test(start_paused = true)]
    async fn a_stream_that_takes_nothing_is_given_up() {
        let (queue, waiters) = queue();
        let (near, _far) = tokio::io::duplex(8);
        queue.send(b"more than it takes", false);
        let error = write_all(near, waiters, |message, stream| stream.extend_from_slice(message))
            .await
            .unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }
}
