//! Nodes of a cluster, in the test itself or in processes of their own, and the real NATS servers
//! between them.

use std::{
    fs,
    net::{SocketAddr, TcpListener},
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::Duration,
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use peercam_protocol::signalling::{ErrorCode, ToCamera, ToViewer};
use peercam_rendezvous::Config;
use tempfile::TempDir;
use tokio::time::sleep;

use super::*;

/// A NATS server with a store of its own.
pub struct Nats {
    pub address: SocketAddr,
    /// Where it tells who its clients are, if it does.
    monitor: Option<SocketAddr>,
    arguments: Vec<String>,
    store: TempDir,
    child: Child,
}

impl Nats {
    pub fn start() -> Self {
        Self::start_with(&[])
    }

    /// With these arguments besides the usual ones.
    pub fn start_with(arguments: &[&str]) -> Self {
        let arguments = arguments.iter().map(|&argument| argument.to_owned()).collect();
        Self::start_at(None, arguments)
    }

    /// Three servers that are one: what one of them keeps the others have too.
    pub fn cluster() -> [Self; 3] {
        let routes: Vec<_> = (0..3).map(|_| format!("nats://{}", free_address())).collect();
        [0, 1, 2].map(|number| {
            let monitor = free_address();
            let arguments = [
                format!("--http_port={}", monitor.port()),
                "--cluster_name=test".to_owned(),
                format!("--server_name=nats-{number}"),
                format!("--cluster={}", routes[number]),
                format!("--routes={}", routes.join(",")),
            ];
            Self::start_at(Some(monitor), arguments.to_vec())
        })
    }

    fn start_at(monitor: Option<SocketAddr>, arguments: Vec<String>) -> Self {
        let (address, store) = (free_address(), tempfile::tempdir().unwrap());
        let child = Self::spawn(address, &arguments, &store);
        Self { address, monitor, arguments, store, child }
    }

    /// Whether the node of that name is connected to this one of several servers.
    pub async fn serves(&self, node: &str) -> bool {
        let clients = get(self.monitor.unwrap(), "/connz").await.body;
        clients.contains(&format!("\"peercam-rendezvous {node}\""))
    }

    fn spawn(address: SocketAddr, arguments: &[String], store: &TempDir) -> Child {
        let program = ["/usr/sbin/nats-server", "/usr/local/bin/nats-server"]
            .into_iter()
            .map(PathBuf::from)
            .find(|file| file.exists())
            .unwrap_or_else(|| "nats-server".into());
        Command::new(program)
            .args(["--addr", "127.0.0.1", "--port", &address.port().to_string()])
            .args(["--jetstream", "--store_dir"])
            .arg(store.path())
            .args(arguments)
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| panic!("nats-server: {error}; scripts/setup installs it"))
    }

    pub fn url(&self) -> String {
        format!("nats://{}", self.address)
    }

    pub async fn is_up(&self) {
        listens(self.address).await;
    }

    /// Nobody gets to say goodbye.
    pub fn stop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    pub fn start_again(&mut self) {
        self.child = Self::spawn(self.address, &self.arguments, &self.store);
    }

    /// A node of the test itself, with this in its table `[cluster]`, and this in `[limits]`.
    pub async fn node_with(&self, cluster: &str, limits: &str) -> Rendezvous {
        node(&[self.url()], cluster, limits).await
    }

    pub async fn node(&self) -> Rendezvous {
        self.node_with("", "").await
    }

    /// A node with a process of its own.
    pub fn process(&self) -> Process {
        Process::start(&[self.url()], "")
    }
}

impl Drop for Nats {
    fn drop(&mut self) {
        _ = self.child.kill();
        _ = self.child.wait();
    }
}

/// A node of the test itself that knows these NATS servers, with this in its table `[cluster]`, and
/// this in `[limits]`.
pub async fn node(nats: &[String], cluster: &str, limits: &str) -> Rendezvous {
    let toml = format!(
        "[metrics]\npublic = true\n[limits]\n{limits}\n[cluster]\nnats = {nats:?}\n{cluster}\n"
    );
    Rendezvous::start_with(|config| {
        let (listen, drain) = (config.listen, config.drain);
        *config = Config::from_toml(&toml, "test").unwrap();
        (config.listen, config.drain) = (listen, drain);
    })
    .await
}

/// A node with a process of its own.
pub struct Process {
    pub address: SocketAddr,
    child: Child,
    folder: TempDir,
}

impl Process {
    /// It knows these NATS servers, and has this in its table `[cluster]`.
    pub fn start(nats: &[String], cluster: &str) -> Self {
        let address = free_address();
        let folder = tempfile::tempdir().unwrap();
        let config = folder.path().join("rendezvous.toml");
        fs::write(&config, format!("drain-seconds = 2\n[cluster]\nnats = {nats:?}\n{cluster}\n"))
            .unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_peercam-rendezvous"))
            .args(["--listen", &address.to_string(), "--config"])
            .arg(config)
            .stderr(fs::File::create(folder.path().join("log")).unwrap())
            .spawn()
            .unwrap();
        Self { address, child, folder }
    }

