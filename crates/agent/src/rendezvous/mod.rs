//! The camera's line to the rendezvous server: kept up for ever, opened again whenever it breaks.
//!
//! | module | holds |
//! |---|---|
//! | [`url`] | [`ServerUrl`]: the server's address, and the links that follow from it |
//! | `connection` | one WebSocket from opening to end |
//! | [`backoff`] | how long to wait before the next attempt |
//!
//! [`Client`] runs in a task of its own and hands [`Event`]s to the agent's loop. What the agent
//! says goes out by the [`Outbox`] of the connection it belongs to: sessions are numbered anew on
//! every connection, so what was meant for a lost one must not go out on the next.

use std::time::Duration;

use peercam_protocol::{
    RoomId,
    signalling::{ErrorCode, FromCamera, IceServer, ToCamera},
};
use tokio::{sync::mpsc, task::JoinHandle};
use tracing::{debug, warn};

pub mod backoff;
mod connection;
mod tls;
pub mod url;

pub use url::{ServerUrl, ServerUrlError};

use backoff::Backoff;
use connection::Ended;

/// Most events that wait for the agent's loop. When full the socket is not read any further, and
/// TCP slows the server down.
const EVENTS: usize = 64;
/// Most messages that wait for the socket. When full, the connection is so far behind that it is
/// given up (see [`Outbox::send`]).
const OUTGOING: usize = 256;

/// Waiting between attempts after a failure, at most.
const RETRY: Backoff = Backoff::new(Duration::from_millis(500), Duration::from_secs(30));
/// The same while another camera has the room: it may be this one's own dead connection, which
/// the server notices within half a minute.
const RETRY_TAKEN: Backoff = Backoff::new(Duration::from_secs(4), Duration::from_secs(60));

/// What the agent's loop hears.
#[derive(Debug)]
pub enum Event {
    /// The room is ours on a new connection.
    Hosting {
        /// The room.
        room: RoomId,
        /// Servers to gather candidates with.
        ice_servers: Vec<IceServer>,
        /// The way back.
        outbox: Outbox,
    },
    /// A message on the current connection.
    Message(ToCamera),
    /// The connection is gone; another is being made. Sessions that run may go on.
    Lost,
}

/// Where messages of one connection go out.
#[derive(Debug, Clone)]
pub struct Outbox(mpsc::Sender<FromCamera>);

impl Outbox {
    /// Queues a message. Does nothing on a connection that is gone: the server has forgotten the
    /// sessions of that connection.
    pub fn send(&self, message: FromCamera) {
        if let Err(mpsc::error::TrySendError::Full(_)) = self.0.try_send(message) {
            warn!("the rendezvous reads too slowly: a message to it was dropped");
        }
    }

    /// Whether both lead to the same connection.
    pub fn same_connection(&self, other: &Self) -> bool {
        self.0.same_channel(&other.0)
    }
}

/// The task that keeps the connection.
#[derive(Debug)]
pub struct Client {
    events: mpsc::Receiver<Event>,
    task: JoinHandle<()>,
}

impl Client {
    /// Begins to host `room` on `server`.
    pub fn start(server: ServerUrl, room: RoomId) -> Self {
        let (sender, events) = mpsc::channel(EVENTS);
        Self { events, task: tokio::spawn(keep(server, room, sender)) }
    }

    /// The next event. Cancel safe.
    pub async fn next(&mut self) -> Option<Event> {
        self.events.recv().await
    }

    /// Ends the connection: what is queued goes out first, within `patience`. Every [`Outbox`]
    /// must be gone or go in that time.
    pub async fn close(self, patience: Duration) {
        let Self { mut events, mut task } = self;
        let drained = async { while events.recv().await.is_some() {} };
        tokio::pin!(drained);
        let ended = async {
            tokio::select! {
                _ = &mut task => {}
                () = &mut drained => drop((&mut task).await),
            }
        };
        if tokio::time::timeout(patience, ended).await.is_err() {
            task.abort();
        }
    }
}

/// Connects, hosts, and does it again when that ends; until the agent no longer listens or has
/// dropped every outbox of a running connection.
async fn keep(server: ServerUrl, room: RoomId, events: mpsc::Sender<Event>) {
    let mut attempts = 0;
    let mut said = None;
    loop {
        let outcome = tokio::select! {
            outcome = connection::run(&server, &room, &events) => outcome,
            () = events.closed() => return,
        };
        if outcome.hosted {
            attempts = 0;
            said = None;
            if events.send(Event::Lost).await.is_err() {
                return;
            }
        }
        let (backoff, problem) = match outcome.ended {
            Ended::ByAgent => return,
            Ended::Refused(error) if error.code == ErrorCode::RoomTaken => (
                RETRY_TAKEN,
                format!(
                    "{server} says that another camera is in the room {room} ({error}): stop \
                     that one, or set another rendezvous.room; trying again"
                ),
            ),
            Ended::Refused(error) => {
                (RETRY_TAKEN, format!("{server} refuses this camera: {error}; trying again"))
            }
            Ended::Failed(reason) => {
                (RETRY, format!("no connection to {server}: {reason}; trying again"))
            }
        };
        let pause = backoff.pause(attempts);
        attempts = attempts.saturating_add(1);
        // Once in words; a server that is away for a night does not fill the log.
        if said.as_deref() == Some(problem.as_str()) {
            debug!("{problem} in {pause:?}");
        } else {
            warn!("{problem}");
            said = Some(problem);
        }
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = events.closed() => return,
        }
    }
}
