//! The addresses the server answers: WebSockets for cameras and viewers, a little JSON, WHEP
//! ([`crate::whep`]), and the pages of [`crate::pages`].

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use axum::{
    Router,
    body::Body,
    extract::State,
    http::{HeaderMap, Request, StatusCode, Uri, header},
    response::{IntoResponse, Response},
    routing::{any, get},
};
use peercam_protocol::{
    RoomId, SecretKey,
    signalling::{Error, ErrorCode},
};
use percent_encoding::percent_decode_str;
use serde_json::{Value, json};

use crate::{
    cluster::Cluster,
    config::Config,
    connection::{Rules, Socket, refuse, serve},
    control::{Control, Phase},
    door::Shown,
    gate::{Gate, Permit},
    handshake::{self, Rejection, Upgrade},
    hosting::{self, Statement},
    metrics::{self, Moment},
    outbox::Outbox,
    pages,
    peer::Peer,
    rooms::{CameraSeat, Rooms, ViewerSeat, Visitor, shutting_down},
    server::Tasks,
    system::unix_time,
    telemetry::Telemetry,
    tls::Tls,
    whep::{self, Desk},
};

/// What all requests share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) control: Control,
    pub(crate) telemetry: Arc<Telemetry>,
    pub(crate) rooms: Arc<Rooms>,
    /// The server's own, where it is kept.
    pub(crate) key: Option<SecretKey>,
    /// Where it does TLS.
    pub(crate) tls: Option<Tls>,
    /// Counts the WebSockets.
    pub(crate) websockets: Arc<Gate>,
    /// Counts the other connections.
    pub(crate) http: Arc<Gate>,
    pub(crate) tasks: Tasks,
    /// The sessions of standard players.
    pub(crate) desk: Arc<Desk>,
    /// Other nodes that serve the same rooms.
    pub(crate) cluster: Option<Arc<Cluster>>,
}

impl Shared {
    /// The configuration that holds now.
    pub(crate) fn config(&self) -> Arc<Config> {
        self.control.config()
    }

    /// Why nobody should be sent here, if so.
    pub(crate) fn not_ready(&self) -> Option<String> {
        match self.control.phase() {
            // A node that lost NATS still serves its own cameras, and all nodes may have lost it.
            Phase::Serving => self.cluster.as_ref().filter(|it| !it.was_connected())?.alone(),
            Phase::Draining | Phase::Ending => Some("the server is shutting down".to_owned()),
        }
    }

    /// How things are.
    pub(crate) fn moment(&self) -> Moment {
        Moment {
            census: self.rooms.census(),
            websockets: self.websockets.inside(),
            http_connections: self.http.inside(),
            draining: self.control.phase() != Phase::Serving,
            ready: self.not_ready().is_none(),
            certificate_ends: self.tls.as_ref().and_then(Tls::ends),
        }
    }
}

/// What the server knows of the connection a request came on.
#[derive(Debug, Clone)]
pub(crate) struct Origin {
    pub(crate) peer: SocketAddr,
    /// The connection's place among those that are not WebSockets. A refused WebSocket keeps it
    /// until the refusal is said.
    pub(crate) _permit: Arc<Permit>,
}

/// All addresses.
pub(crate) fn router(shared: Arc<Shared>) -> Router {
    Router::new()
        .route("/host/", any(host))
        .route("/host/{*room}", any(host))
        .route("/watch/", any(watch))
        .route("/watch/{*room}", any(watch))
        .route("/api/rooms/{*room}", get(room_state))
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .route("/metrics", get(public_metrics))
        .with_state(shared.clone())
        .merge(whep::router(shared))
        .merge(pages::router())
}

/// `GET /healthz`: whether the server lives at all.
pub(crate) async fn healthz() -> &'static str {
    "ok\n"
}

/// `GET /readyz`: whether cameras and viewers should be sent here.
pub(crate) async fn readyz(State(shared): State<Arc<Shared>>) -> Response {
    let headers = [(header::CACHE_CONTROL, "no-store")];
    match shared.not_ready() {
        None => {
            let alone = shared.cluster.as_ref().and_then(|cluster| cluster.alone());
            let but = alone.map_or(String::new(), |reason| {
                format!(", but cameras at other nodes can't be reached: {reason}")
            });
            (headers, format!("ready{but}\n")).into_response()
        }
        Some(reason) => {
            (StatusCode::SERVICE_UNAVAILABLE, headers, format!("{reason}\n")).into_response()
        }
    }
}

