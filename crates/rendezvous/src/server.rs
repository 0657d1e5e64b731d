//! The server: listens, serves HTTP connections until they become WebSockets, and ends in order.

use std::{
    convert::Infallible, fs, future::Future, io, net::SocketAddr, os::unix::fs::PermissionsExt,
    sync::Arc, time::Duration,
};

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
    admin::{self, AdminState},
    claims::{Claims, Keeper},
    cluster::{
        self, Cluster,
        config::{ClusterConfig, ClusterFileError},
    },
    config::Config,
    connection::Rules,
    control::{Control, Phase},
    endpoints::{Origin, Shared, router},
    gate::{Gate, Permit},
    rooms::{Rooms, Settings},
    secret::{Secret, SecretError},
    state::{State, StateError},
    stream::Stream,
    system::unix_time,
    telemetry::Telemetry,
    tls::{Tls, TlsError},
    webhooks::{Hook, WebhookError, Webhooks},
    whep::Desk,
};

/// Longest life of an HTTP connection that does not become a WebSocket: bounds what a client
/// that doesn't read its responses can hold on to.
const HTTP_LIFETIME: Duration = Duration::from_secs(120);

/// How long a response that is under way has when the server ends.
const HTTP_GOODBYE: Duration = Duration::from_secs(1);

/// How often it is looked whether the certificate's files have changed.
const CERTIFICATE_LOOK: Duration = Duration::from_secs(2);

/// Most connections to the admin listener: few people, and those who watch its events.
const ADMIN_CONNECTIONS: usize = 256;

/// Longest life of one of them, event streams included: what a person watches is asked for again.
const ADMIN_LIFETIME: Duration = Duration::from_secs(24 * 3600);

/// How long webhooks have for the last events when the server has ended.
const LAST_EVENTS: Duration = Duration::from_secs(2);

