//! The NATS server by which nodes of a cluster reach each other, on their processor.

use std::{
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};

use anyhow::Result;
use peercam_testbed::{
    Process, net, programs,
    wait::{self, Look},
};
use tokio::net::TcpStream;

use super::Bench;

const START: Duration = Duration::from_secs(20);

/// A running one, with JetStream.
pub struct Nats {
    process: Process,
    address: SocketAddr,
}

impl Nats {
    /// Starts one as Debian installs it, and waits until it listens.
    pub async fn start(bench: &Bench<'_>, name: &str) -> Result<Self> {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, net::free_port()?));
        let mut command = bench.server.command(programs::nats_server()?);
        command.args(["--addr", &address.ip().to_string(), "--port", &address.port().to_string()]);
        command.arg("--jetstream").arg("--store_dir").arg(bench.bed.file(&format!("{name}.store")));
        let log = bench.bed.file(&format!("{name}.log"));
        let mut process = Process::spawn("nats-server", command, &log)?;
        wait::until(&format!("nats-server to listen on {address}"), START, async || {
            process.check()?;
            Ok(match TcpStream::connect(address).await {
                Ok(_) => Look::Done(()),
                Err(error) => Look::NotYet(error.to_string()),
            })
        })
        .await?;
        Ok(Self { process, address })
    }

    /// Where nodes find it.
    pub fn url(&self) -> String {
        format!("nats://{}", self.address)
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }
}
