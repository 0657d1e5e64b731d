//! A server, cameras, viewers and plain HTTP requests in a few words, so that a test reads like
//! a story. Everything that waits gives up after [`PATIENCE`], and says what it waited for.
#![allow(dead_code, clippy::unwrap_used, clippy::expect_used, missing_docs)]

pub mod authority;
pub mod cluster;
pub mod whep;

use std::{fmt::Debug, future::Future, net::SocketAddr, time::Duration};

use futures_util::{SinkExt, StreamExt};
use peercam_protocol::{
    Nonce, PublicKey, RoomId, SUBPROTOCOL, SecretKey, TOKEN_SUBPROTOCOL, proof,
    signalling::{
        ByeReason, Candidate, Door, ErrorCode, FromCamera, FromViewer, SessionId, ToCamera,
        ToViewer, Transport,
    },
    wire::{decode, encode},
};
use peercam_rendezvous::{Config, Control, Server};
use serde::{Serialize, de::DeserializeOwned};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::oneshot,
    task::JoinHandle,
    time::timeout,
};
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream, connect_async,
    tungstenite::{
        ClientRequestBuilder, Message,
        client::IntoClientRequest,
        http::{HeaderName, Uri},
    },
};

/// Generous: a loaded machine is no failure.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Waits for something that must happen.
pub async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    timeout(PATIENCE, future).await.unwrap_or_else(|_| panic!("waited in vain for {what}"))
}

/// A running server.
pub struct Rendezvous {
    pub address: SocketAddr,
    /// The administrator's listener.
    pub admin: Option<SocketAddr>,
    pub control: Control,
    /// As it was started with.
    pub config: Config,
    stop: Option<oneshot::Sender<()>>,
    running: JoinHandle<()>,
}

impl Rendezvous {
    pub async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    /// With another configuration than the usual one.
    pub async fn start_with(change: impl FnOnce(&mut Config)) -> Self {
        let mut config = Config::default();
        config.listen = "127.0.0.1:0".parse().unwrap();
        // The cameras of tests don't move.
        config.drain = Duration::ZERO;
        change(&mut config);
        let server = Server::bind(config.clone()).await.unwrap();
        let address = server.local_addr();
        let (admin, control) = (server.admin_addr(), server.control());
        let (stop, stopped) = oneshot::channel();
        let running = tokio::spawn(server.run(async { _ = stopped.await }));
        Self { address, admin, control, config, stop: Some(stop), running }
    }

    /// Tells the server to end; it is gone when this returns.
    pub async fn stop(mut self) {
        self.begin_stop();
        self.stopped().await;
    }

    /// The server is gone when this returns: it has been told to end.
    pub async fn stopped(self) {
        soon("the server to end", self.running).await.unwrap();
    }

    /// It is gone when this returns.
    pub async fn ended(self) {
        soon("the server to end", self.running).await.unwrap();
    }

    /// Tells the server to end.
    pub fn begin_stop(&mut self) {
        self.stop.take().unwrap().send(()).unwrap();
    }

    /// A camera that hosts the room.
    pub async fn camera(&self, room: &str) -> Camera {
        let mut camera = self.knock_as_camera(room).await;
        match camera.hears().await {
            ToCamera::Hosting { room: hosted, .. } => assert_eq!(hosted.as_str(), room),
            other => panic!("not hosting: {other:?}"),
        }
        camera
    }

    /// A camera that does not know yet whether it gets the room. It is the same one for each
    /// room's name, and its door is open.
    pub async fn knock_as_camera(&self, room: &str) -> Camera {
        self.knock_as(&Identity::of(room), room).await
    }

    /// This camera, which has proven who it is.
    pub async fn knock_as(&self, identity: &Identity, room: &str) -> Camera {
        let mut camera: Camera = self.connect(&format!("/host/{room}")).await;
        let ToCamera::Challenge { nonce } = camera.hears().await else { panic!("no challenge") };
        camera.says(identity.prove(&self.address.to_string(), room, &nonce)).await;
        camera
    }

    /// A viewer who has been welcomed.
    pub async fn viewer(&self, room: &str) -> Viewer {
        let mut viewer = self.knock_as_viewer(room).await;
        match viewer.hears().await {
            ToViewer::Welcome { room: welcomed, .. } => assert_eq!(welcomed.as_str(), room),
            other => panic!("not welcome: {other:?}"),
        }
        viewer
    }

    /// A viewer who does not know yet whether it may come in.
    pub async fn knock_as_viewer(&self, room: &str) -> Viewer {
        self.connect(&format!("/watch/{room}")).await
    }

