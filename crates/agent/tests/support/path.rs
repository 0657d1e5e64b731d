//! A way between viewer and camera that a test can cut, make narrow and lossy: the library's runtime
//! with sockets that behave so.

use std::{
    collections::VecDeque,
    future::Future,
    io::{self, IoSliceMut},
    net::{SocketAddr, TcpListener, UdpSocket},
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    task::{Context, Poll, ready},
    time::{Duration, Instant},
};

use tokio::time::Sleep;
use webrtc::runtime::{
    AsyncInterval, AsyncTcpListener, AsyncTcpStream, AsyncUdpSocket, JoinHandle, RecvMeta, Runtime,
    TokioRuntime, Transmit,
};

type Boxed<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Longest time that anything stands in the queue of a narrow path.
const MAX_QUEUE: Duration = Duration::from_secs(5);

/// Whole, wide and without loss, until a test says otherwise.
#[derive(Debug, Clone, Default)]
pub struct Path(Arc<State>);

#[derive(Debug, Default)]
struct State {
    cut: AtomicBool,
    /// Towards the viewer, in bit/s; 0: without limit.
    rate: AtomicU64,
    /// Each how many datagrams towards the viewer one is lost; 0: none.
    loses: AtomicU64,
    /// How long the newest datagram has to stand in the queue, in ms.
    queue: AtomicU64,
    /// Bytes that have come through.
    bytes: AtomicU64,
    datagrams: AtomicU64,
}

impl Path {
    /// From now on nothing comes through.
    pub fn cut(&self) {
        self.0.cut.store(true, Ordering::Relaxed);
    }

    /// From now on everything does.
    pub fn mend(&self) {
        self.0.cut.store(false, Ordering::Relaxed);
    }

    /// From now on so many bit/s come through to the viewer; the rest waits in a queue. 0: all.
    pub fn narrow(&self, rate: u64) {
        self.0.rate.store(rate, Ordering::Relaxed);
    }

    /// From now on one of so many datagrams to the viewer is lost; 0: none.
    pub fn lose_one_of(&self, loses: u64) {
        self.0.loses.store(loses, Ordering::Relaxed);
    }

    /// How long the newest datagram has to stand in the queue.
    pub fn queue(&self) -> Duration {
        Duration::from_millis(self.0.queue.load(Ordering::Relaxed))
    }

    /// Bytes that have come through to the viewer, headers of UDP and IP excluded.
    pub fn bytes(&self) -> u64 {
        self.0.bytes.load(Ordering::Relaxed)
    }

    fn is_cut(&self) -> bool {
        self.0.cut.load(Ordering::Relaxed)
    }
}

/// The library's runtime, with sockets on a [`Path`].
#[derive(Debug)]
pub struct PathRuntime(pub TokioRuntime, pub Path);

impl Runtime for PathRuntime {
    fn wrap_udp_socket(&self, socket: UdpSocket) -> io::Result<Arc<dyn AsyncUdpSocket>> {
        let (inner, path) = (self.0.wrap_udp_socket(socket)?, self.1.clone());
        Ok(Arc::new(PathSocket { inner, path, waiting: Mutex::default() }))
    }

    fn spawn(&self, future: Boxed<'static, ()>) -> Box<dyn JoinHandle> {
        self.0.spawn(future)
    }

    fn wrap_tcp_listener(&self, listener: TcpListener) -> io::Result<Arc<dyn AsyncTcpListener>> {
        self.0.wrap_tcp_listener(listener)
    }

