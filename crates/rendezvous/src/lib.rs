//! The server where camera and browser find each other. It hands offers, answers and candidates
//! from one to the other, and the player page to people; media never passes through it.
//!
//! | module | holds |
//! |---|---|
//! | [`server`] | listening, HTTP connections, shutting down: [`Server`] |
//! | `stream`, [`tls`] | what a connection's bytes travel on |
//! | `endpoints` | the addresses it answers |
//! | `pages` | the player page and its files |
//! | `whep` | standard players, by HTTP |
//! | `handshake` | from an HTTP request to a WebSocket |
//! | `door` | whether a viewer's token opens a room |
//! | `claims` | whose the named rooms are |
//! | [`state`] | what is kept on disk: claims, the server's key |
//! | [`turn`] | STUN and TURN servers as they are handed out |
//! | `hosting` | a camera proves that a room is its own |
//! | `connection` | one WebSocket: frames, pings, limits, goodbye |
//! | `peer` | what a connection has to know about cameras and viewers |
//! | `rooms` | all rooms; who may come in |
//! | `room` | one room: its sessions, and which message goes to whom |
//! | `outbox` | what waits to be written to one connection |
//! | [`cluster`] | other nodes that serve the same rooms |
//! | `gate`, `rate` | how many may be in, and how often they may speak |
//! | [`config`] | the configuration |
//! | [`control`] | what a running server can be told: [`Control`] |
//! | `admin` | the administrator's interface: API, events, dashboard |
//! | `telemetry`, `metrics`, `events` | what the server tells about itself |
//! | [`webhooks`] | events posted to other servers |
//! | [`trust`] | whom to trust there, and words for what fails |
//! | [`secret`] | a secret from a file |
//! | [`stamp`] | whether a file has changed |
//! | `system` | the time, and random numbers |
//!
//! A message's way: the sender's `connection` reads a frame, parses it, and calls its seat's
//! `room`, which knows whose session it is and puts it, encoded for the other side, into that
//! peer's `outbox`; the receiver's `connection` is woken and writes it. Nobody waits for anybody
//! on the way: a slow reader fills its own outbox, and loses its connection.

mod admin;
mod claims;
pub mod cluster;
pub mod config;
mod connection;
pub mod control;
mod door;
mod endpoints;
mod events;
mod gate;
mod handshake;
mod hosting;
mod metrics;
mod outbox;
mod pages;
mod peer;
mod rate;
mod room;
mod rooms;
pub mod secret;
pub mod server;
pub mod stamp;
pub mod state;
mod stream;
mod system;
mod telemetry;
pub mod tls;
pub mod trust;
pub mod turn;
pub mod webhooks;
mod whep;

pub use cluster::config::{ClusterConfig, ClusterFileError, Login};
pub use config::{
    Admin, Config, ConfigError, EventKind, Limits, Liveness, LogFormat, TlsFiles, Webhook,
};
pub use control::Control;
pub use server::{BindError, Server};
