//! A rendezvous that lies: it stands between a browser and the real one, hands the pages through,
//! reads along, and changes what it was told to.

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use futures_util::{SinkExt, StreamExt};
use peercam_protocol::{
    RoomId, SUBPROTOCOL, ShareLink,
    signalling::{FromViewer, Pass, ToViewer},
    wire,
};
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpSocket, TcpStream},
    task::JoinHandle,
};
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream, accept_hdr_async, connect_async,
    tungstenite::{
        Message,
        client::IntoClientRequest,
        handshake::server::{ErrorResponse, Request, Response},
        http::{HeaderValue, header::SEC_WEBSOCKET_PROTOCOL},
    },
};

/// How every connection of a viewer begins.
const WATCH: &[u8] = b"GET /watch/";

/// What it makes of what passes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lie {
    /// Nothing.
    None,
    /// It puts its own certificate into offers and answers, as who wants to stand in the middle of
    /// the encrypted connection has to.
    OwnCertificate,
    /// It hands out the first answer it ever saw.
    OldAnswer,
    /// It takes the proof out of the answer.
    NoProof,
    /// It tells first of a way to the camera that is refused, and of the true ones later.
    RefusedWay,
}

/// When the true ways to the camera follow.
const LATER: Duration = Duration::from_secs(1);

/// What it has read.
#[derive(Debug, Default)]
pub struct Seen {
    /// What viewers asked for when they connected: where the token is.
    pub subprotocols: Vec<String>,
    /// Their joins.
    pub joins: Vec<(String, Pass)>,
    /// What the real one sent, by kind.
    pub answers: Vec<ToViewer>,
    /// What the camera or the real one refused.
    pub errors: Vec<peercam_protocol::signalling::Error>,
}

struct Mind {
    lie: Lie,
    seen: Seen,
    /// Has a port, and does not listen.
    nobody: TcpSocket,
}

/// The liar; it is gone when dropped.
pub struct Liar {
    address: SocketAddr,
    mind: Arc<Mutex<Mind>>,
    task: JoinHandle<()>,
}

impl Liar {
    /// Stands before the server at `real`.
    pub async fn before(real: SocketAddr, lie: Lie) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let nobody = TcpSocket::new_v4().unwrap();
        nobody.bind((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
        let mind = Arc::new(Mutex::new(Mind { lie, seen: Seen::default(), nobody }));
        let task = tokio::spawn({
            let mind = mind.clone();
            async move {
                while let Ok((stream, _)) = listener.accept().await {
                    let mind = mind.clone();
                    // A connection that breaks is the browser's to mend, as everywhere.
                    tokio::spawn(async move { serve(stream, real, &mind).await });
                }
            }
        });
        Self { address, mind, task }
    }

    /// The same link, through the liar.
    pub fn link(&self, link: &ShareLink) -> ShareLink {
        let fragment = link.to_string();
        let fragment = fragment.split_once('#').map_or("", |(_, fragment)| fragment);
        format!("http://{}/r/{}#{fragment}", self.address, link.room()).parse().unwrap()
    }

    /// What it does from now on.
    pub fn tell(&self, lie: Lie) {
        self.mind().lie = lie;
    }

    /// What it has read so far; nothing passes while one looks.
    pub fn seen<T>(&self, look: impl FnOnce(&Seen) -> T) -> T {
        look(&self.mind().seen)
    }

    fn mind(&self) -> MutexGuard<'_, Mind> {
        self.mind.lock().unwrap()
    }
}

