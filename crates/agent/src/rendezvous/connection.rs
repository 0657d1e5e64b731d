//! One WebSocket to the rendezvous server, from the room that is ours to the end.

use std::{
    fmt::Display,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket},
    time::Duration,
};

use futures_util::{SinkExt, StreamExt};
use peercam_protocol::{
    SUBPROTOCOL,
    signalling::{Error, ErrorCode, FromCamera, ToCamera},
    wire,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::{mpsc, watch},
    time::{Instant, MissedTickBehavior},
};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{self, Message, error::ProtocolError},
};
use tracing::{debug, warn};

use super::{Ended, Event, open::Ends};

/// How often the server is asked whether it is there.
const PING: Duration = Duration::from_secs(10);
/// A server that was silent for so long is gone (a router that forgot the connection says nothing).
const SILENCE: Duration = Duration::from_secs(25);
/// The same from the moment when the network changed under the connection.
const DOUBT: Duration = Duration::from_secs(5);
/// For a message to go out: longer means that the other end reads nothing.
const WRITE: Duration = Duration::from_secs(10);
/// For the closing handshake.
const CLOSE: Duration = Duration::from_secs(1);

/// A WebSocket as messages.
pub(super) struct Wire<S> {
    socket: WebSocketStream<S>,
    /// When the other end last showed that it is there.
    heard: Instant,
}

