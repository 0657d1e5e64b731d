//! The server: listens, serves HTTP connections until they become WebSockets, and ends in order.

use std::{convert::Infallible, future::Future, io, net::SocketAddr, sync::Arc, time::Duration};

use axum::{Router, body::Body};
use futures_util::FutureExt;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    io::AsyncWriteExt,
    net::{TcpListener, TcpStream},
    sync::{mpsc, watch},
    time::{sleep, timeout},
};
use tower_service::Service;
use tracing::{debug, info, warn};

use crate::{
    claims::Claims,
    config::Config,
    endpoints::{Origin, Shared, router},
    gate::{Gate, Permit},
    rooms::{Rooms, Settings},
    state::{State, StateError},
    stream::Stream,
    tls::{Tls, TlsError},
};

/// Longest life of an HTTP connection that does not become a WebSocket: bounds what a client
/// that doesn't read its responses can hold on to.
const HTTP_LIFETIME: Duration = Duration::from_secs(120);

/// How long a response that is under way has when the server ends.
const HTTP_GOODBYE: Duration = Duration::from_secs(1);

/// How often it is looked whether the certificate's files have changed.
const CERTIFICATE_LOOK: Duration = Duration::from_secs(2);

/// Largest head of a request. A room name of 10 000 characters is answered in words.
const HEAD_BYTES: usize = 16 * 1024;

/// A rendezvous server that listens.
///
/// ```no_run
/// # async fn example() -> Result<(), peercam_rendezvous::BindError> {
/// use peercam_rendezvous::{Config, Server};
///
/// let server = Server::bind(Config::default()).await?;
/// println!("http://{}", server.local_addr());
/// server.run(async { _ = tokio::signal::ctrl_c().await }).await;
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
    tls: Option<Tls>,
    state: Option<State>,
    config: Config,
}

/// Why there is no [`Server`].
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// It can't listen.
    #[error("cannot listen on {address}: {source}{}", hint(.source))]
    Listen {
        /// Where.
        address: SocketAddr,
        /// What the system says.
        source: io::Error,
    },
    /// It can't do TLS.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// It can't keep what it has to keep.
    #[error(transparent)]
    State(#[from] StateError),
}

/// The way out.
fn hint(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::AddrInUse => {
            ". Stop the program that listens there, or choose another port with --listen"
        }
        io::ErrorKind::AddrNotAvailable => {
            ". This machine does not have that address: choose one of its own, or 0.0.0.0 for \
             all, with --listen"
        }
        io::ErrorKind::PermissionDenied => {
            ". Ports below 1024 need a privilege: choose a higher one with --listen"
        }
        _ => "",
    }
}

impl Server {
    /// Opens the state directory, and listens on the address of the configuration with the
    /// certificate that it names. Nobody is served before [`Server::run`].
    pub async fn bind(config: Config) -> Result<Self, BindError> {
        let tls = config.tls.clone().map(Tls::load).transpose()?;
        let state = config.state_dir.as_deref().map(State::open).transpose()?;
        let failed = |source| BindError::Listen { address: config.listen, source };
        let listener = TcpListener::bind(config.listen).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        Ok(Self { listener, address, tls, state, config })
    }

    /// Where it listens; the port is the real one where the configuration had 0.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// How its addresses begin: `http`, or `https` where it does TLS.
    pub fn scheme(&self) -> &'static str {
        if self.tls.is_some() { "https" } else { "http" }
    }

    /// Serves until `shutdown` is done; then tells everybody, and returns when every connection
    /// is closed, which takes no more than three seconds.
    pub async fn run(self, shutdown: impl Future<Output = ()>) {
        let Self { listener, tls, state, config, .. } = self;
        let (tasks, mut ended) = Tasks::new();
        let limits = &config.limits;
        let (key, claims) = match state {
            Some(State { key, claims, store }) => {
                info!(claims = claims.len(), "the claims to rooms are kept");
                (Some(key), Claims::new(claims, Some(Box::new(store)), limits))
            }
            None => {
                info!("no state-dir: claims to rooms end with this process");
                (None, Claims::new([], None, limits))
            }
        };
        let rooms = Arc::new(Rooms::new(Settings::new(&config), claims));
        let mut http = HttpServer {
            gate: Gate::new(limits.http_connections, limits.http_connections_per_address),
            request_time: Duration::from_secs(limits.request_seconds),
            router: router(Arc::new(Shared {
                websockets: Gate::new(limits.connections, limits.connections_per_address),
                rooms: rooms.clone(),
                key,
                tasks: tasks.clone(),
                config: config.clone(),
            })),
            tls: tls.clone(),
            tasks,
            config,
        };
        tokio::select! {
            () = http.accept_all(listener) => {}
            () = keep_fresh(tls) => {}
            () = shutdown => {}
        }
        info!("shutting down");
        rooms.close();
        http.tasks.stop();
        // The last clone of `Tasks` goes with the last task.
        drop(http);
        ended.recv().await;
        info!("every connection is closed");
    }
}

/// Looks after the certificate's files for ever.
async fn keep_fresh(tls: Option<Tls>) {
    let Some(tls) = tls else { return std::future::pending().await };
    loop {
        sleep(CERTIFICATE_LOOK).await;
        tls.refresh();
    }
}

