//! TURN over TCP and TLS (RFC 8656 §2.1), which the library does not know, and words for what any
//! TURN server does wrong.
//!
//! | module | holds |
//! |---|---|
//! | [`framing`] | messages in a byte stream; pure |
//! | `stream` | one stream to one server: connecting, queue, reading, writing |
//! | `watch` | what a server's answers mean; pure |
//!
//! The library speaks TURN over UDP from each of a session's sockets. A server on TCP or TLS is
//! shown to it under an address that exists nowhere (`240.0.0.0/4`, RFC 1112 §4, and `100::/64`,
//! RFC 6666), made up for each session, so that no viewer can name it. The session's sockets are
//! ours ([`Socket`] stands beside each):
//!
//! ```text
//!  library ─ datagram to 240.7.1.9 ─▶ Socket ─▶ queue ─▶ framing ─▶ TCP or TLS ─▶ TURN server
//!  library ◀─ datagram from 240.7.1.9 ─ Socket ◀─ queue ◀─ framing ◀────────┘
//! ```
//!
//! A session has at most one stream to a server: the socket that asks first has it, the others are
//! refused, and the library does without. It lives as long as that socket. When it ends by itself
//! its allocation is dead: the session hears [`RelayEvent::Lost`] and the library an error, and
//! once the server can be reached again, [`RelayEvent::Back`]. A restart of ICE makes new sockets,
//! and those new streams and allocations.

use std::{
    collections::HashMap,
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use tokio::{sync::mpsc, task::AbortHandle, time::Instant};
use tracing::{Instrument, debug, info, warn};

pub mod framing;
mod stream;
mod watch;

use super::{
    queue::{Queue, is_media, queue},
    servers::{DatagramServer, IceServers, StreamServer},
};
use crate::tls::Tls;
use stream::{Failure, Incoming, Progress};
use watch::Answer;
use webrtc::peer_connection::RTCIceServer;

/// Datagrams from a server that wait for the library; then the server waits.
const INCOMING: usize = 64;
/// Before a server that was lost is tried again: first, and at most.
const RETRY_FIRST: Duration = Duration::from_millis(500);
const RETRY_MOST: Duration = Duration::from_secs(30);
/// The same trouble with the same server is told as a warning only so often.
const REPEAT: Duration = Duration::from_secs(600);
/// Requests of one session to one server on UDP that are kept in mind.
const MAX_SIGNED: usize = 64;
/// For a server on UDP to answer.
const FIRST_ANSWER: Duration = Duration::from_secs(10);

/// What all sessions share about TURN.
#[derive(Debug, Default)]
pub struct Turn {
    tls: Tls,
    reports: Reports,
}

/// What a session hears about its relays.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RelayEvent {
    /// An allocation is dead: candidates and paths over it lead nowhere.
    Lost,
    /// The server of one that was lost can be reached again: a restart of ICE would get a new one.
    Back,
}

/// The TURN servers of one session.
#[derive(Debug)]
pub struct Relays {
    /// For sockets to come; those that are there keep what they began with.
    current: Mutex<Arc<Inner>>,
    shared: Arc<Shared>,
}

/// What stays when servers are renewed.
struct Shared {
    turn: Arc<Turn>,
    tell: Box<dyn Fn(RelayEvent) + Send + Sync>,
    /// Whether there ever was an allocation.
    relaying: AtomicBool,
    /// Servers that had a stream with an allocation: while they are away, who looks for them.
    known: Mutex<HashMap<Arc<str>, Option<AbortOnDrop>>>,
    sockets: AtomicU64,
}

struct Inner {
    streams: Vec<Relay>,
    /// By made-up address: which of `streams`.
    by_address: HashMap<SocketAddr, usize>,
    /// Those on UDP, by address.
    datagrams: HashMap<SocketAddr, Mutex<Asked>>,
    shared: Arc<Shared>,
}

/// A server on TCP or TLS.
struct Relay {
    server: StreamServer,
    state: Mutex<State>,
}

enum State {
    /// No socket has asked.
    Idle,
    /// `socket` has a stream, or is getting one.
    Open { socket: u64, outgoing: Queue, _task: AbortOnDrop },
    /// The stream of `socket` has ended.
    Ended { socket: u64 },
    /// The session has ended.
    Closed,
}

/// A server on UDP.
#[derive(Debug)]
struct Asked {
    server: Arc<str>,
    /// Waits for the first answer.
    waiting: Option<AbortOnDrop>,
    /// Requests with credentials, by transaction: one for each socket.
    signed: Vec<[u8; 12]>,
    answered: bool,
}

