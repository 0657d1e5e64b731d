//! From a server's address to a room that is ours: TCP, TLS, WebSocket, the proof that
//! the room is ours, `hosting`.

use std::{net::SocketAddr, time::Duration};

use peercam_protocol::{
    Nonce, RoomId, SUBPROTOCOL,
    signalling::{Error, ErrorCode, IceServer, ToCamera},
    wire,
};
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_tungstenite::{
    WebSocketStream, client_async_with_config,
    tungstenite::{
        client::IntoClientRequest,
        http::{
            HeaderValue,
            header::{AUTHORIZATION, HOST, SEC_WEBSOCKET_PROTOCOL},
        },
        protocol::WebSocketConfig,
    },
};
use tracing::debug;

use super::{
    Ended, Plan, ServerUrl,
    connection::{Heard, Wire, explain},
    dial::dial,
};
use crate::tls;

/// For the whole way to the room.
const OPEN: Duration = Duration::from_secs(10);

/// What carries a WebSocket: TCP, with TLS or without.
pub(super) trait Carrier: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> Carrier for T {}

/// A room that is ours.
pub(super) struct Hosted {
    pub wire: Wire<Box<dyn Carrier>>,
    pub room: RoomId,
    pub ice_servers: Vec<IceServer>,
    /// Both ends of the connection.
    pub ends: Ends,
}

/// Where a connection runs between.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ends {
    pub local: SocketAddr,
    pub peer: SocketAddr,
}

/// Opens a connection to `server` and hosts the room there.
pub(super) async fn open(server: &ServerUrl, plan: &Plan) -> Result<Hosted, Ended> {
    // Where it hangs is part of what a person needs to know.
    let mut stage = "connection";
    let opening = async {
        let stream = dial(server.host(), server.port()).await.map_err(Ended::Failed)?;
        let ends =
            stream.local_addr().and_then(|local| Ok(Ends { local, peer: stream.peer_addr()? }));
        let ends = ends.map_err(|error| Ended::Failed(error.to_string()))?;
        let carrier: Box<dyn Carrier> = if server.is_secure() {
            stage = "TLS";
            let name = ServerName::try_from(server.host().to_owned())
                .map_err(|_| Ended::Failed(format!("{:?} is no name for TLS", server.host())))?;
            let connector =
                plan.tls.connector().map_err(|error| Ended::Failed(error.to_string()))?;
            let stream = connector.connect(name, stream).await.map_err(|error| {
                Ended::Failed(tls::explain(&error, server.host(), "rendezvous.ca"))
            })?;
            Box::new(stream)
        } else {
            Box::new(stream)
        };
        stage = "WebSocket";
        let (mut wire, authority) = upgrade(server, plan, carrier).await?;
        stage = "room";
        let (room, ice_servers) = until_hosting(&mut wire, server, plan, &authority).await?;
        Ok(Hosted { wire, room, ice_servers, ends })
    };
    match tokio::time::timeout(OPEN, opening).await {
        Ok(outcome) => outcome,
        Err(_) => Err(Ended::Failed(format!("no {stage} within {} s", OPEN.as_secs()))),
    }
}

/// The WebSocket, and the `Host` by which it was asked for.
async fn upgrade<S: AsyncRead + AsyncWrite + Unpin>(
    server: &ServerUrl,
    plan: &Plan,
    carrier: S,
) -> Result<(Wire<S>, String), Ended> {
    let mut request = server
        .host_address(&plan.room)
        .into_client_request()
        .map_err(|error| Ended::Failed(error.to_string()))?;
    let headers = request.headers_mut();
    let authority = headers.get(HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    let authority = authority.to_owned();
    headers.insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(SUBPROTOCOL));
    if let Some(token) = &plan.bearer {
        let mut value = HeaderValue::from_str(&format!("Bearer {token}"))
            .map_err(|_| Ended::Failed("the token can't stand in a header".to_owned()))?;
        value.set_sensitive(true);
        headers.insert(AUTHORIZATION, value);
    }
    // A camera's messages are few and small: the library's 128 KiB buffers are for others. What
    // the server adds to a viewer's largest message is less than as much again.
    let config = WebSocketConfig::default()
        .read_buffer_size(4 * 1024)
        .write_buffer_size(0)
        .max_write_buffer_size(4 * wire::MAX_MESSAGE_SIZE)
        .max_message_size(Some(2 * wire::MAX_MESSAGE_SIZE))
        .max_frame_size(Some(2 * wire::MAX_MESSAGE_SIZE));
    let (socket, _): (WebSocketStream<S>, _) =
        client_async_with_config(request, carrier, Some(config))
            .await
            .map_err(|error| Ended::Failed(explain(&error)))?;
    Ok((Wire::new(socket), authority))
}

/// Shows that the room is ours, and waits until the server agrees.
async fn until_hosting<S: AsyncRead + AsyncWrite + Unpin>(
    wire: &mut Wire<S>,
    server: &ServerUrl,
    plan: &Plan,
    authority: &str,
) -> Result<(RoomId, Vec<IceServer>), Ended> {
    let mut proven = None;
    loop {
        match wire.next().await? {
            Heard::Message(ToCamera::Challenge { nonce: challenge }) if proven.is_none() => {
                let nonce = nonce().map_err(|error| {
                    Ended::Failed(format!("no random numbers for a proof: {error}"))
                })?;
                let proof = plan.access.prove(authority, &plan.room, &challenge, nonce);
                wire.say(&proof).await?;
                proven = Some(nonce);
            }
            // What tokens are checked against must not be the server's to say.
            Heard::Message(ToCamera::Hosting { room, .. }) if room != plan.room => {
                let asked = &plan.room;
                let problem =
                    format!("the server gives the room {room} where {asked} was asked for");
                return Err(Ended::Failed(problem));
            }
            Heard::Message(ToCamera::Hosting { room, ice_servers, time }) if proven.is_some() => {
                if let (Some(nonce), Some(time)) = (proven, time) {
                    plan.access.hear_time(&server.to_string(), &room, &nonce, &time);
                }
                return Ok((room, ice_servers));
            }
            Heard::Message(ToCamera::Error { session: None, error }) => {
                return Err(Ended::Refused(error));
            }
            Heard::Message(message) => {
                debug!("out of order: {message:?}");
                let error = Error::new(
                    ErrorCode::OutOfOrder,
                    "expected \"challenge\" and \"hosting\" first",
                );
                wire.complain(error).await?;
            }
            Heard::Nonsense(error) => wire.complain(error).await?,
            Heard::Sign => {}
        }
    }
}

fn nonce() -> Result<Nonce, getrandom::Error> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes)?;
    Ok(Nonce::from_bytes(bytes))
}
