//! The library's Tokio runtime with sockets of our own: cheap to have many of, and with TURN over
//! streams beside them ([`turn`](super::turn)).
//!
//! The library's own sockets ask the kernel to coalesce what arrives (UDP GRO), and for that keep
//! nearly 100 KB of buffer for every network interface of every session. A camera receives a few
//! hundred bytes a second from each viewer: plain datagrams do.
//!
//! The library's loop writes first and reads then: what it answers to a datagram (a flight of the
//! DTLS handshake, data that an acknowledgement lets go) would lie there until something else
//! happens, up to 200 ms. And what goes out through a relay is wrapped after the wrapped was sent:
//! the last packet of every picture would wait for the next picture. So the loop is sent round
//! again before it sleeps ([`Rounds`]).

use std::{
    future::Future,
    io::{self, IoSliceMut},
    net::{IpAddr, SocketAddr, TcpListener, UdpSocket},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU8, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{io::ReadBuf, net};
use webrtc::runtime::{
    AsyncInterval, AsyncTcpListener, AsyncTcpStream, AsyncUdpSocket, JoinHandle, RecvMeta, Runtime,
    TokioRuntime, Transmit,
};

use super::{
    tcp,
    turn::{self, Relays},
};

type Boxed<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// See the module. One for each session.
#[derive(Debug)]
pub(super) struct LeanRuntime {
    tokio: TokioRuntime,
    relays: Arc<Relays>,
    rounds: Arc<Rounds>,
}

impl LeanRuntime {
    pub fn new(relays: Arc<Relays>) -> Self {
        Self { tokio: TokioRuntime, relays, rounds: Arc::default() }
    }
}

impl Runtime for LeanRuntime {
    fn wrap_udp_socket(&self, socket: UdpSocket) -> io::Result<Arc<dyn AsyncUdpSocket>> {
        socket.set_nonblocking(true)?;
        Ok(Arc::new(SessionSocket {
            socket: net::UdpSocket::from_std(socket)?,
            relays: self.relays.socket(),
            relays_first: AtomicBool::new(false),
            rounds: self.rounds.clone(),
        }))
    }

    fn spawn(&self, future: Boxed<'static, ()>) -> Box<dyn JoinHandle> {
        self.tokio.spawn(future)
    }

    fn wrap_tcp_listener(&self, listener: TcpListener) -> io::Result<Arc<dyn AsyncTcpListener>> {
        listener.set_nonblocking(true)?;
        let listener = net::TcpListener::from_std(listener)?;
        Ok(Arc::new(tcp::Listener::new(listener, self.rounds.received.clone())))
    }

    fn connect_tcp<'a>(&'a self, _: SocketAddr) -> Boxed<'a, io::Result<Arc<dyn AsyncTcpStream>>> {
        // A viewer could have us connect to whatever our network keeps to itself. Browsers
        // connect; they never listen.
        Box::pin(std::future::ready(Err(io::ErrorKind::Unsupported.into())))
    }

    fn resolve_host<'a>(&'a self, host: &'a str) -> Boxed<'a, io::Result<Vec<SocketAddr>>> {
        // Names were looked up before: the library is given addresses. It does not put an IPv6
        // address into brackets.
        let address = host.rsplit_once(':').and_then(|(ip, port)| {
            let ip: IpAddr = ip.trim_matches(['[', ']']).parse().ok()?;
            Some(SocketAddr::new(ip, port.parse().ok()?))
        });
        let unknown = || io::Error::new(io::ErrorKind::InvalidInput, "not an address");
        Box::pin(std::future::ready(address.map(|address| vec![address]).ok_or_else(unknown)))
    }

    fn sleep(&self, duration: Duration) -> Boxed<'static, ()> {
        if self.rounds.are_due(self.relays.is_relaying()) {
            let rounds = self.rounds.clone();
            return Box::pin(async move { rounds.idle.store(true, Ordering::Relaxed) });
        }
        self.tokio.sleep(duration)
    }

    fn interval(&self, period: Duration) -> Box<dyn AsyncInterval> {
        self.tokio.interval(period)
    }

    fn block_on(&self, future: Pin<Box<dyn Future<Output = ()> + '_>>) {
        self.tokio.block_on(future);
    }

    fn yield_now(&self) -> Boxed<'static, ()> {
        self.tokio.yield_now()
    }

    fn name(&self) -> &'static str {
        "tokio, plain sockets"
    }
}

