//! A viewer's line to the rendezvous, message by message.

use std::net::SocketAddr;

use futures_util::{SinkExt, StreamExt};
use peercam_protocol::{
    SUBPROTOCOL, TOKEN_SUBPROTOCOL,
    signalling::{FromViewer, ToViewer},
    wire,
};
use tokio::net::TcpStream;
use tokio_tungstenite::{
    WebSocketStream, client_async,
    tungstenite::{
        Message,
        client::IntoClientRequest,
        http::{HeaderValue, header::SEC_WEBSOCKET_PROTOCOL},
    },
};

pub struct Socket {
    stream: WebSocketStream<TcpStream>,
}

impl Socket {
    /// Opens `/watch/<room>`.
    pub async fn watch(server: SocketAddr, room: &str) -> Self {
        Self::watch_with(server, room, None).await
    }

    /// The same, and shows a token.
    pub async fn watch_with(server: SocketAddr, room: &str, token: Option<&str>) -> Self {
        let shown = token.map(|token| format!(", {TOKEN_SUBPROTOCOL}{token}"));
        Self::open(server, &format!("watch/{room}"), &shown.unwrap_or_default()).await
    }

    async fn open(server: SocketAddr, path: &str, shown: &str) -> Self {
        let mut request = format!("ws://{server}/{path}").into_client_request().unwrap();
        let protocol = HeaderValue::from_str(&format!("{SUBPROTOCOL}{shown}")).unwrap();
        request.headers_mut().insert(SEC_WEBSOCKET_PROTOCOL, protocol);
        let stream = TcpStream::connect(server).await.unwrap();
        stream.set_nodelay(true).unwrap();
        let (stream, _) = client_async(request, stream).await.unwrap();
        Self { stream }
    }

    /// The next message; none once the server closed.
    pub async fn next(&mut self) -> Option<ToViewer> {
        loop {
            match self.stream.next().await? {
                Ok(Message::Text(text)) => return Some(wire::decode(&text).unwrap()),
                Ok(_) => {}
                Err(_) => return None,
            }
        }
    }

    pub async fn send(&mut self, message: &FromViewer) {
        self.send_text(wire::encode(message)).await;
    }

    pub async fn send_text(&mut self, text: String) {
        self.stream.send(Message::text(text)).await.unwrap();
    }

    /// Says that it goes, and waits until the server has heard it.
    pub async fn close(&mut self) {
        self.stream.close(None).await.unwrap();
        while let Some(Ok(_)) = self.stream.next().await {}
    }

    /// Waits until a camera is in the room.
    pub async fn until_online(&mut self) {
        loop {
            match self.next().await.expect("the server is there") {
                ToViewer::Welcome { online: true, .. } | ToViewer::Camera { online: true, .. } => {
                    return;
                }
                _ => {}
            }
        }
    }

    /// Waits for a message that `pick` makes something of, and skips the others.
    pub async fn find<T>(&mut self, mut pick: impl FnMut(ToViewer) -> Option<T>) -> T {
        loop {
            let message = self.next().await.expect("the server is there");
            if let Some(found) = pick(message) {
                return found;
            }
        }
    }
}
