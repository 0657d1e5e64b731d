//! STUN and TURN servers as the rendezvous names them (RFC 7064, RFC 7065), made ready for
//! sessions.
//!
//! The library looks names up in the middle of its work: a name server that does not answer would
//! hold up even a viewer in the next room. So the names of servers on UDP are looked up here,
//! each by itself, before anyone joins, and again and again. Those on TCP and TLS are looked up
//! by each stream when it is opened ([`turn`](super::turn)).

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use futures_util::{StreamExt, stream::FuturesUnordered};
use peercam_protocol::signalling::IceServer;
use rtc::{
    ice::url::{ProtoType, SchemeType, Url},
    peer_connection::transport::RTCIceServer,
};
use tokio::{sync::watch, task::JoinHandle};
use tracing::warn;

use super::turn::Turn;
use crate::tls::Tls;

/// For looking a name up.
const LOOK_UP: Duration = Duration::from_secs(5);
/// How often names are looked up again, and those that were not found.
const REFRESH: Duration = Duration::from_secs(300);
const RETRY: Duration = Duration::from_secs(15);
/// URLs of one rendezvous that are used. Each costs every session time and every TURN server one
/// allocation.
const MAX_SERVERS: usize = 16;

/// The servers of one rendezvous connection, kept looked up. Looking up ends when it is dropped.
#[derive(Debug)]
pub struct Servers {
    streams: Vec<StreamServer>,
    named: Vec<Named>,
    /// Of each that is named, as far as they were found.
    addresses: watch::Receiver<Vec<Vec<SocketAddr>>>,
    task: JoinHandle<()>,
}

/// What one session may use.
#[derive(Debug, Clone, Default)]
pub struct IceServers {
    /// STUN and TURN on UDP.
    pub(super) datagrams: Vec<DatagramServer>,
    /// TURN on TCP and TLS.
    pub(super) streams: Vec<StreamServer>,
}

/// A server on UDP, with one of its addresses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct DatagramServer {
    /// For the log.
    pub name: Arc<str>,
    pub address: SocketAddr,
    /// Whether it is asked to relay (TURN) or only for our address (STUN).
    pub relays: bool,
    pub credentials: Credentials,
}

/// A TURN server on TCP or TLS.
#[derive(Debug, Clone)]
pub(super) struct StreamServer {
    /// For the log.
    pub name: Arc<str>,
    pub host: String,
    pub port: u16,
    /// Whom to trust; none: plain TCP.
    pub tls: Option<Tls>,
    pub credentials: Credentials,
}

/// For the long-term mechanism of RFC 8489 §9.2. Kept out of every log.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Credentials {
    pub username: String,
    pub password: String,
}

impl Servers {
    /// Begins to look up `servers`.
    pub fn new(servers: &[IceServer], turn: &Turn) -> Self {
        let Usable { named, streams, unused } = usable(servers, turn);
        for problem in unused {
            warn!("{problem}");
        }
        // What is an address already is there for the very first viewer.
        let known = named.iter().map(|named| Vec::from_iter(named.known())).collect();
        let (sender, addresses) = watch::channel(known);
        let wanted = named.clone();
        let task = tokio::spawn(async move {
            let mut each: FuturesUnordered<_> = wanted
                .iter()
                .zip(0..)
                .filter(|(named, _)| named.known().is_none())
                .map(|(named, nth)| keep_looked_up(named, nth, &sender))
                .collect();
            while each.next().await.is_some() {}
        });
        Self { streams, named, addresses, task }
    }

    /// The rendezvous names its servers again: most often the same ones with fresh credentials,
    /// and then what was looked up stays.
    pub fn renew(&mut self, servers: &[IceServer], turn: &Turn) {
        let Usable { named, streams, .. } = usable(servers, turn);
        let same = named.iter().map(|named| &named.name).eq(self.named.iter().map(|it| &it.name))
            && streams.iter().map(|it| &it.name).eq(self.streams.iter().map(|it| &it.name));
        if same {
            (self.named, self.streams) = (named, streams);
        } else {
            *self = Self::new(servers, turn);
        }
    }

    /// What is known now. A viewer who comes before a name was found does without that server.
    pub fn current(&self) -> IceServers {
        let addresses = self.addresses.borrow();
        let all = self.named.iter().zip(&*addresses);
        let datagrams =
            all.flat_map(|(named, found)| found.iter().map(|at| named.at(*at))).collect();
        IceServers { datagrams, streams: self.streams.clone() }
    }
}

