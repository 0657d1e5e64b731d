//! STUN and TURN servers as the rendezvous names them, made ready for the library.
//!
//! The library looks names up in the middle of its work: a name server that does not answer would
//! hold up even a viewer in the next room. So names are looked up here, before anyone joins, and
//! the library gets addresses.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use peercam_protocol::signalling::IceServer;
use rtc::{ice::url::SchemeType, peer_connection::transport::RTCIceServer};
use tokio::{sync::watch, task::JoinHandle};
use tracing::{debug, warn};

/// For one round of looking up.
const LOOK_UP: Duration = Duration::from_secs(5);
/// How often names are looked up again.
const REFRESH: Duration = Duration::from_secs(300);

/// The servers of one rendezvous connection, kept looked up. Looking up ends when it is dropped.
#[derive(Debug)]
pub struct Servers {
    current: watch::Receiver<Vec<RTCIceServer>>,
    task: JoinHandle<()>,
}

impl Servers {
    /// Begins to look up `servers`.
    pub fn new(servers: &[IceServer]) -> Self {
        let usable: Arc<[Usable]> = usable(servers).into();
        let (sender, current) = watch::channel(Vec::new());
        let task = tokio::spawn(async move {
            while !usable.is_empty() {
                sender.send_replace(look_up(&usable).await);
                tokio::time::sleep(REFRESH).await;
            }
        });
        Self { current, task }
    }

    /// What is known now. A viewer who comes before a name was found does without that server.
    pub fn current(&self) -> Vec<RTCIceServer> {
        self.current.borrow().clone()
    }
}

impl Drop for Servers {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// One server that the library can use.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Usable {
    scheme: SchemeType,
    host: String,
    port: u16,
    username: String,
    credential: String,
}

/// Those the library can use: it knows UDP only.
fn usable(servers: &[IceServer]) -> Vec<Usable> {
    let mut all = Vec::new();
    for server in servers {
        let username = server.username.clone().unwrap_or_default();
        let credential = server.credential.clone().unwrap_or_default();
        for url in &server.urls {
            let named = RTCIceServer {
                urls: vec![plain(url).to_owned()],
                username: username.clone(),
                credential: credential.clone(),
            };
            match named.urls().as_deref() {
                Ok([parsed]) if is_udp(parsed.scheme, url) => all.push(Usable {
                    scheme: parsed.scheme,
                    host: parsed.host.clone(),
                    port: parsed.port,
                    username: username.clone(),
                    credential: credential.clone(),
                }),
                Ok(_) => debug!("only servers on UDP are used, not {url}"),
                Err(error) => warn!("the rendezvous names {url:?} as ICE server: {error}"),
            }
        }
    }
    all
}

/// STUN has no transport in its URL (RFC 7064), though it is often written.
fn plain(url: &str) -> &str {
    if url.starts_with("stun:") { url.split('?').next().unwrap_or(url) } else { url }
}

fn is_udp(scheme: SchemeType, url: &str) -> bool {
    matches!(scheme, SchemeType::Stun | SchemeType::Turn) && !url.contains("transport=tcp")
}

async fn look_up(servers: &[Usable]) -> Vec<RTCIceServer> {
    let mut found = Vec::new();
    for server in servers {
        let name = (server.host.as_str(), server.port);
        match tokio::time::timeout(LOOK_UP, tokio::net::lookup_host(name)).await {
            Ok(Ok(addresses)) => found.extend(one_of_each_family(addresses).map(|a| server.at(a))),
            Ok(Err(error)) => warn!("the ICE server {} can't be looked up: {error}", server.host),
            Err(_) => warn!("the ICE server {} can't be looked up in time", server.host),
        }
    }
    found
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

impl Usable {
    fn at(&self, address: SocketAddr) -> RTCIceServer {
        let scheme = if self.scheme == SchemeType::Turn { "turn" } else { "stun" };
        RTCIceServer {
            urls: vec![format!("{scheme}:{address}")],
            username: self.username.clone(),
            credential: self.credential.clone(),
        }
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
            server(&["turn:127.0.0.2:3479?transport=udp", "turn:[::1]"], Some("x")),
        ];
        let found = look_up(&usable(&servers)).await;
        let urls: Vec<&str> = found.iter().map(|server| server.urls[0].as_str()).collect();
        assert_eq!(
            urls,
            ["stun:127.0.0.1:3478", "stun:127.0.0.1:99", "turn:127.0.0.2:3479", "turn:[::1]:3478"]
        );
        assert!(found.iter().all(|server| server.urls().is_ok()), "{found:?}");
    }

    #[test]
    fn what_the_library_can_not_use_is_left_out() {
        let servers = [
            server(&["turns:a", "turn:a?transport=tcp", "turn:b"], Some("x")),
            server(&["stuns:a", "http://a", "", "turn:without-a-password"], None),
        ];
        let usable = usable(&servers);
        assert_eq!(usable.len(), 1);
        assert_eq!(usable[0].host, "b");
    }
}
