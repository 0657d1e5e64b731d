//! Notices when this machine's network changes: an address comes or goes, the default route moves.
//!
//! The kernel tells it at once (rtnetlink(7)), so nothing is polled. Its messages only say when to
//! look: one change of a network is a burst of them, and what counts is how things are when they
//! have calmed down.

use std::{collections::BTreeSet, fs, io, net::IpAddr, os::fd::AsRawFd, sync::Arc, time::Duration};

use nix::{
    libc,
    sys::socket::{AddressFamily, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, socket},
};
use tokio::{net::UdpSocket, sync::mpsc, task::JoinHandle, time::Instant};
use tracing::{debug, info, warn};

use crate::session::network::Network;

/// So long nothing may come for things to count as calm.
const CALM: Duration = Duration::from_millis(150);
/// After so long they are looked at in any case.
const AT_LATEST: Duration = Duration::from_secs(1);
/// Changes that wait for the agent's loop. When full, those that wait say enough.
const CHANGES: usize = 4;

/// What happened to the network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// There are more addresses now; all that worked still works.
    Gained,
    /// An address is gone, or the default route is another one: what uses it is cut off.
    Moved,
}

/// Watches until it is dropped.
#[derive(Debug)]
pub struct Watch {
    changes: mpsc::Receiver<Change>,
    task: JoinHandle<()>,
}

impl Watch {
    /// Begins to watch the addresses that `network` gives to sessions.
    ///
    /// # Errors
    ///
    /// Where the kernel grants no netlink socket.
    pub fn start(network: Arc<Network>) -> io::Result<Self> {
        let messages = Messages::open()?;
        let (sender, changes) = mpsc::channel(CHANGES);
        Ok(Self { changes, task: tokio::spawn(watch(messages, network, sender)) })
    }

