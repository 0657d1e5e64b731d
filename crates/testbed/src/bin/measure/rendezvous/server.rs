//! The server that is measured. It logs as it does by default, and its limits let through what is
//! measured.

use std::{
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};

use anyhow::Result;
use peercam_testbed::{
    Process, net,
    wait::{self, Look},
};

use super::{Bench, nats::Nats};

const START: Duration = Duration::from_secs(20);

/// A running server.
pub struct Server {
    process: Process,
    address: SocketAddr,
}

impl Server {
    /// Starts one for so many cameras and viewers, as a node of the cluster where there is one, and
    /// waits until it is ready.
    pub async fn start(
        bench: &Bench<'_>,
        name: &str,
        peers: u32,
        nats: Option<&Nats>,
    ) -> Result<Self> {
        // Its own limits are for strangers on the internet: one address, so many messages a second.
        let peers = 2 * peers + 1000;
        let config = format!(
            "[limits]\n\
             connections = {peers}\nconnections-per-address = {peers}\n\
             http-connections = {peers}\nhttp-connections-per-address = {peers}\n\
             rooms = {peers}\n\
             viewer-queue-bytes = {QUEUE}\n\
             camera-messages-per-second = {most}\ncamera-message-burst = {most}\n\
             [metrics]\npublic = true\n{cluster}",
            most = u32::MAX,
            cluster = nats.map_or(String::new(), |nats| format!(
                "[cluster]\nnats = \"{}\"\nnode = \"{name}\"\nremote-viewers = {peers}\n",
                nats.url()
            )),
        );
        let config = bench.bed.write(&format!("{name}.toml"), &config)?;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, net::free_port()?));
        let mut command = bench.server.command(bench.program()?);
        command.arg("--config").arg(config).args(["--listen", &address.to_string()]);
        command.env_remove("RUST_LOG");
        let log = bench.bed.file(&format!("{name}.log"));
        let mut process = Process::spawn("the rendezvous", command, &log)?;
        wait::until(&format!("the rendezvous to be ready on {address}"), START, async || {
            process.check()?;
            Ok(match net::get(address, "/readyz").await {
                Ok((200, _)) => Look::Done(()),
                Ok((status, body)) => Look::NotYet(format!("/readyz says {status} {body}")),
                Err(error) => Look::NotYet(error.to_string()),
            })
        })
        .await?;
        Ok(Self { process, address })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Waits until it knows of so many cameras at other nodes.
    pub async fn knows(&self, cameras: u32, within: Duration) -> Result<()> {
        let figure = format!("peercam_cluster_cameras{{at=\"elsewhere\"}} {cameras}");
        wait::until(&format!("a node to know of {cameras} cameras"), within, async || {
            let (status, page) = net::get(self.address, "/metrics").await?;
            let mut lines = page.lines().filter(|line| line.contains("peercam_cluster_cameras"));
            if lines.any(|line| line == figure) {
                return Ok(Look::Done(()));
            }
            let lines: Vec<_> = page.lines().filter(|line| line.contains("cluster")).collect();
            Ok(Look::NotYet(format!("/metrics says {status} {lines:?}")))
        })
        .await?;
        Ok(())
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }
}

/// Bytes that may wait for a viewer: a moment in which nobody gets the processor ends no session.
const QUEUE: usize = 64 * 1024 * 1024;
