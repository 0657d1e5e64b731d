//! A camera and a viewer, up to the point from which on they are measured.

use std::net::{Ipv4Addr, SocketAddr};

use anyhow::{Context, Result, bail};
use futures_util::{SinkExt, StreamExt};
use peercam_protocol::{
    Nonce, RoomId, SecretKey, proof,
    signalling::{Door, FromCamera, FromViewer, SessionId, ToCamera, ToViewer, Transport},
    wire,
};
use serde::{Serialize, de::DeserializeOwned};
use tokio::net::{TcpSocket, TcpStream};
use tokio_tungstenite::{
    WebSocketStream, client_async_with_config,
    tungstenite::{Message, client::IntoClientRequest, protocol::WebSocketConfig},
};

/// One end of a WebSocket on plain TCP.
pub type Socket = WebSocketStream<TcpStream>;

/// Thousands of idle connections fit into a process.
const READ_BUFFER: usize = 1024;

/// A camera that hosts the room of its own key, with its door open.
pub async fn camera(server: SocketAddr, source: Ipv4Addr, key: &SecretKey) -> Result<Socket> {
    let room = room(key);
    let mut socket = connect(server, source, &format!("/host/{room}")).await?;
    loop {
        match hear(&mut socket).await? {
            ToCamera::Challenge { nonce: challenge } => {
                let nonce = Nonce::from_bytes(fastrand::u128(..).to_be_bytes());
                let authority = server.to_string();
                let statement = proof::host(&authority, &room, &challenge, &nonce, Door::Open, &[]);
                let prove = FromCamera::Prove {
                    key: key.public(),
                    nonce,
                    door: Door::Open,
                    issuers: Vec::new(),
                    signature: key.sign(&statement),
                };
                say(&mut socket, &prove).await?;
            }
            ToCamera::Hosting { .. } => return Ok(socket),
            other => bail!("the server answered a camera with {other:?}"),
        }
    }
}

/// A viewer of that camera's room, and the session that the camera heard of.
pub async fn viewer(
    server: SocketAddr,
    key: &SecretKey,
    camera: &mut Socket,
) -> Result<(Socket, SessionId)> {
    let path = format!("/watch/{}", room(key));
    let mut socket = connect(server, Ipv4Addr::LOCALHOST, &path).await?;
    loop {
        match hear(&mut socket).await? {
            ToViewer::Welcome { online: true, .. } | ToViewer::Camera { online: true, .. } => break,
            ToViewer::Welcome { online: false, .. } => {}
            other => bail!("the server answered a viewer with {other:?}"),
        }
    }
    let (transport, offer) = (Transport::Rtp, "v=0".to_owned());
    say(&mut socket, &FromViewer::Join { transport, offer, resume: None, pass: None }).await?;
    match hear(camera).await? {
        ToCamera::Join { session, .. } => Ok((socket, session)),
        other => bail!("a camera heard {other:?}: a viewer should join"),
    }
}

/// The room of a camera's key.
fn room(key: &SecretKey) -> RoomId {
    RoomId::from_public_key(key.public().as_bytes())
}

/// The camera of that number.
pub fn key(number: u32) -> SecretKey {
    let mut seed = [0x5a; 32];
    seed[..4].copy_from_slice(&number.to_be_bytes());
    SecretKey::from_bytes(&seed)
}

async fn connect(server: SocketAddr, source: Ipv4Addr, path: &str) -> Result<Socket> {
    let socket = TcpSocket::new_v4()?;
    socket.bind((source, 0).into()).with_context(|| format!("a port of {source}"))?;
    let stream = socket.connect(server).await.with_context(|| format!("connecting to {server}"))?;
    stream.set_nodelay(true)?;
    let address = format!("ws://{server}{path}");
    let mut request = address.as_str().into_client_request()?;
    request.headers_mut().insert("sec-websocket-protocol", wire::SUBPROTOCOL.parse()?);
    let config = WebSocketConfig::default().read_buffer_size(READ_BUFFER);
    let (socket, _) =
        client_async_with_config(request, stream, Some(config)).await.context(address)?;
    Ok(socket)
}

async fn hear<M: DeserializeOwned>(socket: &mut Socket) -> Result<M> {
    loop {
        match socket.next().await.context("the server hung up")?? {
            Message::Text(text) => return Ok(wire::decode(&text)?),
            Message::Close(frame) => bail!("the server closed: {frame:?}"),
            _ => {}
        }
    }
}

async fn say<M: Serialize>(socket: &mut Socket, message: &M) -> Result<()> {
    Ok(socket.send(Message::text(wire::encode(message))).await?)
}