    fn connect_tcp<'a>(
        &'a self,
        address: SocketAddr,
    ) -> Boxed<'a, io::Result<Arc<dyn AsyncTcpStream>>> {
        self.0.connect_tcp(address)
    }

    fn resolve_host<'a>(&'a self, host: &'a str) -> Boxed<'a, io::Result<Vec<SocketAddr>>> {
        self.0.resolve_host(host)
    }

    fn sleep(&self, duration: Duration) -> Boxed<'static, ()> {
        self.0.sleep(duration)
    }

    fn interval(&self, period: Duration) -> Box<dyn AsyncInterval> {
        self.0.interval(period)
    }

    fn block_on(&self, future: Pin<Box<dyn Future<Output = ()> + '_>>) {
        self.0.block_on(future);
    }

    fn yield_now(&self) -> Boxed<'static, ()> {
        self.0.yield_now()
    }

    fn name(&self) -> &'static str {
        "tokio, on a path that can be cut"
    }
}

#[derive(Debug)]
struct PathSocket {
    inner: Arc<dyn AsyncUdpSocket>,
    path: Path,
    waiting: Mutex<Waiting>,
}

/// What stands in the queue of a narrow path.
#[derive(Debug, Default)]
struct Waiting {
    datagrams: VecDeque<(Instant, Vec<u8>, RecvMeta)>,
    /// When the last of them is through.
    free: Option<Instant>,
    sleep: Option<Pin<Box<Sleep>>>,
    scratch: Vec<u8>,
}

impl PathSocket {
    /// Takes in all that has arrived.
    fn take_in(&self, cx: &mut Context<'_>, waiting: &mut Waiting) -> io::Result<()> {
        let state = &self.path.0;
        waiting.scratch.resize(256 * 1024, 0);
        loop {
            let mut meta = [RecvMeta::default()];
            let mut buffers = [IoSliceMut::new(&mut waiting.scratch)];
            if self.inner.poll_recv(cx, &mut buffers, &mut meta)?.is_pending() {
                return Ok(());
            }
            let [meta] = meta;
            let data = waiting.scratch[..meta.len].to_vec();
            for datagram in data.chunks(meta.stride.max(1)) {
                let number = state.datagrams.fetch_add(1, Ordering::Relaxed) + 1;
                let loses = state.loses.load(Ordering::Relaxed);
                if self.path.is_cut() || (loses > 0 && number.is_multiple_of(loses)) {
                    continue;
                }
                let now = Instant::now();
                let rate = state.rate.load(Ordering::Relaxed);
                let begin = waiting.free.map_or(now, |free| free.max(now));
                if begin - now > MAX_QUEUE {
                    continue;
                }
                let through = match rate {
                    0 => begin,
                    rate => {
                        begin + Duration::from_secs_f64(datagram.len() as f64 * 8.0 / rate as f64)
                    }
                };
                waiting.free = Some(through);
                state.queue.store((through - now).as_millis() as u64, Ordering::Relaxed);
                let mut meta = meta;
                (meta.len, meta.stride) = (datagram.len(), datagram.len().max(1));
                waiting.datagrams.push_back((through, datagram.to_vec(), meta));
            }
        }
    }
}

impl AsyncUdpSocket for PathSocket {
    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.inner.local_addr()
    }

    fn poll_send(&self, cx: &mut Context<'_>, transmit: &Transmit<'_>) -> Poll<io::Result<usize>> {
        if self.path.is_cut() {
            return Poll::Ready(Ok(transmit.contents.len()));
        }
        self.inner.poll_send(cx, transmit)
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        buffers: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        let mut waiting = self.waiting.lock().unwrap();
        loop {
            self.take_in(cx, &mut waiting)?;
            let Some((through, ..)) = waiting.datagrams.front() else { return Poll::Pending };
            let through = *through;
            if through <= Instant::now()
                && let Some((_, data, received)) = waiting.datagrams.pop_front()
            {
                self.path.0.bytes.fetch_add(data.len() as u64, Ordering::Relaxed);
                buffers[0][..data.len()].copy_from_slice(&data);
                meta[0] = received;
                return Poll::Ready(Ok(1));
            }
            let sleep = Box::pin(tokio::time::sleep_until(through.into()));
            ready!(waiting.sleep.insert(sleep).as_mut().poll(cx));
        }
    }

    fn max_gso_segments(&self) -> usize {
        1
    }
}
