//! A process full of cameras that come, stay, and do nothing but answer pings.

use std::{
    future::pending,
    net::{Ipv4Addr, SocketAddr},
    time::Instant,
};

use anyhow::{Context, Result, bail};
use clap::Args;
use futures_util::{StreamExt, stream};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tokio::task::JoinSet;
use tokio_tungstenite::tungstenite::Message;

use super::{
    Arrival,
    client::{self, Socket},
};

/// What the process is told.
#[derive(Debug, Clone, Args)]
pub struct Options {
    /// Where the server listens
    #[arg(long)]
    server: SocketAddr,
    /// Where the cameras connect from
    #[arg(long)]
    source: Ipv4Addr,
    /// Number of the first one
    #[arg(long)]
    first: u32,
    /// How many there are
    #[arg(long)]
    cameras: u32,
}

/// How many come at the same time.
const AT_ONCE: usize = 64;

/// Connects them, says so, and holds them until this process is ended. Fails if one is lost.
pub async fn run(options: &Options) -> Result<()> {
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, most, most).context("asking for more files")?;
    let Options { server, source, first, cameras } = *options;
    let keys: Vec<_> = (first..first + cameras).map(client::key).collect();

    let start = Instant::now();
    let mut arriving = stream::iter(&keys)
        .map(|key| client::camera(server, source, key))
        .buffer_unordered(AT_ONCE);
    let mut here = JoinSet::new();
    while let Some(socket) = arriving.next().await {
        here.spawn(stay(socket?));
    }
    let arrival = Arrival { seconds: start.elapsed().as_secs_f64() };
    println!("{}", serde_json::to_string(&arrival)?);

    match here.join_next().await {
        Some(lost) => lost?,
        None => pending().await,
    }
}

/// The WebSocket layer answers pings when it is read from.
async fn stay(mut socket: Socket) -> Result<()> {
    loop {
        match socket.next().await.context("the server hung up on a camera")?? {
            Message::Ping(_) => {}
            other => bail!("an idle camera heard {other:?}"),
        }
    }
}
