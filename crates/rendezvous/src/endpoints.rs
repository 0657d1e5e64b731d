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
    config::Config,
    connection::{Rules, Socket, refuse, serve},
    door::Shown,
    gate::{Gate, Permit},
    handshake::{self, Rejection, Upgrade},
    hosting::{self, Statement},
    outbox::Outbox,
    pages,
    peer::Peer,
    rooms::{CameraSeat, Rooms, ViewerSeat, Visitor, shutting_down, unix_time},
    server::Tasks,
    whep,
};

/// What all requests share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) config: Config,
    pub(crate) rooms: Arc<Rooms>,
    /// The server's own, where it is kept.
    pub(crate) key: Option<SecretKey>,
    /// Counts the WebSockets.
    pub(crate) websockets: Arc<Gate>,
    pub(crate) tasks: Tasks,
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
        .route("/healthz", get(|| async { "ok\n" }))
        .with_state(shared.clone())
        .merge(whep::router(shared))
        .merge(pages::router())
}

async fn host(State(shared): State<Arc<Shared>>, mut request: Request<Body>) -> Response {
    let rules = Rules::for_camera(&shared.config.limits, shared.config.liveness);
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
            be_seated(&tasks, socket, outbox, seat, rules, visit.permit).await;
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
    let authority = match hosting::authority(host, &shared.config.public_names) {
        Ok(authority) => authority,
        Err(error) => return Some(Err(error)),
    };
    let within = Duration::from_secs(shared.config.limits.proof_seconds);
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
    let rules = Rules::for_viewer(&shared.config.limits, shared.config.liveness, ice_bytes);
    let (response, arrival) = match Arrival::accept(&shared, &mut request, "/watch/", &rules) {
        Ok(accepted) => accepted,
        Err(rejection) => return rejection.into_response(),
    };
    let shown = Shown::new(handshake::token(request.headers())).map_err(Error::from);
    let tasks = shared.tasks.clone();
    tasks.clone().spawn(async move {
        let Some((socket, visit)) = arrival.enter::<ViewerSeat>().await else { return };
        let Visit { room, address, permit } = visit;
        let outbox = Arc::new(Outbox::new(rules.queue_bytes));
        let seat =
            shown.and_then(|shown| shared.rooms.watch(room, &outbox, Visitor { shown, address }));
        be_seated(&tasks, socket, outbox, seat, rules, permit).await;
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
            .and_then(|origin| client_address(&shared.config, origin, request.headers()));
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
    tasks: &Tasks,
    socket: Socket,
    outbox: Arc<Outbox>,
    seat: Result<P, Error>,
    rules: Rules,
    permit: Permit,
) {
    match seat {
        // A task of its own, as what it took to come here is larger than what stays: most cameras
        // do nothing but wait.
        Ok(peer) => tasks.spawn(serve(socket, outbox, peer, rules, permit)),
        Err(error) => refuse::<P>(socket, error).await,
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
