//! The configuration: what may stand in the file (`File`, private), and what the rest of the
//! program sees ([`Config`], checked).
//!
//! Every key is explained in `rendezvous.example.toml`, which a test holds to be complete.

use std::{
    collections::HashSet,
    net::{IpAddr, SocketAddr},
    ops::Range,
    path::{Path, PathBuf},
    time::Duration,
};

use peercam_protocol::{
    PublicKey, RoomId,
    signalling::IceServer,
    wire::{MAX_MESSAGE_SIZE, encode},
};
use serde::Deserialize;
use toml::Spanned;

use crate::{
    cluster::config::{ClusterConfig, ClusterTable},
    turn::{IceServers, TurnSecret, TurnServers},
};

mod operation;

pub use operation::{Admin, EventKind, LogFormat, TlsFiles, Webhook};
use operation::{AdminTable, LogTable, MetricsTable, WebhookTable, drain};

/// Everything a [`Server`](crate::Server) has to know. `Config::default()` serves on
/// `127.0.0.1:8080` with limits that suit a public server.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Config {
    /// Address and port to listen on; port 0 lets the system choose.
    pub listen: SocketAddr,
    /// Certificate and key, where the server does TLS itself.
    pub tls: Option<TlsFiles>,
    /// How long cameras have to move to another server when this one ends; nobody waits where
    /// there are none.
    pub drain: Duration,
    /// The administrator's interface; none unless it is asked for.
    pub admin: Option<Admin>,
    /// Whether anybody may read the metrics, at `/metrics`.
    pub public_metrics: bool,
    /// Servers that are told of events.
    pub webhooks: Vec<Webhook>,
    /// How the log is written.
    pub log_format: LogFormat,
    /// Reverse proxies whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Vec<IpAddr>,
    /// What the server is called in addresses, with the port where they have one; where none is
    /// named it answers to all.
    pub public_names: Vec<String>,
    /// STUN and TURN servers, handed to cameras and viewers as they are.
    pub ice_servers: Vec<IceServer>,
    /// TURN servers, handed out with passwords that expire.
    pub turn_servers: Vec<TurnServers>,
    /// Where the server keeps its key and the claims to rooms. Without it they end with it.
    pub state_dir: Option<PathBuf>,
    /// Which cameras are served.
    pub rooms: RoomList,
    /// What one peer, or all of them, may use.
    pub limits: Limits,
    /// How a dead peer is noticed.
    pub liveness: Liveness,
    /// The other nodes that serve the same rooms; none where this is the only one.
    pub cluster: Option<ClusterConfig>,
}

/// Which cameras are served: those whose key, or whose room, is listed; all of them, where no list
/// names any.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
#[non_exhaustive]
pub struct RoomList {
    /// Keys of cameras.
    pub allow_keys: HashSet<PublicKey>,
    /// Names of rooms.
    pub allow_rooms: HashSet<RoomId>,
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
    /// Seconds a camera has to prove who it is.
    pub proof_seconds: u64,
    /// Rooms with a camera in them.
    pub rooms: usize,
    /// Named rooms that one key may claim.
    pub rooms_per_key: usize,
    /// Claims to named rooms.
    pub claims: usize,
    /// Claims that one address may make or change in an hour.
    pub claims_per_address_per_hour: u32,
    /// Sessions that viewers from one address may begin in a minute.
    pub joins_per_address_per_minute: u32,
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
            proof_seconds: 10,
            rooms: 10_000,
            rooms_per_key: 16,
            claims: 100_000,
            claims_per_address_per_hour: 120,
            joins_per_address_per_minute: 300,
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
}

impl Default for Liveness {
    fn default() -> Self {
        Self { ping_every: Duration::from_secs(10), dead_after: Duration::from_secs(30) }
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 8080)),
            tls: None,
            drain: Duration::from_secs(10),
            admin: None,
            public_metrics: false,
            webhooks: Vec::new(),
            log_format: LogFormat::Text,
            trusted_proxies: Vec::new(),
            public_names: Vec::new(),
            ice_servers: Vec::new(),
            turn_servers: Vec::new(),
            state_dir: None,
            rooms: RoomList::default(),
            limits: Limits::default(),
            liveness: Liveness::default(),
            cluster: None,
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
    drain_seconds: Option<Spanned<u64>>,
    admin: Option<Spanned<AdminTable>>,
    metrics: MetricsTable,
    webhooks: Vec<Spanned<WebhookTable>>,
    log: LogTable,
    trusted_proxies: Vec<Spanned<String>>,
    public_names: Vec<Spanned<String>>,
    state_dir: Option<Spanned<PathBuf>>,
    rooms: RoomList,
    ice_servers: Vec<Spanned<IceServerTable>>,
    limits: Option<Spanned<Limits>>,
    liveness: Option<Spanned<LivenessTable>>,
    cluster: Option<Spanned<ClusterTable>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct IceServerTable {
    urls: Vec<String>,
    username: Option<String>,
    credential: Option<String>,
    secret_file: Option<PathBuf>,
    ttl_seconds: Option<u64>,
}

/// Time that user names and passwords made from a secret are good, in seconds, if nothing is said.
const TTL: u64 = 12 * 3600;

/// Most that all ICE servers together may take in a message, in bytes.
const ICE_BYTES: usize = 8 * 1024;

