//! The configuration: first as a person writes it (`raw`, TOML, in any number of files), then
//! validated ([`Config`], what the rest of the program works with).
//!
//! | module | holds |
//! |---|---|
//! | [`device`] | what is for the camera's own start scripts: its name and its addresses |
//! | [`layers`] | several files as one: later ones win, key by key |
//! | `raw` | the keys |
//!
//! `agent.example.toml` beside this crate's manifest documents every key.

use std::{
    fs::File,
    io::{self, Read},
    net::IpAddr,
    ops::RangeInclusive,
    path::{Path, PathBuf},
};

use peercam_protocol::{
    PublicKey, RoomId,
    key::KeyError,
    signalling::{Door, MAX_ISSUERS},
};

pub mod device;
pub mod layers;
mod raw;

pub use device::Device;
pub use layers::{Layer, Layers};

use crate::{
    rendezvous::{ServerUrl, ServerUrlError},
    session::Patience,
};

/// Most rendezvous servers. Each that is away delays the search for one that is not.
const MAX_SERVERS: usize = 8;

/// Most bytes of a file. A person's are a few hundred.
const MAX_FILE: u64 = 64 * 1024;

/// Where the control socket is unless the configuration says otherwise.
pub const CONTROL_SOCKET: &str = "/run/peercam/control.sock";

/// What the agent does, with every value checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Where the identity key is kept.
    pub state_dir: PathBuf,
    /// What the device is called, and its addresses: not for the agent itself.
    pub device: Device,
    /// Rendezvous servers in order of preference; none: the camera can't be found by viewers.
    pub servers: Vec<ServerUrl>,
    /// PEM file with authorities that may vouch for them, besides those that browsers trust.
    pub rendezvous_ca: Option<PathBuf>,
    /// The room to wait in; none: the one that belongs to the camera's key.
    pub room: Option<RoomId>,
    /// Who may watch.
    pub access: Access,
    /// Where programs on the camera ask it for something; none: nowhere.
    pub control_socket: Option<PathBuf>,
    /// Most viewers at once.
    pub max_viewers: usize,
    /// How viewers reach this machine.
    pub network: Network,
    /// Picture and sound.
    pub media: peercam_media::Config,
    /// How long sessions wait for viewers; not in the file.
    pub patience: Patience,
}

/// Who may watch.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Access {
    /// Everybody, or who has a token.
    pub door: Door,
    /// Keys besides the camera's own that may sign tokens for it; at most [`MAX_ISSUERS`].
    pub owner_keys: Vec<PublicKey>,
    /// Whether tokens that are bound to no key are taken.
    pub bearer: bool,
}

/// How viewers reach this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Network {
    /// Ports that sessions may use, one each, on UDP and TCP; none: any port that is free.
    pub udp_ports: Option<RangeInclusive<u16>>,
    /// Addresses under which this machine can be reached besides its own: the outside of a static
    /// NAT or of a port forwarding, with the same port numbers.
    pub advertise: Vec<IpAddr>,
    /// Whether to offer loopback addresses too, for viewers on this machine.
    pub loopback: bool,
    /// Whether viewers may connect on TCP too, where their network lets no UDP through.
    pub tcp: bool,
    /// Whether viewers reach this machine over TURN servers only, and never learn its addresses.
    pub relay_only: bool,
    /// PEM file with certificate authorities that may vouch for TURN servers on TLS, besides those
    /// that browsers trust.
    pub turn_ca: Option<PathBuf>,
}

