//! Network namespaces that leave nothing behind: without a name, held by a file descriptor of
//! ours. When we end, however we end, the kernel takes them away with all that is in them.

use std::{
    fs::File,
    io::{self, Write},
    os::fd::AsRawFd,
    path::PathBuf,
    process::{Command, Stdio},
    sync::Arc,
    thread,
};

use nix::{
    sched::{CloneFlags, setns, unshare},
    unistd::geteuid,
};

use crate::error::{Error, Result};

/// A network of its own, with only a loopback interface at first. Clones are the same network.
#[derive(Debug, Clone)]
pub struct Namespace {
    name: Arc<str>,
    file: Arc<File>,
}

impl Namespace {
    /// Makes one; `name` is for messages. Needs root.
    pub fn new(name: &str) -> Result<Self> {
        let what = format!("making a network namespace for the {name}");
        if !geteuid().is_root() {
            return Err(Error::Missing {
                program: format!("root's right, for {what},"),
                remedy: "run it as root, or in a user namespace of yours \
                         (unshare --user --map-root-user …); scripts/test takes sudo"
                    .to_owned(),
            });
        }
        // A thread of its own, which then ends: a namespace belongs to a thread.
        let file = thread::spawn(|| {
            unshare(CloneFlags::CLONE_NEWNET)?;
            File::open("/proc/thread-self/ns/net")
        })
        .join()
        .unwrap_or_else(|_| Err(io::Error::other("the thread panicked")))
        .map_err(Error::io(what))?;
        let namespace = Self { name: name.into(), file: Arc::new(file) };
        namespace.ip(&["link set lo up"])?;
        Ok(namespace)
    }

    /// What it is called in messages.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The path by which other programs find it while we run.
    pub fn path(&self) -> PathBuf {
        format!("/proc/{}/fd/{}", std::process::id(), self.file.as_raw_fd()).into()
    }

    /// A command that runs in it. (nsenter(1) becomes the program: the process id is the
    /// program's.)
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net={}", self.path().display())).arg("--").arg(program);
        command
    }

    /// Calls `work` in a thread that is in it, and returns what it returns. Sockets made there
    /// stay there.
    pub fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> io::Result<T> + Send + 'static,
    ) -> io::Result<T> {
        let file = self.file.clone();
        thread::spawn(move || {
            setns(&*file, CloneFlags::CLONE_NEWNET)?;
            work()
        })
        .join()
        .unwrap_or_else(|_| Err(io::Error::other("the thread in the namespace panicked")))
    }

    /// Runs commands of ip(8) in it, each a line without the leading `ip`.
    pub fn ip(&self, lines: &[impl AsRef<str>]) -> Result<()> {
        let lines: Vec<_> = lines.iter().map(AsRef::as_ref).collect();
        self.feed("ip", &["-batch", "-"], &lines.join("\n"))
    }

    /// Replaces its packet filter and address translation by this ruleset of nft(8).
    pub fn filter(&self, rules: &str) -> Result<()> {
        self.feed("nft", &["-f", "-"], &format!("flush ruleset\n{rules}"))
    }

    /// Sets a kernel parameter of it, named as below `/proc/sys/net`.
    pub fn set(&self, parameter: &str, value: &str) -> Result<()> {
        let path = format!("/proc/sys/net/{parameter}");
        let what = format!("writing {value} to {path} for the {}", self.name);
        let value = value.to_owned();
        self.run(move || std::fs::write(path, value)).map_err(Error::io(what))
    }

    /// Runs a program of the system's administration in it, with `input` as its standard input.
    fn feed(&self, program: &str, arguments: &[&str], input: &str) -> Result<()> {
        let what = format!("{program} in the namespace of the {}", self.name);
        let mut child = self
            .command(program)
            .args(arguments)
            // Where Debian keeps them, which is not on everybody's path.
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(Error::io(what.clone()))?;
        if let Some(mut stdin) = child.stdin.take() {
            // One that ends without reading says why on its standard error.
            let _ = stdin.write_all(input.as_bytes());
        }
        let output = child.wait_with_output().map_err(Error::io(what.clone()))?;
        if output.status.success() {
            return Ok(());
        }
        let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        if said.contains("nsenter: failed to execute") {
            return Err(Error::Missing {
                program: program.to_owned(),
                remedy: "install it with scripts/setup (Debian packages iproute2, nftables)"
                    .to_owned(),
            });
        }
        Err(Error::Answer { what: format!("{what}, asked for\n{input}\n,"), answer: said })
    }
}

/// Joins two namespaces by a cable without faults: an interface in each.
pub fn join(a: (&Namespace, &str), b: (&Namespace, &str)) -> Result<()> {
    let ((a, a_interface), (b, b_interface)) = (a, b);
    a.ip(&[
        format!(
            "link add {a_interface} type veth peer name {b_interface} netns {}",
            b.path().display()
        ),
        format!("link set {a_interface} up"),
    ])?;
    b.ip(&[format!("link set {b_interface} up")])
}
