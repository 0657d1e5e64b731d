//! Homes, routers, an internet: the networks of one test.
//!
//! | who | IPv4 | IPv6 |
//! |---|---|---|
//! | internet | 203.0.113.0/24 | 2001:db8::/64 |
//! | rendezvous | 203.0.113.10 | 2001:db8::10 |
//! | STUN and TURN | 203.0.113.20 | 2001:db8::20 |
//! | viewer's router, its home | 203.0.113.101, 192.168.1.0/24 | 2001:db8::101, 2001:db8:1::/64 |
//! | camera's router, its home | 203.0.113.102, 192.168.2.0/24 | 2001:db8::102, 2001:db8:2::/64 |
//!
//! A home's router is .1, who lives there .2; on one network the viewer is 192.168.2.3. The
//! addresses are those for documentation (RFC 5737, RFC 3849), which nobody has.

use std::net::{IpAddr, SocketAddr};

use super::{
    hop::Hop,
    namespace::{Namespace, join},
    router::{INSIDE, OUTSIDE, Router},
};
use crate::error::Result;

/// The rendezvous server's port: one that every firewall lets through.
const RENDEZVOUS_PORT: u16 = 443;

/// The interface of viewer and camera.
pub const INTERFACE: &str = "eth0";

/// Which networks a test wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Plan {
    /// What stands between the viewer and the internet; none: he is in the camera's home.
    pub viewer: Option<Router>,
    /// What stands between the camera and the internet.
    pub camera: Router,
    /// Which protocol is spoken, everywhere.
    pub family: Family,
    /// How the TURN server may be reached, as the rendezvous hands it out.
    pub turn: Turn,
}

/// How a TURN server may be reached. Chromium takes the ways for nearly equally good: where
/// several work, which one it uses is a matter of milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Turn {
    /// By UDP.
    Udp,
    /// By TCP too.
    Tcp,
    /// By TLS too.
    Tls,
}

/// IPv4 or IPv6.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// IPv4 only.
    V4,
    /// IPv6 only.
    V6,
}

impl Plan {
    /// Viewer and camera behind a router each.
    pub const fn routers(viewer: Router, camera: Router) -> Self {
        Self { viewer: Some(viewer), camera, family: Family::V4, turn: Turn::Udp }
    }

    /// Both in one home.
    pub const fn one_home() -> Self {
        Self { viewer: None, ..Self::routers(Router::Cone, Router::Cone) }
    }

    /// The same networks, with TURN by this too.
    pub const fn with_turn(self, turn: Turn) -> Self {
        Self { turn, ..self }
    }

    /// Both in homes of their own where everybody has a public IPv6 address, and no other.
    pub const fn ipv6() -> Self {
        Self { family: Family::V6, ..Self::routers(Router::Open, Router::Open) }
    }
}

/// The networks. What is dropped takes its interfaces with it.
#[derive(Debug)]
pub struct World {
    /// Where the viewer is.
    pub viewer: Namespace,
    /// Where the camera is.
    pub camera: Namespace,
    /// Where the rendezvous server is.
    pub rendezvous: Namespace,
    /// Where the STUN and TURN server is.
    pub turn: Namespace,
    /// The viewer's line, from him to his router.
    pub viewer_line: Hop,
    /// The camera's line, from it to its router.
    pub camera_line: Hop,
    plan: Plan,
    /// The internet and the routers: nobody runs there, so it is only us who hold them.
    _between: Vec<Namespace>,
}

/// Whose home.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Home {
    /// The viewer's.
    Viewer,
    /// The camera's.
    Camera,
}

/// A home, as seen from its router.
struct Household {
    router: Namespace,
    number: u8,
}

impl World {
    /// Builds it. Chance on its lines comes from `seed`.
    pub fn build(plan: Plan, seed: u64) -> Result<Self> {
        let internet = Namespace::new("internet")?;
        internet.ip(&["link add bridge type bridge mcast_snooping 0", "link set bridge up"])?;
        let rendezvous = server(&internet, plan.family, "rendezvous", 10)?;
        let turn = server(&internet, plan.family, "TURN server", 20)?;

        let camera_home = Household::build(&internet, plan, plan.camera, 2)?;
        let (camera, camera_line) = camera_home.move_in(plan.family, "camera", 2, seed)?;
        let mut between = vec![internet.clone(), camera_home.router.clone()];
        let (viewer, viewer_line) = match plan.viewer {
            Some(router) => {
                let home = Household::build(&internet, plan, router, 1)?;
                between.push(home.router.clone());
                home.move_in(plan.family, "viewer", 2, seed ^ 1)?
            }
            None => camera_home.move_in(plan.family, "viewer", 3, seed ^ 1)?,
        };
        Ok(Self {
            viewer,
            camera,
            rendezvous,
            turn,
            viewer_line,
            camera_line,
            plan,
            _between: between,
        })
    }

    /// Where the rendezvous server is found.
    pub fn rendezvous_address(&self) -> SocketAddr {
        SocketAddr::new(internet_address(self.plan.family, 10), RENDEZVOUS_PORT)
    }

    /// Where the STUN and TURN server is found.
    pub fn turn_address(&self) -> IpAddr {
        internet_address(self.plan.family, 20)
    }

