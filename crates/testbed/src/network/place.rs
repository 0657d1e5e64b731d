//! Where a program runs: in this host's own network, or in a namespace; and how a test in this
//! host's network talks to a server there.

use std::{
    ffi::OsStr,
    io,
    net::{Ipv4Addr, SocketAddr, TcpStream},
    process::Command,
    time::Duration,
};

use tokio::{
    io::copy_bidirectional,
    net::TcpListener,
    task::{JoinHandle, JoinSet, spawn_blocking},
};

use super::namespace::Namespace;
use crate::error::{Error, Result};

/// How long a server in a namespace may take to accept.
const CONNECT: Duration = Duration::from_secs(5);

/// Where a program runs.
#[derive(Debug, Clone, Default)]
pub enum Place {
    /// In this host's own network.
    #[default]
    Here,
    /// In a network of its own.
    Inside(Namespace),
}

impl Place {
    /// A command that runs there.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        match self {
            Self::Here => Command::new(program),
            Self::Inside(namespace) => namespace.command(program),
        }
    }

    /// A way to the TCP server that has `address` there.
    pub async fn door(&self, address: SocketAddr) -> Result<Door> {
        match self {
            Self::Here => Ok(Door { outside: address, way: None }),
            Self::Inside(namespace) => Door::open(namespace.clone(), address).await,
        }
    }
}

/// A way for TCP connections of this host to a server in a namespace, without an interface that
/// the programs there would see: bytes are copied. Closed when dropped.
#[derive(Debug)]
pub struct Door {
    outside: SocketAddr,
    /// None where there is nothing to cross.
    way: Option<(Namespace, SocketAddr, Task)>,
}

/// Ended when dropped.
#[derive(Debug)]
struct Task(JoinHandle<()>);

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Door {
    async fn open(namespace: Namespace, inside: SocketAddr) -> Result<Self> {
        let what = || format!("opening a way to {inside} of the {}", namespace.name());
        let listener =
            TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.map_err(Error::io(what()))?;
        let outside = listener.local_addr().map_err(Error::io(what()))?;
        let inner = namespace.clone();
        let task = tokio::spawn(async move {
            // Ends all connections with itself.
            let mut connections = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                while connections.try_join_next().is_some() {}
                // A server that is not there closes the connection, as it would without us.
                connections.spawn(carry(inner.clone(), inside, client));
            }
        });
        Ok(Self { outside, way: Some((namespace, inside, Task(task))) })
    }

    /// Where this host finds the server.
    pub fn address(&self) -> SocketAddr {
        self.outside
    }

    /// Fails if no server listens behind it now.
    pub async fn knock(&self) -> io::Result<()> {
        match &self.way {
            Some((namespace, inside, _)) => connect(namespace.clone(), *inside).await.map(drop),
            None => tokio::net::TcpStream::connect(self.outside).await.map(drop),
        }
    }
}

async fn carry(
    namespace: Namespace,
    inside: SocketAddr,
    mut client: tokio::net::TcpStream,
) -> io::Result<()> {
    let mut server = connect(namespace, inside).await?;
    copy_bidirectional(&mut client, &mut server).await?;
    Ok(())
}

/// A connection that begins in the namespace.
async fn connect(namespace: Namespace, to: SocketAddr) -> io::Result<tokio::net::TcpStream> {
    let connect = move || {
        let server = TcpStream::connect_timeout(&to, CONNECT)?;
        server.set_nonblocking(true)?;
        server.set_nodelay(true)?;
        Ok(server)
    };
    let server = spawn_blocking(move || namespace.run(connect)).await??;
    tokio::net::TcpStream::from_std(server)
}
