//! What stands between a home network and the internet.

use super::namespace::Namespace;
use crate::error::Result;

/// The interface of a router towards the internet.
pub const OUTSIDE: &str = "wan";
/// The interface of a router towards the home network.
pub const INSIDE: &str = "lan";

/// How a router lets its home network out. Nothing comes in that was not asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Router {
    /// Address translation that keeps the port where it is free, so that all peers see the same
    /// one (RFC 4787: endpoint-independent mapping, address- and port-dependent filtering; "port
    /// restricted cone").
    Cone,
    /// Address translation with another, random port for each peer (RFC 4787: address- and
    /// port-dependent mapping).
    Symmetric,
    /// As [`Router::Cone`], but no UDP.
    UdpBlocked,
    /// As [`Router::Cone`], but only TCP to port 443.
    Only443,
    /// No address translation: everybody has a public address.
    Open,
}

impl Router {
    /// Makes a namespace with the interfaces [`INSIDE`] and [`OUTSIDE`] such a router.
    pub fn set_up(self, namespace: &Namespace) -> Result<()> {
        namespace.set("ipv4/ip_forward", "1")?;
        namespace.set("ipv6/conf/all/forwarding", "1")?;
        namespace.filter(&self.rules())
    }

    fn rules(self) -> String {
        // What comes to the router itself is dropped without an answer, and in particular before
        // connection tracking makes an entry of it: a peer's first packet that arrives before
        // ours has left would otherwise take the port that ours is to have.
        let masquerade = match self {
            Self::Cone | Self::UdpBlocked | Self::Only443 => "masquerade",
            Self::Symmetric => "masquerade random,fully-random",
            Self::Open => "accept",
        };
        let passes = match self {
            Self::Cone | Self::Symmetric => "accept",
            Self::UdpBlocked => "meta l4proto != udp accept",
            Self::Only443 => "tcp dport 443 accept",
            Self::Open => "accept",
        };
        let comes_in = if self == Self::Open { "accept" } else { "drop" };
        format!(
            "table inet router {{
                chain input {{
                    type filter hook input priority filter; policy accept;
                    iifname \"{OUTSIDE}\" meta l4proto {{ tcp, udp }} drop
                }}
                chain forward {{
                    type filter hook forward priority filter; policy drop;
                    iifname \"{INSIDE}\" {passes}
                    ct state established,related accept
                    iifname \"{OUTSIDE}\" {comes_in}
                }}
                chain postrouting {{
                    type nat hook postrouting priority srcnat; policy accept;
                    oifname \"{OUTSIDE}\" {masquerade}
                }}
            }}\n"
        )
    }
}