#[derive(Debug)]
struct AbortOnDrop(AbortHandle);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Turn {
    /// Servers on TLS are verified with `tls`.
    pub fn new(tls: Tls) -> Self {
        Self { tls, reports: Reports::default() }
    }

    pub(super) fn tls(&self) -> Tls {
        self.tls.clone()
    }
}

impl Relays {
    /// For a session without servers yet; `tell` hears what becomes of relays, and must not block.
    pub fn new(turn: Arc<Turn>, tell: impl Fn(RelayEvent) + Send + Sync + 'static) -> Self {
        let shared = Arc::new(Shared {
            turn,
            tell: Box::new(tell),
            relaying: AtomicBool::new(false),
            known: Mutex::default(),
            sockets: AtomicU64::new(0),
        });
        let none = Inner::new(IceServers::default(), Vec::new(), shared.clone());
        Self { current: Mutex::new(Arc::new(none)), shared }
    }

    /// Sockets made from now on use `servers`. Returns what the library is to know of them.
    ///
    /// # Errors
    ///
    /// Without random numbers.
    pub fn renew(&self, servers: IceServers) -> Result<Vec<RTCIceServer>, getrandom::Error> {
        let addresses: Vec<_> =
            servers.streams.iter().map(|_| made_up()).collect::<Result<_, _>>()?;
        let mut for_library: Vec<_> =
            servers.datagrams.iter().map(DatagramServer::for_library).collect();
        // Of both families: which sockets there are may change with every restart of ICE.
        for (server, addresses) in servers.streams.iter().zip(&addresses) {
            for_library.extend(addresses.iter().map(|address| RTCIceServer {
                urls: vec![format!("turn:{address}?transport=udp")],
                username: server.credentials.username.clone(),
                credential: server.credentials.password.clone(),
            }));
        }
        let renewed = Inner::new(servers, addresses, self.shared.clone());
        *lock(&self.current) = Arc::new(renewed);
        Ok(for_library)
    }

    /// What stands beside one of the session's sockets.
    pub fn socket(&self) -> Socket {
        let id = self.shared.sockets.fetch_add(1, Ordering::Relaxed);
        let (sender, incoming) = mpsc::channel(INCOMING);
        let inner = lock(&self.current).clone();
        Socket { inner, id, sender, incoming: Mutex::new(incoming) }
    }

    /// Whether there is or was an allocation.
    pub fn is_relaying(&self) -> bool {
        self.shared.relaying.load(Ordering::Relaxed)
    }

    /// Ends every stream and whatever else is under way.
    pub fn close(&self) {
        let inner = lock(&self.current).clone();
        for relay in &inner.streams {
            *relay.lock() = State::Closed;
        }
        for asked in inner.datagrams.values() {
            lock(asked).waiting = None;
        }
        lock(&self.shared.known).clear();
    }
}

impl Drop for Relays {
    fn drop(&mut self) {
        self.close();
    }
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Shared")
    }
}

impl std::fmt::Debug for Inner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} TURN servers on streams", self.streams.len())
    }
}

/// The TURN side of one of a session's sockets.
#[derive(Debug)]
pub struct Socket {
    inner: Arc<Inner>,
    id: u64,
    /// Datagrams from streams: under which address the library knows the server, and what it says.
    sender: mpsc::Sender<(SocketAddr, Bytes)>,
    incoming: Mutex<mpsc::Receiver<(SocketAddr, Bytes)>>,
}

impl Socket {
    /// Takes a datagram that goes to a server on a stream; none: it is for the real socket.
    ///
    /// An error tells the library that its allocation there is dead, or that it can't have one.
    pub fn send(&self, to: SocketAddr, datagram: &[u8]) -> Option<io::Result<usize>> {
        let Some(&nth) = self.inner.by_address.get(&to) else {
            if is_made_up(to.ip()) {
                // Nobody's, and nothing to ask the next router for.
                return Some(Err(io::ErrorKind::NetworkUnreachable.into()));
            }
            self.inner.sent(to, datagram);
            return None;
        };
        let mut state = self.inner.streams[nth].lock();
        if matches!(*state, State::Idle) {
            *state = self.open(nth, to);
        }
        Some(match &*state {
            State::Open { socket, outgoing, .. } if *socket == self.id => {
                if outgoing.send(datagram, carries_media(datagram)) {
                    Ok(datagram.len())
                } else {
                    Err(io::ErrorKind::BrokenPipe.into())
                }
            }
            State::Ended { .. } => Err(io::ErrorKind::BrokenPipe.into()),
            // One stream is enough.
            State::Open { .. } | State::Idle | State::Closed => {
                Err(io::ErrorKind::AddrInUse.into())
            }
        })
    }