/// Why a configuration can't be used. Each says the file, what is wrong in it, and the way out.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file that can't be read.
    #[error("{}: {source}: give --config a file that this user can read", .file.display())]
    Unreadable {
        /// The file.
        file: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file that can't be a configuration.
    #[error("{}: {problem}", .file.display())]
    Strange {
        /// The file.
        file: PathBuf,
        /// What is strange about it, and the way out.
        problem: &'static str,
    },
    /// No TOML, an unknown key, or a value of the wrong type.
    #[error("{}: {message}", .file.display())]
    Syntax {
        /// The file.
        file: PathBuf,
        /// Line, column, the line itself and what is wrong with it.
        message: String,
    },
    /// A value that is not allowed.
    #[error("{}: {key} = {value}: {allowed}", .file.display())]
    Value {
        /// The file whose value counts.
        file: PathBuf,
        /// `viewers.max`
        key: String,
        /// As it stands in TOML.
        value: String,
        /// What is allowed instead.
        allowed: String,
    },
}

impl Config {
    /// Reads files; later ones override earlier ones key by key. No files: the defaults.
    ///
    /// # Errors
    ///
    /// The first thing found wrong.
    pub fn load(files: &[PathBuf]) -> Result<Self, Error> {
        let layers = files
            .iter()
            .map(|file| Ok(Layer { file: file.clone(), text: read(file)? }))
            .collect::<Result<Vec<_>, _>>()?;
        Self::from_layers(&layers)
    }

    /// The same from texts in memory.
    ///
    /// # Errors
    ///
    /// The first thing found wrong.
    pub fn from_layers(layers: &[Layer]) -> Result<Self, Error> {
        let (layers, raw) = Layers::merge::<raw::Config>(layers)?;
        Self::validate(&layers, raw)
    }

    fn validate(layers: &Layers, raw: raw::Config) -> Result<Self, Error> {
        let raw::Config {
            state_dir,
            device,
            rendezvous,
            access,
            control,
            viewers,
            network,
            video,
            audio,
        } = raw;
        if !state_dir.is_absolute() {
            return Err(layers.refuse("state-dir", "use an absolute path"));
        }
        let mut servers: Vec<ServerUrl> = Vec::new();
        for url in &rendezvous.urls {
            let refuse =
                |problem: &str| layers.refuse("rendezvous.urls", &format!("{url:?}: {problem}"));
            let server = url.parse().map_err(|error: ServerUrlError| refuse(&error.to_string()))?;
            if servers.contains(&server) {
                return Err(refuse("is named twice"));
            }
            servers.push(server);
        }
        if servers.len() > MAX_SERVERS {
            let allowed = format!("allowed are {MAX_SERVERS} servers");
            return Err(layers.refuse("rendezvous.urls", &allowed));
        }
        if rendezvous.ca.as_ref().is_some_and(|file| !file.is_absolute()) {
            return Err(layers.refuse("rendezvous.ca", "use an absolute path"));
        }
        let room = match rendezvous.room.as_deref() {
            None => None,
            Some(room) => {
                Some(room.parse().map_err(|error: peercam_protocol::room::RoomIdError| {
                    layers.refuse("rendezvous.room", &error.to_string())
                })?)
            }
        };
        if !control.socket.is_absolute() {
            return Err(layers.refuse("control.socket", "use an absolute path"));
        }
        if !(1..=1000).contains(&viewers.max) {
            return Err(layers.refuse("viewers.max", "allowed is 1 to 1000"));
        }
        let media = peercam_media::Config { video, audio };
        media.check().map_err(|error| layers.refuse_as(error.key, error.value, &error.allowed))?;
        Ok(Self {
            state_dir,
            device: Device::validate(layers, device)?,
            servers,
            rendezvous_ca: rendezvous.ca,
            room,
            access: Access::validate(layers, access)?,
            control_socket: Some(control.socket).filter(|_| control.enabled),
            max_viewers: viewers.max,
            network: Network::validate(layers, network)?,
            media,
            patience: Patience::default(),
        })
    }
}

