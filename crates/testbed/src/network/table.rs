//! The table of paths: which networks, and which way media should find through them.

use super::{
    router::Router,
    world::{Plan, Turn},
};
use crate::stats::{Path, Protocol};

/// One line of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Row {
    /// What it is called on command lines.
    pub name: &'static str,
    /// What stands where, for people.
    pub what: &'static str,
    /// The networks.
    pub plan: Plan,
    /// How direct the way should be.
    pub path: Path,
    /// What should carry it from the viewer's side.
    pub protocol: Protocol,
}

/// All of them.
pub const ROWS: [Row; 8] = [
    Row {
        name: "lan",
        what: "same LAN",
        plan: Plan::one_home(),
        path: Path::Host,
        protocol: Protocol::Udp,
    },
    Row {
        name: "cone",
        what: "cone NAT both sides",
        plan: Plan::routers(Router::Cone, Router::Cone),
        path: Path::Reflexive,
        protocol: Protocol::Udp,
    },
    Row {
        name: "symmetric",
        what: "symmetric NAT both sides",
        plan: Plan::routers(Router::Symmetric, Router::Symmetric),
        path: Path::Relay,
        protocol: Protocol::Udp,
    },
    Row {
        name: "udp-blocked",
        what: "viewer: UDP blocked",
        plan: Plan::routers(Router::UdpBlocked, Router::Cone).with_turn(Turn::Tcp),
        path: Path::Relay,
        protocol: Protocol::Tcp,
    },
    Row {
        name: "tls-only",
        what: "viewer: only TCP port 443",
        plan: Plan::routers(Router::Only443, Router::Cone).with_turn(Turn::Tls),
        path: Path::Relay,
        protocol: Protocol::Tls,
    },
    Row {
        name: "ipv6",
        what: "IPv6 only",
        plan: Plan::ipv6(),
        path: Path::Host,
        protocol: Protocol::Udp,
    },
    // The camera's way to its relay is its own affair: the viewer's goes there by UDP.
    Row {
        name: "camera-udp-blocked",
        what: "camera: UDP blocked",
        plan: Plan::routers(Router::Cone, Router::UdpBlocked).with_turn(Turn::Tcp),
        path: Path::Relay,
        protocol: Protocol::Udp,
    },
    Row {
        name: "camera-tls-only",
        what: "camera: only TCP port 443",
        plan: Plan::routers(Router::Cone, Router::Only443).with_turn(Turn::Tls),
        path: Path::Relay,
        protocol: Protocol::Udp,
    },
];

impl Row {
    /// The row of this name.
    pub fn named(name: &str) -> Option<Self> {
        ROWS.into_iter().find(|row| row.name == name)
    }
}