/// How often the library's loop goes round before it sleeps. Only its own task uses this.
#[derive(Debug, Default)]
struct Rounds {
    /// Something has come since the loop last wanted to sleep.
    received: Arc<AtomicBool>,
    /// In the round that ended nothing happened: the library looks at its timer only when it finds
    /// nothing else to do, and a timer that is due at once says so here.
    idle: AtomicBool,
    /// Idle rounds that are still wanted.
    wanted: AtomicU8,
}

impl Rounds {
    /// Whether the loop, which wants to sleep, is to go round again: one round sends the answers
    /// to what has come, and another one what goes through a relay.
    fn are_due(&self, relaying: bool) -> bool {
        let received = self.received.swap(false, Ordering::Relaxed);
        let wanted = if self.idle.swap(false, Ordering::Relaxed) {
            self.wanted.load(Ordering::Relaxed).saturating_sub(1)
        } else {
            u8::from(received) + u8::from(relaying)
        };
        self.wanted.store(wanted, Ordering::Relaxed);
        wanted > 0
    }
}

/// One datagram at a time, from the network or from a relay's stream.
#[derive(Debug)]
struct SessionSocket {
    socket: net::UdpSocket,
    relays: turn::Socket,
    /// Both sides take turns, so that neither starves the other.
    relays_first: AtomicBool,
    rounds: Arc<Rounds>,
}

impl AsyncUdpSocket for SessionSocket {
    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    fn poll_send(&self, cx: &mut Context<'_>, transmit: &Transmit<'_>) -> Poll<io::Result<usize>> {
        match self.relays.send(transmit.destination, transmit.contents) {
            Some(sent) => Poll::Ready(sent),
            None => self.socket.poll_send_to(cx, transmit.contents, transmit.destination),
        }
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        buffers: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        let (Some(buffer), Some(meta)) = (buffers.first_mut(), meta.first_mut()) else {
            return Poll::Ready(Ok(0));
        };
        let relays_first = self.relays_first.fetch_not(Ordering::Relaxed);
        let received = if relays_first {
            self.poll_relays(cx, buffer).map(Ok)
        } else {
            self.poll_socket(cx, buffer)
        };
        let (from, length) = match received {
            Poll::Ready(received) => received?,
            Poll::Pending if relays_first => ready!(self.poll_socket(cx, buffer))?,
            Poll::Pending => ready!(self.poll_relays(cx, buffer)),
        };
        self.rounds.received.store(true, Ordering::Relaxed);
        *meta = RecvMeta::default();
        meta.addr = from;
        meta.len = length;
        // The size of each datagram in the buffer; never 0.
        meta.stride = length.max(1);
        Poll::Ready(Ok(1))
    }
}

impl SessionSocket {
    fn poll_socket(
        &self,
        cx: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<(SocketAddr, usize)>> {
        let mut buffer = ReadBuf::new(buffer);
        let from = ready!(self.socket.poll_recv_from(cx, &mut buffer))?;
        self.relays.received(from, buffer.filled());
        Poll::Ready(Ok((from, buffer.filled().len())))
    }

    fn poll_relays(&self, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<(SocketAddr, usize)> {
        loop {
            let (from, datagram) = ready!(self.relays.poll_recv(cx));
            // What does not fit was too large for any datagram of a viewer.
            if let Some(place) = buffer.get_mut(..datagram.len()) {
                place.copy_from_slice(&datagram);
                return Poll::Ready((from, datagram.len()));
            }
        }
    }
}