    /// The next datagram from a stream, and the address to give as its source.
    pub fn poll_recv(&self, cx: &mut Context<'_>) -> Poll<(SocketAddr, Bytes)> {
        // It can't be closed while `sender` is here.
        match lock(&self.incoming).poll_recv(cx) {
            Poll::Ready(Some(datagram)) => Poll::Ready(datagram),
            Poll::Ready(None) | Poll::Pending => Poll::Pending,
        }
    }

    /// Looks at what came to the real socket.
    pub fn received(&self, from: SocketAddr, datagram: &[u8]) {
        self.inner.received(from, datagram);
    }

    /// Begins a stream. It ends when `self` is dropped or the session closes.
    fn open(&self, nth: usize, address: SocketAddr) -> State {
        let (outgoing, waiting) = queue();
        let incoming = Incoming { sender: self.sender.clone(), from: address };
        let (inner, socket) = (self.inner.clone(), self.id);
        let task = async move {
            let begun = Instant::now();
            let relay = &inner.streams[nth];
            let server = &relay.server;
            let progress = Arc::new(Progress::default());
            let ended = match stream::connect(server).await {
                Ok(stream) => {
                    let allocated = || {
                        let elapsed = begun.elapsed().as_millis();
                        debug!("{} relays, after {elapsed} ms", server.name);
                        inner.allocated(&server.name);
                        lock(&inner.shared.known).insert(server.name.clone(), None);
                    };
                    stream::carry(stream, waiting, incoming, progress.clone(), allocated).await
                }
                Err(failure) => Some(failure),
            };
            if let Some(failure) = ended {
                inner.lost(nth, socket, &progress, &failure);
            }
        };
        let task = tokio::spawn(task.in_current_span());
        State::Open { socket, outgoing, _task: AbortOnDrop(task.abort_handle()) }
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        for relay in &self.inner.streams {
            let mut state = relay.lock();
            if let State::Open { socket, .. } | State::Ended { socket, .. } = &*state
                && *socket == self.id
            {
                *state = State::Idle;
            }
        }
    }
}

impl Inner {
    fn new(servers: IceServers, addresses: Vec<[SocketAddr; 2]>, shared: Arc<Shared>) -> Self {
        let IceServers { datagrams, streams } = servers;
        let by_address = addresses
            .into_iter()
            .enumerate()
            .flat_map(|(nth, both)| both.map(|address| (address, nth)))
            .collect();
        let streams = streams
            .into_iter()
            .map(|server| Relay { server, state: Mutex::new(State::Idle) })
            .collect();
        let datagrams = datagrams
            .into_iter()
            .filter(|server| server.relays)
            .map(|DatagramServer { name: server, address, .. }| {
                let asked = Asked { server, waiting: None, signed: Vec::new(), answered: false };
                (address, Mutex::new(asked))
            })
            .collect();
        Self { streams, by_address, datagrams, shared }
    }

    /// A datagram goes to the real socket.
    fn sent(self: &Arc<Self>, to: SocketAddr, datagram: &[u8]) {
        if !watch::is_request(datagram) {
            return;
        }
        let Some(asked) = self.datagrams.get(&to) else { return };
        let mut asked = lock(asked);
        if watch::is_signed_request(datagram)
            && let Some(transaction) = watch::transaction(datagram)
            && asked.signed.len() < MAX_SIGNED
            && !asked.signed.contains(&transaction)
        {
            asked.signed.push(transaction);
        }
        if asked.answered || asked.waiting.is_some() {
            return;
        }
        let (inner, server) = (Arc::downgrade(self), asked.server.clone());
        let waiting = async move {
            tokio::time::sleep(FIRST_ANSWER).await;
            if let Some(inner) = inner.upgrade() {
                let limit = FIRST_ANSWER.as_secs();
                let problem = format!("no answer within {limit} s: is UDP blocked on the way?");
                inner.shared.turn.reports.trouble(&server, &problem);
            }
        };
        let waiting = tokio::spawn(waiting.in_current_span());
        asked.waiting = Some(AbortOnDrop(waiting.abort_handle()));
    }