impl Drop for Servers {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl IceServers {
    /// Whether any of them relays.
    pub(super) fn relay(&self) -> bool {
        !self.streams.is_empty() || self.datagrams.iter().any(|server| server.relays)
    }
}

impl DatagramServer {
    /// As the library takes it.
    pub fn for_library(&self) -> RTCIceServer {
        let scheme = if self.relays { "turn" } else { "stun" };
        RTCIceServer {
            urls: vec![format!("{scheme}:{}", self.address)],
            username: self.credentials.username.clone(),
            credential: self.credentials.password.clone(),
        }
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credentials(…)")
    }
}

/// Servers out of URLs.
#[derive(Debug, Default)]
struct Usable {
    named: Vec<Named>,
    streams: Vec<StreamServer>,
    /// What can't be used, in words.
    unused: Vec<String>,
}

/// A server on UDP that has a name yet.
#[derive(Debug, Clone)]
struct Named {
    name: Arc<str>,
    host: String,
    port: u16,
    relays: bool,
    credentials: Credentials,
}

/// Sorts out what can be used.
fn usable(servers: &[IceServer], turn: &Turn) -> Usable {
    let mut usable = Usable::default();
    let urls = servers.iter().flat_map(|server| server.urls.iter().map(move |url| (server, url)));
    for (server, text) in urls {
        if usable.named.len() + usable.streams.len() == MAX_SERVERS {
            usable.unused.push(format!(
                "the rendezvous names more than {MAX_SERVERS} ICE servers: {text} is not used"
            ));
            continue;
        }
        let url = match Url::parse_url(plain(text)) {
            Ok(url) => url,
            Err(error) => {
                usable.unused.push(format!("the rendezvous names {text:?} as ICE server: {error}"));
                continue;
            }
        };
        let Url { scheme, host, port, proto, .. } = url;
        let credentials = Credentials {
            username: server.username.clone().unwrap_or_default(),
            password: server.credential.clone().unwrap_or_default(),
        };
        let relays = matches!(scheme, SchemeType::Turn | SchemeType::Turns);
        if relays && (credentials.username.is_empty() || credentials.password.is_empty()) {
            usable.unused.push(format!(
                "the TURN server {text} is not used: give it username and credential"
            ));
            continue;
        }
        let name = Arc::from(text.as_str());
        match (scheme, proto) {
            (SchemeType::Stun, _) | (SchemeType::Turn, ProtoType::Udp) => {
                usable.named.push(Named { name, host, port, relays, credentials });
            }
            (SchemeType::Turn, ProtoType::Tcp) => {
                usable.streams.push(StreamServer { name, host, port, tls: None, credentials });
            }
            (SchemeType::Turns, ProtoType::Tcp) => {
                let tls = Some(turn.tls());
                usable.streams.push(StreamServer { name, host, port, tls, credentials });
            }
            (SchemeType::Turns, _) => {
                usable.unused.push(format!(
                    "{text} is not used: TURN over DTLS is not supported, use transport=tcp"
                ));
            }
            (SchemeType::Stuns, _) => {
                usable.unused.push(format!("{text} is not used: use stun: instead of stuns:"));
            }
            (scheme, _) => {
                let problem = format!("{text} is not used: {scheme} is no scheme for ICE servers");
                usable.unused.push(problem);
            }
        }
    }
    usable
}

/// STUN has no transport in its URL (RFC 7064), though it is often written.
fn plain(url: &str) -> &str {
    if url.starts_with("stun") { url.split('?').next().unwrap_or(url) } else { url }
}

/// Puts what is found in the `nth` place, for ever.
async fn keep_looked_up(named: &Named, nth: usize, found: &watch::Sender<Vec<Vec<SocketAddr>>>) {
    loop {
        let addresses = look_up(named).await;
        let wait = if addresses.is_empty() { RETRY } else { REFRESH };
        // What was found before is better than nothing.
        if !addresses.is_empty() {
            found.send_modify(|all| all[nth] = addresses);
        }
        tokio::time::sleep(wait).await;
    }
}

async fn look_up(named: &Named) -> Vec<SocketAddr> {
    let name = (named.host.as_str(), named.port);
    match tokio::time::timeout(LOOK_UP, tokio::net::lookup_host(name)).await {
        Ok(Ok(addresses)) => one_of_each_family(addresses).collect(),
        Ok(Err(error)) => {
            warn!("the ICE server {} can't be looked up: {error}", named.name);
            Vec::new()
        }
        Err(_) => {
            warn!("the ICE server {} can't be looked up in time", named.name);
            Vec::new()
        }
    }
}

fn one_of_each_family(
    addresses: impl Iterator<Item = SocketAddr>,
) -> impl Iterator<Item = SocketAddr> {
    let (mut v4, mut v6) = (None, None);
    for address in addresses {
        if address.is_ipv4() { &mut v4 } else { &mut v6 }.get_or_insert(address);
    }
    v4.into_iter().chain(v6)
}

impl Named {
    /// Where the name is an address.
    fn known(&self) -> Option<SocketAddr> {
        let ip: IpAddr = self.host.parse().ok()?;
        Some((ip, self.port).into())
    }

