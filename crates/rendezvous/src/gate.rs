//! How many may be in: in all, and from one address.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv6Addr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use peercam_protocol::signalling::{Error, ErrorCode};

/// Counts who is in. Addresses are forgotten with the last [`Permit`] that came from them.
#[derive(Debug)]
pub(crate) struct Gate {
    inside: Mutex<Inside>,
}

#[derive(Debug)]
struct Inside {
    /// Most in all.
    most: usize,
    /// Most from one address.
    most_per_address: usize,
    total: usize,
    by_address: HashMap<IpAddr, usize>,
}

/// One place; given back when dropped.
#[derive(Debug)]
pub(crate) struct Permit {
    gate: Arc<Gate>,
    address: Option<IpAddr>,
}

impl Gate {
    pub(crate) fn new(total: usize, per_address: usize) -> Arc<Self> {
        let inside = Inside {
            most: total,
            most_per_address: per_address,
            total: 0,
            by_address: HashMap::new(),
        };
        Arc::new(Self { inside: Mutex::new(inside) })
    }

    /// Other limits hold from now on. Who is in stays.
    pub(crate) fn set(&self, total: usize, per_address: usize) {
        let mut inside = self.lock();
        inside.most = total;
        inside.most_per_address = per_address;
    }

    /// How many are in.
    pub(crate) fn inside(&self) -> usize {
        self.lock().total
    }

    /// Lets one more in. Without an address (a trusted proxy, which speaks for many) only the
    /// total counts. The error never repeats the address.
    pub(crate) fn enter(self: &Arc<Self>, address: Option<IpAddr>) -> Result<Permit, Error> {
        let address = address.map(one_subscriber);
        let mut inside = self.lock();
        let Inside { most, most_per_address, .. } = *inside;
        if inside.total >= most {
            return Err(Error::new(
                ErrorCode::Full,
                format!("the server has {most} connections, its limit: try again later"),
            ));
        }
        if let Some(address) = address {
            let count = inside.by_address.entry(address).or_default();
            if *count >= most_per_address {
                return Err(Error::new(
                    ErrorCode::Full,
                    format!(
                        "your address has {count} connections, the limit for one address: \
                         close some first"
                    ),
                ));
            }
            *count += 1;
        }
        inside.total += 1;
        drop(inside);
        Ok(Permit { gate: self.clone(), address })
    }

    fn lock(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut inside = self.gate.lock();
        inside.total -= 1;
        let Some(address) = self.address else { return };
        if let Some(count) = inside.by_address.get_mut(&address) {
            *count -= 1;
            if *count == 0 {
                inside.by_address.remove(&address);
            }
        }
    }
}

/// What one subscriber has: an IPv4 address, or a whole IPv6 /64, out of which he can take a
/// fresh address for every connection (RFC 6177).
pub(crate) fn one_subscriber(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() >> 64 << 64)),
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from(address: &str) -> Option<IpAddr> {
        Some(address.parse().unwrap())
    }

    #[test]
    fn the_total_and_the_share_of_one_address_are_limited() {
        let gate = Gate::new(3, 2);
        let first = gate.enter(from("192.0.2.1")).unwrap();
        let _second = gate.enter(from("192.0.2.1")).unwrap();
        let error = gate.enter(from("192.0.2.1")).unwrap_err();
        assert!(error.message.contains("your address has 2"), "{error}");
        assert!(!error.message.contains("192.0.2.1"), "{error}");

        let _third = gate.enter(from("192.0.2.2")).unwrap();
        let error = gate.enter(from("192.0.2.3")).unwrap_err();
        assert!(error.message.contains("the server has 3"), "{error}");

        drop(first);
        gate.enter(from("192.0.2.1")).unwrap();
    }

    #[test]
    fn a_subscriber_with_a_million_ipv6_addresses_is_one_subscriber() {
        let gate = Gate::new(10, 1);
        let _first = gate.enter(from("2001:db8:1:2::1")).unwrap();
        gate.enter(from("2001:db8:1:2:ffff::9")).unwrap_err();
        gate.enter(from("2001:db8:1:3::1")).unwrap();
        let _mapped = gate.enter(from("::ffff:192.0.2.1")).unwrap();
        gate.enter(from("192.0.2.1")).unwrap_err();
    }

    #[test]
    fn addresses_that_left_leave_nothing_behind() {
        let gate = Gate::new(10, 1);
        drop(gate.enter(from("192.0.2.1")).unwrap());
        let permits: Vec<_> = (0..5).map(|_| gate.enter(None).unwrap()).collect();
        assert!(gate.lock().by_address.is_empty());
        drop(permits);
        assert_eq!(gate.lock().total, 0);
    }
}
