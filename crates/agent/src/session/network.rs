//! Where a session listens, and under which addresses it says so.
//!
//! A session outlives the addresses it began with. The library binds its sockets anew with each
//! restart of ICE and asks for the addresses at that moment: it gets [`Sockets`], which looks what
//! this machine has then. Nothing else would do for all that happens to a network: a socket that
//! moves under the library's feet keeps its old name, and with it candidates, relay allocations
//! and reflexive addresses that lead nowhere; a restart makes all of them new, on any change, in
//! the time of one exchange of messages. Until then what still works goes on working.

use std::{
    collections::HashSet,
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, ToSocketAddrs, UdpSocket},
    sync::{Arc, Mutex, PoisonError},
    vec,
};

use rtc::{
    ice::{
        candidate::{Candidate, CandidateType, unmarshal_candidate},
        tcp_type::TcpType,
    },
    shared::ifaces::ifaces,
};

use crate::config;

/// Hands out ports of the configured range, one for each session.
#[derive(Debug)]
pub struct Network {
    config: config::Network,
    taken: Mutex<HashSet<u16>>,
}

/// Why a session gets no sockets.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No interface has an address.
    #[error("this machine has no network address")]
    NoAddress,
    /// The interfaces can't be listed.
    #[error("the network interfaces can't be listed: {0}")]
    Interfaces(#[source] std::io::Error),
    /// Every port of the range is in use.
    #[error("all ports of network.udp-ports ({0}-{1}) are in use: give a wider range")]
    NoPort(u16, u16),
}

/// The right of one session to have sockets. Its port is free again when this is dropped.
#[derive(Debug)]
pub struct Lease {
    network: Arc<Network>,
    port: Option<u16>,
}

/// Where a session's sockets are bound: on every address that this machine has when it is asked.
#[derive(Debug, Clone)]
pub struct Sockets {
    network: Arc<Network>,
    port: u16,
}

impl Network {
    /// From the configuration.
    pub fn new(config: config::Network) -> Self {
        Self { config, taken: Mutex::default() }
    }

    /// Whether media may travel over relays only.
    pub fn is_relay_only(&self) -> bool {
        self.config.relay_only
    }

    /// Whether viewers may connect on TCP too.
    pub fn has_tcp(&self) -> bool {
        self.config.tcp && !self.config.relay_only
    }

    /// Addresses that viewers may reach, as they are now.
    ///
    /// # Errors
    ///
    /// Without any.
    pub fn addresses(&self) -> Result<Vec<IpAddr>, Error> {
        local_addresses(self.config.loopback)
    }

    /// A session's place.
    ///
    /// # Errors
    ///
    /// Without any address, or without a free port.
    pub fn lease(self: &Arc<Self>) -> Result<Lease, Error> {
        let local = self.addresses()?;
        let Some(range) = self.config.udp_ports.clone() else {
            return Ok(Lease { network: self.clone(), port: None });
        };
        // The library binds the sockets, so all that can be done here is to look whether that
        // will work; between two sessions the set decides.
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let port = range
            .clone()
            .filter(|port| !taken.contains(port))
            .find(|&port| local.iter().all(|&ip| self.is_free(ip, port)))
            .ok_or(Error::NoPort(*range.start(), *range.end()))?;
        taken.insert(port);
        Ok(Lease { network: self.clone(), port: Some(port) })
    }

    /// On UDP, and on TCP where that is used: both go by the same number.
    fn is_free(&self, ip: IpAddr, port: u16) -> bool {
        UdpSocket::bind((ip, port)).is_ok()
            && (!self.has_tcp() || TcpListener::bind((ip, port)).is_ok())
    }
}

impl Lease {
    /// Where to bind.
    pub fn sockets(&self) -> Sockets {
        Sockets { network: self.network.clone(), port: self.port.unwrap_or_default() }
    }

    /// `candidate` as viewers may see it; none: it is of no use to them.
    pub fn discreet(&self, candidate: &str) -> Option<String> {
        // The library says that it would connect on TCP too (port 9). It must not, and no browser
        // listens.
        if candidate.ends_with("tcptype active") {
            return None;
        }
        if !self.network.is_relay_only() {
            return Some(candidate.to_owned());
        }
        // Where viewers reach us over relays only, a relayed candidate does not tell from where we
        // reach the relay (RFC 8839 §5.1 asks for an address there).
        let mut fields: Vec<&str> = candidate.split(' ').collect();
        for nth in 1..fields.len() {
            match fields[nth - 1] {
                "raddr" => fields[nth] = "0.0.0.0",
                "rport" => fields[nth] = "0",
                _ => {}
            }
        }
        Some(fields.join(" "))
    }

