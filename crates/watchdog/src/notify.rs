//! The socket on which services are heard (`sd_notify(3)`), and who is heard on it.

use std::{
    io::{self, IoSliceMut},
    os::{
        fd::{AsFd, AsRawFd, BorrowedFd},
        linux::net::SocketAddrExt,
        unix::net::UnixDatagram,
    },
    time::{Duration, Instant},
};

use nix::{
    cmsg_space,
    errno::Errno,
    sys::socket::{
        ControlMessageOwned, MsgFlags, UnixAddr, UnixCredentials, bind, recvmsg, setsockopt,
        sockopt::PassCred,
    },
    unistd::{Pid, getsid},
};
use peercam_heartbeat::message::{MAX_SIZE, Message};

use crate::log;

/// Least time between two log lines about refused messages.
const REFUSAL_PAUSE: Duration = Duration::from_secs(10);

/// An abstract socket with a name that the kernel chose: nobody can have taken it before, no
/// folder must be writable, and nothing is left behind.
#[derive(Debug)]
pub struct NotifySocket {
    socket: UnixDatagram,
    name: String,
}

/// One datagram.
#[derive(Debug)]
pub enum Received {
    /// From this process, as the kernel says.
    Message(Pid, Message),
    /// Not usable; why.
    Refused(String),
}

impl NotifySocket {
    /// Makes the socket.
    ///
    /// # Errors
    ///
    /// When the system gives none.
    pub fn bind() -> io::Result<Self> {
        let socket = UnixDatagram::unbound()?;
        socket.set_nonblocking(true)?;
        // Before the name exists: no message may come in without its sender's credentials.
        setsockopt(&socket, PassCred, &true)?;
        // `unix(7)`, autobind.
        bind(socket.as_raw_fd(), &UnixAddr::new_unnamed())?;
        let address = socket.local_addr()?;
        let name = address.as_abstract_name().map(|name| String::from_utf8_lossy(name));
        let name = name.ok_or_else(|| io::Error::other("the kernel gave the socket no name"))?;
        let name = format!("@{name}");
        Ok(Self { socket, name })
    }

    /// What services find in `NOTIFY_SOCKET`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The next datagram, or None when none waits.
    pub fn receive(&self) -> Option<Received> {
        let mut buffer = [0; MAX_SIZE];
        // Room for the credentials and nothing else: file descriptors that somebody sends along
        // are not taken in.
        let mut control = cmsg_space!(UnixCredentials);
        let mut parts = [IoSliceMut::new(&mut buffer)];
        let flags = MsgFlags::MSG_CMSG_CLOEXEC | MsgFlags::MSG_DONTWAIT;
        let message = recvmsg::<()>(self.socket.as_raw_fd(), &mut parts, Some(&mut control), flags);
        let message = match message {
            Ok(message) => message,
            Err(Errno::EAGAIN | Errno::EINTR) => return None,
            Err(error) => return Some(Received::Refused(error.to_string())),
        };
        let credentials = message.cmsgs().ok().and_then(|mut list| {
            list.find_map(|item| match item {
                ControlMessageOwned::ScmCredentials(credentials) => Some(credentials),
                _ => None,
            })
        });
        let (size, cut) = (message.bytes, message.flags.contains(MsgFlags::MSG_TRUNC));
        let Some(credentials) = credentials else {
            return Some(Received::Refused("a message with more than text in it".to_owned()));
        };
        let sender = Pid::from_raw(credentials.pid());
        if cut {
            return Some(Received::Refused(format!(
                "a message of more than {MAX_SIZE} bytes from process {sender}"
            )));
        }
        Some(match Message::parse(&buffer[..size]) {
            Ok(message) => Received::Message(sender, message),
            Err(error) => Received::Refused(format!("{error}, from process {sender}")),
        })
    }
}

impl AsFd for NotifySocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// Whether `sender` belongs to the service whose main process is `main`: it is in its session,
/// which no process can enter from outside. A sender that is gone already is not known any more,
/// unless it is the main process, which stays a zombie until its last words are heard.
pub fn belongs_to(sender: Pid, main: Pid) -> bool {
    sender == main || getsid(Some(sender)) == Ok(main)
}

/// Messages that were not taken: a line now and then, however many they are.
#[derive(Debug, Default)]
pub(crate) struct Refusals {
    last: Option<Instant>,
    unsaid: u64,
}

impl Refusals {
    /// One more.
    pub fn log(&mut self, reason: &str) {
        let now = Instant::now();
        if self.last.is_some_and(|last| now < last + REFUSAL_PAUSE) {
            self.unsaid += 1;
            return;
        }
        let others = match std::mem::take(&mut self.unsaid) {
            0 => String::new(),
            unsaid => format!(" (and {unsaid} more since the last such line)"),
        };
        log::warn(format_args!("ignored {reason}{others}"));
        self.last = Some(now);
    }
}
