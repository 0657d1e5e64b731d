//! One stream to one TURN server: connected, fed from a bounded queue, read until it ends.

use std::{
    fmt, io,
    net::SocketAddr,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use futures_util::future::select_ok;
use rustls::pki_types::ServerName;
use socket2::SockRef;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpStream, lookup_host},
    sync::mpsc,
    time::{Instant, timeout, timeout_at},
};

use tracing::debug;

use super::{
    framing::{Deframer, FramingError, frame},
    watch::{self, Answer, Refusal},
};
use crate::{session::servers::StreamServer, tls};

/// For the name, for TCP, and for TLS: each.
const CONNECT: Duration = Duration::from_secs(5);
/// Between attempts at a name's addresses (RFC 8305 §5).
const STAGGER: Duration = Duration::from_millis(250);
/// Addresses of one name that are tried.
const MAX_ADDRESSES: usize = 8;
/// For the server to answer anything that concerns an allocation, once connected.
const FIRST_ANSWER: Duration = Duration::from_secs(10);
/// For the server to take what is written.
const STALLED: Duration = Duration::from_secs(10);

/// Messages that wait to be written: a key frame of 20 Mbit/s is some 200.
const QUEUE: usize = 512;
/// Places in it that media can't have, so that permissions, refreshes and connectivity checks
/// still find one when media comes faster than it goes.
const RESERVED: usize = 64;
/// Media that has waited so long is dropped: what comes late is as lost, and what waits behind it
/// comes later still.
const STALE: Duration = Duration::from_millis(500);
/// What the kernel may hold that is not on its way: latency that nobody sees.
const UNSENT: u32 = 32 * 1024;
/// Written at once: one TLS record.
const BATCH: usize = 16 * 1024;
/// Largest message of ours. Packets to a viewer are below 1500 bytes.
const MAX_OUTGOING: usize = 4096;

/// A way for messages to wait in.
#[derive(Debug, Clone)]
pub(super) struct Outgoing(mpsc::Sender<Waiting>);

#[derive(Debug)]
pub(super) struct Waiting {
    message: Bytes,
    media: bool,
    since: Instant,
}

/// The queue of one stream: the end to put in, the end to take out.
pub(super) fn queue() -> (Outgoing, mpsc::Receiver<Waiting>) {
    let (sender, receiver) = mpsc::channel(QUEUE);
    (Outgoing(sender), receiver)
}

impl Outgoing {
    /// Queues `message`; what finds no place is dropped, as a full router does. False: the stream
    /// has ended.
    pub fn send(&self, message: &[u8]) -> bool {
        if message.len() > MAX_OUTGOING {
            return !self.0.is_closed();
        }
        let media = is_media(message);
        if media && self.0.capacity() <= RESERVED {
            return !self.0.is_closed();
        }
        let waiting =
            Waiting { message: Bytes::copy_from_slice(message), media, since: Instant::now() };
        !matches!(self.0.try_send(waiting), Err(mpsc::error::TrySendError::Closed(_)))
    }
}

/// Whether a message may be lost: ChannelData with RTP, RTCP or what runs over DTLS (by first
/// byte, RFC 7983 §7). All of that is repaired by those who need it; a request would wait for its
/// retransmission, a connectivity check count as a dead path.
fn is_media(message: &[u8]) -> bool {
    let application_data = 23;
    match message {
        [0x40..=0x7f, _, _, _, kind, ..] => *kind == application_data || *kind >= 128,
        _ => false,
    }
}

/// Where messages from a server go.
pub(super) struct Incoming {
    pub sender: mpsc::Sender<(SocketAddr, Bytes)>,
    /// The address under which the library knows the server.
    pub from: SocketAddr,
}

impl Incoming {
    /// Waits for room. False: nobody wants it any more.
    async fn send(&self, message: Bytes) -> bool {
        self.sender.send((self.from, message)).await.is_ok()
    }
}

