//! The socket on which services are heard (`sd_notify(3)`), and who is heard on it.

use std::{
    fs,
    io::{self, IoSliceMut},
    os::{
        fd::{AsFd, AsRawFd, BorrowedFd},
        linux::net::SocketAddrExt,
        unix::{
            fs::{DirBuilderExt, chown},
            net::UnixDatagram,
        },
    },
    path::{Path, PathBuf},
};

use nix::{
    cmsg_space,
    errno::Errno,
    sys::{
        socket::{
            ControlMessageOwned, MsgFlags, UnixAddr, UnixCredentials, bind, recvmsg, setsockopt,
            sockopt::PassCred,
        },
        stat::{Mode, fchmod},
    },
    unistd::{Pid, Uid, getsid},
};
use peercam_heartbeat::message::{MAX_SIZE, Message};

use crate::log;

/// A socket in a folder, which only the service that is heard on it may use; or an abstract one,
/// with a name that the kernel chose, which everybody may.
#[derive(Debug)]
pub struct NotifySocket {
    socket: UnixDatagram,
    name: String,
    /// Where it is in a folder.
    path: Option<PathBuf>,
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
    /// Makes the socket of a service, in `folder` (which is made where it is missing) if that can
    /// be.
    ///
    /// # Errors
    ///
    /// When the system gives none.
    pub fn bind(folder: Option<&Path>, service: &str) -> io::Result<Self> {
        let path = folder.map(|folder| folder.join(format!("{service}.notify")));
        if let Some(path) = path {
            match Self::bind_path(&path) {
                Ok(socket) => {
                    let name = path.to_string_lossy().into_owned();
                    return Ok(Self { socket, name, path: Some(path) });
                }
                Err(error) => log::warn(format_args!(
                    "{}: {error}: {service} is heard on a socket that everybody may use",
                    path.display()
                )),
            }
        }
        let socket = Self::unbound()?;
        // `unix(7)`, autobind.
        bind(socket.as_raw_fd(), &UnixAddr::new_unnamed())?;
        let address = socket.local_addr()?;
        let name = address.as_abstract_name().map(|name| String::from_utf8_lossy(name));
        let name = name.ok_or_else(|| io::Error::other("the kernel gave the socket no name"))?;
        let name = format!("@{name}");
        Ok(Self { socket, name, path: None })
    }

    fn unbound() -> io::Result<UnixDatagram> {
        let socket = UnixDatagram::unbound()?;
        socket.set_nonblocking(true)?;
        // Before the name exists: no message may come in without its sender's credentials.
        setsockopt(&socket, PassCred, &true)?;
        Ok(socket)
    }

    fn bind_path(path: &Path) -> io::Result<UnixDatagram> {
        if let Some(folder) = path.parent() {
            fs::DirBuilder::new().recursive(true).mode(0o755).create(folder)?;
        }
        // Of a watchdog that was killed.
        match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let socket = Self::unbound()?;
        // What the file gets (`unix(7)`): at no moment it is everybody's.
        fchmod(&socket, Mode::S_IRUSR | Mode::S_IWUSR)?;
        bind(socket.as_raw_fd(), &UnixAddr::new(path)?)?;
        Ok(socket)
    }

    /// Lets this user send messages, and nobody else but root.
    ///
    /// # Errors
    ///
    /// When the system doesn't.
    pub fn admit(&self, user: Uid) -> io::Result<()> {
        self.path.as_ref().map_or(Ok(()), |path| chown(path, Some(user.as_raw()), None))
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

impl Drop for NotifySocket {
    fn drop(&mut self) {
        // Where it can't be removed, the next one to be made there says so.
        self.path.iter().for_each(|path| drop(fs::remove_file(path)));
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
