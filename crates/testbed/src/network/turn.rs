//! coturn, the TURN and STUN server that people run, in a network of its own.

use std::{
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

use super::{place::Place, tls::Certificate};
use crate::{
    Bed, Process,
    error::{Error, Result},
    wait::{self, Look},
};

/// How long it may take to listen, on a busy machine.
const START: Duration = Duration::from_secs(20);

/// The port for STUN, and for TURN without TLS.
pub const PORT: u16 = 3478;
/// The port for TURN over TLS.
pub const TLS_PORT: u16 = 443;
/// The user of all peers.
pub const USER: &str = "peercam";
/// His password.
pub const PASSWORD: &str = "only in tests";

/// A running TURN server.
#[derive(Debug)]
pub struct TurnServer {
    /// None only while it is down on purpose.
    process: Option<Process>,
    place: Place,
    addresses: Vec<IpAddr>,
    arguments: Vec<String>,
    log: PathBuf,
}

impl TurnServer {
    /// Starts it on these addresses, with its certificate, and waits until it listens.
    pub async fn start(
        bed: &Bed,
        place: Place,
        addresses: &[IpAddr],
        certificate: &Certificate,
    ) -> Result<Self> {
        // No file of the system's own (-n), and none of ours outside the bed.
        let mut arguments: Vec<String> = [
            "-n",
            "--lt-cred-mech",
            "--realm=peercam.test",
            "--fingerprint",
            "--no-cli",
            "--no-multicast-peers",
            "--min-port=50000",
            "--max-port=50999",
            "--log-file=stdout",
            "--simple-log",
        ]
        .map(str::to_owned)
        .to_vec();
        arguments.extend([
            format!("--user={USER}:{PASSWORD}"),
            format!("--listening-port={PORT}"),
            format!("--tls-listening-port={TLS_PORT}"),
            format!("--cert={}", certificate.certificate.display()),
            format!("--pkey={}", certificate.key.display()),
            format!("--userdb={}", bed.file("turn-users").display()),
            format!("--pidfile={}", bed.file("turn.pid").display()),
        ]);
        arguments.extend(addresses.iter().flat_map(|address| {
            [format!("--listening-ip={address}"), format!("--relay-ip={address}")]
        }));
        let log = bed.file("turn.log");
        let addresses = addresses.to_vec();
        let mut server = Self { process: None, place, addresses, arguments, log };
        server.restart().await?;
        Ok(server)
    }

    /// Kills it without a word (SIGKILL), if it runs.
    pub fn kill(&mut self) {
        self.process = None;
    }

    /// Starts it again, without its allocations, and waits until it listens.
    pub async fn restart(&mut self) -> Result<()> {
        self.process = None;
        let mut command = self.place.command("turnserver");
        command.args(&self.arguments);
        let mut process = Process::spawn("the TURN server", command, &self.log)?;
        for &address in &self.addresses {
            for port in [PORT, TLS_PORT] {
                let server = SocketAddr::new(address, port);
                let door = self.place.door(server).await?;
                wait::until(&format!("the TURN server to listen on {server}"), START, async || {
                    process.check().map_err(missing)?;
                    Ok(match door.knock().await {
                        Ok(()) => Look::Done(()),
                        Err(error) => Look::NotYet(error.to_string()),
                    })
                })
                .await?;
            }
        }
        self.process = Some(process);
        Ok(())
    }

    /// Where STUN, and TURN over UDP, TCP and TLS, are found (RFC 7064, RFC 7065).
    pub fn urls(&self) -> Vec<String> {
        let at = |port| self.addresses.iter().map(move |&ip| SocketAddr::new(ip, port));
        let plain = at(PORT).flat_map(|address| {
            [
                format!("stun:{address}"),
                format!("turn:{address}?transport=udp"),
                format!("turn:{address}?transport=tcp"),
            ]
        });
        plain.chain(at(TLS_PORT).map(|address| format!("turns:{address}?transport=tcp"))).collect()
    }
}

/// A program that nsenter(1) does not find ends at once.
fn missing(error: Error) -> Error {
    match error {
        Error::Ended { tail, .. } if tail.contains("nsenter: failed to execute") => {
            Error::Missing {
                program: "turnserver".to_owned(),
                remedy: "install it with scripts/setup (Debian package coturn)".to_owned(),
            }
        }
        other => other,
    }
}
