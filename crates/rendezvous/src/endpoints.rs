//! The addresses the server answers: WebSockets for cameras and viewers, a little JSON, WHEP
//! ([`crate::whep`]), and the pages of [`crate::pages`].

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
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
    RoomId, TAKEOVER_HEADER,
    signalling::{Error, ErrorCode, ResumeKey},
};
use percent_encoding::percent_decode_str;
use serde_json::{Value, json};

use crate::{
    config::Config,
    connection::{Rules, refuse, serve},
    gate::{Gate, Permit},
    handshake,
    outbox::Outbox,
    pages,
    peer::Peer,
    rooms::{CameraSeat, Rooms, ViewerSeat},
    server::Tasks,
    whep,
};

/// What all requests share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) config: Config,
    pub(crate) rooms: Arc<Rooms>,
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

async fn host(State(shared): State<Arc<Shared>>, request: Request<Body>) -> Response {
    let rules = Rules::for_camera(&shared.config.limits, shared.config.liveness);
    let rooms = shared.rooms.clone();
    let takeover = takeover_key(request.headers());
    websocket::<CameraSeat>(&shared, request, "/host/", rules, move |room, outbox| {
        rooms.host(room, outbox, takeover)
    })
}

/// The key by which a camera may take its own room over. One that is malformed is none.
fn takeover_key(headers: &HeaderMap) -> Option<ResumeKey> {
    headers.get(TAKEOVER_HEADER)?.to_str().ok()?.to_owned().try_into().ok()
}

async fn watch(State(shared): State<Arc<Shared>>, request: Request<Body>) -> Response {
    let rules = Rules::for_viewer(&shared.config.limits, shared.config.liveness);
    let rooms = shared.rooms.clone();
    websocket::<ViewerSeat>(&shared, request, "/watch/", rules, move |room, outbox| {
        rooms.watch(room, outbox)
    })
}

/// Makes the request a WebSocket and gives its peer a seat. What speaks against a seat is said
/// on the WebSocket: a page in a browser is not shown the body of a refused handshake.
fn websocket<P: Peer>(
    shared: &Arc<Shared>,
    mut request: Request<Body>,
    prefix: &str,
    rules: Rules,
    take_seat: impl FnOnce(RoomId, &Arc<Outbox>) -> Result<P, Error> + Send + 'static,
) -> Response {
    let (response, upgrade) = match handshake::accept(&mut request, rules.message_bytes) {
        Ok(accepted) => accepted,
        Err(rejection) => return rejection.into_response(),
    };
    let origin = request.extensions().get::<Origin>().cloned();
    let address = origin
        .as_ref()
        .and_then(|origin| client_address(&shared.config, origin, request.headers()));
    let room = room_in(request.uri(), prefix);
    let entry = shared.websockets.enter(address);
    let tasks = shared.tasks.clone();
    shared.tasks.spawn(async move {
        let Some(socket) = upgrade.socket().await else { return };
        let permit = match entry {
            Ok(permit) => permit,
            Err(error) => {
                refuse::<P>(socket, error).await;
                drop(origin);
                return;
            }
        };
        drop(origin);
        let outbox = Arc::new(Outbox::new(rules.queue_bytes));
        match room.and_then(|room| take_seat(room, &outbox)) {
            // A task of its own, as what it took to come here is larger than what stays: most
            // cameras do nothing but wait.
            Ok(peer) => tasks.spawn(serve(socket, outbox, peer, rules, permit)),
            Err(error) => refuse::<P>(socket, error).await,
        }
    });
    response
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
