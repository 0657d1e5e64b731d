//! One WebSocket connection, from its first message to its close: reads and writes at the same
//! time in one task, notices a dead peer, and holds the peer to the limits.

use std::{
    future::poll_fn,
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use futures_util::{Sink, SinkExt, Stream, StreamExt};
use peercam_protocol::{
    signalling::{Error, ErrorCode},
    wire::{MAX_MESSAGE_SIZE, decode},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::{Instant, Sleep, sleep_until, timeout},
};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{
        Error as WsError, Message,
        error::{CapacityError, ProtocolError},
        protocol::{CloseFrame, frame::coding::CloseCode},
    },
};
use tracing::debug;

use crate::{
    config::{Limits, Liveness},
    gate::Permit,
    outbox::Outbox,
    peer::{Peer, Refusal},
    rate::TokenBucket,
    stream::Stream as Carrier,
};

/// A server's end of a WebSocket.
pub(crate) type Socket = WebSocketStream<Carrier>;

/// How long saying goodbye may take: what waits, the last error, the close, and the peer's
/// answer to it.
const GOODBYE: Duration = Duration::from_secs(2);

/// Most bytes of a peer that are read and thrown away during the goodbye. Closing a socket that
/// holds unread bytes resets it, and the peer may never see the error (RFC 9112 §9.6).
const GOODBYE_BYTES: u64 = 1024 * 1024;

/// Kept free in a viewer's message: on its way to the camera it gets `"session":…,`, and must
/// not become too large by it. ICE servers may come on top.
const SESSION_FIELD: usize = 64;

/// What a connection is held to.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rules {
    pub(crate) liveness: Liveness,
    /// Largest message it may send.
    pub(crate) message_bytes: usize,
    /// Most bytes that may wait for it.
    pub(crate) queue_bytes: usize,
    messages_per_second: u32,
    message_burst: u32,
    bad_messages_per_minute: u32,
}

impl Rules {
    pub(crate) fn for_camera(limits: &Limits, liveness: Liveness) -> Self {
        Self {
            liveness,
            message_bytes: limits.message_bytes,
            queue_bytes: limits.camera_queue_bytes,
            messages_per_second: limits.camera_messages_per_second,
            message_burst: limits.camera_message_burst,
            bad_messages_per_minute: limits.bad_messages_per_minute,
        }
    }

    /// `ice_bytes` is what a join gets for the camera on top.
    pub(crate) fn for_viewer(limits: &Limits, liveness: Liveness, ice_bytes: usize) -> Self {
        Self {
            liveness,
            message_bytes: limits.message_bytes.min(MAX_MESSAGE_SIZE - ice_bytes) - SESSION_FIELD,
            queue_bytes: limits.viewer_queue_bytes,
            messages_per_second: limits.viewer_messages_per_second,
            message_burst: limits.viewer_message_burst,
            bad_messages_per_minute: limits.bad_messages_per_minute,
        }
    }
}

/// How a connection ends.
enum End {
    /// The peer is not there any more: nothing can be said to it.
    Gone,
    /// The peer closed, and waits for our half of the closing handshake.
    Answer,
    /// We close it, and say why.
    Close(Error, CloseCode),
}

/// Serves a connection until it ends. The peer leaves its room before the goodbye is said.
#[expect(
    clippy::manual_async_fn,
    reason = "an async fn keeps room for each argument twice, and this future is what an idle \
              connection costs"
)]
pub(crate) fn serve<P: Peer>(
    mut socket: Socket,
    outbox: Arc<Outbox>,
    peer: P,
    rules: Rules,
    permit: Permit,
) -> impl Future<Output = ()> + Send {
    async move {
        match converse(&mut socket, &outbox, peer, &rules).await {
            End::Gone => {}
            End::Answer => Box::pin(answer(&mut socket)).await,
            // Boxed: nobody needs room for a goodbye all the time.
            End::Close(error, code) => {
                Box::pin(close::<P>(&mut socket, &outbox, error, code)).await;
            }
        }
        drop(permit);
    }
}

