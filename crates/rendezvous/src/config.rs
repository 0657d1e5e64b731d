//! The configuration: what may stand in the file (`File`, private), and what the rest of the
//! program sees ([`Config`], checked).
//!
//! Every key is explained in `rendezvous.example.toml`, which a test holds to be complete.

use std::{
    net::{IpAddr, SocketAddr},
    ops::Range,
    path::Path,
    time::Duration,
};

use peercam_protocol::{signalling::IceServer, wire::MAX_MESSAGE_SIZE};
use serde::Deserialize;
use toml::Spanned;

mod operation;

pub use operation::TlsFiles;

/// Everything a [`Server`](crate::Server) has to know. `Config::default()` serves on
/// `127.0.0.1:8080` with limits that suit a public server.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Config {
    /// Address and port to listen on; port 0 lets the system choose.
    pub listen: SocketAddr,
    /// Certificate and key, where the server does TLS itself.
    pub tls: Option<TlsFiles>,
    /// Reverse proxies whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Vec<IpAddr>,
    /// STUN and TURN servers, handed to cameras and viewers.
    pub ice_servers: Vec<IceServer>,
    /// What one peer, or all of them, may use.
    pub limits: Limits,
    /// How a dead peer is noticed.
    pub liveness: Liveness,
}

/// What one peer, or all of them, may use. Who asks for more is refused in words.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
#[non_exhaustive]
pub struct Limits {
    /// WebSocket connections and WHEP sessions in all.
    pub connections: usize,
    /// The same from one address (IPv6: from one /64).
    pub connections_per_address: usize,
    /// TCP connections in all that are not, or not yet, WebSockets.
    pub http_connections: usize,
    /// The same from one address.
    pub http_connections_per_address: usize,
    /// Seconds for a request's head to arrive, and for an idle HTTP connection to stay.
    pub request_seconds: u64,
    /// Rooms with a camera in them.
    pub rooms: usize,
    /// Viewers in one room.
    pub viewers_per_room: usize,
    /// ICE candidates of one side in one session.
    pub candidates: u32,
    /// Bytes of one message; at most [`MAX_MESSAGE_SIZE`].
    pub message_bytes: usize,
    /// Bytes that may wait for a viewer that reads slowly.
    pub viewer_queue_bytes: usize,
    /// Bytes that may wait for a camera: all its viewers may join at the same moment.
    pub camera_queue_bytes: usize,
    /// Messages a second from one viewer, in the long run.
    pub viewer_messages_per_second: u32,
    /// Messages at once from one viewer.
    pub viewer_message_burst: u32,
    /// Messages a second from one camera, in the long run. It speaks for all its viewers.
    pub camera_messages_per_second: u32,
    /// Messages at once from one camera.
    pub camera_message_burst: u32,
    /// Messages a minute from one peer that can't be used, before its connection is closed.
    pub bad_messages_per_minute: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 16_000,
            connections_per_address: 256,
            http_connections: 1_024,
            http_connections_per_address: 64,
            request_seconds: 10,
            rooms: 10_000,
            viewers_per_room: 100,
            candidates: 128,
            message_bytes: MAX_MESSAGE_SIZE,
            viewer_queue_bytes: 256 * 1024,
            camera_queue_bytes: 4 * 1024 * 1024,
            viewer_messages_per_second: 50,
            viewer_message_burst: 300,
            camera_messages_per_second: 1_000,
            camera_message_burst: 5_000,
            bad_messages_per_minute: 20,
        }
    }
}

/// How a dead peer is noticed. Any frame counts as a sign of life; a peer that is silent is
/// asked by a ping (RFC 6455 §5.5.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Liveness {
    /// Silence after which a ping is sent, and time between pings.
    pub ping_every: Duration,
    /// Silence after which the connection is given up.
    pub dead_after: Duration,
    /// Time a camera has to give a sign of life when another one wants its room: a camera that
    /// lost power and is back would otherwise find its own dead connection there.
    pub probe: Duration,
}

