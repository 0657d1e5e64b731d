//! What the tests share: the real binary with its output as a stream of lines, and a FIFO in place
//! of the hardware watchdog, so that every feed is an event.

#![allow(dead_code, reason = "each test file uses its part")]
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::{
    fs::File,
    io::{BufRead, BufReader, PipeReader, Read, Write, pipe},
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus},
    sync::mpsc::{Receiver, RecvTimeoutError, channel},
    thread::{JoinHandle, spawn},
    time::{Duration, Instant},
};

use nix::{
    fcntl::{FcntlArg, FdFlag, fcntl},
    sys::{
        signal::{Signal, kill},
        stat::Mode,
    },
    unistd::{Pid, mkfifo},
};
use tempfile::TempDir;

/// Nothing here takes long; a machine under load may.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// `[[service]]` with this name and command; more keys can be added behind it.
pub fn service(name: &str, command: &[&str]) -> String {
    format!("\n[[service]]\nname = {name:?}\ncommand = {command:?}\nrestart-delay = \"50ms\"\n")
}

/// The same for a shell script.
pub fn script(name: &str, script: &str) -> String {
    service(name, &["/bin/sh", "-c", script])
}

/// The program `examples/service.rs`.
pub fn example() -> String {
    let watchdog = Path::new(env!("CARGO_BIN_EXE_peercam-watchdog"));
    let example = watchdog.with_file_name("examples").join("service");
    assert!(example.exists(), "`cargo build -p peercam-watchdog --examples` makes {example:?}");
    example.to_str().unwrap().to_owned()
}

/// `[[service]]` with `examples/service.rs`, ready within 30 s, a heartbeat every second at least.
pub fn example_service(name: &str, steps: &[&str]) -> String {
    let example = example();
    let command: Vec<&str> = [example.as_str()].into_iter().chain(steps.iter().copied()).collect();
    service(name, &command) + "ready-timeout = \"30s\"\nheartbeat = \"2s\"\n"
}

/// Runs to its end with this configuration; exit code and what it said.
pub fn check(config: &str) -> (Option<i32>, String) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("watchdog.toml");
    std::fs::write(&path, config).unwrap();
    run(&["--check-config", "--config", path.to_str().unwrap()])
}

/// Runs to its end with these arguments; exit code and what it said.
pub fn run(arguments: &[&str]) -> (Option<i32>, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_peercam-watchdog"));
    let output = command.args(arguments).output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8(text).unwrap())
}

/// A running watchdog. What it logs and what its services print are two streams, since which of
/// two processes speaks first is nobody's to say.
pub struct Watchdog {
    child: Child,
    log: Lines,
    services: Lines,
    /// Whose other end the watchdog and all that it started hold.
    held: PipeReader,
    pub folder: TempDir,
}

/// Lines as they come.
struct Lines {
    receiver: Receiver<String>,
    seen: Vec<String>,
    reader: Option<JoinHandle<()>>,
}

impl Lines {
    fn read(output: PipeReader) -> Self {
        let (sender, receiver) = channel();
        let reader = spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        Self { receiver, seen: Vec::new(), reader: Some(reader) }
    }

    /// Waits for the next line for which `wanted` holds; without one, why there is none.
    fn wait(&mut self, wanted: impl Fn(&str) -> bool) -> Result<String, RecvTimeoutError> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let time = deadline.saturating_duration_since(Instant::now());
            let line = self.receiver.recv_timeout(time)?;
            self.seen.push(line.clone());
            if wanted(&line) {
                return Ok(line);
            }
        }
    }

    /// Waits until nobody can write any more.
    fn wait_for_end(&mut self) {
        let end = self.wait(|_| false);
        assert_eq!(end, Err(RecvTimeoutError::Disconnected), "somebody still holds the output");
        self.reader.take().unwrap().join().unwrap();
    }
}

impl Watchdog {
    pub fn start(config: &str) -> Self {
        Self::start_in(tempfile::tempdir().unwrap(), config)
    }

    /// The same with a folder for its configuration.
    pub fn start_in(folder: TempDir, config: &str) -> Self {
        let path = folder.path().join("watchdog.toml");
        std::fs::write(&path, config).unwrap();
        let (log, log_writer) = pipe().unwrap();
        let (services, services_writer) = pipe().unwrap();
        let (held, holder) = pipe().unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_peercam-watchdog"));
        command.arg("--config").arg(path).stdout(services_writer).stderr(log_writer);
        let hold = move || {
            fcntl(&holder, FcntlArg::F_SETFD(FdFlag::empty())).map(|_| ()).map_err(Into::into)
        };
        // SAFETY: a system call on a descriptor that the closure owns.
        unsafe { command.pre_exec(hold) };
        let child = command.spawn().unwrap();
        Self { child, log: Lines::read(log), services: Lines::read(services), held, folder }
    }

