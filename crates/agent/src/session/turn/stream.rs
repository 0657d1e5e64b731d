//! One stream to one TURN server: connected, fed from a queue, read until it ends.

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

use bytes::Bytes;
use futures_util::future::select_ok;
use rustls::pki_types::ServerName;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite},
    net::{TcpStream, lookup_host},
    sync::mpsc,
    time::{Instant, timeout, timeout_at},
};

use tracing::debug;

use super::{
    framing::{Deframer, FramingError, frame},
    watch::{self, Answer, Refusal},
};
use crate::{
    session::{
        queue::{self, STALLED, Waiters},
        servers::StreamServer,
    },
    tls,
};

/// For the name, for TCP, and for TLS: each.
const CONNECT: Duration = Duration::from_secs(5);
/// Between attempts at a name's addresses (RFC 8305 §5).
const STAGGER: Duration = Duration::from_millis(250);
/// Addresses of one name that are tried.
const MAX_ADDRESSES: usize = 8;
/// For the server to answer anything that concerns an allocation, once connected.
const FIRST_ANSWER: Duration = Duration::from_secs(10);
/// Read at once: one TLS record.
const READ: usize = 16 * 1024;

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
    queue::prepare(&stream).map_err(Failure::Connect)?;
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

    /// Whether the server has said anything: nothing is signed before it asks for it.
    fn has_answer(&self) -> bool {
        self.is_allocated() || self.signed.load(Ordering::Relaxed)
    }
}

/// Whether the other end has closed the connection. Which of these it looks like depends on what
/// was on its way at that moment.
fn is_hangup(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionReset, UnexpectedEof};
    matches!(error.kind(), BrokenPipe | ConnectionReset | UnexpectedEof)
}

/// Carries messages until the stream ends: `incoming` gets them one by one, without padding. Ends
/// quietly, with none, when nobody wants it any more.
pub(super) async fn carry(
    stream: Pin<Box<dyn Pipe>>,
    outgoing: Waiters,
    incoming: Incoming,
    progress: Arc<Progress>,
    allocated: impl Fn(),
) -> Option<Failure> {
    let (read, write) = tokio::io::split(stream);
    tokio::select! {
        failure = read_all(read, incoming, &progress, allocated) => failure,
        written = queue::write_all(write, outgoing, |message, stream| {
            if watch::is_signed_request(message) {
                progress.signed.store(true, Ordering::Relaxed);
            }
            if let Err(error) = frame(message, stream) {
                debug!("the library sends what is {error}: dropped");
            }
        }) => match written {
            Ok(()) => None,
            Err(error) if error.kind() == io::ErrorKind::TimedOut => Some(Failure::Stalled),
            Err(error) if is_hangup(&error) => {
                Some(Failure::Closed { answered: progress.has_answer() })
            }
            Err(error) => Some(Failure::Write(error)),
        },
    }
}

async fn read_all(
    mut stream: impl AsyncRead + Unpin,
    incoming: Incoming,
    progress: &Progress,
    allocated: impl Fn(),
) -> Option<Failure> {
    let mut deframer = Deframer::default();
    let mut buffer = vec![0; READ];
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
            Err(error) if is_hangup(&error) => return Some(Failure::Closed { answered }),
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