/// How often it is looked whether all cameras have moved away.
const DRAIN_LOOK: Duration = Duration::from_millis(50);

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
    /// The admin listener, and the secret that its users show.
    admin: Option<(TcpListener, Secret)>,
    hooks: Vec<Hook>,
    cluster: Option<Arc<Cluster>>,
    control: Control,
    /// From the beginning, so that no change is missed.
    configs: watch::Receiver<Arc<Config>>,
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
    /// It can't know its administrator.
    #[error("admin: {0}")]
    Admin(#[from] SecretError),
    /// It can't tell of events.
    #[error(transparent)]
    Webhook(#[from] WebhookError),
    /// It can't show NATS who it is.
    #[error(transparent)]
    ClusterFile(#[from] ClusterFileError),
    /// It can't be told apart from the cluster's other nodes.
    #[error("cluster: the system has no random numbers for this node's id")]
    NoRandom,
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

/// The files that a configuration names, read.
struct Files {
    tls: Option<Tls>,
    hooks: Vec<Hook>,
    /// The administrator's.
    secret: Option<Secret>,
}

impl Files {
    fn read(config: &Config) -> Result<Self, BindError> {
        let tls = config.tls.clone().map(Tls::load).transpose()?;
        let hooks = config.webhooks.iter().map(Hook::load).collect::<Result<_, _>>()?;
        config.cluster.as_ref().map_or(Ok(()), ClusterConfig::check_files)?;
        let secret = config.admin.as_ref().map(|admin| Secret::load(&admin.secret_file));
        Ok(Self { tls, hooks, secret: secret.transpose()? })
    }
}

/// Says which of the files that hold secrets everybody on this machine can read.
fn warn_of_exposed(config: &Config) {
    let key = config.tls.iter().map(|tls| &tls.key);
    let admin = config.admin.iter().map(|admin| &admin.secret_file);
    let hooks = config.webhooks.iter().map(|hook| &hook.secret_file);
    let cluster = config.cluster.iter().flat_map(|cluster| cluster.secret_files());
    for file in key.chain(admin).chain(hooks).chain(cluster) {
        if fs::metadata(file).is_ok_and(|file| file.permissions().mode() & 0o007 != 0) {
            let file = file.display();
            warn!("{file}: everybody on this machine can read it: chmod 600 {file}");
        }
    }
}

impl Server {
    /// Reads the files that the configuration names, as [`Server::bind`] does, and no more.
    ///
    /// # Errors
    ///
    /// The first file that is not as it has to be.
    pub fn check(config: &Config) -> Result<(), BindError> {
        Files::read(config).map(drop)
    }

    /// Opens the state directory, and listens on the addresses of the configuration with the files
    /// that it names. Nobody is served before [`Server::run`].
    pub async fn bind(config: Config) -> Result<Self, BindError> {
        let Files { tls, hooks, secret } = Files::read(&config)?;
        warn_of_exposed(&config);
        let state = config.state_dir.as_deref().map(State::open).transpose()?;
        let listener = listen(config.listen).await?;
        let address = listener
            .local_addr()
            .map_err(|source| BindError::Listen { address: config.listen, source })?;
        let admin = match config.admin.as_ref().zip(secret) {
            Some((admin, secret)) => Some((listen(admin.listen).await?, secret)),
            None => None,
        };
        let cluster = match config.cluster.clone() {
            Some(config) => Some(Arc::new(Cluster::new(config).ok_or(BindError::NoRandom)?)),
            None => None,
        };
        let control = Control::new(config);
        let configs = control.configs();
        Ok(Self { listener, address, tls, state, admin, hooks, cluster, control, configs })
    }

    /// Where it listens; the port is the real one where the configuration had 0.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Where it listens for its administrator, if it does.
    pub fn admin_addr(&self) -> Option<SocketAddr> {
        self.admin.as_ref()?.0.local_addr().ok()
    }

    /// How its addresses begin: `http`, or `https` where it does TLS.
    pub fn scheme(&self) -> &'static str {
        if self.tls.is_some() { "https" } else { "http" }
    }

    /// By what it is told things while it runs.
    pub fn control(&self) -> Control {
        self.control.clone()
    }

    /// Serves until `shutdown` is done, or [`Control::drain`] was called; then gives cameras the
    /// time of the configuration to move to another server, tells everybody that is left, and
    /// returns when every connection is closed. Where there is no camera that takes no more than
    /// three seconds.
    pub async fn run(self, shutdown: impl Future<Output = ()>) {
        let Self { listener, tls, state, admin, hooks, cluster, control, configs, .. } = self;
        let config = control.config();
        let limits = &config.limits;
        let telemetry = Arc::<Telemetry>::default();
        let webhooks = Webhooks::new(telemetry.clone());
        webhooks.serve(hooks);
        let (tasks, mut ended) = Tasks::new();
        let gate = Gate::new(limits.http_connections, limits.http_connections_per_address);
        let keeper = |own: Option<Box<dyn Keeper>>| match &cluster {
            Some(cluster) => Some(cluster::keeper(cluster, own)),
            None => own,
        };
        let (key, claims) = match state {
            Some(State { key, claims, store }) => {
                info!(claims = claims.len(), "the claims to rooms are kept");
                (Some(key), Claims::new(claims, keeper(Some(Box::new(store))), limits))
            }
            None => {
                info!("no state-dir: claims to rooms end with this process");
                (None, Claims::new([], keeper(None), limits))
            }
        };
        let rooms = Rooms::new(Settings::new(&config), claims, telemetry.clone(), cluster.clone());
        let node = cluster.as_ref().map(|cluster| cluster.node());
        let shared = Arc::new(Shared {
            desk: Arc::new(Desk::new(control.clone(), node)),
            control: control.clone(),
            telemetry,
            cluster: cluster.clone(),
            rooms: Arc::new(rooms),
            key,
            tls: tls.clone(),
            websockets: Gate::new(limits.connections, limits.connections_per_address),
            http: gate.clone(),
            tasks: tasks.clone(),
        });
        if let Some(cluster) = cluster.clone() {
            let ice_bytes = shared.rooms.settings().ice_servers.renewed_bytes();
            let rules = Rules::for_viewer(limits, config.liveness, ice_bytes);
            let (rooms, desk) = (shared.rooms.clone(), shared.desk.clone());
            tasks.spawn(cluster::run(cluster, rooms, rules, desk, tasks.stopped()));
        }
        let http = HttpServer {
            gate,
            router: router(shared.clone()),
            lifetime: HTTP_LIFETIME,
            tls: tls.clone(),
            tasks: tasks.clone(),
            shared: shared.clone(),
        };
        let (admin_listener, admin_state) = match admin {
            Some((listener, secret)) => {
                (Some(listener), Some(AdminState::new(shared.clone(), secret)))
            }
            None => (None, None),
        };
        let admin = admin_state.clone().map(|state| HttpServer {
            gate: Gate::new(ADMIN_CONNECTIONS, ADMIN_CONNECTIONS),
            router: admin::router(state),
            lifetime: ADMIN_LIFETIME,
            tls: tls.clone().filter(|_| config.admin.as_ref().is_some_and(|admin| admin.tls)),
            tasks,
            shared: shared.clone(),
        });
        drop(config);

        {
            let serving = async {
                tokio::select! {
                    () = http.accept_all(listener) => {}
                    () = accept_admin(admin.as_ref(), admin_listener) => {}
                    () = keep_fresh(tls.as_ref()) => {}
                    () = follow(configs, &shared, tls.as_ref(), admin_state.as_deref(), &webhooks) => {}
                }
            };
            let mut serving = std::pin::pin!(serving);
            tokio::select! {
                () = serving.as_mut() => {}
                () = shutdown => {}
                () = control.reached(Phase::Draining) => {}
            }
            info!("shutting down");
            control.advance(Phase::Draining);
            tokio::select! {
                () = serving => {}
                () = drain(&shared) => {}
                () = control.reached(Phase::Ending) => {}
            }
        }
        control.advance(Phase::Ending);
        shared.rooms.close();
        if let Some(cluster) = cluster {
            cluster.leave().await;
        }
        http.tasks.stop();
        // The last clone of `Tasks` goes with the last task.
        drop((http, admin, admin_state, shared));
        ended.recv().await;
        webhooks.finish(LAST_EVENTS).await;
        info!("every connection is closed");
    }
}

async fn listen(address: SocketAddr) -> Result<TcpListener, BindError> {
    let listener = TcpListener::bind(address).await;
    listener.map_err(|source| BindError::Listen { address, source })
}

/// Lets nobody in from now on, tells cameras to move, and waits until they have, or their time is
/// over.
async fn drain(shared: &Shared) {
    let time = shared.config().drain;
    if time.is_zero() {
        return;
    }
    // What they choose from ends sooner, so that the last one has time to open its connection.
    shared.rooms.drain(time * 4 / 5);
    if shared.rooms.cameras() == 0 {
        return;
    }
    info!(cameras = shared.rooms.cameras(), seconds = time.as_secs(), "cameras are told to move");
    let moved = async {
        while shared.rooms.cameras() > 0 {
            sleep(DRAIN_LOOK).await;
        }
    };
    match timeout(time, moved).await {
        Ok(()) => info!("all cameras have moved"),
        Err(_) => warn!(cameras = shared.rooms.cameras(), "cameras that stayed are sent away"),
    }
}

async fn accept_admin(server: Option<&HttpServer>, listener: Option<TcpListener>) {
    match server.zip(listener) {
        Some((server, listener)) => server.accept_all(listener).await,
        None => std::future::pending().await,
    }
}

/// Does for ever what a new configuration asks for, as far as it is not looked up each time.
async fn follow(
    mut configs: watch::Receiver<Arc<Config>>,
    shared: &Shared,
    tls: Option<&Tls>,
    admin: Option<&AdminState>,
    webhooks: &Webhooks,
) {
    // An error says that nobody can tell any more.
    while configs.changed().await.is_ok() {
        let config = configs.borrow_and_update().clone();
        let limits = &config.limits;
        shared.http.set(limits.http_connections, limits.http_connections_per_address);
        shared.websockets.set(limits.connections, limits.connections_per_address);
        shared.rooms.configure(Settings::new(&config));
        if let Some((tls, files)) = tls.zip(config.tls.clone()) {
            tls.use_files(files);
        }
        if let Some((admin, table)) = admin.zip(config.admin.as_ref()) {
            match Secret::load(&table.secret_file) {
                Ok(secret) => admin.set_secret(secret),
                Err(error) => warn!("admin: {error}; the secret from before holds"),
            }
        }
        match config.webhooks.iter().map(Hook::load).collect() {
            Ok(hooks) => webhooks.serve(hooks),
            Err(error) => warn!("{error}; the webhooks from before stay"),
        }
    }
    std::future::pending().await
}

/// Looks after the certificate's files, and its end, for ever.
async fn keep_fresh(tls: Option<&Tls>) {
    let Some(tls) = tls else { return std::future::pending().await };
    loop {
        tls.warn_of_end(unix_time().as_secs());
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
    shared: Arc<Shared>,
    gate: Arc<Gate>,
    router: Router,
    /// How long a connection that stays HTTP may last.
    lifetime: Duration,
    /// Where connections begin with a handshake.
    tls: Option<Tls>,
    tasks: Tasks,
}

impl HttpServer {
    /// Takes connections for ever.
    async fn accept_all(&self, listener: TcpListener) {
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
        let proxy = self.shared.config().trusted_proxies.contains(&ip.to_canonical());
        match self.gate.enter((!proxy).then_some(ip)) {
            Ok(permit) => self.tasks.spawn(self.serve(stream, peer, permit)),
            Err(error) => {
                debug!("a connection was refused: {}", error.message);
                self.shared.telemetry.metrics.connections_refused.one();
                // To say so by TLS takes a handshake: work for those who are too many already.
                if self.tls.is_none() {
                    refuse(stream, &error.message);
                }
            }
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
        let request_time = Duration::from_secs(self.shared.config().limits.request_seconds);
        let mut http = http1::Builder::new();
        http.timer(TokioTimer::new()).header_read_timeout(request_time).max_buf_size(HEAD_BYTES);
        let stopped = self.tasks.stopped();
        let handshake = self.tls.clone().map(|tls| (tls, self.shared.telemetry.clone()));
        let lifetime = self.lifetime;
        async move {
            let stream = match handshake {
                None => Stream::Plain(stream),
                Some((tls, telemetry)) => match Box::pin(tls.accept(stream, request_time)).await {
                    Ok(stream) => Stream::Secure(Box::new(stream)),
                    Err(error) => {
                        telemetry.metrics.tls_failures.one();
                        return debug!(%error, "a TLS handshake failed");
                    }
                },
            };
            let connection = http.serve_connection(TokioIo::new(stream), service).with_upgrades();
            let mut connection = std::pin::pin!(connection);
            let ended = tokio::select! {
                result = connection.as_mut() => Some(result),
                () = stopped => None,
                () = sleep(lifetime) => None,
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