impl Drop for Liar {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(mut browser: TcpStream, real: SocketAddr, mind: &Mutex<Mind>) {
    let mut head = [0; WATCH.len()];
    let watches = browser.peek(&mut head).await.is_ok_and(|length| head[..length] == *WATCH);
    if watches {
        relay(browser, real, mind).await;
    } else if let Ok(mut server) = TcpStream::connect(real).await {
        let _ = copy_bidirectional(&mut browser, &mut server).await;
    }
}

async fn relay(browser: TcpStream, real: SocketAddr, mind: &Mutex<Mind>) {
    let (mut path, mut subprotocols) = (String::new(), String::new());
    #[allow(clippy::result_large_err)] // The library's own type.
    let greet = |request: &Request, mut response: Response| -> Result<Response, ErrorResponse> {
        path = request.uri().path().to_owned();
        let asked = request.headers().get(SEC_WEBSOCKET_PROTOCOL);
        subprotocols = asked.and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned();
        let agreed = HeaderValue::from_static(SUBPROTOCOL);
        response.headers_mut().insert(SEC_WEBSOCKET_PROTOCOL, agreed);
        Ok(response)
    };
    let Ok(mut browser) = accept_hdr_async(browser, greet).await else { return };
    let mut server = connect(real, &path, &subprotocols).await;
    mind.lock().unwrap().seen.subprotocols.push(subprotocols);
    // Whichever side ends, the other one is let go with it.
    loop {
        tokio::select! {
            message = browser.next() => {
                let Some(Ok(message)) = message else { break };
                let message = mind.lock().unwrap().passes_to_server(message);
                if server.send(message).await.is_err() { break }
            }
            message = server.next() => {
                let Some(Ok(message)) = message else { break };
                let refused = mind.lock().unwrap().refused_way(&message);
                if let Some(refused) = refused {
                    if browser.send(refused).await.is_err() { break }
                    tokio::time::sleep(LATER).await;
                }
                let message = mind.lock().unwrap().passes_to_browser(message);
                if browser.send(message).await.is_err() { break }
            }
        }
    }
}

/// A viewer's connection to the real rendezvous.
pub async fn connect(
    real: SocketAddr,
    path: &str,
    subprotocols: &str,
) -> WebSocketStream<MaybeTlsStream<TcpStream>> {
    let mut request = format!("ws://{real}{path}").into_client_request().unwrap();
    let subprotocols = HeaderValue::from_str(subprotocols).unwrap();
    request.headers_mut().insert(SEC_WEBSOCKET_PROTOCOL, subprotocols);
    connect_async(request).await.unwrap().0
}

/// Where a viewer connects to.
pub fn path_of(room: &RoomId) -> String {
    format!("/watch/{room}")
}

impl Mind {
    /// What is told before the first candidate of the camera: one by TCP (RFC 6544 §4.5) to where
    /// nobody listens.
    fn refused_way(&mut self, message: &Message) -> Option<Message> {
        let ToViewer::Candidate { mut candidate } = wire::decode(message.to_text().ok()?).ok()?
        else {
            return None;
        };
        if self.lie != Lie::RefusedWay {
            return None;
        }
        self.lie = Lie::None;
        let port = self.nobody.local_addr().ok()?.port();
        candidate.candidate = format!(
            "candidate:1 1 tcp 1671430143 127.0.0.1 {port} typ host tcptype passive generation 0"
        );
        Some(Message::text(wire::encode(&ToViewer::Candidate { candidate })))
    }

    fn passes_to_server(&mut self, message: Message) -> Message {
        let Ok(text) = message.to_text() else { return message };
        match wire::decode(text) {
            Ok(FromViewer::Join { transport, mut offer, resume, pass }) => {
                self.seen.joins.extend(pass.clone().map(|pass| (offer.clone(), pass)));
                if self.lie == Lie::OwnCertificate {
                    offer = with_own_certificate(&offer);
                }
                let join = FromViewer::Join { transport, offer, resume, pass };
                Message::text(wire::encode(&join))
            }
            _ => message,
        }
    }

    fn passes_to_browser(&mut self, message: Message) -> Message {
        let Ok(text) = message.to_text() else { return message };
        match wire::decode(text) {
            Ok(ToViewer::Answer { sdp, proof }) => {
                self.seen.answers.push(ToViewer::Answer { sdp: sdp.clone(), proof });
                let said = match self.lie {
                    Lie::None | Lie::RefusedWay => return message,
                    Lie::OwnCertificate => {
                        ToViewer::Answer { sdp: with_own_certificate(&sdp), proof }
                    }
                    Lie::OldAnswer => self.seen.answers[0].clone(),
                    Lie::NoProof => ToViewer::Answer { sdp, proof: None },
                };
                Message::text(wire::encode(&said))
            }
            Ok(ToViewer::Error { error }) => {
                self.seen.errors.push(error);
                message
            }
            _ => message,
        }
    }
}

/// The same offer or answer with the certificate of somebody else.
pub fn with_own_certificate(sdp: &str) -> String {
    let own = format!("a=fingerprint:sha-256 {}", ["5E"; 32].join(":"));
    let lines = sdp.lines().map(|line| match line.starts_with("a=fingerprint:") {
        true => own.as_str(),
        false => line,
    });
    lines.flat_map(|line| [line, "\r\n"]).collect()
}
