//! The camera's line to the rendezvous: kept up for ever, on the most preferred of its servers
//! that can be had, opened again whenever it breaks.
//!
//! | module | holds |
//! |---|---|
//! | [`url`] | [`ServerUrl`]: a server's address, and the links that follow from it |
//! | `keeper` | which server, and when |
//! | `open` | from a server's address to a room that is ours |
//! | `dial` | a TCP connection to a host by name |
//! | `connection` | one WebSocket to its end |
//! | [`backoff`] | how long to wait before the next attempt |
//!
//! [`Client`] runs in a task of its own and hands [`Event`]s to the agent's loop. What the agent
//! says goes out by the [`Outbox`] of the connection it belongs to: sessions are numbered anew on
//! every connection, so what was meant for a lost one must not go out on the next.
//!
//! A name is looked up for each attempt, and all its addresses are tried. When the preferred
//! server can't be had the next one is tried at once; a pause comes only when all have failed.
//! While the room is on a lesser one, the preferred ones are tried every five minutes, and the room
//! is left only when it is had there.

use std::{
    task::{Context, Poll},
    time::Duration,
};

use peercam_protocol::{
    RoomId,
    signalling::{Error, FromCamera, IceServer, ToCamera},
};
use tokio::{
    sync::{mpsc, watch},
    task::JoinHandle,
};
use tracing::warn;

pub mod backoff;
mod connection;
mod dial;
mod keeper;
mod open;
pub mod url;

pub use url::{ServerUrl, ServerUrlError};

use crate::{access::Access, tls::Tls};
use keeper::Keeper;

/// Most events that wait for the agent's loop. When full the socket is not read any further, and
/// TCP slows the server down.
const EVENTS: usize = 64;
/// Most messages that wait for the socket. When full, the connection is so far behind that it is
/// given up (see [`Outbox::send`]).
const OUTGOING: usize = 256;
/// How often the preferred servers are tried while the room is on a lesser one.
const RECONSIDER: Duration = Duration::from_secs(300);

/// Where a camera waits for viewers.
#[derive(Debug, Clone)]
pub struct Plan {
    /// In order of preference; at least one.
    pub servers: Vec<ServerUrl>,
    /// The room.
    pub room: RoomId,
    /// Whom to trust, for `wss`.
    pub tls: Tls,
    /// Shown to the server as a bearer token (RFC 6750): ours asks for none, a gateway in front of
    /// it may.
    pub bearer: Option<String>,
    /// By what the camera shows that it is who it says.
    pub access: Access,
    /// How often the preferred servers are tried while the room is on a lesser one: at random
    /// between a half and the whole of this.
    pub reconsider: Duration,
}

impl Plan {
    /// For this run of the program.
    pub fn new(servers: Vec<ServerUrl>, room: RoomId, tls: Tls, access: Access) -> Self {
        let bearer = None;
        Self { servers, room, tls, access, bearer, reconsider: RECONSIDER }
    }
}

/// Why a connection ended, or came to nothing.
enum Ended {
    /// Every outbox is gone, and what was in them was sent.
    ByAgent,
    /// The server does not want this camera.
    Refused(Error),
    /// This machine's network is another.
    Moved,
    /// Anything else, in words.
    Failed(String),
}

/// What the agent's loop hears.
#[derive(Debug)]
pub enum Event {
    /// The room is ours on a new connection. An earlier one, if there is one, is over.
    Hosting {
        /// Where.
        server: ServerUrl,
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
    /// Why there is none, in a sentence; said once for each reason.
    Trouble(String),
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
    changes: watch::Sender<()>,
    task: JoinHandle<()>,
}

impl Client {
    /// Begins to host.
    pub fn start(plan: Plan) -> Self {
        let (sender, events) = mpsc::channel(EVENTS);
        let (changes, receiver) = watch::channel(());
        let said = vec![None; plan.servers.len()];
        let keeper = Keeper { plan, events: sender, changes: receiver, said };
        Self { events, changes, task: tokio::spawn(keeper.run()) }
    }

    /// This machine's network has changed: a connection that is cut off is opened anew, and one
    /// that is waited for is tried at once.
    pub fn network_changed(&self) {
        self.changes.send_replace(());
    }

    /// The next event. Cancel safe.
    pub async fn next(&mut self) -> Option<Event> {
        std::future::poll_fn(|context| self.poll_next(context)).await
    }

    /// The same for who waits for several.
    pub fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Option<Event>> {
        self.events.poll_recv(context)
    }

    /// Ends the connection: what is queued goes out first, within `patience`. Every [`Outbox`]
    /// must be gone or go in that time.
    pub async fn close(self, patience: Duration) {
        let Self { mut events, changes: _changes, mut task } = self;
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