/// What came.
pub(super) enum Heard {
    Message(ToCamera),
    /// Nothing that can be understood; the answer to it.
    Nonsense(Error),
    /// No message, but a sign of life.
    Sign,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Wire<S> {
    pub fn new(socket: WebSocketStream<S>) -> Self {
        Self { socket, heard: Instant::now() }
    }

    /// What comes next. Cancel safe.
    pub async fn next(&mut self) -> Result<Heard, Ended> {
        let message = self.socket.next().await;
        self.heard = Instant::now();
        let text = match message {
            None => return Err(Ended::Failed("the server closed the connection".to_owned())),
            Some(Err(error)) => return Err(Ended::Failed(explain(&error))),
            Some(Ok(Message::Text(text))) => text,
            Some(Ok(Message::Binary(_))) => {
                let error = Error::new(ErrorCode::BadMessage, "messages are JSON in text frames");
                return Ok(Heard::Nonsense(error));
            }
            // The library answers pings and closes by itself.
            Some(Ok(_)) => return Ok(Heard::Sign),
        };
        Ok(match wire::decode::<ToCamera>(&text) {
            Ok(message) => Heard::Message(message),
            Err(error) => Heard::Nonsense(error),
        })
    }

    pub async fn say(&mut self, message: &FromCamera) -> Result<(), Ended> {
        self.send(Message::text(wire::encode(message))).await
    }

    pub async fn complain(&mut self, error: Error) -> Result<(), Ended> {
        debug!("the rendezvous sent what can't be understood: {error}");
        self.say(&FromCamera::Error { session: None, error }).await
    }

    async fn send(&mut self, message: Message) -> Result<(), Ended> {
        // No later than silence would be noticed.
        let limit = (Instant::now() + WRITE).min(self.heard + SILENCE);
        match tokio::time::timeout_at(limit, self.socket.send(message)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(Ended::Failed(explain(&error))),
            Err(_) => Err(Ended::Failed("reads nothing any more".to_owned())),
        }
    }

    /// Politeness; the connection may be long dead.
    pub async fn close(mut self) {
        let _ = tokio::time::timeout(CLOSE, self.socket.close(None)).await;
    }
}

/// Hands events to the agent and sends what the agent says, until the connection ends. `changes`
/// tells that this machine's network has changed. When the server asks the camera to move, `moves`
/// is told in what time.
pub(super) async fn serve<S: AsyncRead + AsyncWrite + Unpin>(
    wire: &mut Wire<S>,
    ends: Ends,
    events: &mpsc::Sender<Event>,
    outgoing: &mut mpsc::Receiver<FromCamera>,
    changes: &mut watch::Receiver<()>,
    moves: &watch::Sender<Option<Duration>>,
) -> Ended {
    match try_serve(wire, ends, events, outgoing, changes, moves).await {
        Ok(never) => match never {},
        Err(ended) => ended,
    }
}

async fn try_serve<S: AsyncRead + AsyncWrite + Unpin>(
    wire: &mut Wire<S>,
    ends: Ends,
    events: &mpsc::Sender<Event>,
    outgoing: &mut mpsc::Receiver<FromCamera>,
    changes: &mut watch::Receiver<()>,
    moves: &watch::Sender<Option<Duration>>,
) -> Result<std::convert::Infallible, Ended> {
    let mut ping = tokio::time::interval_at(Instant::now() + PING, PING);
    ping.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // When the network changed and the server has not been heard since.
    let mut doubted: Option<Instant> = None;
    loop {
        let silent_at = wire.heard + SILENCE;
        let dead_at = doubted.map_or(silent_at, |doubted| silent_at.min(doubted + DOUBT));
        tokio::select! {
            heard = wire.next() => {
                doubted = None;
                understand(heard?, wire, events, moves).await?;
            }
            message = outgoing.recv() => match message {
                Some(message) => wire.say(&message).await?,
                None => return Err(Ended::ByAgent),
            },
            _ = ping.tick() => wire.send(Message::Ping(Default::default())).await?,
            () = tokio::time::sleep_until(dead_at) => {
                let silence = wire.heard.elapsed().as_secs();
                return Err(Ended::Failed(format!("silent for {silence} s")));
            }
            Ok(()) = changes.changed() => {
                if leaves_elsewhere(ends) {
                    return Err(Ended::Moved);
                }
                doubted = Some(Instant::now());
                wire.send(Message::Ping(Default::default())).await?;
            }
        }
    }
}

async fn understand<S: AsyncRead + AsyncWrite + Unpin>(
    heard: Heard,
    wire: &mut Wire<S>,
    events: &mpsc::Sender<Event>,
    moves: &watch::Sender<Option<Duration>>,
) -> Result<(), Ended> {
    match heard {
        Heard::Message(ToCamera::Move { within_ms }) => {
            moves.send_replace(Some(Duration::from_millis(within_ms.into())));
            Ok(())
        }
        Heard::Message(ToCamera::Hosting { .. }) => {
            let error = Error::new(ErrorCode::OutOfOrder, "the room is hosted already");
            wire.complain(error).await
        }
        Heard::Message(ToCamera::Error { session, error }) => {
            warn!(code = ?error.code, session = session.map(|id| id.0), "the rendezvous: {error}");
            Ok(())
        }
        // A full channel means that the agent's loop is busy: waiting here lets TCP slow the
        // server.
        Heard::Message(message) => {
            events.send(Event::Message(message)).await.map_err(|_| Ended::ByAgent)
        }
        Heard::Nonsense(error) => wire.complain(error).await,
        Heard::Sign => Ok(()),
    }
}

/// Whether a packet to the server would leave from another address than the connection has: then
/// the connection is cut off, or takes a way that is no longer the best. Without any way at all
/// the connection may as well wait.
fn leaves_elsewhere(ends: Ends) -> bool {
    let any: SocketAddr = match ends.peer {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    // Connecting a UDP socket sends nothing: it asks the kernel for the route.
    let source = UdpSocket::bind(any).and_then(|socket| {
        socket.connect(ends.peer)?;
        socket.local_addr()
    });
    source.is_ok_and(|source| source.ip() != ends.local.ip())
}

/// The library's errors in a person's words where it makes a difference.
pub(super) fn explain(error: &tungstenite::Error) -> String {
    let say = |text: &dyn Display| text.to_string();
    match error {
        tungstenite::Error::Http(response) => {
            let body = response.body().as_deref().map(String::from_utf8_lossy).unwrap_or_default();
            let body: String = body.trim().chars().take(200).collect();
            let status = response.status();
            match status.as_u16() {
                401 | 403 => format!(
                    "something in front of the server turns the camera away (HTTP {status}: \
                     {body}): startWebRTC can show it a token (token=…)"
                ),
                _ => format!("no peercam rendezvous at this address (HTTP {status}: {body})"),
            }
        }
        tungstenite::Error::Protocol(ProtocolError::SecWebSocketSubProtocolError(_)) => {
            format!("the server does not speak {SUBPROTOCOL}: its version is another")
        }
        error => say(error),
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::DuplexStream;
    use tokio_tungstenite::tungstenite::protocol::Role;

    use super::*;

    const ENDS: &str = "127.0.0.1:9";

    /// A connection over a pipe of `bytes` on virtual time, and how it ends when the other end,
    /// after `alive`, neither reads nor answers any more.
    async fn ends_after(bytes: usize, alive: Duration, talk: bool) -> (Duration, String) {
        let (ours, theirs) = tokio::io::duplex(bytes);
        let mut wire = Wire::new(WebSocketStream::from_raw_socket(ours, Role::Client, None).await);
        let server = tokio::spawn(async move {
            let mut socket: WebSocketStream<DuplexStream> =
                WebSocketStream::from_raw_socket(theirs, Role::Server, None).await;
            let reading = async { while socket.next().await.is_some() {} };
            let _ = tokio::time::timeout(alive, reading).await;
            // Held, not dropped: a dead peer closes nothing.
            std::future::pending::<()>().await;
            drop(socket);
        });
        let (events, _receiver) = mpsc::channel(1);
        let (sender, mut outgoing) = mpsc::channel(8);
        let talker = tokio::spawn(async move {
            let error = Error::new(ErrorCode::Other, "x".repeat(500));
            while talk
                && sender
                    .send(FromCamera::Error { session: None, error: error.clone() })
                    .await
                    .is_ok()
            {
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
            std::future::pending::<()>().await;
            drop(sender);
        });
        let (_changer, mut changes) = watch::channel(());
        let ends = Ends { local: ENDS.parse().unwrap(), peer: ENDS.parse().unwrap() };
        let begun = Instant::now();
        let ended =
            serve(&mut wire, ends, &events, &mut outgoing, &mut changes, &watch::Sender::new(None))
                .await;
        let after = begun.elapsed();
        server.abort();
        talker.abort();
        let Ended::Failed(reason) = ended else { panic!("not a failure") };
        (after, reason)
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_that_dies_without_a_word_is_noticed_within_30_seconds() {
        for alive in [0, 1, 9, 11, 55] {
            let alive = Duration::from_secs(alive);
            let (after, reason) = ends_after(1 << 20, alive, false).await;
            assert!(after <= alive + Duration::from_secs(30), "{after:?} with {alive:?}");
            assert!(reason.contains("silent"), "{reason}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_that_reads_nothing_is_noticed_within_30_seconds() {
        let (after, reason) = ends_after(1024, Duration::ZERO, true).await;
        assert!(after <= Duration::from_secs(30), "{after:?}");
        assert!(reason.contains("reads nothing"), "{reason}");
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_answers_is_kept() {
        let alive = Duration::from_secs(3600);
        let (after, _) = ends_after(1 << 20, alive, false).await;
        assert!(after > alive, "{after:?}");
    }

    #[test]
    fn a_connection_whose_address_is_gone_is_given_up() {
        let peer = ENDS.parse().unwrap();
        assert!(!leaves_elsewhere(Ends { local: ENDS.parse().unwrap(), peer }));
        let local = "192.0.2.7:4000".parse().unwrap();
        assert!(leaves_elsewhere(Ends { local, peer }));
    }
}