/// `GET /metrics` on the listener for everybody, where the configuration allows that.
async fn public_metrics(State(shared): State<Arc<Shared>>) -> Response {
    if shared.config().public_metrics {
        return metrics_page(&shared);
    }
    let message =
        "the metrics are on the admin listener; [metrics] public = true shows them here\n";
    (StatusCode::NOT_FOUND, message).into_response()
}

/// All figures.
pub(crate) fn metrics_page(shared: &Shared) -> Response {
    let mut page = shared.telemetry.metrics.page(&shared.moment());
    if let Some(cluster) = &shared.cluster {
        cluster.write_figures(&mut page);
    }
    ([(header::CONTENT_TYPE, metrics::CONTENT_TYPE)], page.finish()).into_response()
}

async fn host(State(shared): State<Arc<Shared>>, mut request: Request<Body>) -> Response {
    let config = shared.config();
    let rules = Rules::for_camera(&config.limits, config.liveness);
    let (response, arrival) = match Arrival::accept(&shared, &mut request, "/host/", &rules) {
        Ok(accepted) => accepted,
        Err(rejection) => return rejection.into_response(),
    };
    let host = request.headers().get(header::HOST).and_then(|host| host.to_str().ok());
    let host = host.map(str::to_owned);
    let tasks = shared.tasks.clone();
    tasks.clone().spawn(async move {
        let Some((mut socket, visit)) = arrival.enter::<CameraSeat>().await else { return };
        let outbox = Arc::new(Outbox::new(rules.queue_bytes));
        let seat = tokio::select! {
            seat = take_room(&shared, &mut socket, &visit, host.as_deref(), &outbox) => seat,
            () = tasks.stopped() => Some(Err(shutting_down())),
        };
        if let Some(seat) = seat {
            be_seated(&shared, socket, outbox, seat, rules, visit.permit).await;
        }
    });
    response
}

/// The camera proves who it is, and moves in. Nothing where it is gone.
async fn take_room(
    shared: &Shared,
    socket: &mut Socket,
    visit: &Visit,
    host: Option<&str>,
    outbox: &Arc<Outbox>,
) -> Option<Result<CameraSeat, Error>> {
    let config = shared.config();
    let authority = match hosting::authority(host, &config.public_names) {
        Ok(authority) => authority,
        Err(error) => return Some(Err(error)),
    };
    let within = Duration::from_secs(config.limits.proof_seconds);
    match hosting::challenge(socket, within).await? {
        Ok(statement) => Some(move_in(shared, visit, authority, statement, outbox).await),
        Err(error) => Some(Err(error)),
    }
}

async fn move_in(
    shared: &Shared,
    visit: &Visit,
    authority: &str,
    statement: Statement,
    outbox: &Arc<Outbox>,
) -> Result<CameraSeat, Error> {
    let Visit { room, address, .. } = visit;
    let nonce = statement.nonce;
    let tenant = statement.verify(authority, room)?;
    shared.rooms.admit(room, &tenant, *address).await?;
    let time = shared.key.as_ref().map(|key| hosting::time(key, room, &nonce, unix_time()));
    shared.rooms.host(room.clone(), outbox, tenant, time)
}

async fn watch(State(shared): State<Arc<Shared>>, mut request: Request<Body>) -> Response {
    let ice_bytes = shared.rooms.settings().ice_servers.renewed_bytes();
    let config = shared.config();
    let rules = Rules::for_viewer(&config.limits, config.liveness, ice_bytes);
    let (response, arrival) = match Arrival::accept(&shared, &mut request, "/watch/", &rules) {
        Ok(accepted) => accepted,
        Err(rejection) => return rejection.into_response(),
    };
    let shown = Shown::new(handshake::token(request.headers())).map_err(Error::from);
    let tasks = shared.tasks.clone();
    tasks.spawn(async move {
        let Some((socket, visit)) = arrival.enter::<ViewerSeat>().await else { return };
        let Visit { room, address, permit } = visit;
        let outbox = Arc::new(Outbox::new(rules.queue_bytes));
        let seat =
            shown.and_then(|shown| shared.rooms.watch(room, &outbox, Visitor { shown, address }));
        be_seated(&shared, socket, outbox, seat, rules, permit).await;
    });
    response
}