/// Answers the peer's close: the WebSocket layer has the answer ready, it only has to be written.
/// TLS has a goodbye of its own (RFC 8446 §6.1).
async fn answer(socket: &mut Socket) {
    let goodbye = async {
        socket.flush().await?;
        Ok::<_, WsError>(socket.get_mut().shutdown().await?)
    };
    if !matches!(timeout(GOODBYE, goodbye).await, Ok(Ok(()))) {
        debug!("a peer did not wait for the answer to its close");
    }
}

/// Refuses a connection that has just been made.
pub(crate) async fn refuse<P: Peer>(mut socket: Socket, error: Error) {
    let code = close_code(error.code);
    close::<P>(&mut socket, &Outbox::new(0), error, code).await;
}

/// Messages both ways, until the connection has to end.
async fn converse<P: Peer>(
    socket: &mut Socket,
    outbox: &Outbox,
    mut peer: P,
    rules: &Rules,
) -> End {
    let mut vigil = Vigil::new(rules.liveness);
    let mut manners = Manners::new(rules);
    let mut alarm = pin!(sleep_until(vigil.next()));
    let mut line = Line { socket, outbox, unflushed: false };
    loop {
        match poll_fn(|cx| line.poll_event(cx, alarm.as_mut())).await {
            Event::Message(message) => {
                let now = Instant::now();
                vigil.heard(now);
                if let Err(error) = manners.allow(rules, now) {
                    return End::Close(error, CloseCode::Policy);
                }
                let refusal = match message {
                    Message::Text(text) => match decode::<P::Message>(&text) {
                        Ok(message) => peer.handle(message).err(),
                        Err(error) => Some(Refusal::of(error)),
                    },
                    Message::Binary(data) => Some(Refusal::of(Error::new(
                        ErrorCode::BadMessage,
                        format!(
                            "a binary frame of {} bytes: messages are JSON in text frames",
                            data.len()
                        ),
                    ))),
                    Message::Close(_) => return End::Answer,
                    Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => None,
                };
                if let Some(refusal) = refusal {
                    debug!(code = ?refusal.error.code, "a message was refused");
                    if refusal.last {
                        return End::Close(refusal.error, CloseCode::Policy);
                    }
                    if let Err(error) = manners.forgive(rules, now, &refusal) {
                        return End::Close(error, CloseCode::Policy);
                    }
                    outbox.push(P::explain(refusal).into());
                }
            }
            Event::Closing(error) => {
                let code = close_code(error.code);
                return End::Close(error, code);
            }
            Event::Alarm => {
                match vigil.wake() {
                    Watch::Dead => {
                        debug!("a peer fell silent");
                        return End::Gone;
                    }
                    Watch::Ping => line.ping(),
                    Watch::Fine => {}
                }
                alarm.as_mut().reset(vigil.next());
            }
            Event::Broken(error) => return explain_broken(error),
        }
    }
}

/// Sends what waits, the error and the close frame, and waits for the peer to hang up; all of it
/// in bounded time.
async fn close<P: Peer>(socket: &mut Socket, outbox: &Outbox, error: Error, code: CloseCode) {
    // RFC 6455 §5.5: at most 123 bytes; the sentence is in the message before it.
    let name = serde_json::to_value(error.code).ok();
    let reason = name.as_ref().and_then(|name| name.as_str()).unwrap_or_default().to_owned();
    debug!(%reason, "closing a connection");
    let goodbye = async {
        while let Some(text) = outbox.pop() {
            socket.feed(Message::Text(text)).await?;
        }
        socket.feed(Message::Text(P::explain(Refusal::of(error)).into())).await?;
        socket.send(Message::Close(Some(CloseFrame { code, reason: reason.into() }))).await?;
        socket.get_mut().shutdown().await?;
        while let Some(frame) = socket.next().await {
            if matches!(frame, Ok(Message::Close(_))) {
                return Ok(());
            }
        }
        // After a frame that can't be read nothing behind it can, the peer's close included.
        let mut rest = socket.get_mut().take(GOODBYE_BYTES);
        tokio::io::copy(&mut rest, &mut tokio::io::sink()).await?;
        Ok::<_, WsError>(())
    };
    if !matches!(timeout(GOODBYE, goodbye).await, Ok(Ok(()))) {
        debug!("a peer did not wait for the goodbye");
    }
}