    /// Nobody gets to say goodbye.
    pub fn kill(&mut self) {
        _ = self.child.kill();
        _ = self.child.wait();
    }

    /// As a service manager ends it.
    pub fn terminate(&self) {
        kill(Pid::from_raw(self.child.id().try_into().unwrap()), Signal::SIGTERM).unwrap();
    }

    /// It has ended in order.
    pub async fn ended(&mut self) {
        let ended = async {
            loop {
                match self.child.try_wait().unwrap() {
                    Some(status) => break assert!(status.success(), "{status}: {}", self.log()),
                    None => sleep(Duration::from_millis(20)).await,
                }
            }
        };
        soon("the node to end", ended).await;
    }

    pub async fn is_up(&self) {
        listens(self.address).await;
    }

    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap()
    }

    /// Waits until its log has this; returns all of it.
    pub async fn logs(&self, words: &str) -> String {
        let logs = async {
            loop {
                let log = self.log();
                if log.contains(words) {
                    return log;
                }
                sleep(Duration::from_millis(50)).await;
            }
        };
        soon(&format!("{words:?} in the log"), logs).await
    }

    pub async fn viewer(&self, room: &str) -> Viewer {
        Viewer::connect(&format!("ws://{}/watch/{room}", self.address), &[]).await
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

async fn listens(address: SocketAddr) {
    let connect = async {
        while TcpStream::connect(address).await.is_err() {
            sleep(Duration::from_millis(50)).await;
        }
    };
    soon("a server to listen", connect).await;
}

pub fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

/// A camera that has proven who it is.
pub async fn host(address: SocketAddr, room: &str) -> Camera {
    let mut camera = Camera::connect(&format!("ws://{address}/host/{room}"), &[]).await;
    let ToCamera::Challenge { nonce } = camera.hears().await else { panic!("no challenge") };
    camera.says(Identity::of(room).prove(&address.to_string(), room, &nonce)).await;
    camera
}

/// A camera that has its room, as soon as its node can claim it: that is when NATS is there.
pub async fn moves_in(address: SocketAddr, room: &str) -> Camera {
    let attempts = async {
        loop {
            let mut camera = host(address, room).await;
            match camera.hears().await {
                ToCamera::Hosting { .. } => return camera,
                ToCamera::Error { error, .. } if error.code == ErrorCode::Full => {}
                other => panic!("not hosting: {other:?}"),
            }
            sleep(Duration::from_millis(50)).await;
        }
    };
    soon("a camera to have its room", attempts).await
}

/// A camera in the room of its key, which needs no claim.
pub async fn with_own_room(node: &Rendezvous, name: &str) -> (Camera, String) {
    let identity = Identity::of(name);
    let room = identity.own_room().as_str().to_owned();
    let mut camera = node.knock_as(&identity, &room).await;
    let ToCamera::Hosting { .. } = camera.hears().await else { panic!("not hosting") };
    (camera, room)
}

/// Waits until this node knows whether the room has a camera.
pub async fn sees(address: SocketAddr, room: &str, online: bool) {
    let ask = async {
        loop {
            let reply = get(address, &format!("/api/rooms/{room}")).await;
            if reply.body.contains(&format!("\"online\":{online}")) {
                return;
            }
            sleep(Duration::from_millis(50)).await;
        }
    };
    soon(&format!("{room} to be online: {online}"), ask).await;
}

pub async fn get(address: SocketAddr, path: &str) -> Reply {
    let request = format!("GET {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n");
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    soon("the answer", stream.read_to_end(&mut answer)).await.unwrap();
    Reply::parse(&String::from_utf8_lossy(&answer))
}

/// Waits until this is what a node says to `/readyz`; returns the sentence.
pub async fn readyz(address: SocketAddr, status: u16, words: &str) -> String {
    let ask = async {
        loop {
            let reply = get(address, "/readyz").await;
            if reply.status == status && reply.body.contains(words) {
                return reply.body;
            }
            sleep(Duration::from_millis(50)).await;
        }
    };
    soon(&format!("/readyz to say {status} {words:?}"), ask).await
}

/// Waits until `/metrics` of a node has this line.
pub async fn counts(node: &Rendezvous, line: &str) {
    let name = line.split(['{', ' ']).next().unwrap();
    let mut found = Vec::new();
    let ask = async {
        loop {
            let page = node.get("/metrics").await.body;
            found = page.lines().filter(|line| line.starts_with(name)).map(str::to_owned).collect();
            if found.iter().any(|other| other == line) {
                return;
            }
            sleep(Duration::from_millis(50)).await;
        }
    };
    if timeout(PATIENCE, ask).await.is_err() {
        panic!("waited in vain for {line}: {found:?}");
    }
}

/// The viewer hears whether the camera is here, as his next message.
pub async fn hears_camera(viewer: &mut Viewer, expected: bool) {
    match viewer.hears().await {
        ToViewer::Camera { online, .. } => assert_eq!(online, expected),
        other => panic!("not whether the camera is here: {other:?}"),
    }
}
