//! What the tests of the agent share: a rendezvous server, the agent itself in this process, and a
//! viewer without a browser.

#![allow(dead_code, unused_imports, clippy::unwrap_used, clippy::expect_used, missing_docs)]

pub mod fake_rendezvous;
pub mod path;
pub mod signalling;
pub mod viewer;

use std::{net::SocketAddr, path::Path, time::Duration};

use peercam_agent::{Config, config::Layer, session::Patience};
use peercam_heartbeat::Notifier;
use tempfile::TempDir;
use tokio::{sync::oneshot, task::JoinHandle};

pub use signalling::Socket;
pub use viewer::{Viewer, ViewerOptions};

/// For anything to happen; generous, since machines are busy.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// The room of every test: each has its own server.
pub const ROOM: &str = "test-room";

/// A rendezvous server in this process.
pub struct Rendezvous {
    pub address: SocketAddr,
    shutdown: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Rendezvous {
    pub async fn start() -> Self {
        Self::start_at("127.0.0.1:0".parse().unwrap()).await
    }

    /// Again where it was before.
    pub async fn start_at(listen: SocketAddr) -> Self {
        let mut config = peercam_rendezvous::Config::default();
        config.listen = listen;
        let server = peercam_rendezvous::Server::bind(config).await.unwrap();
        let address = server.local_addr();
        let (shutdown, ended) = oneshot::channel::<()>();
        let task = tokio::spawn(server.run(async move {
            let _ = ended.await;
        }));
        Self { address, shutdown, task }
    }

    pub async fn stop(self) -> SocketAddr {
        let _ = self.shutdown.send(());
        tokio::time::timeout(PATIENCE, self.task).await.unwrap().unwrap();
        self.address
    }
}

/// The agent in this process, with a small test picture.
pub struct Agent {
    pub state: TempDir,
    shutdown: oneshot::Sender<()>,
    task: JoinHandle<anyhow::Result<()>>,
}

impl Agent {
    /// Starts it and waits until it is in its room.
    pub async fn start(rendezvous: SocketAddr, more: &str) -> Self {
        let agent = Self::launch(rendezvous, more);
        agent.hosted(rendezvous).await;
        agent
    }

    /// The same, with sessions that wait as long as `patience` says.
    pub async fn with_patience(rendezvous: SocketAddr, patience: Patience) -> Self {
        let agent = Self::launch_with(rendezvous, "", |config| config.patience = patience);
        agent.hosted(rendezvous).await;
        agent
    }

    /// Starts it.
    pub fn launch(rendezvous: SocketAddr, more: &str) -> Self {
        Self::launch_with(rendezvous, more, |_| {})
    }

    fn launch_with(rendezvous: SocketAddr, more: &str, change: impl FnOnce(&mut Config)) -> Self {
        let state = TempDir::new().unwrap();
        let layers = [Layer::new("base", base(state.path(), rendezvous)), Layer::new("more", more)];
        let mut config = Config::from_layers(&layers).unwrap();
        change(&mut config);
        let (shutdown, ended) = oneshot::channel::<()>();
        let task = tokio::spawn(async move {
            let notifier = Notifier::from_env().unwrap();
            let ended = async move {
                let _ = ended.await;
            };
            peercam_agent::run(config, &notifier, ended).await
        });
        Self { state, shutdown, task }
    }

    /// Waits until the camera is in its room.
    pub async fn hosted(&self, rendezvous: SocketAddr) {
        let mut socket = Socket::watch(rendezvous, ROOM).await;
        tokio::time::timeout(PATIENCE, socket.until_online())
            .await
            .expect("the camera hosts its room");
    }

    pub async fn stop(self) {
        let _ = self.shutdown.send(());
        tokio::time::timeout(PATIENCE, self.task).await.unwrap().unwrap().unwrap();
    }
}

/// A configuration with a small test picture.
pub fn base(state: &Path, rendezvous: SocketAddr) -> String {
    format!(
        "state-dir = {state:?}\n\
         rendezvous = {{ url = \"ws://{rendezvous}\", room = \"{ROOM}\" }}\n\
         network = {{ loopback = true }}\n\
         video = {{ width = 320, height = 240, framerate = 15, bitrate-kbps = 300 }}\n"
    )
}

/// Logs of a failing test: `RUST_LOG=debug cargo test -- --nocapture`.
pub fn log() {
    let _ = peercam_agent::logging::start();
}
