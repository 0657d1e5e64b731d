//! The rendezvous server, `peercam-rendezvous`, on a port of its own.

use std::{
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};

use peercam_protocol::{RoomId, ShareLink};
use serde::Deserialize;

use crate::{
    Bed, Process,
    error::{Error, Result},
    net,
    network::{Place, World, place::Door},
    programs,
    wait::{self, Look},
};

/// How long the server may take to listen, on a busy machine.
const START: Duration = Duration::from_secs(20);

/// A running rendezvous server.
#[derive(Debug)]
pub struct Rendezvous {
    /// None only while it is down on purpose.
    process: Option<Process>,
    command: Vec<String>,
    log: std::path::PathBuf,
    place: Place,
    /// Where everybody else finds it.
    address: SocketAddr,
    /// Where this host does.
    door: Door,
}

/// The part of the configuration that hands out ICE servers: STUN ones as they are, TURN ones with
/// this user and password.
pub fn ice_servers(urls: &[String], user: &str, password: &str) -> String {
    let (stun, turn): (Vec<_>, Vec<_>) = urls.iter().partition(|url| url.starts_with("stun"));
    let mut text = String::new();
    if !stun.is_empty() {
        text += &format!("[[ice-servers]]\nurls = {stun:?}\n");
    }
    if !turn.is_empty() {
        text += &format!(
            "[[ice-servers]]\nurls = {turn:?}\nusername = {user:?}\ncredential = {password:?}\n"
        );
    }
    text
}

/// Where a server that listens on all addresses is found by programs beside it.
fn reachable(mut address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() {
        address.set_ip(Ipv4Addr::LOCALHOST.into());
    }
    address
}

/// `GET /api/rooms/<room>`.
#[derive(Debug, Deserialize)]
struct RoomStatus {
    online: bool,
}

impl Rendezvous {
    /// Starts it on a free port of 127.0.0.1 and waits until it listens.
    pub async fn start(bed: &Bed) -> Result<Self> {
        Self::listen(bed, SocketAddr::from((Ipv4Addr::LOCALHOST, net::free_port()?))).await
    }

    /// The same with this configuration file.
    pub async fn start_with(bed: &Bed, config: &str) -> Result<Self> {
        let config = bed.write("rendezvous.toml", config)?;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, net::free_port()?));
        let arguments = ["--config".to_owned(), config.display().to_string()];
        Self::listen_in(bed, Place::Here, address, address, &arguments).await
    }

    /// Starts it on `address` and waits until it listens.
    pub async fn listen(bed: &Bed, address: SocketAddr) -> Result<Self> {
        Self::listen_in(bed, Place::Here, address, address, &[]).await
    }

    /// Starts it on the internet of a world, where it hands out these ICE servers (tables of its
    /// configuration file), and waits until it listens.
    pub async fn start_in(bed: &Bed, world: &World, ice_servers: &str) -> Result<Self> {
        let config = bed.write("rendezvous.toml", ice_servers)?;
        let address = world.rendezvous_address();
        // Both families.
        let listen = SocketAddr::from((Ipv6Addr::UNSPECIFIED, address.port()));
        let place = Place::Inside(world.rendezvous.clone());
        let arguments = ["--config".to_owned(), config.display().to_string()];
        Self::listen_in(bed, place, listen, address, &arguments).await
    }

    async fn listen_in(
        bed: &Bed,
        place: Place,
        listen: SocketAddr,
        address: SocketAddr,
        arguments: &[String],
    ) -> Result<Self> {
        let program = programs::workspace("peercam-rendezvous")?;
        let mut command =
            vec![program.display().to_string(), "--listen".to_owned(), listen.to_string()];
        command.extend_from_slice(arguments);
        let log = bed.file("rendezvous.log");
        let door = place.door(reachable(address)).await?;
        let mut server = Self { process: None, command, log, place, address, door };
        server.restart().await?;
        Ok(server)
    }

    /// Kills it without a word (SIGKILL), if it runs.
    pub fn kill(&mut self) {
        self.process = None;
    }

    /// Starts it again on the same port and waits until it listens.
    pub async fn restart(&mut self) -> Result<()> {
        self.process = None;
        let mut command = self.place.command(&self.command[0]);
        command.args(&self.command[1..]).env("RUST_LOG", "debug,h2=info,hyper=info");
        let mut process = Process::spawn("the rendezvous", command, &self.log)?;
        let (server, what) =
            (self.local(), format!("the rendezvous to listen on {}", self.address));
        wait::until(&what, START, async || {
            process.check()?;
            Ok(match net::get(server, "/healthz").await {
                Ok((200, _)) => Look::Done(()),
                Ok((status, body)) => Look::NotYet(format!("/healthz says {status} {body}")),
                Err(error) => Look::NotYet(error.to_string()),
            })
        })
        .await?;
        self.process = Some(process);
        Ok(())
    }

    /// Ends it politely.
    pub async fn stop(mut self) -> Result<()> {
        if let Some(process) = self.process.take() {
            process.stop(Duration::from_secs(5)).await?;
        }
        Ok(())
    }

    /// Fails if it has ended.
    pub fn check(&mut self) -> Result<()> {
        self.process.as_mut().map_or(Ok(()), Process::check)
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where this host itself reaches it.
    fn local(&self) -> SocketAddr {
        self.door.address()
    }

    /// The address that a camera in its network is configured with.
    pub fn url(&self) -> String {
        format!("ws://{}", reachable(self.address))
    }

    /// The share link of a room, with an address that other machines reach where the server
    /// listens on all of them.
    pub fn link(&self, room: &RoomId) -> Result<ShareLink> {
        let mut address = self.address;
        if address.ip().is_unspecified() {
            address.set_ip(net::host_address());
        }
        ShareLink::new(&format!("http://{address}"), room.clone()).map_err(|error| Error::Answer {
            what: "making a share link".to_owned(),
            answer: error.to_string(),
        })
    }

    /// Whether a camera waits in `room` now.
    pub async fn online(&self, room: &RoomId) -> Result<bool> {
        let path = format!("/api/rooms/{room}");
        let (status, body) = net::get(self.local(), &path).await?;
        let what = || format!("GET {path}");
        match serde_json::from_str::<RoomStatus>(&body) {
            Ok(room) if status == 200 => Ok(room.online),
            _ => Err(Error::Answer { what: what(), answer: format!("{status} {body}") }),
        }
    }

    /// Waits until a camera waits in `room` (or none does).
    pub async fn wait_online(&self, room: &RoomId, online: bool, deadline: Duration) -> Result<()> {
        let what = format!("{} in room {room}", if online { "a camera" } else { "no camera" });
        wait::until(&what, deadline, async || {
            Ok(match self.online(room).await? {
                now if now == online => Look::Done(()),
                _ => Look::NotYet(format!("online is {}", !online)),
            })
        })
        .await
    }
}
