//! A rendezvous that says whatever a test wants to a camera.

use std::net::SocketAddr;

use futures_util::{SinkExt, StreamExt};
use peercam_protocol::{
    Nonce, SUBPROTOCOL, proof,
    signalling::{FromCamera, ToCamera},
    wire,
};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::{
    WebSocketStream, accept_hdr_async,
    tungstenite::{
        Message,
        handshake::server::{Request, Response},
        http::{
            HeaderValue,
            header::{HOST, SEC_WEBSOCKET_PROTOCOL},
        },
    },
};

pub struct FakeRendezvous {
    listener: TcpListener,
}

/// A camera's connection.
pub struct Camera {
    stream: WebSocketStream<TcpStream>,
    /// What it asked for.
    pub path: String,
    /// And of whom: its `Host` header.
    pub host: String,
}

impl FakeRendezvous {
    pub async fn start() -> Self {
        Self { listener: TcpListener::bind("127.0.0.1:0").await.unwrap() }
    }

    pub fn address(&self) -> SocketAddr {
        self.listener.local_addr().unwrap()
    }

    /// The next camera that connects; it has heard nothing yet.
    pub async fn accept(&self) -> Camera {
        let accept = async {
            let (stream, _) = self.listener.accept().await.unwrap();
            let (mut path, mut host) = (String::new(), String::new());
            #[expect(clippy::result_large_err, reason = "the library's signature")]
            let answer = |request: &Request, mut response: Response| {
                path = request.uri().path().to_owned();
                host = request.headers()[HOST].to_str().unwrap().to_owned();
                let protocol = HeaderValue::from_static(SUBPROTOCOL);
                response.headers_mut().insert(SEC_WEBSOCKET_PROTOCOL, protocol);
                Ok(response)
            };
            let stream = accept_hdr_async(stream, answer).await.unwrap();
            Camera { stream, path, host }
        };
        tokio::time::timeout(super::PATIENCE, accept).await.expect("a camera connects")
    }

    /// The next camera, in its room.
    pub async fn host(&self) -> Camera {
        let mut camera = self.accept().await;
        camera.prove().await;
        let room = camera.path.rsplit('/').next().unwrap().parse().unwrap();
        camera.send(&ToCamera::Hosting { room, ice_servers: Vec::new(), time: None }).await;
        camera
    }
}

impl Camera {
    /// Asks it to show that the room is its own. Its nonce.
    pub async fn prove(&mut self) -> Nonce {
        let challenge = Nonce::from_bytes([7; 16]);
        self.send(&ToCamera::Challenge { nonce: challenge }).await;
        let Some(FromCamera::Prove { key, nonce, door, issuers, signature }) = self.next().await
        else {
            panic!("the camera proves nothing");
        };
        let room = self.path.rsplit('/').next().unwrap().parse().unwrap();
        let statement = proof::host(&self.host, &room, &challenge, &nonce, door, &issuers);
        assert!(key.verify(&statement, &signature), "{statement}");
        nonce
    }

    pub async fn send(&mut self, message: &ToCamera) {
        self.send_text(&wire::encode(message)).await;
    }

    pub async fn send_text(&mut self, text: &str) {
        self.stream.send(Message::text(text)).await.unwrap();
    }

    pub async fn send_binary(&mut self, data: &[u8]) {
        self.stream.send(Message::binary(data.to_vec())).await.unwrap();
    }

    /// What the camera says next; none once it is gone.
    pub async fn next(&mut self) -> Option<FromCamera> {
        let next = async {
            loop {
                match self.stream.next().await? {
                    Ok(Message::Text(text)) => return Some(wire::decode(&text).unwrap()),
                    Ok(_) => {}
                    Err(_) => return None,
                }
            }
        };
        tokio::time::timeout(super::PATIENCE, next).await.expect("the camera says something")
    }

    /// Waits for a message that `pick` makes something of, and skips the others.
    pub async fn find<T>(&mut self, mut pick: impl FnMut(FromCamera) -> Option<T>) -> T {
        loop {
            if let Some(found) = pick(self.next().await.expect("the camera is there")) {
                return found;
            }
        }
    }
}
