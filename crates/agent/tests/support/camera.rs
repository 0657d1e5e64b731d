//! The agent and `peercamctl` as programs, as a person at the camera's shell has them.

use std::{
    net::SocketAddr,
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use serde_json::Value;
use tempfile::TempDir;

use super::{PATIENCE, ROOM, Socket, base};

/// An agent in a process of its own; killed when dropped.
pub struct Camera {
    pub state: TempDir,
    config: PathBuf,
    process: Option<Child>,
    /// Beside the test's own.
    pub environment: Vec<(&'static str, PathBuf)>,
}

impl Camera {
    /// Waits in [`ROOM`] on this server.
    pub async fn start(rendezvous: SocketAddr) -> Self {
        let camera = Self::start_with(|state| base(state, rendezvous));
        arrives(rendezvous, ROOM).await;
        camera
    }

    pub fn start_with(config: impl Fn(&Path) -> String) -> Self {
        let state = TempDir::new().unwrap();
        let file = state.path().join("agent.toml");
        std::fs::write(&file, config(state.path())).unwrap();
        let mut camera = Self { state, config: file, process: None, environment: Vec::new() };
        camera.begin();
        camera
    }

    pub fn begin(&mut self) {
        let log = std::fs::File::create(self.log()).unwrap();
        let process = Command::new(env!("CARGO_BIN_EXE_peercam-agent"))
            .arg("--config")
            .arg(&self.config)
            .env_remove("NOTIFY_SOCKET")
            .env_remove("RUST_LOG")
            .envs(self.environment.iter().cloned())
            .stderr(log)
            .spawn()
            .unwrap();
        self.process = Some(process);
        self.until(|camera| UnixStream::connect(camera.socket()).is_ok(), "a control socket");
    }

    /// As a power failure does.
    pub fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill().unwrap();
            process.wait().unwrap();
        }
    }

    /// Politely.
    pub fn end(&mut self) {
        let mut process = self.process.take().unwrap();
        let pid = process.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
        assert!(process.wait().unwrap().success());
    }

    pub fn socket(&self) -> PathBuf {
        self.state.path().join("control.sock")
    }

    pub fn log(&self) -> PathBuf {
        self.state.path().join("log")
    }

    pub fn until(&self, done: impl Fn(&Self) -> bool, what: &str) {
        let begun = Instant::now();
        while !done(self) {
            let log = std::fs::read_to_string(self.log()).unwrap();
            assert!(begun.elapsed() < PATIENCE, "no {what}\n{log}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Runs `peercamctl`: exit code, standard output, standard error.
    pub fn ctl(&self, arguments: &str) -> (i32, String, String) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_peercamctl"));
        command.arg("--socket").arg(self.socket()).args(arguments.split_whitespace());
        run(&mut command)
    }

    /// The same with `--json`, for what must be done.
    pub fn json(&self, arguments: &str) -> Value {
        let (code, out, said) = self.ctl(&format!("{arguments} --json"));
        assert_eq!(code, 0, "{arguments}: {said}");
        let answer: Value = serde_json::from_str(&out).unwrap();
        assert_eq!(answer["status"], "SUCCESS");
        answer
    }
}

impl Drop for Camera {
    fn drop(&mut self) {
        self.kill();
    }
}

pub fn run(command: &mut Command) -> (i32, String, String) {
    let output = command.stdin(Stdio::null()).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

/// Waits until viewers find the camera in this room.
pub async fn arrives(rendezvous: SocketAddr, room: &str) {
    let mut socket = Socket::watch(rendezvous, room).await;
    tokio::time::timeout(PATIENCE, socket.until_online()).await.expect("the camera comes");
}