/// Why a stream ended or never began. Shown to people; holds no address.
#[derive(Debug)]
pub(super) enum Failure {
    Name(io::Error),
    NoAddress,
    NameTimeout,
    Connect(io::Error),
    ConnectTimeout,
    /// In words.
    Tls(String),
    TlsTimeout,
    Closed {
        answered: bool,
    },
    Read(io::Error),
    Write(io::Error),
    Stalled,
    NoAnswer,
    Garbage(FramingError),
    Refused(Refusal),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(error) => write!(f, "its name can't be looked up: {error}"),
            Self::NoAddress => f.write_str("its name has no address"),
            Self::NameTimeout => f.write_str("its name can't be looked up in time"),
            Self::Connect(error) => write!(f, "no connection: {error}"),
            Self::ConnectTimeout => {
                write!(f, "no connection within {} s", CONNECT.as_secs())
            }
            Self::Tls(problem) => f.write_str(problem),
            Self::TlsTimeout => {
                write!(f, "no TLS handshake within {} s", CONNECT.as_secs())
            }
            Self::Closed { answered: false } => {
                f.write_str("it closes the connection without an answer")
            }
            Self::Closed { answered: true } => f.write_str("it closed the connection"),
            Self::Read(error) => write!(f, "the connection broke: {error}"),
            Self::Write(error) => write!(f, "nothing can be sent: {error}"),
            Self::Stalled => {
                write!(f, "it takes nothing for {} s", STALLED.as_secs())
            }
            Self::NoAnswer => write!(
                f,
                "it takes the connection and does not answer for {} s: is it a TURN server?",
                FIRST_ANSWER.as_secs()
            ),
            Self::Garbage(error) => write!(f, "it sends what is not TURN: {error}"),
            Self::Refused(refusal) => f.write_str(&refusal.explain()),
        }
    }
}

/// Any stream.
pub(super) trait Pipe: AsyncRead + AsyncWrite + Send {}
impl<T: AsyncRead + AsyncWrite + Send> Pipe for T {}

/// Opens a stream: the name is looked up each time, its addresses are raced, the certificate is
/// verified.
pub(super) async fn connect(server: &StreamServer) -> Result<Pin<Box<dyn Pipe>>, Failure> {
    let name = (server.host.as_str(), server.port);
    let addresses: Vec<SocketAddr> = match timeout(CONNECT, lookup_host(name)).await {
        Ok(Ok(addresses)) => addresses.take(MAX_ADDRESSES).collect(),
        Ok(Err(error)) => return Err(Failure::Name(error)),
        Err(_) => return Err(Failure::NameTimeout),
    };
    if addresses.is_empty() {
        return Err(Failure::NoAddress);
    }
    let attempts = addresses.into_iter().zip(0..).map(|(address, nth)| {
        Box::pin(async move {
            tokio::time::sleep(STAGGER * nth).await;
            TcpStream::connect(address).await
        })
    });
    let stream = match timeout(CONNECT, select_ok(attempts)).await {
        Ok(Ok((stream, _))) => stream,
        Ok(Err(error)) => return Err(Failure::Connect(error)),
        Err(_) => return Err(Failure::ConnectTimeout),
    };
    stream.set_nodelay(true).map_err(Failure::Connect)?;
    // Without it latency is worse, nothing else.
    drop(SockRef::from(&stream).set_tcp_notsent_lowat(UNSENT));
    let Some(trust) = &server.tls else { return Ok(Box::pin(stream)) };
    let connector = trust.connector().map_err(|error| Failure::Tls(error.to_string()))?;
    let name = ServerName::try_from(server.host.clone())
        .map_err(|_| Failure::Tls(format!("{} is no name for a certificate", server.host)))?;
    match timeout(CONNECT, connector.connect(name, stream)).await {
        Ok(Ok(stream)) => Ok(Box::pin(stream)),
        Ok(Err(error)) => Err(Failure::Tls(tls::explain(&error, &server.host, "network.turn-ca"))),
        Err(_) => Err(Failure::TlsTimeout),
    }
}

/// What is known about an allocation while its stream lives.
#[derive(Debug, Default)]
pub(super) struct Progress {
    signed: AtomicBool,
    allocated: AtomicBool,
}

impl Progress {
    /// Whether there was an allocation.
    pub fn is_allocated(&self) -> bool {
        self.allocated.load(Ordering::Relaxed)
    }
}

/// Carries messages until the stream ends: `incoming` gets them one by one, without padding. Ends
/// quietly, with none, when nobody wants it any more.
pub(super) async fn carry(
    stream: Pin<Box<dyn Pipe>>,
    outgoing: mpsc::Receiver<Waiting>,
    incoming: Incoming,
    progress: Arc<Progress>,
    allocated: impl Fn(),
) -> Option<Failure> {
    let (read, write) = tokio::io::split(stream);
    tokio::select! {
        failure = read_all(read, incoming, &progress, allocated) => failure,
        failure = write_all(write, outgoing, &progress) => failure,
    }
}