#[derive(Debug, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
struct LivenessTable {
    ping_seconds: u64,
    dead_seconds: u64,
}

impl Default for LivenessTable {
    fn default() -> Self {
        let Liveness { ping_every, dead_after } = Liveness::default();
        Self { ping_seconds: ping_every.as_secs(), dead_seconds: dead_after.as_secs() }
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

    /// All STUN and TURN servers.
    pub(crate) fn ice_servers(&self) -> IceServers {
        IceServers::new(self.ice_servers.clone(), self.turn_servers.clone())
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
        config.drain = drain(self.drain_seconds)?.unwrap_or(config.drain);
        if let Some(admin) = self.admin {
            config.admin = Some(check(admin, |admin| admin.check(config.tls.is_some()))?);
        }
        config.public_metrics = self.metrics.public;
        for webhook in self.webhooks {
            config.webhooks.push(check(webhook, WebhookTable::check)?);
        }
        config.log_format = self.log.format;
        for proxy in self.trusted_proxies {
            config.trusted_proxies.push(check(proxy, |text| {
                text.parse().map_err(|_| {
                    format!(
                        "trusted-proxies: {text:?} is no IP address, \"127.0.0.1\" for instance"
                    )
                })
            })?);
        }
        for name in self.public_names {
            config.public_names.push(check(name, |text| {
                if text.is_empty()
                    || text.contains(|c: char| "/@?#".contains(c) || c.is_whitespace())
                {
                    return Err(format!(
                        "public-names: {text:?}: write HOST or HOST:PORT as it stands in the \
                         cameras' addresses, \"cam.example.org\" for instance"
                    ));
                }
                Ok(text)
            })?);
        }
        config.state_dir =
            self.state_dir.map(|dir| check(dir, absolute("state-dir"))).transpose()?;
        config.rooms = self.rooms;
        for server in self.ice_servers {
            let at = server.span();
            match check(server, IceServerTable::check)? {
                Ice::Fixed(server) => config.ice_servers.push(server),
                Ice::Turn(servers) => config.turn_servers.push(servers),
            }
            let bytes = encode(&config.ice_servers().hand_out(0)).len();
            if bytes > ICE_BYTES {
                let message = format!(
                    "ice-servers: with this one they take {bytes} bytes in a message: name fewer, \
                     {ICE_BYTES} is the limit"
                );
                return Err(Mistake { at, message });
            }
        }
        if let Some(limits) = self.limits {
            config.limits = check(limits, Limits::check)?;
        }
        if let Some(liveness) = self.liveness {
            config.liveness = check(liveness, LivenessTable::check)?;
        }
        if let Some(cluster) = self.cluster {
            config.cluster = Some(check(cluster, ClusterTable::check)?);
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

/// A path that means the same wherever the server is started.
fn absolute(key: &str) -> impl Fn(PathBuf) -> Result<PathBuf, String> {
    move |path| {
        if path.is_absolute() {
            return Ok(path);
        }
        Err(format!("{key} = {path:?}: use an absolute path"))
    }
}

enum Ice {
    Fixed(IceServer),
    Turn(TurnServers),
}

impl IceServerTable {
    fn check(self) -> Result<Ice, String> {
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
            let fixed = self.username.is_some() && self.credential.is_some();
            if turn && !fixed && self.secret_file.is_none() {
                return Err(format!(
                    "ice-servers: {url:?} needs secret-file, or username and credential: \
                     browsers refuse a TURN server without a password"
                ));
            }
        }
        let Self { urls, username, credential, secret_file, ttl_seconds } = self;
        let Some(file) = secret_file else {
            if ttl_seconds.is_some() {
                return Err("ice-servers: ttl-seconds says how long passwords made from a \
                            secret-file are good, and there is none"
                    .to_owned());
            }
            return Ok(Ice::Fixed(IceServer { urls, username, credential }));
        };
        if username.is_some() || credential.is_some() {
            return Err("ice-servers: secret-file makes user names and passwords: \
                        leave username and credential out"
                .to_owned());
        }
        let ttl = ttl_seconds.unwrap_or(TTL);
        if !(60..=7 * 24 * 3600).contains(&ttl) {
            return Err(format!("ice-servers: ttl-seconds = {ttl}: use 60 to 604800"));
        }
        let file = absolute("ice-servers: secret-file")(file)?;
        let secret = std::fs::read_to_string(&file)
            .map_err(|error| error.to_string())
            .and_then(|text| TurnSecret::new(&text).map_err(str::to_owned))
            .map_err(|error| format!("ice-servers: secret-file {}: {error}", file.display()))?;
        Ok(Ice::Turn(TurnServers { urls, secret, ttl: Duration::from_secs(ttl) }))
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
            ("proof-seconds", self.proof_seconds.min(1) as usize),
            ("rooms", self.rooms),
            ("rooms-per-key", self.rooms_per_key),
            ("claims", self.claims),
            ("claims-per-address-per-hour", self.claims_per_address_per_hour as usize),
            ("joins-per-address-per-minute", self.joins_per_address_per_minute as usize),
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
        let Self { ping_seconds, dead_seconds } = self;
        if ping_seconds == 0 {
            return Err("liveness: ping-seconds must be 1 or more".to_owned());
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
        })
    }
}