    /// The candidates to send besides `candidate`: for each advertised address of its family the
    /// same port there. Only host candidates have siblings.
    pub fn advertised(&self, candidate: &str) -> Vec<String> {
        let Ok(candidate) = unmarshal_candidate(strip(candidate)) else { return Vec::new() };
        if candidate.candidate_type() != CandidateType::Host
            || candidate.addr().ip().is_loopback()
            || candidate.tcp_type() == TcpType::Active
        {
            return Vec::new();
        }
        self.network
            .config
            .advertise
            .iter()
            .filter(|ip| ip.is_ipv4() == candidate.addr().is_ipv4())
            .zip(1..)
            .map(|(ip, nth)| advertise(&candidate, *ip, nth))
            .collect()
    }
}

impl ToSocketAddrs for Sockets {
    type Iter = vec::IntoIter<SocketAddr>;

    fn to_socket_addrs(&self) -> io::Result<Self::Iter> {
        // Without any address there is nothing to bind, which the library takes for the end. On
        // loopback the connection lives on, to be restarted when there is a network again.
        let all = self.network.addresses().unwrap_or_else(|_| vec![Ipv4Addr::LOCALHOST.into()]);
        let all: Vec<_> = all.into_iter().map(|ip| SocketAddr::new(ip, self.port)).collect();
        Ok(all.into_iter())
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if let Some(port) = self.port {
            let mut taken = self.network.taken.lock().unwrap_or_else(PoisonError::into_inner);
            taken.remove(&port);
        }
    }
}

/// A host candidate (RFC 8839 §5.1) for `candidate`'s socket under another address, with a
/// foundation of its own, and a priority (RFC 8445 §5.1.2.1) just below: where both lead here, the
/// direct way wins.
fn advertise(candidate: &Candidate, ip: IpAddr, nth: u32) -> String {
    let priority = candidate.priority().saturating_sub(nth << 8);
    let foundation = format!("{}{nth}", candidate.foundation());
    let (component, port) = (candidate.component(), candidate.addr().port());
    let (transport, kind) = match candidate.tcp_type() {
        TcpType::Unspecified => ("udp", ""),
        _ => ("tcp", " tcptype passive"),
    };
    format!("candidate:{foundation} {component} {transport} {priority} {ip} {port} typ host{kind}")
}

fn strip(candidate: &str) -> &str {
    candidate.strip_prefix("candidate:").unwrap_or(candidate)
}

/// Addresses that a viewer elsewhere may reach: neither loopback (unless asked for, or nothing
/// else is there) nor link-local (meaningless without a zone).
fn local_addresses(loopback: bool) -> Result<Vec<IpAddr>, Error> {
    let mut all: Vec<IpAddr> = ifaces()
        .map_err(Error::Interfaces)?
        .into_iter()
        .filter_map(|interface| Some(interface.addr?.ip()))
        .filter(|ip| !ip.is_unspecified() && !is_link_local(ip) && can_be_bound(ip))
        .collect();
    all.sort();
    all.dedup();
    let others: Vec<IpAddr> = all.iter().copied().filter(|ip| !ip.is_loopback()).collect();
    let chosen = if loopback || others.is_empty() { all } else { others };
    if chosen.is_empty() { Err(Error::NoAddress) } else { Ok(chosen) }
}

/// An IPv6 address is listed a second or two before it may be used, while the kernel asks whether
/// it is somebody else's (duplicate address detection, RFC 4862 §5.4).
fn can_be_bound(ip: &IpAddr) -> bool {
    UdpSocket::bind((*ip, 0)).is_ok()
}

