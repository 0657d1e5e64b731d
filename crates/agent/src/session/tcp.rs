//! ICE over TCP (RFC 6544), for viewers whose network lets no UDP through: we listen, they connect.
//! Streams that hold up nobody.
//!
//! The library writes to a stream in the middle of its loop and reads whatever comes: a viewer who
//! reads nothing would stop his session's clock, and one who connects again and again fill it. So
//! what is written waits in a [`queue`](super::queue), connections are few, and those that say
//! nothing are closed.

use std::{
    future::Future,
    io,
    net::SocketAddr,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::{
    net::{self, tcp::OwnedReadHalf},
    sync::{OwnedSemaphorePermit, Semaphore},
    task::AbortHandle,
    time::timeout,
};
use tracing::debug;
use webrtc::runtime::{AsyncTcpListener, AsyncTcpStream};

use super::queue::{self, Queue, is_media};

/// Connections of one session on one of its addresses. A browser needs one for each of its own.
const CONNECTIONS: usize = 8;
/// For the first bytes to come, and for more: a path in use has some every few seconds.
const FIRST: Duration = Duration::from_secs(5);
const IDLE: Duration = Duration::from_secs(60);
/// Before the system is asked again for a connection, when it can't give one.
const PAUSE: Duration = Duration::from_millis(250);
/// Length before each packet (RFC 4571 §2).
const HEADER: usize = 2;

type Boxed<'a, T> = Pin<Box<dyn Future<Output = io::Result<T>> + Send + 'a>>;

/// Listens for one session on one address.
#[derive(Debug)]
pub(super) struct Listener {
    listener: net::TcpListener,
    places: Arc<Semaphore>,
    received: Arc<AtomicBool>,
}

impl Listener {
    /// `received` becomes true with whatever comes.
    pub fn new(listener: net::TcpListener, received: Arc<AtomicBool>) -> Self {
        Self { listener, places: Arc::new(Semaphore::new(CONNECTIONS)), received }
    }

    async fn accept(&self) -> io::Result<(Arc<dyn AsyncTcpStream>, SocketAddr)> {
        loop {
            let (stream, peer) = match self.listener.accept().await {
                Ok(accepted) => accepted,
                Err(error) => {
                    debug!("no connection can be accepted: {error}");
                    tokio::time::sleep(PAUSE).await;
                    continue;
                }
            };
            let Ok(place) = self.places.clone().try_acquire_owned() else {
                debug!("more than {CONNECTIONS} TCP connections for one session: one is closed");
                continue;
            };
            match Stream::new(stream, peer, place, self.received.clone()) {
                Ok(stream) => return Ok((Arc::new(stream), peer)),
                Err(error) => debug!("a TCP connection that is gone already: {error}"),
            }
        }
    }
}

impl AsyncTcpListener for Listener {
    fn accept<'a>(&'a self) -> Boxed<'a, (Arc<dyn AsyncTcpStream>, SocketAddr)> {
        Box::pin(self.accept())
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// A viewer's connection.
#[derive(Debug)]
struct Stream {
    read: OwnedReadHalf,
    queue: Queue,
    writer: AbortHandle,
    local: SocketAddr,
    peer: SocketAddr,
    received: Arc<AtomicBool>,
    /// Whether anything has come by this connection.
    begun: AtomicBool,
    _place: OwnedSemaphorePermit,
}

impl Stream {
    fn new(
        stream: net::TcpStream,
        peer: SocketAddr,
        place: OwnedSemaphorePermit,
        received: Arc<AtomicBool>,
    ) -> io::Result<Self> {
        queue::prepare(&stream)?;
        let local = stream.local_addr()?;
        let (read, write) = stream.into_split();
        let (queue, waiters) = queue::queue();
        // The library has put the length before each packet.
        let writer = tokio::spawn(async move {
            let written = queue::write_all(write, waiters, |packet, stream| {
                stream.extend_from_slice(packet);
            });
            if let Err(error) = written.await {
                debug!("a viewer's TCP connection ends: {error}");
            }
        });
        let (writer, begun) = (writer.abort_handle(), AtomicBool::new(false));
        Ok(Self { read, queue, writer, local, peer, received, begun, _place: place })
    }

    async fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        let limit = if self.begun.load(Ordering::Relaxed) { IDLE } else { FIRST };
        let read = async {
            loop {
                self.read.readable().await?;
                match self.read.try_read(buffer) {
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    read => return read,
                }
            }
        };
        // The library waits for ever, and takes a timeout for something that passes: so it is
        // told of an end.
        let length = timeout(limit, read).await.unwrap_or(Ok(0))?;
        if length > 0 {
            self.begun.store(true, Ordering::Relaxed);
            self.received.store(true, Ordering::Relaxed);
        }
        Ok(length)
    }
}

impl AsyncTcpStream for Stream {
    fn read<'a, 'b>(&'a self, buffer: &'b mut [u8]) -> Boxed<'b, usize>
    where
        'a: 'b,
    {
        Box::pin(self.read(buffer))
    }

    fn write_all<'a, 'b>(&'a self, packet: &'b [u8]) -> Boxed<'b, ()>
    where
        'a: 'b,
    {
        let media = is_media(packet.get(HEADER..).unwrap_or_default());
        let open = self.queue.send(packet, media);
        let sent = if open { Ok(()) } else { Err(io::ErrorKind::BrokenPipe.into()) };
        Box::pin(std::future::ready(sent))
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.local)
    }

    fn peer_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.peer)
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.writer.abort();
    }
}