    /// A viewer who shows a token, and does not know yet whether he may come in.
    pub async fn knock_with(&self, room: &str, token: &str) -> Viewer {
        let protocols = format!("{SUBPROTOCOL}, {TOKEN_SUBPROTOCOL}{token}");
        let headers = [("Sec-WebSocket-Protocol", protocols.as_str())];
        self.connect_with(&format!("/watch/{room}"), &headers).await
    }

    pub async fn connect<Hears, Says>(&self, path: &str) -> Peer<Hears, Says> {
        self.connect_with(path, &[]).await
    }

    /// With these headers besides the usual ones.
    pub async fn connect_with<Hears, Says>(
        &self,
        path: &str,
        headers: &[(&str, &str)],
    ) -> Peer<Hears, Says> {
        Peer::connect(&format!("ws://{}{path}", self.address), headers).await
    }

    /// Sends bytes on a connection of their own, and returns all that comes back.
    pub async fn raw(&self, bytes: &[u8]) -> String {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(bytes).await.unwrap();
        let mut answer = Vec::new();
        soon("the answer", stream.read_to_end(&mut answer)).await.unwrap();
        String::from_utf8_lossy(&answer).into_owned()
    }

    pub async fn get(&self, path: &str) -> Reply {
        self.get_with(path, "").await
    }

    /// With these header lines besides the usual ones.
    pub async fn get_with(&self, path: &str, headers: &str) -> Reply {
        let request =
            format!("GET {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n{headers}\r\n");
        Reply::parse(&self.raw(request.as_bytes()).await)
    }

    /// Any request. `headers` are lines.
    pub async fn request(&self, method: &str, path: &str, headers: &str, body: &str) -> Reply {
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\
             Content-Length: {}\r\n{headers}\r\n{body}",
            body.len()
        );
        Reply::parse(&self.raw(request.as_bytes()).await)
    }
}

/// Who a camera is, and what it says about its room.
#[derive(Debug, Clone)]
pub struct Identity {
    pub key: SecretKey,
    pub door: Door,
    pub issuers: Vec<PublicKey>,
}

impl Identity {
    /// The camera of that name.
    pub fn of(name: &str) -> Self {
        let mut seed = [0; 32];
        for (to, from) in seed.iter_mut().zip(name.bytes()) {
            *to = from;
        }
        Self { key: SecretKey::from_bytes(&seed), door: Door::Open, issuers: Vec::new() }
    }

    /// The same with a door that asks for a token.
    pub fn with_door(self) -> Self {
        Self { door: Door::Token, ..self }
    }

    /// The room that is derived from its key.
    pub fn own_room(&self) -> RoomId {
        RoomId::from_public_key(self.key.public().as_bytes())
    }

    /// Its answer to a challenge of the server it knows as `authority`.
    pub fn prove(&self, authority: &str, room: &str, challenge: &Nonce) -> FromCamera {
        let Self { key, door, issuers } = self;
        let room = room.parse().unwrap();
        let nonce = Nonce::from_bytes([5; 16]);
        let statement = proof::host(authority, &room, challenge, &nonce, *door, issuers);
        FromCamera::Prove {
            key: key.public(),
            nonce,
            door: *door,
            issuers: issuers.clone(),
            signature: key.sign(&statement),
        }
    }
}

/// An HTTP response.
#[derive(Debug)]
pub struct Reply {
    pub status: u16,
    pub head: String,
    pub body: String,
}

impl Reply {
    pub fn parse(text: &str) -> Self {
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{text:?}"));
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        Self { status, head: head.to_owned(), body: body.to_owned() }
    }

    /// The value of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().skip(1).find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }

    /// How often a header is there.
    pub fn count(&self, name: &str) -> usize {
        let names = self.head.lines().filter_map(|line| line.split_once(':'));
        names.filter(|(key, _)| key.eq_ignore_ascii_case(name)).count()
    }
}

/// One end of a WebSocket: what it hears and what it says.
pub struct Peer<Hears, Says> {
    pub socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    marker: std::marker::PhantomData<(Hears, Says)>,
}

pub type Camera = Peer<ToCamera, FromCamera>;
pub type Viewer = Peer<ToViewer, FromViewer>;

impl<Hears, Says> Peer<Hears, Says> {
    /// Connects to any server.
    pub async fn connect(uri: &str, headers: &[(&str, &str)]) -> Self {
        let uri: Uri = uri.parse().unwrap();
        let request = ClientRequestBuilder::new(uri).with_sub_protocol(SUBPROTOCOL);
        let mut request = request.into_client_request().unwrap();
        for &(name, value) in headers {
            let name: HeaderName = name.parse().unwrap();
            request.headers_mut().insert(name, value.parse().unwrap());
        }
        let (socket, _) = soon("the handshake", connect_async(request)).await.unwrap();
        Self { socket, marker: std::marker::PhantomData }
    }
}