    /// Gives who lives there another address: .NUMBER of the same home. What goes from and to the
    /// old one is lost.
    pub fn change_address(&self, home: Home, number: u8) -> Result<()> {
        let family = self.plan.family;
        let (who, network) = match home {
            Home::Viewer if self.plan.viewer.is_some() => (&self.viewer, 1),
            Home::Viewer => (&self.viewer, 2),
            Home::Camera => (&self.camera, 2),
        };
        who.ip(&[
            format!("addr flush dev {INTERFACE} scope global"),
            format!("addr add {} dev {INTERFACE} nodad", home_network(family, network, number)),
            format!("route replace default via {}", home_address(family, network, 1)),
        ])
    }
}

impl Household {
    /// A router at the internet, with a bridge behind it.
    fn build(internet: &Namespace, plan: Plan, router: Router, number: u8) -> Result<Self> {
        let namespace = Namespace::new(&format!("router of home {number}"))?;
        let port = format!("home{number}");
        join((&namespace, OUTSIDE), (internet, &port))?;
        internet.ip(&[format!("link set {port} master bridge")])?;
        quick_addresses(&namespace)?;
        let family = plan.family;
        namespace.ip(&[
            format!("link add {INSIDE} type bridge mcast_snooping 0"),
            format!("link set {INSIDE} up"),
            format!("addr add {} dev {OUTSIDE} nodad", internet_network(family, 100 + number)),
            format!("addr add {} dev {INSIDE} nodad", home_network(family, number, 1)),
        ])?;
        // Without address translation the internet has to know the way to the homes.
        let other = 3 - number;
        if router == Router::Open {
            let (network, via) = (home_network(family, other, 0), 100 + other);
            namespace
                .ip(&[format!("route add {network} via {}", internet_address(family, via))])?;
        }
        router.set_up(&namespace)?;
        Ok(Self { router: namespace, number })
    }

    /// Somebody who lives there, and his line.
    fn move_in(
        &self,
        family: Family,
        name: &str,
        number: u8,
        seed: u64,
    ) -> Result<(Namespace, Hop)> {
        let namespace = Namespace::new(name)?;
        quick_addresses(&namespace)?;
        let port = format!("port{number}");
        let hop = Hop::join((&namespace, INTERFACE), (&self.router, &port), seed)?;
        self.router.ip(&[format!("link set {port} master {INSIDE}")])?;
        namespace.ip(&[
            format!("addr add {} dev {INTERFACE} nodad", home_network(family, self.number, number)),
            format!("route add default via {}", home_address(family, self.number, 1)),
        ])?;
        Ok((namespace, hop))
    }
}

/// A server on the internet.
fn server(internet: &Namespace, family: Family, name: &str, number: u8) -> Result<Namespace> {
    let namespace = Namespace::new(name)?;
    let port = format!("server{number}");
    join((&namespace, INTERFACE), (internet, &port))?;
    internet.ip(&[format!("link set {port} master bridge")])?;
    quick_addresses(&namespace)?;
    let mut lines =
        vec![format!("addr add {} dev {INTERFACE} nodad", internet_network(family, number))];
    if family == Family::V6 {
        lines.extend((1..=2).map(|home| {
            let via = internet_address(family, 100 + home);
            format!("route add {} via {via}", home_network(family, home, 0))
        }));
    }
    namespace.ip(&lines)?;
    Ok(namespace)
}

/// No waiting whether somebody else has an address (RFC 4862 §5.4), and none from routers.
fn quick_addresses(namespace: &Namespace) -> Result<()> {
    for parameter in ["ipv6/conf/all/accept_dad", "ipv6/conf/default/accept_dad"] {
        namespace.set(parameter, "0")?;
    }
    namespace.set("ipv6/conf/all/accept_ra", "0")
}

fn internet_address(family: Family, number: u8) -> IpAddr {
    match family {
        Family::V4 => IpAddr::from([203, 0, 113, number]),
        // Written as the IPv4 address is: ::10 for .10.
        Family::V6 => v6(0, number),
    }
}

fn home_address(family: Family, home: u8, number: u8) -> IpAddr {
    match family {
        Family::V4 => IpAddr::from([192, 168, home, number]),
        Family::V6 => v6(home.into(), number),
    }
}

fn internet_network(family: Family, number: u8) -> String {
    format!("{}/{}", internet_address(family, number), prefix(family))
}

fn home_network(family: Family, home: u8, number: u8) -> String {
    format!("{}/{}", home_address(family, home, number), prefix(family))
}

fn prefix(family: Family) -> u8 {
    match family {
        Family::V4 => 24,
        Family::V6 => 64,
    }
}

/// 2001:db8:NETWORK::NUMBER, the number's decimal digits read as hexadecimal ones.
fn v6(network: u16, number: u8) -> IpAddr {
    let number = u16::from(number);
    let digits = ((number / 100) << 8) | ((number / 10 % 10) << 4) | (number % 10);
    IpAddr::from([0x2001, 0xdb8, network, 0, 0, 0, 0, digits])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_those_of_the_table() {
        assert_eq!(internet_address(Family::V6, 101).to_string(), "2001:db8::101");
        assert_eq!(internet_address(Family::V6, 10).to_string(), "2001:db8::10");
        assert_eq!(home_network(Family::V6, 2, 0), "2001:db8:2::/64");
        assert_eq!(home_network(Family::V4, 2, 3), "192.168.2.3/24");
    }
}
