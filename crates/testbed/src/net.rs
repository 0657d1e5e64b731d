//! Free ports, this host's address, and one HTTP request.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, UdpSocket},
    time::Duration,
};

use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use tokio::time::timeout;

use crate::error::{Error, Result};

/// How long a server may take to answer, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(5);

/// A TCP port on 127.0.0.1 that was free a moment ago. Not one of those that the kernel hands out
/// to clients (from 32768 on, where nobody changed that): while a server is down for a restart, the
/// very client that tries to reach it could be given its port.
pub fn free_port() -> Result<u16> {
    (0..1000)
        .map(|_| fastrand::u16(20_000..32_000))
        .find(|&port| is_free(SocketAddr::from((Ipv4Addr::LOCALHOST, port))))
        .ok_or_else(|| {
            let none = io::Error::from(io::ErrorKind::AddrInUse);
            Error::io("looking for a free port on 127.0.0.1")(none)
        })
}

/// Whether nobody listens on `address` now.
pub fn is_free(address: SocketAddr) -> bool {
    TcpListener::bind(address).is_ok()
}

/// The address under which this host's neighbours reach it: the source address of its default
/// route (no packet is sent); loopback on a host without one.
pub fn host_address() -> IpAddr {
    // Addresses for documentation (RFC 5737, RFC 3849) are on nobody's own network: the default
    // route answers.
    let towards = |bind: &str, target: &str| -> io::Result<IpAddr> {
        let socket = UdpSocket::bind(bind)?;
        socket.connect(target)?;
        Ok(socket.local_addr()?.ip())
    };
    towards("0.0.0.0:0", "198.51.100.1:9")
        .or_else(|_| towards("[::]:0", "[2001:db8::1]:9"))
        .unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST))
}

/// `GET path` from a server on this host: the status code and the body.
pub async fn get(server: SocketAddr, path: &str) -> Result<(u16, String)> {
    let address = format!("http://{server}{path}");
    let what = format!("GET {address}");
    let refused = |reason: &dyn std::error::Error| Error::Http {
        what: what.clone(),
        reason: reason.source().map_or_else(|| reason.to_string(), ToString::to_string),
    };
    let exchange = async {
        let uri = address.parse().map_err(|error| refused(&error))?;
        let client = Client::builder(TokioExecutor::new()).build_http::<Empty<Bytes>>();
        let answer = client.get(uri).await.map_err(|error| refused(&error))?;
        let status = answer.status().as_u16();
        let body = answer.into_body().collect().await.map_err(|error| refused(&error))?.to_bytes();
        Ok((status, String::from_utf8_lossy(&body).into_owned()))
    };
    timeout(PATIENCE, exchange).await.map_err(|elapsed| refused(&elapsed))?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_free_port_can_be_listened_on() {
        let port = free_port().unwrap();
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        assert!(is_free(address));
        let _listener = TcpListener::bind(address).unwrap();
        assert!(!is_free(address));
    }

    #[tokio::test]
    async fn a_server_that_is_not_there_is_named() {
        let server = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port().unwrap()));
        let error = get(server, "/x").await.unwrap_err().to_string();
        assert!(error.contains(&format!("{server}/x")), "{error}");
    }
}