impl<Hears: DeserializeOwned + Debug, Says: Serialize> Peer<Hears, Says> {
    pub async fn says(&mut self, message: Says) {
        self.says_text(&encode(&message)).await;
    }

    /// Something that need not be a message.
    pub async fn says_text(&mut self, text: &str) {
        self.sends(Message::text(text)).await;
    }

    pub async fn sends(&mut self, frame: Message) {
        soon("a frame to be sent", self.socket.send(frame)).await.unwrap();
    }

    /// Bytes under the WebSocket.
    pub async fn sends_bytes(&mut self, bytes: &[u8]) {
        soon("bytes to be sent", self.socket.get_mut().write_all(bytes)).await.unwrap();
    }

    pub async fn hears(&mut self) -> Hears {
        let text = self.hears_text().await;
        decode(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
    }

    pub async fn hears_text(&mut self) -> String {
        match self.frame().await {
            Some(Message::Text(text)) => text.to_string(),
            other => panic!("no text, but {other:?}"),
        }
    }

    /// The next frame that is neither ping nor pong; nothing if the connection broke.
    pub async fn frame(&mut self) -> Option<Message> {
        loop {
            match soon("a message", self.socket.next()).await {
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                Some(Ok(frame)) => return Some(frame),
                Some(Err(_)) | None => return None,
            }
        }
    }

    /// Hears an error as its next message; returns its sentence.
    pub async fn hears_error(&mut self, code: ErrorCode) -> String {
        let text = self.hears_text().await;
        let message: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(message["type"], "error", "{text}");
        assert_eq!(message["code"], serde_json::to_value(code).unwrap(), "{text}");
        message["message"].as_str().unwrap().to_owned()
    }

    /// Sees the server close the connection, with this code.
    pub async fn is_closed(&mut self, code: u16) {
        match self.frame().await {
            Some(Message::Close(Some(frame))) => assert_eq!(u16::from(frame.code), code),
            other => panic!("not closed, but {other:?}"),
        }
        assert!(self.frame().await.is_none());
    }

    /// Closes in order, and waits until the server has closed too.
    pub async fn leaves(mut self) {
        self.socket.close(None).await.unwrap();
        let mut last = None;
        while let Some(frame) = self.frame().await {
            last = Some(frame);
        }
        assert!(matches!(last, Some(Message::Close(_))), "hung up on without a word: {last:?}");
    }
}

impl Viewer {
    /// Asks for a session.
    pub async fn joins(&mut self, offer: &str) {
        self.says(FromViewer::Join {
            transport: Transport::Rtp,
            offer: offer.to_owned(),
            resume: None,
            pass: None,
        })
        .await;
    }

    pub async fn hears_online(&mut self, online: bool) {
        assert_eq!(self.hears().await, ToViewer::Camera { online, ice_servers: Vec::new() });
    }

    pub async fn hears_answer(&mut self, sdp: &str) {
        assert_eq!(self.hears().await, ToViewer::Answer { sdp: sdp.to_owned(), proof: None });
    }
}

impl Camera {
    /// Hears a viewer ask for a session; returns its number.
    pub async fn hears_join(&mut self, offer: &str) -> SessionId {
        match self.hears().await {
            ToCamera::Join { session, offer: heard, .. } if heard == offer => session,
            other => panic!("no join with {offer:?}, but {other:?}"),
        }
    }

    pub async fn hears_bye(&mut self, session: SessionId, reason: ByeReason) {
        assert_eq!(self.hears().await, ToCamera::Bye { session, reason });
    }

    pub async fn answers(&mut self, session: SessionId, sdp: &str) {
        self.says(FromCamera::Answer { session, sdp: sdp.to_owned(), proof: None }).await;
    }
}

/// A camera and a viewer with a session between them.
pub async fn session(camera: &mut Camera, viewer: &mut Viewer) -> SessionId {
    viewer.joins("an offer").await;
    let session = camera.hears_join("an offer").await;
    camera.answers(session, "an answer").await;
    viewer.hears_answer("an answer").await;
    session
}

pub fn candidate(text: &str) -> Candidate {
    Candidate {
        candidate: text.to_owned(),
        sdp_mid: Some("0".to_owned()),
        sdp_m_line_index: Some(0),
        username_fragment: None,
    }
}
