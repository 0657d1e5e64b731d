//! The camera's daemon: waits in its room on a rendezvous server and streams, straight and
//! encrypted, to every viewer that comes.
//!
//! | module | holds |
//! |---|---|
//! | [`cli`] | the command line |
//! | [`config`] | the configuration: files, keys, validation |
//! | [`logging`] | the log on standard error |
//! | [`agent`] | the loop that holds everything together |
//! | [`identity`] | the camera's key, and the room that belongs to it |
//! | [`device`] | what the watchdog tells of the device |
//! | [`key_file`] | Ed25519 keys in files |
//! | [`access`] | who may watch |
//! | [`network_watch`] | notices when this machine's network changes |
//! | [`hosts`] | the rooms it waits in, several at once |
//! | [`rendezvous`] | the line to the rendezvous server, opened again whenever it breaks |
//! | [`control_socket`] | where programs on the camera ask it for something |
//! | [`ems`] | rooms added and removed as EvoStream's users do it |
//! | [`session`] | one viewer: offer, connection, transport, control channel |
//! | [`share`] | links by which somebody may watch |
//! | [`streams`] | which encode each viewer gets, and their bit rates |
//! | [`packetizer`] | access units as RTP payloads, made once for all viewers |
//! | [`tls`] | whom to trust on TLS, and words for what fails |
//! | [`certificate`] | the camera's side of DTLS, kept across restarts |
//! | [`durable`] | files that outlive power failures |
//!
//! ```text
//!                 control socket
//!                        │ requests
//!                        ▼
//!  rendezvous ──events──▶ agent ──inputs──▶ session (a task for each viewer) ──▶ viewer
//!       ▲                                      │  ▲
//!       └────────────── outbox ◀───────────────┘  └── frames or chunks ── peercam-media
//! ```
//!
//! Messages go one way on each arrow, through a bounded queue. The agent's loop never waits for a
//! session, and a session never for another one.
//!
//! `peercamctl`, the program that asks on the control socket, is in `src/bin/peercamctl`.

pub mod access;
pub mod agent;
pub mod certificate;
pub mod cli;
pub mod config;
pub mod control_socket;
pub mod device;
pub mod durable;
pub mod ems;
pub mod hosts;
pub mod identity;
pub mod key_file;
pub mod logging;
pub mod network_watch;
pub mod packetizer;
pub mod rendezvous;
pub mod session;
pub mod share;
pub mod streams;
pub mod tls;

pub use agent::run;
pub use config::Config;
