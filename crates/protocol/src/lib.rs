//! What camera, rendezvous and viewer say to each other. No I/O and nothing async: every
//! other part depends on this crate, and this crate on none of them.
//!
//! | module | holds |
//! |---|---|
//! | [`signalling`] | the messages on the WebSocket (`peercam.v1`): four enums, one for each direction |
//! | [`control`] | the messages on a session's `control` data channel, camera ↔ viewer |
//! | [`wire`] | from text to message and back; what happens with unknown types and oversized frames |
//! | [`room`] | [`RoomId`]: which names are allowed, and the id that belongs to a camera's key |
//! | [`link`] | [`ShareLink`]: the address a person opens |
//!
//! How a session comes to be, in messages:
//!
//! ```text
//!  camera                     rendezvous                      viewer
//!    │ GET /host/<room> (WS)      │                             │
//!    │───────────────────────────▶│                             │
//!    │◀── hosting ────────────────│                             │
//!    │                            │      GET /watch/<room> (WS) │
//!    │                            │◀────────────────────────────│
//!    │                            │── welcome (ICE servers) ───▶│
//!    │◀── join (offer, session) ──│◀── join (offer) ────────────│
//!    │── answer (session) ───────▶│── answer ──────────────────▶│
//!    │◀─ candidate ──────────────▶│◀───────────── candidate ───▶│
//!    │════════ ICE, DTLS, media: straight, not through the server ════════│
//!    │── bye (session) ──────────▶│── bye ─────────────────────▶│   (or the other way)
//! ```

pub mod control;
pub mod link;
pub mod room;
pub mod signalling;
pub mod wire;

pub use link::ShareLink;
pub use room::RoomId;
pub use wire::{SUBPROTOCOL, TAKEOVER_HEADER};