/// Starts the server's tasks and knows when the last of them has ended.
#[derive(Debug, Clone)]
pub(crate) struct Tasks {
    /// Dropped with each task.
    alive: mpsc::Sender<Infallible>,
    stop: Arc<watch::Sender<bool>>,
}

impl Tasks {
    fn new() -> (Self, mpsc::Receiver<Infallible>) {
        let (alive, ended) = mpsc::channel(1);
        (Self { alive, stop: Arc::new(watch::Sender::new(false)) }, ended)
    }

    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let alive = self.alive.clone();
        // Not an `async` block, which would keep room for the task twice.
        tokio::spawn(task.map(move |()| drop(alive)));
    }

    /// Asks HTTP connections to end. WebSockets are told by their rooms.
    fn stop(&self) {
        self.stop.send_replace(true);
    }

    /// Done when [`Tasks::stop`] was called.
    pub(crate) fn stopped(&self) -> impl Future<Output = ()> + Send + 'static {
        let mut stop = self.stop.subscribe();
        async move {
            // An error says that the server is gone altogether.
            _ = stop.wait_for(|&stop| stop).await;
        }
    }
}

/// Serves TCP connections as long as they speak HTTP.
struct HttpServer {
    config: Config,
    gate: Arc<Gate>,
    request_time: Duration,
    router: Router,
    /// Where connections begin with a handshake.
    tls: Option<Tls>,
    tasks: Tasks,
}

impl HttpServer {
    /// Takes connections for ever.
    async fn accept_all(&mut self, listener: TcpListener) {
        loop {
            match listener.accept().await {
                Ok((stream, peer)) => self.accept(stream, peer),
                Err(error) => {
                    // One connection that was gone before we took it is nothing; out of file
                    // descriptors is, and the kernel would tell us so without end.
                    warn!(%error, "could not accept a connection");
                    sleep(Duration::from_millis(100)).await;
                }
            }
        }
    }

    fn accept(&self, stream: TcpStream, peer: SocketAddr) {
        // Signalling is small messages that are waited for: send each at once.
        if let Err(error) = stream.set_nodelay(true) {
            debug!(%error, "could not set TCP_NODELAY");
        }
        let ip = peer.ip();
        let proxy = self.config.trusted_proxies.contains(&ip.to_canonical());
        match self.gate.enter((!proxy).then_some(ip)) {
            Ok(permit) => self.tasks.spawn(self.serve(stream, peer, permit)),
            Err(error) if self.tls.is_none() => refuse(stream, &error.message),
            // Saying so would take a handshake: work for those who are too many already.
            Err(error) => debug!("a connection was refused: {}", error.message),
        }
    }

    /// Serves one connection; the future does not borrow from the server.
    fn serve(
        &self,
        stream: TcpStream,
        peer: SocketAddr,
        permit: Permit,
    ) -> impl Future<Output = ()> + Send + 'static {
        let origin = Origin { peer, _permit: Arc::new(permit) };
        let router = self.router.clone();
        let service = service_fn(move |mut request: hyper::Request<Incoming>| {
            request.extensions_mut().insert(origin.clone());
            // A `Router` is always ready.
            router.clone().call(request.map(Body::new))
        });
        let mut http = http1::Builder::new();
        http.timer(TokioTimer::new())
            .header_read_timeout(self.request_time)
            .max_buf_size(HEAD_BYTES);
        let stopped = self.tasks.stopped();
        let (tls, request_time) = (self.tls.clone(), self.request_time);
        async move {
            let stream = match tls {
                None => Stream::Plain(stream),
                Some(tls) => match Box::pin(tls.accept(stream, request_time)).await {
                    Ok(stream) => Stream::Secure(Box::new(stream)),
                    Err(error) => return debug!(%error, "a TLS handshake failed"),
                },
            };
            let connection = http.serve_connection(TokioIo::new(stream), service).with_upgrades();
            let mut connection = std::pin::pin!(connection);
            let ended = tokio::select! {
                result = connection.as_mut() => Some(result),
                () = stopped => None,
                () = sleep(HTTP_LIFETIME) => None,
            };
            let result = match ended {
                Some(result) => result,
                None => {
                    connection.as_mut().graceful_shutdown();
                    timeout(HTTP_GOODBYE, connection).await.unwrap_or(Ok(()))
                }
            };
            if let Err(error) = result {
                debug!(%error, "an HTTP connection ended");
            }
        }
    }
}

/// Says in HTTP, without waiting, that there is no room for one more connection.
fn refuse(mut stream: TcpStream, message: &str) {
    debug!("a connection was refused: {message}");
    let response = format!(
        "HTTP/1.1 503 Service Unavailable\r\ncontent-type: text/plain; charset=utf-8\r\n\
         content-length: {}\r\nretry-after: 5\r\nconnection: close\r\n\r\n{message}\n",
        message.len() + 1
    );
    // A new socket's buffer takes it whole; if not, there is nothing more to do for it.
    let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
    let write = std::pin::pin!(stream.write_all(response.as_bytes()));
    _ = write.poll(&mut cx);
}
