//! One WebSocket to the rendezvous server, from opening to end.

use std::{fmt::Display, time::Duration};

use futures_util::{SinkExt, StreamExt};
use peercam_protocol::{
    RoomId, SUBPROTOCOL,
    signalling::{Error, ErrorCode, FromCamera, ToCamera},
    wire,
};
use rustls::pki_types::ServerName;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    sync::mpsc,
    time::{Instant, MissedTickBehavior},
};
use tokio_tungstenite::{
    WebSocketStream, client_async_with_config,
    tungstenite::{
        self, Message,
        client::IntoClientRequest,
        error::ProtocolError,
        http::{HeaderValue, header::SEC_WEBSOCKET_PROTOCOL},
        protocol::WebSocketConfig,
    },
};
use tracing::{debug, warn};

use super::{Event, OUTGOING, Outbox, ServerUrl, tls};

/// For the whole way to an open WebSocket.
const CONNECT: Duration = Duration::from_secs(10);
/// How often the server is asked whether it is there.
const PING: Duration = Duration::from_secs(10);
/// A server that was silent for so long is gone (a router that forgot the connection says nothing).
const SILENCE: Duration = Duration::from_secs(30);
/// For a message to go out: longer means that the other end reads nothing.
const WRITE: Duration = Duration::from_secs(10);

/// How a connection went.
pub(super) struct Outcome {
    /// Whether the room was ours meanwhile.
    pub hosted: bool,
    pub ended: Ended,
}

/// Why a connection ended.
pub(super) enum Ended {
    /// Every outbox is gone, and what was in them was sent.
    ByAgent,
    /// The server does not want this camera.
    Refused(Error),
    /// Anything else, in words.
    Failed(String),
}

/// What the server said that ends the connection, or why the connection ends.
type Step = Result<(), Ended>;

/// Opens a connection, hands events to the agent, sends what the agent says, until it ends.
pub(super) async fn run(
    server: &ServerUrl,
    room: &RoomId,
    events: &mpsc::Sender<Event>,
) -> Outcome {
    let failed = |reason: String| Outcome { hosted: false, ended: Ended::Failed(reason) };
    let opening = tokio::time::timeout(CONNECT, open_tcp(server));
    let stream = match opening.await {
        Ok(Ok(stream)) => stream,
        Ok(Err(reason)) => return failed(reason),
        Err(_) => return failed(format!("no answer within {} s", CONNECT.as_secs())),
    };
    if server.is_secure() {
        match tokio::time::timeout(CONNECT, open_tls(server, stream)).await {
            Ok(Ok(stream)) => host(server, room, events, stream).await,
            Ok(Err(reason)) => failed(reason),
            Err(_) => failed(format!("no TLS within {} s", CONNECT.as_secs())),
        }
    } else {
        host(server, room, events, stream).await
    }
}

async fn open_tcp(server: &ServerUrl) -> Result<TcpStream, String> {
    let stream = TcpStream::connect((server.host(), server.port()))
        .await
        .map_err(|error| error.to_string())?;
    // Candidates are small and each one is waited for.
    stream.set_nodelay(true).map_err(|error| error.to_string())?;
    Ok(stream)
}

async fn open_tls(
    server: &ServerUrl,
    stream: TcpStream,
) -> Result<tokio_rustls::client::TlsStream<TcpStream>, String> {
    let name = ServerName::try_from(server.host().to_owned())
        .map_err(|_| format!("{:?} is no name for TLS", server.host()))?;
    let connector = tls::connector().map_err(|error| error.to_string())?;
    connector.connect(name, stream).await.map_err(|error| format!("TLS: {error}"))
}

/// The WebSocket itself.
async fn host<S: AsyncRead + AsyncWrite + Unpin>(
    server: &ServerUrl,
    room: &RoomId,
    events: &mpsc::Sender<Event>,
    stream: S,
) -> Outcome {
    let failed = |reason: String| Outcome { hosted: false, ended: Ended::Failed(reason) };
    let mut request = match server.host_address(room).into_client_request() {
        Ok(request) => request,
        Err(error) => return failed(error.to_string()),
    };
    request.headers_mut().insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(SUBPROTOCOL));
    // A camera's messages are few and small: the library's 128 KiB buffers are for others. What
    // the server adds to a viewer's largest message is less than as much again.
    let config = WebSocketConfig::default()
        .read_buffer_size(4 * 1024)
        .write_buffer_size(0)
        .max_write_buffer_size(4 * wire::MAX_MESSAGE_SIZE)
        .max_message_size(Some(2 * wire::MAX_MESSAGE_SIZE))
        .max_frame_size(Some(2 * wire::MAX_MESSAGE_SIZE));
    let opening = client_async_with_config(request, stream, Some(config));
    let socket = match tokio::time::timeout(CONNECT, opening).await {
        Ok(Ok((socket, _))) => socket,
        Ok(Err(error)) => return failed(explain(&error)),
        Err(_) => return failed(format!("no WebSocket within {} s", CONNECT.as_secs())),
    };
    let (outbox, outgoing) = mpsc::channel(OUTGOING);
    let mut connection = Connection { socket, events, outbox: Some(Outbox(outbox)), hosted: false };
    let ended = match connection.serve(outgoing).await {
        Ok(()) => Ended::ByAgent,
        Err(ended) => ended,
    };
    let hosted = connection.hosted;
    // Politeness; the connection may be long dead.
    let _ = tokio::time::timeout(Duration::from_secs(1), connection.socket.close(None)).await;
    Outcome { hosted, ended }
}