impl Default for Liveness {
    fn default() -> Self {
        Self {
            ping_every: Duration::from_secs(10),
            dead_after: Duration::from_secs(30),
            probe: Duration::from_secs(3),
        }
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 8080)),
            tls: None,
            trusted_proxies: Vec::new(),
            ice_servers: Vec::new(),
            limits: Limits::default(),
            liveness: Liveness::default(),
        }
    }
}

/// Why there is no [`Config`]. One line, ready to be shown.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file can't be read.
    #[error("{file}: {source}")]
    Read {
        /// The file.
        file: String,
        /// What the system says.
        source: std::io::Error,
    },
    /// The file says something it must not say.
    #[error("{file}:{line}: {message}")]
    Invalid {
        /// The file.
        file: String,
        /// Line in it, from 1.
        line: usize,
        /// What is wrong, and how it should be.
        message: String,
    },
}

/// The file as it is written.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
struct File {
    listen: Option<Spanned<String>>,
    tls: Option<TlsFiles>,
    trusted_proxies: Vec<Spanned<String>>,
    ice_servers: Vec<Spanned<IceServerTable>>,
    limits: Option<Spanned<Limits>>,
    liveness: Option<Spanned<LivenessTable>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct IceServerTable {
    urls: Vec<String>,
    username: Option<String>,
    credential: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
struct LivenessTable {
    ping_seconds: u64,
    dead_seconds: u64,
    probe_seconds: u64,
}

impl Default for LivenessTable {
    fn default() -> Self {
        let Liveness { ping_every, dead_after, probe } = Liveness::default();
        Self {
            ping_seconds: ping_every.as_secs(),
            dead_seconds: dead_after.as_secs(),
            probe_seconds: probe.as_secs(),
        }
    }
}

/// What is wrong, and where in the text it stands.
struct Mistake {
    at: Range<usize>,
    message: String,
}

impl Config {
    /// Reads and checks a TOML file.
    pub fn load(file: &Path) -> Result<Self, ConfigError> {
        let name = file.display().to_string();
        let text = std::fs::read_to_string(file)
            .map_err(|source| ConfigError::Read { file: name.clone(), source })?;
        Self::from_toml(&text, &name)
    }

    /// Checks TOML text; `name` says in errors where it came from.
    pub fn from_toml(text: &str, name: &str) -> Result<Self, ConfigError> {
        let file = toml::from_str::<File>(text).map_err(|error| Mistake {
            at: error.span().unwrap_or_default(),
            message: error.message().replace('\n', ", "),
        });
        file.and_then(File::check).map_err(|Mistake { at, message }| ConfigError::Invalid {
            file: name.to_owned(),
            line: 1 + text.bytes().take(at.start).filter(|&byte| byte == b'\n').count(),
            message,
        })
    }
}

impl File {
    fn check(self) -> Result<Config, Mistake> {
        let mut config = Config::default();
        if let Some(listen) = self.listen {
            config.listen = check(listen, |text| {
                text.parse().map_err(|_| {
                    format!("listen = {text:?}: write ADDRESS:PORT, \"0.0.0.0:8080\" for instance")
                })
            })?;
        }
        config.tls = self.tls;
        for proxy in self.trusted_proxies {
            config.trusted_proxies.push(check(proxy, |text| {
                text.parse().map_err(|_| {
                    format!(
                        "trusted-proxies: {text:?} is no IP address, \"127.0.0.1\" for instance"
                    )
                })
            })?);
        }
        for server in self.ice_servers {
            config.ice_servers.push(check(server, IceServerTable::check)?);
        }
        if let Some(limits) = self.limits {
            config.limits = check(limits, Limits::check)?;
        }
        if let Some(liveness) = self.liveness {
            config.liveness = check(liveness, LivenessTable::check)?;
        }
        Ok(config)
    }
}

/// Turns a value of the file into a value of the program; a refusal points at its line.
fn check<T, U>(
    value: Spanned<T>,
    convert: impl FnOnce(T) -> Result<U, String>,
) -> Result<U, Mistake> {
    let at = value.span();
    convert(value.into_inner()).map_err(|message| Mistake { at, message })
}

impl IceServerTable {
    fn check(self) -> Result<IceServer, String> {
        if self.urls.is_empty() {
            return Err("ice-servers: urls is empty: name at least one, \
                        \"stun:stun.example:3478\" for instance"
                .to_owned());
        }
        for url in &self.urls {
            let (scheme, host) = url.split_once(':').unwrap_or(("", url));
            let turn = matches!(scheme, "turn" | "turns");
            if !(turn || matches!(scheme, "stun" | "stuns"))
                || host.is_empty()
                || host.starts_with('/')
            {
                return Err(format!(
                    "ice-servers: {url:?}: write stun:HOST:PORT, stuns:HOST:PORT, \
                     turn:HOST:PORT?transport=udp or turns:HOST:PORT"
                ));
            }
            if turn && (self.username.is_none() || self.credential.is_none()) {
                return Err(format!(
                    "ice-servers: {url:?} needs username and credential: \
                     browsers refuse a TURN server without them"
                ));
            }
        }
        Ok(IceServer { urls: self.urls, username: self.username, credential: self.credential })
    }
}

impl Limits {
    fn check(self) -> Result<Self, String> {
        for (key, value) in [
            ("connections", self.connections),
            ("connections-per-address", self.connections_per_address),
            ("http-connections", self.http_connections),
            ("http-connections-per-address", self.http_connections_per_address),
            ("request-seconds", self.request_seconds.min(1) as usize),
            ("rooms", self.rooms),
            ("viewers-per-room", self.viewers_per_room),
            ("candidates", self.candidates as usize),
            ("viewer-messages-per-second", self.viewer_messages_per_second as usize),
            ("viewer-message-burst", self.viewer_message_burst as usize),
            ("camera-messages-per-second", self.camera_messages_per_second as usize),
            ("camera-message-burst", self.camera_message_burst as usize),
            ("bad-messages-per-minute", self.bad_messages_per_minute as usize),
        ] {
            if value == 0 {
                return Err(format!("limits: {key} = 0 would let nothing through: use 1 or more"));
            }
        }
        if !(1024..=MAX_MESSAGE_SIZE).contains(&self.message_bytes) {
            return Err(format!(
                "limits: message-bytes = {}: use 1024 to {MAX_MESSAGE_SIZE}",
                self.message_bytes
            ));
        }
        for (key, value) in [
            ("viewer-queue-bytes", self.viewer_queue_bytes),
            ("camera-queue-bytes", self.camera_queue_bytes),
        ] {
            let least = 2 * self.message_bytes;
            if value < least {
                return Err(format!(
                    "limits: {key} = {value} is less than two messages of message-bytes = {}: \
                     use {least} or more",
                    self.message_bytes
                ));
            }
        }
        Ok(self)
    }
}

impl LivenessTable {
    fn check(self) -> Result<Liveness, String> {
        let Self { ping_seconds, dead_seconds, probe_seconds } = self;
        if ping_seconds == 0 || probe_seconds == 0 {
            return Err("liveness: ping-seconds and probe-seconds must be 1 or more".to_owned());
        }
        if dead_seconds <= ping_seconds {
            return Err(format!(
                "liveness: dead-seconds = {dead_seconds} leaves no time to answer a ping that is \
                 sent after ping-seconds = {ping_seconds}: use a larger number"
            ));
        }
        Ok(Liveness {
            ping_every: Duration::from_secs(ping_seconds),
            dead_after: Duration::from_secs(dead_seconds),
            probe: Duration::from_secs(probe_seconds),
        })
    }
}
