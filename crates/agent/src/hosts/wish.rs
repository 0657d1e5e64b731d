//! A room to wait in.

use peercam_protocol::RoomId;

use crate::rendezvous::ServerUrl;

/// A room to wait in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wish {
    /// In order of preference; at least one.
    pub servers: Vec<ServerUrl>,
    /// The room.
    pub room: RoomId,
    /// Shown to the server as a bearer token (RFC 6750), for a gateway that asks for one.
    pub token: Option<String>,
    /// Come back when the line breaks, and after a restart.
    pub keep_alive: bool,
}
