//! A rendezvous and a camera that waits in its room.

use std::{
    fs::{self, File, TryLockError},
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use peercam_protocol::{RoomId, ShareLink, signalling::Door};
use peercam_testbed::{
    Bed, Guest, HostCamera, Rendezvous, camera, guest, net, programs, progress::Progress,
};

/// Where people look first.
const PORT: u16 = 8080;

/// What the camera is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Board {
    /// The agent on this machine.
    Host,
    /// A folder of `board/`, booted in QEMU.
    Emulated(String),
}

impl Board {
    /// The board called `name`; the error lists those there are.
    pub fn find(name: &str) -> Result<Self> {
        if name == "host" {
            return Ok(Self::Host);
        }
        let boards = guest::boards()?;
        ensure!(
            boards.iter().any(|board| board == name),
            "there is no board {name:?} to run: use host, {}",
            boards.join(", ")
        );
        Ok(Self::Emulated(name.to_owned()))
    }

    /// Its name.
    pub fn name(&self) -> &str {
        match self {
            Self::Host => "host",
            Self::Emulated(name) => name,
        }
    }
}

/// Either kind of camera.
#[derive(Debug)]
enum Camera {
    Host(HostCamera),
    Guest(Guest),
}

impl Camera {
    fn check(&mut self) -> peercam_testbed::Result<()> {
        match self {
            Self::Host(camera) => camera.check(),
            Self::Guest(guest) => guest.check(),
        }
    }
}

/// Everything that `scripts/run` runs.
#[derive(Debug)]
pub struct Scene {
    // Dropped in this order.
    camera: Camera,
    rendezvous: Rendezvous,
    bed: Bed,
    board: Board,
    link: ShareLink,
    _lock: File,
}

impl Scene {
    /// Starts everything and waits until the camera hosts its room.
    pub async fn set(board: Board, listen: Option<SocketAddr>, progress: Progress) -> Result<Self> {
        let bed = Bed::at(programs::repository().join("out").join(board.name()).join("run"))?;
        let lock = lock(&bed, &board)?;
        forget_earlier_run(&bed)?;
        let address = choose(listen, progress)?;
        let rendezvous = Rendezvous::listen(&bed, address).await?;
        progress.say(format!("the rendezvous listens on http://{address}"));
        let room: RoomId = board.name().parse().context("the board's name as a room")?;
        let mut link = rendezvous.link(&room)?;

        let camera = match &board {
            Board::Host => {
                progress.say("starting the camera on this machine");
                let options =
                    camera::Options { door: Door::Token, ..camera::Options::full(room.clone()) };
                let camera = HostCamera::host(&bed, &rendezvous, options).await?;
                link = camera.share(link.origin()).await?;
                Camera::Host(camera)
            }
            // Its door is open, as on any board with a shell for everybody on its console.
            Board::Emulated(name) => {
                progress.say(format!(
                    "booting {name} in QEMU; its console: {}",
                    bed.file("console.log").display()
                ));
                let mut guest = Guest::start(&bed, &rendezvous, name, &room)?;
                guest.wait_hosting(&rendezvous, &room).await?;
                Camera::Guest(guest)
            }
        };
        progress.say(format!("the camera hosts room {room}"));
        Ok(Self { camera, rendezvous, bed, board, link, _lock: lock })
    }

    /// Where the logs are.
    pub fn bed(&self) -> &Bed {
        &self.bed
    }

    /// What the camera is.
    pub fn board(&self) -> &Board {
        &self.board
    }

    /// The address to watch it at.
    pub fn link(&self) -> &ShareLink {
        &self.link
    }

    /// Returns only when something has ended that should not.
    pub async fn watch(&mut self) -> Result<()> {
        loop {
            self.camera.check()?;
            self.rendezvous.check()?;
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    /// Ends everything, the camera first so that it can say goodbye.
    pub async fn strike(self) -> Result<()> {
        match self.camera {
            Camera::Host(camera) => camera.stop().await?,
            Camera::Guest(guest) => drop(guest.stop().await?),
        }
        Ok(self.rendezvous.stop().await?)
    }
}

/// Two at once would write to the same logs and the same disk.
fn lock(bed: &Bed, board: &Board) -> Result<File> {
    let path = bed.file("lock");
    let file = File::create(&path).with_context(|| format!("making {}", path.display()))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => {
            bail!("the board {} is already being run: end that first (Ctrl-C there)", board.name())
        }
        Err(TryLockError::Error(error)) => {
            Err(error).with_context(|| format!("locking {}", path.display()))
        }
    }
}

/// Removes logs and browser profiles; the camera's disk, or state, stays as on a real camera.
fn forget_earlier_run(bed: &Bed) -> Result<()> {
    for old in fs::read_dir(bed.path())?.flatten() {
        let (path, name) = (old.path(), old.file_name());
        let name = name.to_string_lossy();
        let removed = match (name.ends_with(".log"), name.starts_with("chromium-")) {
            (true, _) => fs::remove_file(&path),
            (_, true) => fs::remove_dir_all(&path),
            _ => continue,
        };
        removed.with_context(|| format!("removing {}", path.display()))?;
    }
    Ok(())
}

/// Where the rendezvous listens: what was asked for or nothing; else the usual port, or a free one.
fn choose(listen: Option<SocketAddr>, progress: Progress) -> Result<SocketAddr> {
    let usual = SocketAddr::from((Ipv4Addr::LOCALHOST, PORT));
    match listen {
        Some(asked) if net::is_free(asked) => Ok(asked),
        Some(asked) => bail!(
            "cannot listen on {asked}: another program does, or it is not an address of this machine; choose another with --listen"
        ),
        None if net::is_free(usual) => Ok(usual),
        None => {
            let port = net::free_port()?;
            progress.say(format!("port {PORT} is taken: the rendezvous uses {port}"));
            Ok(SocketAddr::from((Ipv4Addr::LOCALHOST, port)))
        }
    }
}