/// A request that becomes a WebSocket, and what the server thinks of it so far. What speaks
/// against it is said on the WebSocket: a page in a browser is not shown the body of a refused
/// handshake.
struct Arrival {
    upgrade: Upgrade,
    origin: Option<Origin>,
    address: Option<IpAddr>,
    entry: Result<Permit, Error>,
    room: Result<RoomId, Error>,
}

/// Where a WebSocket that is let in wants to go.
struct Visit {
    room: RoomId,
    address: Option<IpAddr>,
    permit: Permit,
}

impl Arrival {
    fn accept(
        shared: &Shared,
        request: &mut Request<Body>,
        prefix: &str,
        rules: &Rules,
    ) -> Result<(Response, Self), Rejection> {
        let (response, upgrade) = handshake::accept(request, rules.message_bytes)?;
        let origin = request.extensions().get::<Origin>().cloned();
        let address = origin
            .as_ref()
            .and_then(|origin| client_address(&shared.config(), origin, request.headers()));
        let entry = shared.websockets.enter(address);
        let room = room_in(request.uri(), prefix);
        Ok((response, Self { upgrade, origin, address, entry, room }))
    }

    /// The WebSocket, unless there is no place for it, or it broke.
    async fn enter<P: Peer>(self) -> Option<(Socket, Visit)> {
        let Self { upgrade, origin, address, entry, room } = self;
        let socket = upgrade.socket().await?;
        let permit = match entry {
            Ok(permit) => permit,
            Err(error) => {
                refuse::<P>(socket, error).await;
                return None;
            }
        };
        drop(origin);
        match room {
            Ok(room) => Some((socket, Visit { room, address, permit })),
            Err(error) => {
                refuse::<P>(socket, error).await;
                None
            }
        }
    }
}

/// Serves a peer that has a seat, or says why it has none.
async fn be_seated<P: Peer>(
    shared: &Shared,
    socket: Socket,
    outbox: Arc<Outbox>,
    seat: Result<P, Error>,
    rules: Rules,
    permit: Permit,
) {
    match seat {
        // A task of its own, as what it took to come here is larger than what stays: most cameras
        // do nothing but wait.
        Ok(peer) => shared.tasks.spawn(serve(socket, outbox, peer, rules, permit)),
        Err(error) => {
            shared.telemetry.metrics.count_error(error.code);
            refuse::<P>(socket, error).await;
        }
    }
}

/// `GET /api/rooms/<room>`: is a camera there?
async fn room_state(State(shared): State<Arc<Shared>>, uri: Uri) -> Response {
    let (status, body): (_, Value) = match room_in(&uri, "/api/rooms/") {
        Ok(room) => {
            let online = shared.rooms.is_online(&room);
            (StatusCode::OK, json!({ "room": room, "online": online }))
        }
        Err(error) => (StatusCode::BAD_REQUEST, json!(error)),
    };
    // Anyone may ask, from any page: it says no more than /watch does.
    let headers = [
        (header::CONTENT_TYPE, "application/json"),
        (header::ACCESS_CONTROL_ALLOW_ORIGIN, "*"),
        (header::CACHE_CONTROL, "no-store"),
    ];
    (status, headers, body.to_string()).into_response()
}

/// The room that the path names behind `prefix`. Escapes are undone first, so that `%2F` is
/// seen as the slash it is.
pub(crate) fn room_in(uri: &Uri, prefix: &str) -> Result<RoomId, Error> {
    let name = uri.path().strip_prefix(prefix).unwrap_or_default();
    let name = percent_decode_str(name).decode_utf8_lossy();
    name.parse::<RoomId>().map_err(|error| Error::new(ErrorCode::BadRoom, error.to_string()))
}

/// Whose connection it is for the limits by address: the peer's, or, if that is a trusted proxy,
/// the last address in `X-Forwarded-For` that is not one. Nobody's, if a proxy doesn't say.
pub(crate) fn client_address(
    config: &Config,
    origin: &Origin,
    headers: &HeaderMap,
) -> Option<IpAddr> {
    let trusted = |address: &IpAddr| config.trusted_proxies.contains(&address.to_canonical());
    let peer = origin.peer.ip();
    if !trusted(&peer) {
        return Some(peer);
    }
    let forwarded = headers.get_all("x-forwarded-for").into_iter();
    let addresses = forwarded.filter_map(|value| value.to_str().ok());
    let mut addresses: Vec<IpAddr> = addresses
        .flat_map(|value| value.split(','))
        .map_while(|item| item.trim().parse().ok())
        .collect();
    addresses.retain(|address| !trusted(address));
    addresses.pop()
}
