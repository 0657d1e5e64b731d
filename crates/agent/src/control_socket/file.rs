//! The control socket in the file system: who may use it, and whose it is.
//!
//! The file has mode 0660 and belongs to the agent's user: besides him, root and whoever is in the
//! file's group may connect. The kernel sees to that by the file's mode; and should the mode be
//! changed, each connection's user is looked at again (`SO_PEERCRED`, unix(7)).

use std::{
    fs::{self, Permissions},
    io,
    os::unix::{
        fs::{FileTypeExt, MetadataExt, PermissionsExt},
        net::{UnixListener, UnixStream},
    },
    path::{Path, PathBuf},
};

use socket2::{Domain, SockAddr, Socket, Type};

/// Connections that wait to be accepted.
const BACKLOG: i32 = 8;

/// Why there is no control socket.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// Another agent listens there.
    #[error(
        "an agent that runs already listens on {}: stop that one, or give this one another \
         control.socket", .0.display()
    )]
    InUse(PathBuf),
    /// Something else has the name.
    #[error(
        "{} is there and is no socket: move it away, or choose another control.socket", .0.display()
    )]
    NoSocket(PathBuf),
    /// What the system did not allow.
    #[error(
        "{action} {}: {source}: choose a control.socket in a folder that this user may write to",
        .path.display()
    )]
    Io {
        /// What was tried.
        action: &'static str,
        /// With what.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
}

/// The socket, listening. Its file is removed when it is dropped.
#[derive(Debug)]
pub struct Listener {
    socket: UnixListener,
    path: PathBuf,
    /// Device and number of the file, by which it is known to be ours still.
    file: (u64, u64),
}

impl Listener {
    /// Makes the socket, and its folder where that is missing. The socket of an agent that died is
    /// replaced.
    ///
    /// # Errors
    ///
    /// Each says what is in the way, and the way out.
    pub fn bind(path: &Path) -> Result<Self, BindError> {
        let failed = |action: &'static str| {
            move |source: io::Error| BindError::Io { action, path: path.to_owned(), source }
        };
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).map_err(|source| BindError::Io {
                action: "making the folder",
                path: folder.to_owned(),
                source,
            })?;
        }
        clear(path)?;
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None).map_err(failed("opening"))?;
        let address = SockAddr::unix(path).map_err(failed("the address"))?;
        socket.bind(&address).map_err(failed("binding"))?;
        // Before anybody can connect: until it listens, all are refused.
        fs::set_permissions(path, Permissions::from_mode(0o660)).map_err(failed("the mode of"))?;
        socket.listen(BACKLOG).map_err(failed("listening on"))?;
        socket.set_nonblocking(true).map_err(failed("listening on"))?;
        let metadata = fs::symlink_metadata(path).map_err(failed("looking at"))?;
        let file = (metadata.dev(), metadata.ino());
        Ok(Self {
            socket: UnixListener::from(std::os::fd::OwnedFd::from(socket)),
            path: path.to_owned(),
            file,
        })
    }

    /// The socket itself.
    pub(super) fn socket(&self) -> io::Result<UnixListener> {
        self.socket.try_clone()
    }

    /// Its name.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        let ours = fs::symlink_metadata(&self.path)
            .is_ok_and(|metadata| (metadata.dev(), metadata.ino()) == self.file);
        if ours {
            // Left behind, it is replaced at the next start.
            drop(fs::remove_file(&self.path));
        }
    }
}

/// Removes what a dead agent left.
fn clear(path: &Path) -> Result<(), BindError> {
    let failed = |action: &'static str| {
        move |source: io::Error| BindError::Io { action, path: path.to_owned(), source }
    };
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed("looking at")(error)),
        Ok(metadata) if !metadata.file_type().is_socket() => {
            return Err(BindError::NoSocket(path.to_owned()));
        }
        Ok(_) => {}
    }
    match UnixStream::connect(path) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            fs::remove_file(path).map_err(failed("removing"))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        // Also one that can't be reached for another reason: nobody's socket is taken away.
        _ => Err(BindError::InUse(path.to_owned())),
    }
}

/// Whose the socket's file is, and who may use it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Rights {
    user: u32,
    group: u32,
    mode: u32,
}

impl Rights {
    /// As they are now: a person may have changed group and mode.
    pub fn of(path: &Path) -> io::Result<Self> {
        let metadata = fs::symlink_metadata(path)?;
        Ok(Self { user: metadata.uid(), group: metadata.gid(), mode: metadata.mode() })
    }

    /// Whether who connected as this user with this primary group is root, the agent's own user or
    /// of the file's group. A socket's own credentials don't name further groups; but where the
    /// file's mode lets in nobody else, the kernel has looked at those.
    pub fn admit(self, user: u32, group: u32) -> bool {
        let by_group = self.mode & 0o020 != 0;
        let others = self.mode & 0o002 != 0;
        user == 0 || user == self.user || by_group && (group == self.group || !others)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_folder_is_made_and_the_file_is_for_its_owner_and_group() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run/deep/control.sock");
        let listener = Listener::bind(&path).unwrap();
        let mode = fs::symlink_metadata(&path).unwrap().mode();
        assert_eq!(mode & 0o777, 0o660);
        UnixStream::connect(&path).unwrap();
        drop(listener);
        assert!(!path.exists());
    }

    #[test]
    fn a_dead_agents_socket_is_replaced_and_a_live_ones_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("control.sock");
        drop(UnixListener::bind(&path).unwrap());
        assert!(path.exists());
        let listener = Listener::bind(&path).unwrap();
        let error = Listener::bind(&path).unwrap_err();
        assert!(matches!(error, BindError::InUse(_)), "{error}");
        assert!(error.to_string().contains("control.socket"), "{error}");
        UnixStream::connect(&path).unwrap();
        drop(listener);
    }

    #[test]
    fn what_is_no_socket_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("control.sock");
        fs::write(&path, "a letter").unwrap();
        assert!(matches!(Listener::bind(&path), Err(BindError::NoSocket(_))));
        assert_eq!(fs::read_to_string(&path).unwrap(), "a letter");
        let error = Listener::bind(&path.join("below")).unwrap_err().to_string();
        assert!(error.contains("folder"), "{error}");
        let long = folder.path().join("x".repeat(200));
        assert!(matches!(Listener::bind(&long), Err(BindError::Io { .. })));
    }

    #[test]
    fn a_socket_that_another_agent_has_made_meanwhile_is_not_removed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("control.sock");
        let first = Listener::bind(&path).unwrap();
        fs::remove_file(&path).unwrap();
        let second = Listener::bind(&path).unwrap();
        drop(first);
        assert!(path.exists());
        drop(second);
    }

    #[test]
    fn root_the_owner_and_the_group_may_ask() {
        let file = |mode| Rights { user: 900, group: 800, mode };
        for mode in [0o660, 0o666] {
            assert!(file(mode).admit(0, 0));
            assert!(file(mode).admit(900, 1));
            assert!(file(mode).admit(7, 800));
        }
        // The kernel let him connect by another of his groups.
        assert!(file(0o660).admit(7, 7));
        assert!(!file(0o666).admit(7, 7));
        assert!(!file(0o600).admit(7, 800));
    }
}