    fn at(&self, address: SocketAddr) -> DatagramServer {
        let Self { name, relays, credentials, .. } = self;
        let (name, relays, credentials) = (name.clone(), *relays, credentials.clone());
        DatagramServer { name, address, relays, credentials }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(urls: &[&str], secret: Option<&str>) -> IceServer {
        IceServer {
            urls: urls.iter().map(|&url| url.to_owned()).collect(),
            username: secret.map(str::to_owned),
            credential: secret.map(str::to_owned),
        }
    }

    #[tokio::test]
    async fn servers_on_udp_are_used_by_address() {
        let servers = [
            server(&["stun:127.0.0.1", "stun:127.0.0.1:99?transport=udp"], None),
            server(
                &["turn:127.0.0.2:3479?transport=udp", "turn:[::1]", "stun:localhost"],
                Some("x"),
            ),
        ];
        let servers = Servers::new(&servers, &Turn::default());
        let mut addresses = servers.addresses.clone();
        let found = addresses.wait_for(|all| all.iter().all(|one| !one.is_empty()));
        tokio::time::timeout(Duration::from_secs(30), found).await.unwrap().unwrap();
        let found = servers.current();
        let library: Vec<_> = found.datagrams.iter().map(DatagramServer::for_library).collect();
        let urls: Vec<&str> = library.iter().map(|server| server.urls[0].as_str()).collect();
        assert_eq!(
            urls[..4],
            ["stun:127.0.0.1:3478", "stun:127.0.0.1:99", "turn:127.0.0.2:3479", "turn:[::1]:3478"]
        );
        assert!(urls[4].ends_with(":3478"), "{urls:?}");
        assert!(library.iter().all(|server| server.urls().is_ok()), "{library:?}");
    }

    #[tokio::test]
    async fn fresh_credentials_cost_no_look_up() {
        let named = |secret| [server(&["turn:127.0.0.1", "turns:localhost"], Some(secret))];
        let turn = Turn::default();
        let mut servers = Servers::new(&named("old"), &turn);
        let task = servers.task.id();
        servers.renew(&named("fresh"), &turn);
        assert_eq!(servers.task.id(), task);
        let IceServers { datagrams, streams } = servers.current();
        assert_eq!(datagrams[0].credentials.password, "fresh");
        assert_eq!(streams[0].credentials.password, "fresh");
        // Other servers are other servers.
        servers.renew(&[server(&["turn:127.0.0.2"], Some("fresh"))], &turn);
        assert_ne!(servers.task.id(), task);
        let IceServers { datagrams, streams } = servers.current();
        assert_eq!((datagrams[0].address.to_string(), streams.len()), ("127.0.0.2:3478".into(), 0));
    }

    #[test]
    fn servers_on_streams_keep_their_names() {
        let servers = [server(
            &["turns:a.example", "turns:b:443?transport=tcp", "turn:[::1]?transport=tcp"],
            Some("x"),
        )];
        let Usable { named, streams, .. } = usable(&servers, &Turn::default());
        assert!(named.is_empty());
        let seen: Vec<_> = streams
            .iter()
            .map(|server| (server.host.as_str(), server.port, server.tls.is_some()))
            .collect();
        assert_eq!(seen, [("a.example", 5349, true), ("b", 443, true), ("::1", 3478, false)]);
    }

    #[test]
    fn what_can_not_be_used_is_left_out() {
        let servers = [
            server(&["turn:b", "turns:dtls?transport=udp", "turn:x?transport=sctp"], Some("x")),
            server(&["stuns:a", "http://a", "", "turn:without-a-password", "turns:so-too"], None),
        ];
        let Usable { named, streams, unused } = usable(&servers, &Turn::default());
        assert_eq!(unused.len(), 7, "{unused:?}");
        assert_eq!(named.iter().map(|named| named.host.as_str()).collect::<Vec<_>>(), ["b"]);
        assert!(streams.is_empty());
        let many: Vec<String> = (0..50).map(|nth| format!("turn:server-{nth}")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        let Usable { named, .. } = usable(&[server(&many, Some("x"))], &Turn::default());
        assert_eq!(named.len(), MAX_SERVERS);
    }

    #[test]
    fn credentials_are_not_for_logs() {
        let servers = [server(&["turns:a", "turn:b"], Some("secret"))];
        let usable = usable(&servers, &Turn::default());
        assert!(!format!("{usable:?}").contains("secret"), "{usable:?}");
    }
}