/// The text of a configuration file: no more of it than makes sense, wherever it comes from.
fn read(file: &Path) -> Result<String, Error> {
    let strange = |problem| Error::Strange { file: file.to_owned(), problem };
    let unreadable = |source| Error::Unreadable { file: file.to_owned(), source };
    let opened = File::open(file).map_err(unreadable)?;
    let mut bytes = Vec::new();
    opened.take(MAX_FILE + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() as u64 > MAX_FILE {
        return Err(strange(
            "is larger than 64 KiB, and no configuration: write only the keys you change",
        ));
    }
    String::from_utf8(bytes)
        .map_err(|_| strange("is no text in UTF-8: have your editor save it as that"))
}

impl Access {
    fn validate(layers: &Layers, raw: raw::Access) -> Result<Self, Error> {
        let raw::Access { door, owner_keys: texts, bearer } = raw;
        let mut owner_keys: Vec<PublicKey> = Vec::new();
        for text in &texts {
            let refuse =
                |problem: &str| layers.refuse("access.owner-keys", &format!("{text:?}: {problem}"));
            let key = text.parse().map_err(|error: KeyError| refuse(&error.to_string()))?;
            if owner_keys.contains(&key) {
                return Err(refuse("is named twice"));
            }
            owner_keys.push(key);
        }
        if owner_keys.len() > MAX_ISSUERS {
            let allowed = format!("allowed are {MAX_ISSUERS} keys");
            return Err(layers.refuse("access.owner-keys", &allowed));
        }
        Ok(Self { door, owner_keys, bearer })
    }
}

impl Network {
    fn validate(layers: &Layers, raw: raw::Network) -> Result<Self, Error> {
        let raw::Network { udp_ports, advertise, loopback, tcp, relay_only, turn_ca } = raw;
        let refuse = || {
            layers.refuse(
                "network.udp-ports",
                "write it as \"first-last\", such as \"50000-50015\", with ports from 1024 to 65535",
            )
        };
        let udp_ports = match udp_ports {
            None => None,
            Some(text) => Some(parse_ports(&text).ok_or_else(refuse)?),
        };
        let advertise = advertise
            .iter()
            .map(|address| match address.parse::<IpAddr>() {
                Ok(ip) if !ip.is_unspecified() && !ip.is_multicast() => Ok(ip),
                _ => Err(layers.refuse(
                    "network.advertise",
                    &format!("{address:?} is no address: list IPv4 or IPv6 addresses, no names"),
                )),
            })
            .collect::<Result<Vec<_>, _>>()?;
        if turn_ca.as_ref().is_some_and(|file| !file.is_absolute()) {
            return Err(layers.refuse("network.turn-ca", "use an absolute path"));
        }
        Ok(Self { udp_ports, advertise, loopback, tcp, relay_only, turn_ca })
    }
}

fn parse_ports(text: &str) -> Option<RangeInclusive<u16>> {
    let (first, last) = text.split_once('-')?;
    let (first, last) = (first.trim().parse::<u16>().ok()?, last.trim().parse::<u16>().ok()?);
    (first >= 1024 && first <= last).then_some(first..=last)
}

/// The annotated example: every key with its default, for `--help` and the documentation.
pub const EXAMPLE: &str = include_str!("../../agent.example.toml");

impl Default for Config {
    /// What an empty configuration means.
    fn default() -> Self {
        let raw = raw::Config::default();
        Self {
            state_dir: raw.state_dir,
            device: Device::default(),
            servers: Vec::new(),
            rendezvous_ca: None,
            room: None,
            access: Access::default(),
            control_socket: Some(raw.control.socket),
            max_viewers: raw.viewers.max,
            network: Network::default(),
            media: peercam_media::Config { video: raw.video, audio: raw.audio },
            patience: Patience::default(),
        }
    }
}

impl Default for Network {
    fn default() -> Self {
        let raw::Network { loopback, tcp, relay_only, .. } = raw::Network::default();
        Self { udp_ports: None, advertise: Vec::new(), loopback, tcp, relay_only, turn_ca: None }
    }
}

impl Layer {
    /// A layer whose text is not from a file; `name` stands for it in errors.
    pub fn new(name: impl AsRef<Path>, text: impl Into<String>) -> Self {
        Self { file: name.as_ref().to_owned(), text: text.into() }
    }
}

#[cfg(test)]
mod tests;