    pub fn pid(&self) -> Pid {
        Pid::from_raw(self.child.id() as i32)
    }

    /// Waits for the next line of its log that holds `part`.
    pub fn logs(&mut self, part: &str) -> String {
        match self.log.wait(|line| line.contains(part)) {
            Ok(line) => line,
            Err(error) => panic!("no {part:?} in the log ({error}):\n{}", self.transcript()),
        }
    }

    /// Waits for the next line that a service prints and that holds `part`; what it printed.
    pub fn prints(&mut self, part: &str) -> String {
        match self.services.wait(|line| printed(line).contains(part)) {
            Ok(line) => printed(&line).to_owned(),
            Err(error) => panic!("no {part:?} is printed ({error}):\n{}", self.transcript()),
        }
    }

    /// Waits for the next start of a service; its process.
    pub fn starts(&mut self, name: &str) -> Pid {
        pid_in(&self.logs(&format!("{name}: started as process ")))
    }

    /// In how many lines of the log, up to the last one waited for, `part` stands.
    pub fn times_logged(&self, part: &str) -> usize {
        self.log.seen.iter().filter(|line| line.contains(part)).count()
    }

    /// Whether `part` stands in a line that services printed, up to the last one waited for.
    pub fn has_printed(&self, part: &str) -> bool {
        self.services.seen.iter().any(|line| line.contains(part))
    }

    pub fn signal(&self, signal: Signal) {
        kill(self.pid(), signal).unwrap();
    }

    /// Waits for its end, and that nobody else holds its output any more: no process that it
    /// started, and none that those started, is left.
    pub fn ends(&mut self) -> ExitStatus {
        self.log.wait_for_end();
        self.services.wait_for_end();
        self.held.read_to_end(&mut Vec::new()).unwrap();
        self.child.wait().unwrap()
    }

    /// After it was killed, where others still hold its output.
    pub fn reap(&mut self) {
        self.child.wait().unwrap();
    }

    /// Stops it as init does.
    pub fn stop(mut self) {
        self.signal(Signal::SIGTERM);
        assert_eq!(self.ends().code(), Some(0), "{}", self.transcript());
    }

    fn transcript(&self) -> String {
        [&self.log.seen[..], &["-- services:".to_owned()], &self.services.seen].concat().join("\n")
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        // On a failed test: its services die with it.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A line without the time, and which service it is.
fn printed(line: &str) -> &str {
    line.split_once("] ").and_then(|(_, rest)| rest.split_once(": ")).expect(line).1
}

/// The process whose id ends the line.
pub fn pid_in(line: &str) -> Pid {
    Pid::from_raw(line.rsplit(' ').next().unwrap().parse().unwrap())
}

/// A FIFO that stands in for `/dev/watchdog`.
pub struct Hardware {
    path: PathBuf,
    bytes: Receiver<u8>,
    reader: Option<JoinHandle<()>>,
    _folder: TempDir,
}

/// Ends the reader; the watchdog never writes it.
const END: u8 = b'!';

impl Hardware {
    /// One that is to be fed three times a second.
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("watchdog");
        mkfifo(&path, Mode::S_IRUSR | Mode::S_IWUSR).unwrap();
        // For writing too: there is no end of file then, whoever closes it.
        let mut fifo = File::options().read(true).write(true).open(&path).unwrap();
        let (sender, bytes) = channel();
        let reader = spawn(move || {
            let mut byte = [0];
            while fifo.read_exact(&mut byte).is_ok() && byte[0] != END {
                let _ = sender.send(byte[0]);
            }
        });
        Self { path, bytes, reader: Some(reader), _folder: folder }
    }

    /// `[hardware]` for it.
    pub fn config(&self) -> String {
        format!("[hardware]\ndevice = {:?}\ntimeout = \"1s\"\n", self.path)
    }

    /// Waits for the next byte.
    pub fn next(&self) -> u8 {
        self.bytes.recv_timeout(PATIENCE).expect("the hardware watchdog gets nothing")
    }

    /// Takes what was written so far.
    pub fn drain(&self) -> Vec<u8> {
        self.bytes.try_iter().collect()
    }

    /// Whether a byte comes within `time`.
    pub fn is_fed_within(&self, time: Duration) -> bool {
        self.bytes.recv_timeout(time).is_ok()
    }
}

impl Drop for Hardware {
    fn drop(&mut self) {
        let _ = File::options().write(true).open(&self.path).unwrap().write_all(&[END]);
        let _ = self.reader.take().unwrap().join();
    }
}

/// Waits until `condition` holds, where no event tells.
pub fn until(what: &str, condition: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "still not: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Whether a process is there, and no zombie.
pub fn is_alive(pid: Pid) -> bool {
    match std::fs::read_to_string(format!("/proc/{pid}/stat")) {
        Ok(stat) => !stat.rsplit(") ").next().unwrap().starts_with('Z'),
        Err(_) => false,
    }
}
