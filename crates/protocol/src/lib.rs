//! What camera, rendezvous and viewer say to each other. No I/O and nothing async: every
//! other part depends on this crate, and this crate on none of them.
//!
//! | module | holds |
//! |---|---|
//! | [`signalling`] | the messages on the WebSocket (`peercam.v1`): four enums, one for each direction |
//! | [`control`] | the messages on a session's `control` data channel, camera ↔ viewer |
//! | [`wire`] | from text to message and back; what happens with unknown types and oversized frames |
//! | [`room`] | [`RoomId`]: which names are allowed, and the id that belongs to a camera's key |
//! | [`key`] | Ed25519 keys, signatures, nonces |
//! | [`proof`] | what is signed, and what it proves |
//! | [`token`] | viewer tokens: who may do what in a room until when |
//! | [`link`] | [`ShareLink`]: the address a person opens |
//!
//! How a session comes to be, in messages:
//!
//! ```text
//!  camera                     rendezvous                      viewer
//!    │ GET /host/<room> (WS)      │                             │
//!    │───────────────────────────▶│                             │
//!    │◀── challenge (nonce) ──────│                             │
//!    │── prove (key, signature) ─▶│                             │
//!    │◀── hosting ────────────────│                             │
//!    │                            │  GET /watch/<room> (WS, token)
//!    │                            │◀────────────────────────────│
//!    │                            │── welcome (ICE servers) ───▶│
//!    │◀── join (offer, pass) ─────│◀── join (offer, pass) ──────│
//!    │── answer (proof) ─────────▶│── answer (proof) ──────────▶│
//!    │◀─ candidate ──────────────▶│◀───────────── candidate ───▶│
//!    │════════ ICE, DTLS, media: straight, not through the server ════════│
//!    │── bye (session) ──────────▶│── bye ─────────────────────▶│   (or the other way)
//! ```

pub mod control;
pub mod key;
pub mod link;
pub mod proof;
pub mod room;
pub mod signalling;
pub mod token;
pub mod wire;

pub use key::{Nonce, PublicKey, SecretKey, Signature};
pub use link::ShareLink;
pub use proof::Fingerprint;
pub use room::RoomId;
pub use token::{Action, Claims, Token, TokenError};
pub use wire::{SUBPROTOCOL, TOKEN_SUBPROTOCOL};