async fn read_all(
    mut stream: impl AsyncRead + Unpin,
    incoming: Incoming,
    progress: &Progress,
    allocated: impl Fn(),
) -> Option<Failure> {
    let mut deframer = Deframer::default();
    let mut buffer = vec![0; BATCH];
    let mut answered = false;
    let first_answer = Instant::now() + FIRST_ANSWER;
    loop {
        let read = stream.read(&mut buffer);
        let read = if answered {
            read.await
        } else {
            match timeout_at(first_answer, read).await {
                Ok(read) => read,
                Err(_) => return Some(Failure::NoAnswer),
            }
        };
        match read {
            Ok(0) => return Some(Failure::Closed { answered }),
            Ok(length) => deframer.push(&buffer[..length]),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                return Some(Failure::Closed { answered });
            }
            Err(error) => return Some(Failure::Read(error)),
        }
        loop {
            let message = match deframer.take() {
                Ok(Some(message)) => message,
                Ok(None) => break,
                Err(error) => return Some(Failure::Garbage(error)),
            };
            // Channels and data come only after an answer: what comes before is no answer.
            if !progress.is_allocated() {
                match watch::answer(&message, progress.signed.load(Ordering::Relaxed)) {
                    Answer::Allocated => {
                        answered = true;
                        progress.allocated.store(true, Ordering::Relaxed);
                        allocated();
                    }
                    // The library gives this server up, and so do we once it has heard.
                    Answer::Refused(refusal) => {
                        incoming.send(message).await;
                        return Some(Failure::Refused(refusal));
                    }
                    Answer::Asked => answered = true,
                    Answer::Other => {}
                }
            }
            // A session that does not keep up holds the server back, by TCP.
            if !incoming.send(message).await {
                return None;
            }
        }
    }
}

async fn write_all(
    mut stream: impl AsyncWrite + Unpin,
    mut outgoing: mpsc::Receiver<Waiting>,
    progress: &Progress,
) -> Option<Failure> {
    let mut batch = BytesMut::with_capacity(BATCH);
    loop {
        let mut next = outgoing.recv().await;
        let Some(_) = &next else { return None };
        while let Some(Waiting { message, media, since }) = next.take() {
            if !progress.signed.load(Ordering::Relaxed) && watch::is_signed_request(&message) {
                progress.signed.store(true, Ordering::Relaxed);
            }
            let in_time = !media || since.elapsed() < STALE;
            if in_time && let Err(error) = frame(&message, &mut batch) {
                debug!("the library sends what is {error}: dropped");
            }
            if batch.len() < BATCH - MAX_OUTGOING {
                next = outgoing.try_recv().ok();
            }
        }
        let written = async {
            stream.write_all(&batch).await?;
            stream.flush().await
        };
        match timeout(STALLED, written).await {
            Ok(Ok(())) => batch.clear(),
            Ok(Err(error)) => return Some(Failure::Write(error)),
            Err(_) => return Some(Failure::Stalled),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn channel_data(kind: u8) -> Vec<u8> {
        vec![0x40, 0, 0, 4, kind, 0, 0, 0]
    }

    #[tokio::test]
    async fn media_is_dropped_before_anything_else_is() {
        let (outgoing, mut waiting) = queue();
        for _ in 0..2 * QUEUE {
            assert!(outgoing.send(&channel_data(0x80)), "dropping is no end");
        }
        assert_eq!(outgoing.0.capacity(), RESERVED);
        // A connectivity check in a channel, DTLS's handshake, a request.
        for control in [&channel_data(0)[..], &channel_data(22), &[0, 1, 0, 0]] {
            assert!(outgoing.send(control));
        }
        assert_eq!(outgoing.0.capacity(), RESERVED - 3);
        assert!(outgoing.send(&[0; MAX_OUTGOING + 1]));
        assert_eq!(outgoing.0.capacity(), RESERVED - 3, "nothing is that large");
        waiting.close();
        assert!(!outgoing.send(&channel_data(0x80)));
    }

    #[tokio::test(start_paused = true)]
    async fn media_that_waited_too_long_is_not_sent() {
        let (outgoing, waiting) = queue();
        outgoing.send(&channel_data(0x80));
        outgoing.send(&channel_data(0));
        tokio::time::advance(STALE).await;
        outgoing.send(&channel_data(0x90));
        drop(outgoing);
        let mut written = Vec::new();
        assert!(write_all(&mut written, waiting, &Progress::default()).await.is_none());
        assert_eq!(written, [channel_data(0), channel_data(0x90)].concat());
    }
}
