//! What the tests of the agent share: a rendezvous server, the agent itself in this process, and a
//! viewer without a browser.

#![allow(dead_code, unused_imports, clippy::unwrap_used, clippy::expect_used, missing_docs)]

pub mod camera;
pub mod coturn;
pub mod fake_rendezvous;
pub mod path;
pub mod signalling;
pub mod viewer;
pub mod whep;

use std::{
    io::Write,
    net::SocketAddr,
    path::Path,
    sync::{Mutex, Once},
    time::Duration,
};

use peercam_agent::{Config, config::Layer, session::Patience};
use peercam_heartbeat::Notifier;
use peercam_protocol::signalling::IceServer;
use tempfile::TempDir;
use tokio::{sync::oneshot, task::JoinHandle};

pub use camera::Camera;
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

    /// Hands these to cameras and viewers.
    pub async fn start_with(ice_servers: Vec<IceServer>) -> Self {
        Self::start_as("127.0.0.1:0".parse().unwrap(), ice_servers).await
    }

    /// Again where it was before.
    pub async fn start_at(listen: SocketAddr) -> Self {
        Self::start_as(listen, Vec::new()).await
    }

    async fn start_as(listen: SocketAddr, ice_servers: Vec<IceServer>) -> Self {
        Self::configured(|config| {
            config.listen = listen;
            config.ice_servers = ice_servers;
        })
        .await
    }

    /// With another configuration than the usual one.
    pub async fn configured(change: impl FnOnce(&mut peercam_rendezvous::Config)) -> Self {
        let mut config = peercam_rendezvous::Config::default();
        config.listen = "127.0.0.1:0".parse().unwrap();
        // Cameras that have nowhere to go need no time for it.
        config.drain = Duration::ZERO;
        change(&mut config);
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
    let socket = state.join("control.sock");
    format!(
        "state-dir = {state:?}\n\
         control = {{ socket = {socket:?} }}\n\
         rendezvous = {{ urls = [\"ws://{rendezvous}\"], room = \"{ROOM}\" }}\n\
         access = {{ door = \"open\" }}\n\
         network = {{ loopback = true }}\n\
         video = {{ width = 320, height = 240, framerate = 15, bitrate-kbps = 300 }}\n"
    )
}

/// Logs of a failing test: `RUST_LOG=debug cargo test -- --nocapture`.
pub fn log() {
    let _ = peercam_agent::logging::start();
}

/// What was logged in this process since the first call, also by tests that run beside.
pub fn logged() -> String {
    logged_at("info")
}

/// The same at another level, where it is the first call.
pub fn logged_at(level: &str) -> String {
    static LOG: Mutex<Vec<u8>> = Mutex::new(Vec::new());
    static START: Once = Once::new();
    struct Both;
    impl Write for Both {
        fn write(&mut self, data: &[u8]) -> std::io::Result<usize> {
            std::io::stderr().write_all(data)?;
            LOG.lock().unwrap().extend_from_slice(data);
            Ok(data.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    START.call_once(|| {
        let wanted = std::env::var("RUST_LOG").unwrap_or_else(|_| level.into());
        tracing_subscriber::fmt()
            .with_env_filter(format!("rtc=off,webrtc=off,{wanted}"))
            .with_ansi(false)
            .with_writer(|| Both)
            .init();
    });
    String::from_utf8(LOG.lock().unwrap().clone()).unwrap()
}

/// Waits until a line of the log has all of `words`; returns it.
pub async fn until_logged(words: &[&str]) -> String {
    let found = async {
        loop {
            let log = logged();
            if let Some(line) = log.lines().find(|line| words.iter().all(|w| line.contains(w))) {
                return line.to_owned();
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, found).await.unwrap_or_else(|_| panic!("no log of {words:?}"))
}