    /// A datagram came to the real socket.
    fn received(&self, from: SocketAddr, datagram: &[u8]) {
        if !watch::is_answer(datagram) {
            return;
        }
        let Some(asked) = self.datagrams.get(&from) else { return };
        let (server, answer) = {
            let mut asked = lock(asked);
            let signed = watch::transaction(datagram).is_some_and(|t| asked.signed.contains(&t));
            let answer = watch::answer(datagram, signed);
            if answer == Answer::Other {
                return;
            }
            asked.answered = true;
            asked.waiting = None;
            (asked.server.clone(), answer)
        };
        match answer {
            Answer::Allocated => self.allocated(&server),
            Answer::Refused(refusal) => {
                self.shared.turn.reports.trouble(&server, &refusal.explain())
            }
            Answer::Asked | Answer::Other => {}
        }
    }

    fn allocated(&self, server: &str) {
        self.shared.relaying.store(true, Ordering::Relaxed);
        self.shared.turn.reports.works(server);
    }

    /// The stream that `socket` had to a server has ended.
    fn lost(&self, nth: usize, socket: u64, progress: &Progress, failure: &Failure) {
        let relay = &self.streams[nth];
        self.shared.turn.reports.trouble(&relay.server.name, &failure.to_string());
        {
            let mut state = relay.lock();
            if !matches!(&*state, State::Open { socket: owner, .. } if *owner == socket) {
                return;
            }
            *state = State::Ended { socket };
        }
        if let Some(search) = lock(&self.shared.known).get_mut(&relay.server.name)
            && search.as_ref().is_none_or(|search| search.0.is_finished())
        {
            *search = Some(self.search(nth));
        }
        if progress.is_allocated() {
            (self.shared.tell)(RelayEvent::Lost);
        }
    }

    /// Looks for a server that was lost, ever more seldom, until it is there.
    fn search(&self, nth: usize) -> AbortOnDrop {
        let (server, shared) = (self.streams[nth].server.clone(), self.shared.clone());
        let task = async move {
            let mut wait = RETRY_FIRST;
            loop {
                tokio::time::sleep(jittered(wait)).await;
                match stream::connect(&server).await {
                    Ok(_) => break,
                    Err(failure) => debug!("{} is still away: {failure}", server.name),
                }
                wait = (wait * 2).min(RETRY_MOST);
            }
            debug!("{} can be reached again", server.name);
            (shared.tell)(RelayEvent::Back);
        };
        AbortOnDrop(tokio::spawn(task.in_current_span()).abort_handle())
    }
}

impl Relay {
    fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

/// Troubles with servers, told once: every session has the same.
#[derive(Debug, Default)]
struct Reports(Mutex<HashMap<String, (String, Instant)>>);

impl Reports {
    fn trouble(&self, server: &str, problem: &str) {
        let now = Instant::now();
        let mut told = lock(&self.0);
        // Servers come from the rendezvous, a few; one that makes up more every day is forgotten.
        told.retain(|_, (_, since)| now.duration_since(*since) < REPEAT);
        if told.get(server).is_some_and(|(known, _)| known == problem) {
            return debug!("TURN server {server}: {problem}");
        }
        told.insert(server.to_owned(), (problem.to_owned(), now));
        warn!("TURN server {server}: {problem}");
    }

    fn works(&self, server: &str) {
        if lock(&self.0).remove(server).is_some() {
            info!("TURN server {server} relays now");
        }
    }
}

/// An address of each family that no machine has, and that nobody guesses.
fn made_up() -> Result<[SocketAddr; 2], getrandom::Error> {
    let random = getrandom::u64()?.to_be_bytes();
    let [a, b, c, d, e, f, ..] = random;
    // 255.255.255.255 is an address that means something.
    let v4 = Ipv4Addr::new(240 | (a % 15), b, c, d);
    let port = u16::from_be_bytes([e, f]).max(1024);
    let mut v6 = Ipv6Addr::new(0x100, 0, 0, 0, 0, 0, 0, 0).octets();
    v6[8..].copy_from_slice(&getrandom::u64()?.to_be_bytes());
    Ok([(v4, port).into(), (Ipv6Addr::from(v6), port).into()])
}

/// Whether a message may be lost: media in a channel. Requests are not; what goes without a
/// channel goes only until there is one.
fn carries_media(message: &[u8]) -> bool {
    matches!(message, [0x40..=0x7f, _, _, _, packet @ ..] if is_media(packet))
}

/// Whether no machine can have this address: see [`made_up`].
fn is_made_up(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => ip.octets()[0] >= 240,
        IpAddr::V6(ip) => ip.segments()[..4] == [0x100, 0, 0, 0],
    }
}

/// Somewhere between half of it and all: cameras that lost the same server don't come at once.
fn jittered(wait: Duration) -> Duration {
    let random = getrandom::u32().map_or(1.0, |random| f64::from(random) / f64::from(u32::MAX));
    wait.mul_f64(0.5 + random / 2.0)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