struct Connection<'a, S> {
    socket: WebSocketStream<S>,
    events: &'a mpsc::Sender<Event>,
    /// Given away with [`Event::Hosting`].
    outbox: Option<Outbox>,
    hosted: bool,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Connection<'_, S> {
    async fn serve(&mut self, mut outgoing: mpsc::Receiver<FromCamera>) -> Step {
        let mut ping = tokio::time::interval_at(Instant::now() + PING, PING);
        ping.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut heard = Instant::now();
        loop {
            tokio::select! {
                message = self.socket.next() => {
                    heard = Instant::now();
                    self.receive(message).await?;
                }
                message = outgoing.recv() => match message {
                    Some(message) => self.send(Message::text(wire::encode(&message))).await?,
                    None => return Ok(()),
                },
                _ = ping.tick() => {
                    if heard.elapsed() > SILENCE {
                        let silence = SILENCE.as_secs();
                        return Err(Ended::Failed(format!("silent for {silence} s")));
                    }
                    self.send(Message::Ping(Default::default())).await?;
                }
            }
        }
    }

    async fn receive(&mut self, message: Option<Result<Message, tungstenite::Error>>) -> Step {
        let text = match message {
            None => return Err(Ended::Failed("the server closed the connection".to_owned())),
            Some(Err(error)) => return Err(Ended::Failed(explain(&error))),
            Some(Ok(Message::Text(text))) => text,
            Some(Ok(Message::Binary(_))) => {
                let error = Error::new(ErrorCode::BadMessage, "messages are JSON in text frames");
                return self.complain(error).await;
            }
            // The library answers pings and closes by itself.
            Some(Ok(_)) => return Ok(()),
        };
        match wire::decode::<ToCamera>(&text) {
            Ok(message) => self.understand(message).await,
            Err(error) => self.complain(error).await,
        }
    }

    async fn understand(&mut self, message: ToCamera) -> Step {
        match message {
            ToCamera::Hosting { room, ice_servers } => match self.outbox.take() {
                Some(outbox) => {
                    self.hosted = true;
                    self.tell(Event::Hosting { room, ice_servers, outbox }).await
                }
                None => {
                    let error = Error::new(ErrorCode::OutOfOrder, "the room is hosted already");
                    self.complain(error).await
                }
            },
            ToCamera::Error { session: None, error } if !self.hosted => Err(Ended::Refused(error)),
            ToCamera::Error { session, error } => {
                warn!(code = ?error.code, session = session.map(|id| id.0), "the rendezvous: {error}");
                Ok(())
            }
            message if self.hosted => self.tell(Event::Message(message)).await,
            message => {
                debug!("out of order: {message:?}");
                let error = Error::new(ErrorCode::OutOfOrder, "expected \"hosting\" first");
                self.complain(error).await
            }
        }
    }

    /// A full channel means that the agent's loop is busy: waiting here lets TCP slow the server.
    async fn tell(&self, event: Event) -> Step {
        self.events.send(event).await.map_err(|_| Ended::ByAgent)
    }

    async fn complain(&mut self, error: Error) -> Step {
        debug!("the rendezvous sent what can't be understood: {error}");
        let message = FromCamera::Error { session: None, error };
        self.send(Message::text(wire::encode(&message))).await
    }

    async fn send(&mut self, message: Message) -> Step {
        match tokio::time::timeout(WRITE, self.socket.send(message)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(Ended::Failed(explain(&error))),
            Err(_) => Err(Ended::Failed(format!("reads nothing for {} s", WRITE.as_secs()))),
        }
    }
}

/// The library's errors in a person's words where it makes a difference.
fn explain(error: &tungstenite::Error) -> String {
    let say = |text: &dyn Display| text.to_string();
    match error {
        tungstenite::Error::Http(response) => {
            let body = response.body().as_deref().map(String::from_utf8_lossy).unwrap_or_default();
            let body: String = body.trim().chars().take(200).collect();
            let status = response.status();
            format!("no peercam rendezvous at this address (HTTP {status}: {body})")
        }
        tungstenite::Error::Protocol(ProtocolError::SecWebSocketSubProtocolError(_)) => {
            format!("the server does not speak {SUBPROTOCOL}: its version is another")
        }
        error => say(error),
    }
}
