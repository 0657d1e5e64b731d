//! The service's side: finds the supervisor in the environment and talks to it.

use std::{
    ffi::{OsStr, OsString},
    io,
    os::{
        linux::net::SocketAddrExt,
        unix::{
            ffi::OsStrExt,
            net::{SocketAddr, UnixDatagram},
        },
    },
    path::{Path, PathBuf},
    process,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use crate::message::{Message, Progress, Watchdog};

/// A service's line to its supervisor, as in `sd_notify(3)` and `sd_watchdog_enabled(3)`.
///
/// Without a supervisor (`NOTIFY_SOCKET` unset) every call does nothing. No call blocks or fails:
/// a message that finds the supervisor's queue full, or nobody there, is dropped. That is harmless
/// for heartbeats and texts, which come again; a dropped [`Notifier::ready`] is repeated with the
/// next [`Notifier::alive`].
#[derive(Debug)]
pub struct Notifier {
    supervisor: Option<Supervisor>,
    interval: Option<Duration>,
    ready_owed: AtomicBool,
    safe_mode: Option<String>,
    watchdog_status: Option<PathBuf>,
}

#[derive(Debug)]
struct Supervisor {
    socket: UnixDatagram,
    address: SocketAddr,
}

impl Notifier {
    /// Looks for a supervisor in the environment of this process: `NOTIFY_SOCKET` (a path, or
    /// `@name` for an abstract socket, `unix(7)`), `WATCHDOG_USEC` and `WATCHDOG_PID`; and with it
    /// `PEERCAM_SAFE_MODE` and `PEERCAM_STATUS`.
    ///
    /// # Errors
    ///
    /// When a variable holds what cannot be meant: a relative path, another kind of socket than
    /// `AF_UNIX` (`vsock:…`), an interval that is no positive number. When no socket can be made.
    pub fn from_env() -> io::Result<Self> {
        Self::from_vars(|name| std::env::var_os(name))
    }

    fn from_vars(var: impl Fn(&str) -> Option<OsString>) -> io::Result<Self> {
        let Some(name) = var("NOTIFY_SOCKET") else {
            return Ok(Self {
                supervisor: None,
                interval: None,
                ready_owed: AtomicBool::new(false),
                safe_mode: None,
                watchdog_status: None,
            });
        };
        let address = socket_address(&name)?;
        let socket = UnixDatagram::unbound()?;
        socket.set_nonblocking(true)?;
        Ok(Self {
            supervisor: Some(Supervisor { socket, address }),
            interval: heartbeat_interval(var("WATCHDOG_USEC"), var("WATCHDOG_PID"))?,
            ready_owed: AtomicBool::new(false),
            safe_mode: var("PEERCAM_SAFE_MODE").map(|reason| reason.to_string_lossy().into_owned()),
            watchdog_status: var("PEERCAM_STATUS").map(PathBuf::from),
        })
    }

    /// Start-up is finished (`READY=1`). `status` says in one line what the service does now.
    pub fn ready(&self, status: &str) {
        let sent = self.send(&Message {
            ready: true,
            watchdog: Some(Watchdog::Alive),
            status: Some(status.to_owned()),
            ..Message::default()
        });
        self.ready_owed.store(!sent, Ordering::Relaxed);
    }

    /// A heartbeat (`WATCHDOG=1`): call it from the loop that does the work, not from a timer of
    /// its own, every [`Notifier::interval`].
    pub fn alive(&self) {
        self.beat(None);
    }

    /// The same with a word on the work: a supervisor that was told to watches over that too.
    pub fn working(&self, progress: Progress) {
        self.beat(Some(progress));
    }

    fn beat(&self, progress: Option<Progress>) {
        let ready = self.ready_owed.load(Ordering::Relaxed);
        let watchdog = Some(Watchdog::Alive);
        let heartbeat = Message { ready, watchdog, progress, ..Message::default() };
        if self.send(&heartbeat) && ready {
            self.ready_owed.store(false, Ordering::Relaxed);
        }
    }

    /// What goes on now (the start, a heartbeat, the end) may take `time` from here on
    /// (`EXTEND_TIMEOUT_USEC=`), at most [`MAX_EXTENSION`](crate::message::MAX_EXTENSION).
    pub fn extend(&self, time: Duration) {
        self.send(&Message { extension: Some(time), ..Message::default() });
    }

    /// What the service does now, one line for people (`STATUS=`). Control characters become
    /// blanks; what is longer than [`MAX_STATUS`](crate::message::MAX_STATUS) is cut.
    pub fn status(&self, status: &str) {
        self.send(&Message { status: Some(status.to_owned()), ..Message::default() });
    }

    /// The service has begun to end (`STOPPING=1`): what follows is no failure.
    pub fn stopping(&self) {
        self.ready_owed.store(false, Ordering::Relaxed);
        self.send(&Message { stopping: true, ..Message::default() });
    }

    /// How often to call [`Notifier::alive`]: half of `WATCHDOG_USEC`, as `sd_watchdog_enabled(3)`
    /// recommends. None when nobody waits for heartbeats.
    pub fn interval(&self) -> Option<Duration> {
        self.interval
    }

    /// Why the supervisor runs this service in safe mode (`PEERCAM_SAFE_MODE`); None in every other
    /// mode.
    pub fn safe_mode(&self) -> Option<&str> {
        self.safe_mode.as_deref()
    }

    /// The file in which `peercam-watchdog` tells how the device is (`PEERCAM_STATUS`); None without
    /// it.
    pub fn watchdog_status(&self) -> Option<&Path> {
        self.watchdog_status.as_deref()
    }

    /// Whether the message is with the supervisor, or there is none to have it.
    fn send(&self, message: &Message) -> bool {
        let Some(Supervisor { socket, address }) = &self.supervisor else { return true };
        socket.send_to_addr(&message.encode(), address).is_ok()
    }
}

/// The address behind `NOTIFY_SOCKET`.
fn socket_address(name: &OsStr) -> io::Result<SocketAddr> {
    match name.as_bytes() {
        [b'@', name @ ..] if !name.is_empty() => SocketAddr::from_abstract_name(name),
        [b'/', _, ..] => SocketAddr::from_pathname(name),
        _ => Err(invalid(format!(
            "NOTIFY_SOCKET={}: use an absolute path, or @name for an abstract socket",
            name.display()
        ))),
    }
}

/// Half of `WATCHDOG_USEC`, unless `WATCHDOG_PID` says that another process is meant.
fn heartbeat_interval(
    usec: Option<OsString>,
    pid: Option<OsString>,
) -> io::Result<Option<Duration>> {
    let Some(usec) = usec else { return Ok(None) };
    let usec = number(&usec).filter(|&usec| usec > 0 && usec < u64::MAX).ok_or_else(|| {
        invalid(format!("WATCHDOG_USEC={}: use microseconds above zero", usec.display()))
    })?;
    if let Some(pid) = pid {
        let meant = number(&pid)
            .ok_or_else(|| invalid(format!("WATCHDOG_PID={}: use a process id", pid.display())))?;
        if meant != u64::from(process::id()) {
            return Ok(None);
        }
    }
    Ok(Some(Duration::from_micros(usec) / 2))
}

fn number(text: &OsStr) -> Option<u64> {
    text.to_str()?.parse().ok()
}

fn invalid(message: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn notifier(vars: &[(&str, &str)]) -> io::Result<Notifier> {
        Notifier::from_vars(|name| {
            vars.iter().find(|(key, _)| *key == name).map(|(_, value)| OsString::from(value))
        })
    }

    fn supervisor(address: &SocketAddr) -> UnixDatagram {
        let socket = UnixDatagram::bind_addr(address).unwrap();
        socket.set_nonblocking(true).unwrap();
        socket
    }

    /// Messages of one machine are in the queue when the send returns: nothing to wait for.
    fn next(socket: &UnixDatagram) -> Option<Message> {
        let mut datagram = [0; 8192];
        let size = socket.recv(&mut datagram).ok()?;
        Some(Message::parse(&datagram[..size]).unwrap())
    }

    #[test]
    fn the_life_of_a_service_reaches_its_supervisor_by_path_and_by_abstract_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify").to_str().unwrap().to_owned();
        let abstract_name = format!("@peercam-heartbeat-test-{}", process::id());
        for name in [path, abstract_name] {
            let socket = supervisor(&socket_address(OsStr::new(&name)).unwrap());
            let service = notifier(&[("NOTIFY_SOCKET", &name)]).unwrap();
            service.ready("waiting for viewers");
            service.alive();
            service.status("two viewers");
            service.working(Progress { expected: true, done: 30 });
            service.extend(Duration::from_secs(3));
            service.stopping();

            let ready = next(&socket).unwrap();
            assert!(ready.ready);
            assert_eq!(ready.status.as_deref(), Some("waiting for viewers"));
            let alive = Message { watchdog: Some(Watchdog::Alive), ..Message::default() };
            assert_eq!(next(&socket), Some(alive));
            assert_eq!(next(&socket).unwrap().status.as_deref(), Some("two viewers"));
            let working = next(&socket).unwrap();
            assert_eq!(working.watchdog, Some(Watchdog::Alive));
            assert_eq!(working.progress, Some(Progress { expected: true, done: 30 }));
            assert_eq!(next(&socket).unwrap().extension, Some(Duration::from_secs(3)));
            assert!(next(&socket).unwrap().stopping);
            assert_eq!(next(&socket), None);
        }
    }

    #[test]
    fn without_a_supervisor_nothing_happens() {
        let service = notifier(&[("WATCHDOG_USEC", "1000000")]).unwrap();
        service.ready("up");
        service.alive();
        assert_eq!(service.interval(), None);
    }

    #[test]
    fn a_supervisor_that_is_not_there_or_does_not_read_holds_nothing_up() {
        let name = format!("@peercam-heartbeat-full-{}", process::id());
        let service = notifier(&[("NOTIFY_SOCKET", &name)]).unwrap();
        service.alive();
        let socket = supervisor(&socket_address(OsStr::new(&name)).unwrap());
        for _ in 0..10_000 {
            service.status("more than any queue holds");
        }
        service.ready("lost in a full queue");
        while next(&socket).is_some() {}
        service.alive();
        assert!(next(&socket).unwrap().ready, "the lost READY=1 comes with the next heartbeat");
        service.alive();
        assert!(!next(&socket).unwrap().ready, "and only once");
    }

    #[test]
    fn the_interval_is_half_of_what_the_supervisor_allows() {
        let socket = ("NOTIFY_SOCKET", "@x");
        let own = process::id().to_string();
        let interval = |vars: &[(&str, &str)]| notifier(vars).unwrap().interval();
        let three = ("WATCHDOG_USEC", "3000000");
        assert_eq!(interval(&[socket]), None);
        assert_eq!(interval(&[socket, three]), Some(Duration::from_millis(1500)));
        assert_eq!(
            interval(&[socket, three, ("WATCHDOG_PID", &own)]),
            Some(Duration::from_millis(1500))
        );
        assert_eq!(interval(&[socket, three, ("WATCHDOG_PID", "1")]), None);
    }

    #[test]
    fn safe_mode_comes_with_its_reason_from_a_supervisor_only() {
        let (socket, reason) =
            (("NOTIFY_SOCKET", "@x"), ("PEERCAM_SAFE_MODE", "3 resets in a row"));
        assert_eq!(notifier(&[socket]).unwrap().safe_mode(), None);
        assert_eq!(notifier(&[reason]).unwrap().safe_mode(), None);
        assert_eq!(notifier(&[socket, reason]).unwrap().safe_mode(), Some("3 resets in a row"));
        let file = ("PEERCAM_STATUS", "/run/status.toml");
        assert_eq!(notifier(&[file]).unwrap().watchdog_status(), None);
        let notifier = notifier(&[socket, file]).unwrap();
        assert_eq!(notifier.watchdog_status(), Some(Path::new("/run/status.toml")));
    }

    #[test]
    fn nonsense_in_the_environment_is_named() {
        let refusal = |vars: &[(&str, &str)]| notifier(vars).unwrap_err().to_string();
        for name in ["", "@", "/", "relative", "vsock:2:1"] {
            assert!(refusal(&[("NOTIFY_SOCKET", name)]).contains("NOTIFY_SOCKET="), "{name}");
        }
        let socket = ("NOTIFY_SOCKET", "@x");
        for usec in ["0", "-1", "soon", "18446744073709551615"] {
            assert!(refusal(&[socket, ("WATCHDOG_USEC", usec)]).contains(usec));
        }
        let pid = [socket, ("WATCHDOG_USEC", "1"), ("WATCHDOG_PID", "me")];
        assert!(refusal(&pid).contains("WATCHDOG_PID=me"));
        let long = format!("/{}", "x".repeat(200));
        assert!(notifier(&[("NOTIFY_SOCKET", &long)]).is_err());
    }
}
