//! Heartbeats: how a service tells its supervisor that it is ready and alive, by the protocol of
//! `sd_notify(3)`. A service that uses it runs under peercam-watchdog, under systemd, or under
//! nothing at all, unchanged.
//!
//! | module | holds |
//! |---|---|
//! | [`notifier`] | [`Notifier`]: the service's side; finds the supervisor in the environment |
//! | [`message`] | [`Message`]: one datagram, written by the service and read by the supervisor |
//!
//! ```text
//!  service                                     supervisor
//!    │   NOTIFY_SOCKET=…  WATCHDOG_USEC=…          │   (environment at start)
//!    │── READY=1, STATUS=waiting for viewers ─────▶│
//!    │── WATCHDOG=1 ──────────────────────────────▶│   at least twice in WATCHDOG_USEC,
//!    │   X_PEERCAM_EXPECTED=1                      │   with the work done so far, and whether
//!    │   X_PEERCAM_PROGRESS=4711                   │   there is any to do now
//!    │── EXTEND_TIMEOUT_USEC=… ───────────────────▶│   this may take a while
//!    │── STOPPING=1 ──────────────────────────────▶│
//! ```
//!
//! Only `std`; no threads, nothing async, nothing that blocks.

pub mod message;
pub mod notifier;

pub use message::{Message, Progress};
pub use notifier::Notifier;
