//! The rendezvous server's address.

use std::{fmt, net::Ipv6Addr, str::FromStr};

use peercam_protocol::{RoomId, ShareLink};
use tokio_tungstenite::tungstenite::http::Uri;

/// `ws://host:port` or `wss://host`, with or without a path before the server's own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerUrl {
    secure: bool,
    host: String,
    port: Option<u16>,
    path: String,
}

/// Why a text is no [`ServerUrl`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ServerUrlError {
    /// Not ws or wss.
    #[error("a rendezvous address begins with ws:// or wss://, such as wss://cam.example.org")]
    Scheme,
    /// No host, or no address at all.
    #[error("a rendezvous address names a host, such as ws://192.168.1.2:8080")]
    Host,
    /// More than a host and a path.
    #[error("a rendezvous address has no user, '?' or '#' in it")]
    Extra,
}

impl ServerUrl {
    /// Whether it is reached by TLS.
    pub fn is_secure(&self) -> bool {
        self.secure
    }

    /// Name or address of the host; an IPv6 address without brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port, spelled out or the scheme's own.
    pub fn port(&self) -> u16 {
        self.port.unwrap_or(if self.secure { 443 } else { 80 })
    }

    /// Where a camera hosts `room`.
    pub fn host_address(&self, room: &RoomId) -> String {
        format!("{self}/host/{room}")
    }

    /// What a person opens to watch `room`. None where the server sits behind a path: share links
    /// have none.
    pub fn watch_link(&self, room: &RoomId) -> Option<ShareLink> {
        ShareLink::new(&self.origin()?, room.clone()).ok()
    }

    /// Where its pages are. None where the server sits behind a path.
    pub fn origin(&self) -> Option<String> {
        let scheme = if self.secure { "https" } else { "http" };
        self.path.is_empty().then(|| format!("{scheme}://{}", self.authority()))
    }

    fn authority(&self) -> String {
        let host = &self.host;
        let host = if host.contains(':') { format!("[{host}]") } else { host.clone() };
        match self.port {
            Some(port) => format!("{host}:{port}"),
            None => host,
        }
    }
}

impl FromStr for ServerUrl {
    type Err = ServerUrlError;

    fn from_str(text: &str) -> Result<Self, ServerUrlError> {
        let secure = match text.split_once("://") {
            Some(("ws", _)) => false,
            Some(("wss", _)) => true,
            _ => return Err(ServerUrlError::Scheme),
        };
        let uri: Uri = text.parse().map_err(|_| ServerUrlError::Host)?;
        let authority = uri.authority().ok_or(ServerUrlError::Host)?;
        if authority.as_str().contains('@') || uri.query().is_some() || text.contains('#') {
            return Err(ServerUrlError::Extra);
        }
        let host = uri.host().unwrap_or_default().trim_matches(['[', ']']).to_owned();
        // A port that is no number leaves `port_u16` empty and its text behind the host.
        let port = uri.port_u16();
        let rest = authority.as_str().rsplit_once(']').map_or(authority.as_str(), |(_, rest)| rest);
        // What stands in brackets is an IPv6 address (RFC 3986 §3.2.2), maybe with a zone.
        let address = host.split('%').next().unwrap_or_default();
        if authority.as_str().starts_with('[') && address.parse::<Ipv6Addr>().is_err() {
            return Err(ServerUrlError::Host);
        }
        if host.is_empty() || (rest.contains(':') && port.is_none_or(|port| port == 0)) {
            return Err(ServerUrlError::Host);
        }
        Ok(Self { secure, host, port, path: uri.path().trim_end_matches('/').to_owned() })
    }
}

impl fmt::Display for ServerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.secure { "wss" } else { "ws" };
        write!(f, "{scheme}://{}{}", self.authority(), self.path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn room() -> RoomId {
        "garden".parse().unwrap()
    }

    #[test]
    fn an_address_leads_to_the_host_endpoint_and_to_the_watch_link() {
        for (text, host, link) in [
            (
                "ws://10.0.2.2:8080",
                "ws://10.0.2.2:8080/host/garden",
                "http://10.0.2.2:8080/r/garden",
            ),
            ("wss://cam.example/", "wss://cam.example/host/garden", "https://cam.example/r/garden"),
            ("ws://[::1]:81", "ws://[::1]:81/host/garden", "http://[::1]:81/r/garden"),
        ] {
            let url: ServerUrl = text.parse().unwrap();
            assert_eq!(url.host_address(&room()), host);
            assert_eq!(url.watch_link(&room()).unwrap().to_string(), link);
        }
        let url: ServerUrl = "wss://[2001:db8::1]/peercam".parse().unwrap();
        assert_eq!((url.host(), url.port(), url.is_secure()), ("2001:db8::1", 443, true));
        assert_eq!(url.host_address(&room()), "wss://[2001:db8::1]/peercam/host/garden");
        assert_eq!(url.watch_link(&room()), None);
    }

    #[test]
    fn refusals() {
        let refusal = |text: &str| text.parse::<ServerUrl>().unwrap_err();
        for text in ["http://cam.example", "cam.example", "", "WS://cam.example"] {
            assert_eq!(refusal(text), ServerUrlError::Scheme, "{text}");
        }
        for text in [
            "ws://",
            "ws://:80",
            "ws://a b",
            "ws://host:port",
            "ws://host:99999",
            "ws://[::1",
            "ws://[host]",
            "ws://[192.0.2.7:8080]:80",
        ] {
            assert_eq!(refusal(text), ServerUrlError::Host, "{text}");
        }
        for text in ["ws://user:word@host", "ws://host/?a=b", "ws://host/#a"] {
            assert_eq!(refusal(text), ServerUrlError::Extra, "{text}");
        }
    }
}