fn is_link_local(ip: &IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_unicast_link_local(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(
        udp_ports: Option<std::ops::RangeInclusive<u16>>,
        advertise: &[&str],
    ) -> Arc<Network> {
        let advertise = advertise.iter().map(|ip| ip.parse().unwrap()).collect();
        Arc::new(Network::new(config::Network {
            udp_ports,
            advertise,
            loopback: true,
            ..config::Network::default()
        }))
    }

    #[test]
    fn an_address_that_can_not_be_used_yet_is_no_reason_to_turn_viewers_away() {
        assert!(can_be_bound(&"127.0.0.1".parse().unwrap()));
        // As a tentative address does: on no interface of ours.
        assert!(!can_be_bound(&"203.0.113.7".parse().unwrap()));
    }

    /// A range of ports that nobody listens on.
    fn free_range(length: u16) -> std::ops::RangeInclusive<u16> {
        (20_000..60_000)
            .step_by(usize::from(length))
            .map(|first| first..=first + length - 1)
            .find(|range| range.clone().all(|port| UdpSocket::bind(("0.0.0.0", port)).is_ok()))
            .unwrap()
    }

    fn port(lease: &Lease) -> u16 {
        let ports: HashSet<u16> =
            lease.sockets().to_socket_addrs().unwrap().map(|address| address.port()).collect();
        assert_eq!(ports.len(), 1, "one port on all addresses");
        ports.into_iter().next().unwrap()
    }

    #[test]
    fn sessions_get_different_ports_and_give_them_back() {
        let range = free_range(2);
        let network = network(Some(range.clone()), &[]);
        let first = network.lease().unwrap();
        let second = network.lease().unwrap();
        assert!(range.contains(&port(&first)));
        assert_ne!(port(&first), port(&second));
        assert!(matches!(network.lease(), Err(Error::NoPort(..))));
        let free = port(&first);
        drop(first);
        assert_eq!(port(&network.lease().unwrap()), free);
    }

    #[test]
    fn a_port_that_another_program_uses_is_left_alone() {
        let range = free_range(2);
        let _other = UdpSocket::bind(("127.0.0.1", *range.start())).unwrap();
        let lease = network(Some(range.clone()), &[]).lease().unwrap();
        assert_eq!(port(&lease), *range.end());
    }

    #[test]
    fn over_relays_only_no_address_of_ours_is_told() {
        let config =
            config::Network { relay_only: true, loopback: true, ..config::Network::default() };
        let lease = Arc::new(Network::new(config)).lease().unwrap();
        let relayed =
            "candidate:1 1 udp 16777215 198.51.100.9 49152 typ relay raddr 10.0.0.5 rport 40000";
        let discreet = lease.discreet(relayed).unwrap();
        assert!(discreet.ends_with("typ relay raddr 0.0.0.0 rport 0"), "{discreet}");
        unmarshal_candidate(strip(&discreet)).unwrap();
        let lease = network(None, &[]).lease().unwrap();
        assert_eq!(lease.discreet(relayed).unwrap(), relayed);
        let active = "candidate:1 1 tcp 1671430143 10.0.0.5 9 typ host tcptype active";
        assert_eq!(lease.discreet(active), None);
    }

    #[test]
    fn advertised_addresses_have_the_port_of_the_socket_and_a_lower_priority() {
        let lease = network(None, &["203.0.113.7", "2001:db8::7", "203.0.113.8"]).lease().unwrap();
        let candidate = "candidate:167090039 1 udp 2130706431 10.0.2.15 50003 typ host";
        assert_eq!(
            lease.advertised(candidate),
            [
                "candidate:1670900391 1 udp 2130706175 203.0.113.7 50003 typ host",
                "candidate:1670900392 1 udp 2130705919 203.0.113.8 50003 typ host",
            ]
        );
        for line in lease.advertised(candidate) {
            unmarshal_candidate(strip(&line)).unwrap();
        }
        let passive = "candidate:1 1 tcp 1671430143 10.0.2.15 50003 typ host tcptype passive";
        assert_eq!(
            lease.advertised(passive)[0],
            "candidate:11 1 tcp 1671429887 203.0.113.7 50003 typ host tcptype passive"
        );
        assert!(lease.advertised(&passive.replace("passive", "active")).is_empty());
        let reflexive =
            "candidate:1 1 udp 1694498815 198.51.100.9 50003 typ srflx raddr 10.0.2.15 rport 50003";
        assert!(lease.advertised(reflexive).is_empty());
        assert!(lease.advertised("garbage").is_empty());
    }
}