/// The close code (RFC 6455 §7.4.1, and 1013 of its registry) that goes with an error.
fn close_code(code: ErrorCode) -> CloseCode {
    match code {
        ErrorCode::Full => CloseCode::Again,
        ErrorCode::TooLarge => CloseCode::Size,
        ErrorCode::ShuttingDown => CloseCode::Away,
        _ => CloseCode::Policy,
    }
}

/// How the connection ends after what the WebSocket layer calls an error.
fn explain_broken(error: WsError) -> End {
    let bad = |message: String| Error::new(ErrorCode::BadMessage, message);
    match error {
        WsError::Capacity(CapacityError::MessageTooLong { size, max_size }) => End::Close(
            Error::new(
                ErrorCode::TooLarge,
                format!("a message of at least {size} bytes: the limit is {max_size}"),
            ),
            CloseCode::Size,
        ),
        WsError::Utf8(_) => {
            End::Close(bad("a text frame that is not UTF-8".to_owned()), CloseCode::Invalid)
        }
        WsError::Protocol(ProtocolError::ResetWithoutClosingHandshake) => End::Gone,
        WsError::Protocol(error) => {
            End::Close(bad(format!("not the WebSocket protocol: {error}")), CloseCode::Protocol)
        }
        _ => End::Gone,
    }
}

/// Something for the connection's task to do.
enum Event {
    Message(Message),
    Closing(Error),
    Alarm,
    Broken(WsError),
}

/// A socket and what waits to be written to it.
struct Line<'a> {
    socket: &'a mut Socket,
    outbox: &'a Outbox,
    unflushed: bool,
}

impl Line<'_> {
    /// Writes what can be written, then looks for something to do. A peer that does not read
    /// holds up nothing but its own queue.
    fn poll_event(&mut self, cx: &mut Context<'_>, alarm: Pin<&mut Sleep>) -> Poll<Event> {
        if let Some(error) = self.outbox.poll_closing(cx) {
            return Poll::Ready(Event::Closing(error));
        }
        if let Poll::Ready(Err(error)) = self.poll_write(cx) {
            return Poll::Ready(Event::Broken(error));
        }
        match Pin::new(&mut *self.socket).poll_next(cx) {
            Poll::Ready(Some(Ok(message))) => return Poll::Ready(Event::Message(message)),
            Poll::Ready(Some(Err(error))) => return Poll::Ready(Event::Broken(error)),
            Poll::Ready(None) => return Poll::Ready(Event::Broken(WsError::ConnectionClosed)),
            Poll::Pending => {}
        }
        alarm.poll(cx).map(|()| Event::Alarm)
    }

    fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), WsError>> {
        loop {
            ready!(Pin::new(&mut *self.socket).poll_ready(cx))?;
            let Some(text) = self.outbox.pop() else { break };
            Pin::new(&mut *self.socket).start_send(Message::Text(text))?;
            self.unflushed = true;
        }
        if self.unflushed {
            ready!(Pin::new(&mut *self.socket).poll_flush(cx))?;
            self.unflushed = false;
        }
        Poll::Ready(Ok(()))
    }

    /// Queues a ping. If the socket takes nothing the peer has enough to answer as it is; a
    /// broken socket shows at the next read.
    fn ping(&mut self) {
        let mut cx = Context::from_waker(std::task::Waker::noop());
        if matches!(Pin::new(&mut *self.socket).poll_ready(&mut cx), Poll::Ready(Ok(()))) {
            let ping = Message::Ping(Default::default());
            self.unflushed |= Pin::new(&mut *self.socket).start_send(ping).is_ok();
        }
    }
}