    /// The next change. Cancel safe.
    pub async fn changed(&mut self) -> Option<Change> {
        self.changes.recv().await
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn watch(messages: Messages, network: Arc<Network>, changes: mpsc::Sender<Change>) {
    let mut known = Snapshot::take(&network);
    loop {
        if let Err(error) = messages.burst().await {
            warn!("the network is not watched any more: {error}");
            return;
        }
        let now = Snapshot::take(&network);
        let Some(change) = known.compare(&now) else { continue };
        // How many, not which: addresses are no matter for the log.
        let (addresses, routes) = (now.addresses.len(), now.routes.len());
        info!(addresses, default_routes = routes, "the network has changed");
        known = now;
        if let Err(mpsc::error::TrySendError::Closed(_)) = changes.try_send(change) {
            return;
        }
    }
}

/// The kernel's messages about links, addresses and routes. To Tokio a datagram socket is as good
/// as another: what is asked of it, recv(2), is the same for netlink and UDP.
struct Messages(UdpSocket);

impl Messages {
    fn open() -> io::Result<Self> {
        let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
        let socket =
            socket(AddressFamily::Netlink, SockType::Raw, flags, SockProtocol::NetlinkRoute)?;
        let groups = libc::RTMGRP_LINK
            | libc::RTMGRP_IPV4_IFADDR
            | libc::RTMGRP_IPV6_IFADDR
            | libc::RTMGRP_IPV4_ROUTE
            | libc::RTMGRP_IPV6_ROUTE;
        bind(socket.as_raw_fd(), &NetlinkAddr::new(0, groups.cast_unsigned()))?;
        Ok(Self(UdpSocket::from_std(socket.into())?))
    }

    /// Waits for messages, and until no more come.
    async fn burst(&self) -> io::Result<()> {
        self.one().await?;
        let latest = Instant::now() + AT_LATEST;
        loop {
            let calm = (Instant::now() + CALM).min(latest);
            match tokio::time::timeout_at(calm, self.one()).await {
                Ok(outcome) => outcome?,
                Err(_) => return Ok(()),
            }
        }
    }

    /// Waits for a message and throws it away.
    async fn one(&self) -> io::Result<()> {
        match self.0.recv(&mut [0; 8192]).await {
            Ok(0) => Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(_) => Ok(()),
            // More happened than the socket could hold: reason enough to look.
            Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

/// How the network is.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Snapshot {
    addresses: BTreeSet<IpAddr>,
    /// Of default routes: interface and gateway.
    routes: BTreeSet<(String, String)>,
}

impl Snapshot {
    fn take(network: &Network) -> Self {
        let addresses = network.addresses().unwrap_or_else(|error| {
            debug!("{error}");
            Vec::new()
        });
        // A machine without IPv6 has no such file.
        let read = |file| fs::read_to_string(file).unwrap_or_default();
        let mut routes = default_routes_v4(&read("/proc/thread-self/net/route"));
        routes.extend(default_routes_v6(&read("/proc/thread-self/net/ipv6_route")));
        Self { addresses: addresses.into_iter().collect(), routes }
    }

    /// What it takes to come from this to `now`.
    fn compare(&self, now: &Self) -> Option<Change> {
        if self == now {
            None
        } else if self.addresses.is_subset(&now.addresses) && self.routes.is_subset(&now.routes) {
            Some(Change::Gained)
        } else {
            Some(Change::Moved)
        }
    }
}

/// From `/proc/net/route`: Iface Destination Gateway Flags RefCnt Use Metric Mask …
fn default_routes_v4(table: &str) -> BTreeSet<(String, String)> {
    table
        .lines()
        .filter_map(|line| {
            let fields: Vec<&str> = line.split_whitespace().collect();
            let [interface, "00000000", gateway, _, _, _, _, "00000000", ..] = fields[..] else {
                return None;
            };
            Some((interface.to_owned(), gateway.to_owned()))
        })
        .collect()
}

/// From `/proc/net/ipv6_route`: destination, its length, source, its length, next hop, metric,
/// references, use, flags, interface. The kernel has one on `lo` that says "unreachable".
fn default_routes_v6(table: &str) -> BTreeSet<(String, String)> {
    table
        .lines()
        .filter_map(|line| {
            let fields: Vec<&str> = line.split_whitespace().collect();
            let [destination, "00", _, "00", next_hop, _, _, _, _, interface] = fields[..] else {
                return None;
            };
            let default = destination.bytes().all(|byte| byte == b'0') && interface != "lo";
            default.then(|| (interface.to_owned(), next_hop.to_owned()))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;

    fn snapshot(addresses: &[&str], routes: &[(&str, &str)]) -> Snapshot {
        Snapshot {
            addresses: addresses.iter().map(|ip| ip.parse().unwrap()).collect(),
            routes: routes.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect(),
        }
    }

    #[test]
    fn more_is_a_gain_and_anything_else_a_move() {
        let wired = snapshot(&["192.0.2.5"], &[("eth0", "010200C0")]);
        assert_eq!(wired.compare(&wired.clone()), None);
        let both = snapshot(&["192.0.2.5", "2001:db8::5"], &[("eth0", "010200C0")]);
        assert_eq!(wired.compare(&both), Some(Change::Gained));
        assert_eq!(both.compare(&wired), Some(Change::Moved));
        let other_address = snapshot(&["192.0.2.6"], &[("eth0", "010200C0")]);
        assert_eq!(wired.compare(&other_address), Some(Change::Moved));
        let other_route = snapshot(&["192.0.2.5"], &[("eth0", "FE0200C0")]);
        assert_eq!(wired.compare(&other_route), Some(Change::Moved));
        assert_eq!(Snapshot::default().compare(&wired), Some(Change::Gained));
        assert_eq!(wired.compare(&Snapshot::default()), Some(Change::Moved));
    }

    #[test]
    fn default_routes_are_found_in_the_kernels_tables() {
        let v4 = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n\
            eth0\t00000000\t010200C0\t0003\t0\t0\t100\t00000000\t0\t0\t0\n\
            eth0\t000200C0\t00000000\t0001\t0\t0\t100\t00FFFFFF\t0\t0\t0\n";
        assert_eq!(default_routes_v4(v4), snapshot(&[], &[("eth0", "010200C0")]).routes);
        let zero = "0".repeat(32);
        let hop = format!("fe80{}1", "0".repeat(27));
        let v6 = format!(
            "{zero} 00 {zero} 00 {hop} 00000400 00000001 00000000 00000003     eth0\n\
             fe80{} 40 {zero} 00 {zero} 00000100 00000001 00000000 00000001     eth0\n\
             {zero} 00 {zero} 00 {zero} ffffffff 00000001 00000000 00200200       lo\n",
            "0".repeat(28),
        );
        assert_eq!(default_routes_v6(&v6), snapshot(&[], &[("eth0", &hop)]).routes);
        assert!(default_routes_v4("garbage\n\n a b c").is_empty());
        assert!(default_routes_v6("garbage\n\n a b c").is_empty());
    }

    #[tokio::test]
    async fn the_kernel_grants_a_socket_and_silence_is_no_change() {
        let network = Network::new(config::Network { loopback: true, ..Default::default() });
        let mut watch = Watch::start(Arc::new(network)).unwrap();
        let quiet = tokio::time::timeout(Duration::from_millis(50), watch.changed()).await;
        assert!(quiet.is_err(), "{quiet:?}");
    }
}
