//! `[device]`: what the camera is called, and its addresses. The agent checks it with all the rest,
//! and hands it to the camera's start scripts (`peercam-agent --device-settings`), which are root
//! and set it up.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use super::{Error, Layers, raw};

/// Most DNS servers: the C library asks no more.
const MAX_DNS: usize = 3;

/// What the camera is called, and its addresses. Shown ([`fmt::Display`]) as start scripts read it:
/// lines of a word and a value, neither of which holds anything that a shell would mind.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Device {
    /// Its host name; none: that of the image.
    pub name: Option<String>,
    /// How it gets an IPv4 address.
    pub ipv4: Addressing<Ipv4Addr>,
    /// How it gets an IPv6 address.
    pub ipv6: Addressing<Ipv6Addr>,
    /// The way to other networks, at most one of each family, and only with a static address.
    pub gateways: Vec<IpAddr>,
    /// DNS servers in place of those that DHCP names; at most three.
    pub dns: Vec<IpAddr>,
}

/// How the camera gets an address of a family.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Addressing<A> {
    /// From the network: DHCP, or router advertisements.
    #[default]
    Automatic,
    /// Not at all.
    Off,
    /// Always this one, in a network whose addresses have so many bits in common with it.
    Static(A, u8),
}

impl Device {
    pub(super) fn validate(layers: &Layers, raw: raw::Device) -> Result<Self, Error> {
        let raw::Device { name, ipv4, ipv6, gateways, dns } = raw;
        if name.as_deref().is_some_and(|name| !is_host_name(name)) {
            return Err(layers.refuse(
                "device.name",
                "use 1 to 63 of a-z, 0-9 and '-', with no '-' at either end",
            ));
        }
        let ipv4 = addressing(&ipv4, "dhcp", 30, is_host_v4).ok_or_else(|| {
            layers.refuse("device.ipv4", "write \"dhcp\", \"off\" or \"192.168.1.20/24\"")
        })?;
        let ipv6 = addressing(&ipv6, "auto", 127, is_host_v6).ok_or_else(|| {
            layers.refuse("device.ipv6", "write \"auto\", \"off\" or \"2001:db8::20/64\"")
        })?;
        if (ipv4, ipv6) == (Addressing::Off, Addressing::Off) {
            return Err(
                layers.refuse("device.ipv6", "nobody finds it with device.ipv4 off as well")
            );
        }
        let device = Self {
            name,
            ipv4,
            ipv6,
            gateways: addresses(layers, "device.gateways", &gateways)?,
            dns: addresses(layers, "device.dns", &dns)?,
        };
        for (index, gateway) in device.gateways.iter().enumerate() {
            let refuse = |problem: &str| {
                Err(layers.refuse("device.gateways", &format!("{gateway}: {problem}")))
            };
            if device.gateways[..index].iter().any(|it| it.is_ipv4() == gateway.is_ipv4()) {
                return refuse("one gateway for IPv4 and one for IPv6 is all there can be");
            }
            if !device.reaches(*gateway) {
                return refuse("give the camera a static address in the network of its gateway");
            }
        }
        if device.dns.len() > MAX_DNS {
            return Err(layers.refuse("device.dns", &format!("allowed are {MAX_DNS} servers")));
        }
        Ok(device)
    }

    /// Whether this gateway is another machine in the network of the static address.
    fn reaches(&self, gateway: IpAddr) -> bool {
        match (gateway, self.ipv4, self.ipv6) {
            (IpAddr::V4(gateway), Addressing::Static(own, prefix), _) => {
                let [gateway, own] = [gateway, own].map(u32::from);
                gateway != own && (gateway ^ own).leading_zeros() >= u32::from(prefix)
            }
            (IpAddr::V6(gateway), _, Addressing::Static(own, prefix)) => {
                let link_local = gateway.is_unicast_link_local();
                let [gateway, own] = [gateway, own].map(u128::from);
                gateway != own
                    && (link_local || (gateway ^ own).leading_zeros() >= u32::from(prefix))
            }
            _ => false,
        }
    }
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(name) = &self.name {
            writeln!(f, "name {name}")?;
        }
        writeln!(f, "ipv4 {}", self.ipv4)?;
        writeln!(f, "ipv6 {}", self.ipv6)?;
        self.gateways.iter().try_for_each(|address| writeln!(f, "gateway {address}"))?;
        self.dns.iter().try_for_each(|address| writeln!(f, "dns {address}"))
    }
}

impl<A: fmt::Display> fmt::Display for Addressing<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Automatic => f.write_str("auto"),
            Self::Off => f.write_str("off"),
            Self::Static(address, prefix) => write!(f, "{address}/{prefix}"),
        }
    }
}

/// RFC 1123, section 2.1, in small letters.
fn is_host_name(name: &str) -> bool {
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    (1..=63).contains(&name.len())
        && name.chars().all(allowed)
        && !name.starts_with('-')
        && !name.ends_with('-')
}

/// `automatic`, `off`, or an address with 1 to `longest` bits of a network, which a host can have.
fn addressing<A: std::str::FromStr + Copy>(
    text: &str,
    automatic: &str,
    longest: u8,
    is_host: impl Fn(A, u8) -> bool,
) -> Option<Addressing<A>> {
    match text {
        "off" => Some(Addressing::Off),
        text if text == automatic => Some(Addressing::Automatic),
        text => {
            let (address, prefix) = text.split_once('/')?;
            let (address, prefix) = (address.parse().ok()?, prefix.parse().ok()?);
            ((1..=longest).contains(&prefix) && is_host(address, prefix))
                .then_some(Addressing::Static(address, prefix))
        }
    }
}