/// Watches for signs of life.
struct Vigil {
    liveness: Liveness,
    heard: Instant,
    pinged: Instant,
}

enum Watch {
    Fine,
    Ping,
    Dead,
}

impl Vigil {
    fn new(liveness: Liveness) -> Self {
        let now = Instant::now();
        Self { liveness, heard: now, pinged: now }
    }

    fn heard(&mut self, now: Instant) {
        self.heard = now;
    }

    fn dead_at(&self) -> Instant {
        self.heard + self.liveness.dead_after
    }

    fn ping_at(&self) -> Instant {
        self.heard.max(self.pinged) + self.liveness.ping_every
    }

    /// When to look again.
    fn next(&self) -> Instant {
        self.ping_at().min(self.dead_at())
    }

    fn wake(&mut self) -> Watch {
        let now = Instant::now();
        if now >= self.dead_at() {
            Watch::Dead
        } else if now >= self.ping_at() {
            self.pinged = now;
            Watch::Ping
        } else {
            Watch::Fine
        }
    }
}

/// Holds a peer to the number of messages it may send.
#[derive(Debug)]
pub(crate) struct Manners {
    messages: TokenBucket,
    mistakes: TokenBucket,
}

impl Manners {
    pub(crate) fn new(rules: &Rules) -> Self {
        let now = Instant::now().into_std();
        let mistakes = rules.bad_messages_per_minute;
        Self {
            messages: TokenBucket::new(
                f64::from(rules.messages_per_second),
                rules.message_burst,
                now,
            ),
            mistakes: TokenBucket::new(f64::from(mistakes) / 60.0, mistakes, now),
        }
    }

    /// One more message.
    pub(crate) fn allow(&mut self, rules: &Rules, now: Instant) -> Result<(), Error> {
        if self.messages.take(now.into_std()) {
            return Ok(());
        }
        let Rules { messages_per_second, message_burst, .. } = *rules;
        Err(Error::new(
            ErrorCode::TooFast,
            format!(
                "more than {messages_per_second} messages a second (after {message_burst} at \
                 once): the limit; connect again and send fewer"
            ),
        ))
    }

    /// One more message that could not be used.
    pub(crate) fn forgive(
        &mut self,
        rules: &Rules,
        now: Instant,
        refusal: &Refusal,
    ) -> Result<(), Error> {
        if self.mistakes.take(now.into_std()) {
            return Ok(());
        }
        Err(Error::new(
            ErrorCode::TooFast,
            format!(
                "more than {} messages in a minute that can't be used, the last one: {}",
                rules.bad_messages_per_minute, refusal.error.message
            ),
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rooms::CameraSeat;

    /// DESIGN's budget for one idle camera is 6 KB: this, the read buffer of the handshake, and
    /// about 800 bytes of small change.
    #[test]
    fn an_idle_camera_costs_little() {
        fn size<F>(_: impl FnOnce(Socket, Arc<Outbox>, CameraSeat, Rules, Permit) -> F) -> usize {
            size_of::<F>()
        }
        let size = size(serve::<CameraSeat>);
        assert!(size <= 1400, "the future of a connection has {size} bytes");
    }

    #[test]
    fn silence_is_first_asked_about_and_then_given_up() {
        let liveness = Liveness::default();
        let mut vigil = Vigil::new(liveness);
        let start = vigil.heard;
        assert_eq!(vigil.next(), start + liveness.ping_every);
        // As if pings had been sent at 10 and 20 seconds and none was answered.
        vigil.pinged = start + 2 * liveness.ping_every;
        assert_eq!(vigil.next(), start + liveness.dead_after);
        vigil.heard(start + Duration::from_secs(25));
        assert_eq!(vigil.next(), start + Duration::from_secs(35));
    }
}
