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
    programs,
    wait::{self, Look},
};

/// How long it may take to listen, on a busy machine.
const START: Duration = Duration::from_secs(20);

/// The port for STUN, and for TURN without TLS, as in `docs/turnserver.conf`.
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
    /// Starts it on these addresses, with its certificate and otherwise as `docs/turnserver.conf`
    /// has it, and waits until it listens.
    pub async fn start(
        bed: &Bed,
        place: Place,
        addresses: &[IpAddr],
        certificate: &Certificate,
    ) -> Result<Self> {
        let config = programs::repository().join("docs/turnserver.conf");
        // What is given here goes before what stands there, but for addresses: those add up.
        let own: String = std::fs::read_to_string(&config)
            .map_err(Error::io(format!("reading {}", config.display())))?
            .lines()
            .filter(|line| !line.starts_with("listening-ip=") && !line.starts_with("relay-ip="))
            .fold(String::new(), |text, line| text + line + "\n");
        let config = bed.write("turnserver.conf", &own)?;
        let mut arguments = vec![
            "-c".to_owned(),
            config.display().to_string(),
            format!("--user={USER}:{PASSWORD}"),
            format!("--cert={}", certificate.certificate.display()),
            format!("--pkey={}", certificate.key.display()),
            // Nothing outside the bed.
            format!("--userdb={}", bed.file("turn-users").display()),
            format!("--pidfile={}", bed.file("turn.pid").display()),
        ];
        arguments.extend(addresses.iter().map(|address| format!("--listening-ip={address}")));
        arguments.extend(addresses.iter().map(|address| format!("--relay-ip={address}")));
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