/// Neither the network itself nor all of its machines.
fn is_host_v4(address: Ipv4Addr, prefix: u8) -> bool {
    let host = u32::from(address) & (u32::MAX >> prefix);
    let [first, ..] = address.octets();
    // From 224 on: multicast, and what has no use.
    (1..224).contains(&first) && !address.is_loopback() && host != 0 && host != u32::MAX >> prefix
}

fn is_host_v6(address: Ipv6Addr, _: u8) -> bool {
    !address.is_unspecified() && !address.is_loopback() && !address.is_multicast()
}

fn addresses(layers: &Layers, key: &str, texts: &[String]) -> Result<Vec<IpAddr>, Error> {
    let address = |text: &String| match text.parse::<IpAddr>() {
        Ok(address) if !address.is_unspecified() && !address.is_multicast() => Ok(address),
        _ => {
            let problem = format!("{text:?} is no address: list IPv4 or IPv6 addresses, no names");
            Err(layers.refuse(key, &problem))
        }
    };
    texts.iter().map(address).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, Layer};

    fn device(text: &str) -> Result<Device, String> {
        let layer = Layer::new("peercam.toml", format!("[device]\n{text}"));
        Config::from_layers(&[layer]).map(|config| config.device).map_err(|error| error.to_string())
    }

    #[test]
    fn nothing_said_means_whatever_the_network_says() {
        assert_eq!(device("").unwrap(), Device::default());
        assert_eq!(Device::default().to_string(), "ipv4 auto\nipv6 auto\n");
    }

    #[test]
    fn start_scripts_get_a_line_for_each_thing() {
        let text = "name = \"front-door\"\nipv4 = \"192.168.1.20/24\"\nipv6 = \"2001:db8::20/64\"\n\
                    gateways = [\"192.168.1.1\", \"fe80::1\"]\ndns = [\"9.9.9.9\", \"2620:fe::fe\"]";
        assert_eq!(
            device(text).unwrap().to_string(),
            "name front-door\nipv4 192.168.1.20/24\nipv6 2001:db8::20/64\ngateway 192.168.1.1\n\
             gateway fe80::1\ndns 9.9.9.9\ndns 2620:fe::fe\n"
        );
        let text = "ipv4 = \"off\"\nipv6 = \"2001:db8::20/64\"\ngateways = [\"2001:db8::1\"]";
        let lines = "ipv4 off\nipv6 2001:db8::20/64\ngateway 2001:db8::1\n";
        assert_eq!(device(text).unwrap().to_string(), lines);
    }

    #[test]
    fn what_would_leave_a_camera_alone_is_refused() {
        for (text, key) in [
            ("name = \"\"", "device.name"),
            ("name = \"Front door\"", "device.name"),
            ("name = \"door-\"", "device.name"),
            ("name = \"$(reboot)\"", "device.name"),
            ("ipv4 = \"192.168.1.20\"", "device.ipv4"),
            ("ipv4 = \"192.168.1.0/24\"", "device.ipv4"),
            ("ipv4 = \"192.168.1.255/24\"", "device.ipv4"),
            ("ipv4 = \"192.168.1.20/0\"", "device.ipv4"),
            ("ipv4 = \"192.168.1.20/33\"", "device.ipv4"),
            ("ipv4 = \"224.0.0.1/24\"", "device.ipv4"),
            ("ipv4 = \"127.0.0.1/8\"", "device.ipv4"),
            ("ipv4 = \"auto\"", "device.ipv4"),
            ("ipv6 = \"dhcp\"", "device.ipv6"),
            ("ipv6 = \"ff02::1/64\"", "device.ipv6"),
            ("ipv6 = \"2001:db8::20\"", "device.ipv6"),
            ("ipv4 = \"off\"\nipv6 = \"off\"", "device.ipv6"),
            ("gateways = [\"192.168.1.1\"]", "device.gateways"),
            ("ipv4 = \"192.168.1.20/24\"\ngateways = [\"192.168.2.1\"]", "device.gateways"),
            ("ipv4 = \"192.168.1.20/24\"\ngateways = [\"192.168.1.20\"]", "device.gateways"),
            ("ipv4 = \"192.168.1.20/24\"\ngateways = [\"fe80::1\"]", "device.gateways"),
            ("ipv4 = \"10.0.0.2/8\"\ngateways = [\"10.0.0.1\", \"10.0.0.3\"]", "device.gateways"),
            ("dns = [\"dns.example\"]", "device.dns"),
            ("dns = [\"9.9.9.1\", \"9.9.9.2\", \"9.9.9.3\", \"9.9.9.4\"]", "device.dns"),
        ] {
            let said = device(text).unwrap_err();
            assert!(said.starts_with(&format!("peercam.toml: {key} = ")), "{text}: {said}");
        }
    }

    #[test]
    fn a_key_that_nobody_knows_is_refused_with_its_line() {
        let said = device("name = \"door\"\nadress = \"10.0.0.2/8\"").unwrap_err();
        assert!(said.contains("line 3") && said.contains("adress"), "{said}");
    }
}
