//! From an HTTP request to a WebSocket (RFC 6455 §4.2).
//!
//! Done here and not by the web framework because the relay needs the bare stream under the
//! WebSocket: to size its buffers for ten thousand idle cameras, and to hang up without
//! destroying the last words (see [`crate::connection`]).

use axum::{
    body::Body,
    http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, header},
    response::IntoResponse,
};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use peercam_protocol::{SUBPROTOCOL, TOKEN_SUBPROTOCOL};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{
        handshake::derive_accept_key,
        protocol::{Role, WebSocketConfig},
    },
};
use tracing::debug;

use crate::{connection::Socket, stream::Stream};

/// Read at once from a socket, and held by every idle connection. Fits a message of 2 KiB, the
/// usual size of a candidate or a small offer, with its frame header; a larger one gets a buffer
/// of its own for as long as it takes.
const READ_BUFFER: usize = 2 * 1024 + 256;

/// Messages are gathered up to this size before they are written.
const WRITE_BUFFER: usize = 16 * 1024;

/// A WebSocket that is being agreed upon.
#[derive(Debug)]
pub(crate) struct Upgrade {
    upgrade: OnUpgrade,
    config: WebSocketConfig,
}

/// Agrees to a WebSocket. Returns the response that says so, or one that says in words what is
/// wrong with the request.
pub(crate) fn accept(
    request: &mut Request<Body>,
    message_bytes: usize,
) -> Result<(Response<Body>, Upgrade), Rejection> {
    let headers = request.headers();
    if request.method() != Method::GET
        || !lists(headers, header::CONNECTION, "upgrade")
        || !lists(headers, header::UPGRADE, "websocket")
    {
        return Err(rejection(
            StatusCode::UPGRADE_REQUIRED,
            format!("this address speaks WebSocket, with the subprotocol {SUBPROTOCOL}"),
        ));
    }
    if !lists(headers, header::SEC_WEBSOCKET_VERSION, "13") {
        return Err(rejection(
            StatusCode::UPGRADE_REQUIRED,
            "this server speaks version 13 of the WebSocket protocol (RFC 6455)",
        ));
    }
    if !lists(headers, header::SEC_WEBSOCKET_PROTOCOL, SUBPROTOCOL) {
        return Err(rejection(
            StatusCode::BAD_REQUEST,
            format!(
                "the WebSocket subprotocol {SUBPROTOCOL} is missing: offer it, as in \
                 new WebSocket(url, {SUBPROTOCOL:?})"
            ),
        ));
    }
    let Some(key) = headers.get(header::SEC_WEBSOCKET_KEY) else {
        return Err(rejection(
            StatusCode::BAD_REQUEST,
            "the header Sec-WebSocket-Key is missing (RFC 6455 §4.1)",
        ));
    };
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let fields = response.headers_mut();
    for (name, value) in [
        (header::CONNECTION, "upgrade"),
        (header::UPGRADE, "websocket"),
        (header::SEC_WEBSOCKET_PROTOCOL, SUBPROTOCOL),
        (header::SEC_WEBSOCKET_ACCEPT, derive_accept_key(key.as_bytes()).as_str()),
    ] {
        // All of them are constants or base64.
        if let Ok(value) = value.parse() {
            fields.insert(name, value);
        }
    }
    let config = WebSocketConfig::default()
        .read_buffer_size(READ_BUFFER)
        .write_buffer_size(WRITE_BUFFER)
        .max_write_buffer_size(WRITE_BUFFER + 4 * message_bytes)
        .max_message_size(Some(message_bytes))
        .max_frame_size(Some(message_bytes));
    Ok((response, Upgrade { upgrade: hyper::upgrade::on(request), config }))
}

impl Upgrade {
    /// The WebSocket, once the response is on its way; nothing if the connection broke before.
    pub(crate) async fn socket(self) -> Option<Socket> {
        let upgraded = match self.upgrade.await {
            Ok(upgraded) => upgraded,
            Err(error) => {
                debug!(%error, "a WebSocket handshake did not come to its end");
                return None;
            }
        };
        // The server hands nothing else to the HTTP layer.
        let parts = upgraded.downcast::<TokioIo<Stream>>().ok()?;
        let socket = WebSocketStream::from_partially_read(
            parts.io.into_inner(),
            // A copy of what was read, which is next to nothing: turned into a vector as it is,
            // the HTTP layer's whole buffer would stay with the connection.
            parts.read_buf.to_vec(),
            Role::Server,
            Some(self.config),
        );
        Some(socket.await)
    }
}

/// The token that a viewer shows among the subprotocols.
pub(crate) fn token(headers: &HeaderMap) -> Option<&str> {
    items(headers, header::SEC_WEBSOCKET_PROTOCOL)
        .find_map(|item| item.strip_prefix(TOKEN_SUBPROTOCOL))
}

/// Whether a header that is a list (RFC 9110 §5.6.1) has the token, in any case.
fn lists(headers: &HeaderMap, name: HeaderName, token: &str) -> bool {
    items(headers, name).any(|item| item.eq_ignore_ascii_case(token))
}

fn items(headers: &HeaderMap, name: HeaderName) -> impl Iterator<Item = &str> {
    let values = headers.get_all(name).into_iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).map(str::trim)
}

/// A request that asks for no WebSocket, or not for ours.
#[derive(Debug)]
pub(crate) struct Rejection {
    status: StatusCode,
    message: String,
}

fn rejection(status: StatusCode, message: impl Into<String>) -> Rejection {
    Rejection { status, message: message.into() + "\n" }
}

impl IntoResponse for Rejection {
    fn into_response(self) -> Response<Body> {
        let mut response = (self.status, self.message).into_response();
        if self.status == StatusCode::UPGRADE_REQUIRED {
            let fields = response.headers_mut();
            fields.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
            fields.insert(header::SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
        }
        response
    }
}
