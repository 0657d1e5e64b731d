//! The rooms that were added while the camera ran, in a file in the state directory.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use peercam_protocol::RoomId;
use serde::{Deserialize, Serialize};
use tracing::warn;

use super::{HostId, Wish};
use crate::{durable, rendezvous::ServerUrl};

/// Name of the file in the state directory: JSON, for its owner only, since it may hold tokens.
const FILE_NAME: &str = "hosts.json";

/// Largest file that is one. [`super::MAX_ADDED`] rooms with everything in them have half of that.
const MAX_SIZE: u64 = 256 * 1024;

/// What is kept.
#[derive(Debug, Default)]
pub(super) struct Kept {
    /// The number of the next room.
    pub next: u32,
    pub hosts: Vec<(HostId, Wish)>,
}

#[derive(Debug, Serialize, Deserialize)]
struct File {
    next: u32,
    hosts: Vec<Entry>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Entry {
    id: u32,
    servers: Vec<String>,
    room: RoomId,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    token: Option<String>,
}

/// Where it is kept.
#[derive(Debug)]
pub(super) struct Shelf {
    file: PathBuf,
}

impl Shelf {
    /// What was kept. A file that is damaged is moved aside for whoever wants to know: the camera
    /// goes on with what its configuration says.
    pub fn open(state_dir: &Path) -> (Self, Kept) {
        let shelf = Self { file: state_dir.join(FILE_NAME) };
        let kept = shelf.read().unwrap_or_else(|problem| {
            let aside = shelf.file.with_extension("json.unusable");
            let file = shelf.file.display();
            match fs::rename(&shelf.file, &aside) {
                Ok(()) => warn!(
                    "{file} {problem}: rooms that were added are forgotten; the file is now {}",
                    aside.display()
                ),
                Err(error) => warn!("{file} {problem}, and can't be moved aside: {error}"),
            }
            Kept::default()
        });
        (shelf, kept)
    }

    pub fn file(&self) -> &Path {
        &self.file
    }

    /// An error says in words what is wrong with the file.
    fn read(&self) -> Result<Kept, String> {
        let unreadable = |error: io::Error| format!("can't be read ({error})");
        match fs::metadata(&self.file) {
            Ok(metadata) if metadata.len() > MAX_SIZE => {
                return Err(format!("is damaged ({} bytes long)", metadata.len()));
            }
            Ok(_) => {}
            // Also where state-dir is no folder: that is for the identity to say.
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
                ) =>
            {
                return Ok(Kept::default());
            }
            Err(error) => return Err(unreadable(error)),
        }
        let text = fs::read_to_string(&self.file).map_err(unreadable)?;
        let damaged = |error: &dyn std::fmt::Display| format!("is damaged ({error})");
        let file: File = serde_json::from_str(&text).map_err(|error| damaged(&error))?;
        let hosts = file
            .hosts
            .into_iter()
            .map(|Entry { id, servers, room, token }| {
                let servers: Vec<ServerUrl> = servers
                    .iter()
                    .map(|url| url.parse())
                    .collect::<Result<_, _>>()
                    .map_err(|error| damaged(&error))?;
                if servers.is_empty() || id == 0 || id >= file.next {
                    return Err(damaged(&format!("the room {room}")));
                }
                Ok((HostId(id), Wish { servers, room, token, keep_alive: true }))
            })
            .collect::<Result<_, _>>()?;
        Ok(Kept { next: file.next, hosts })
    }

    /// Keeps it in place of what was kept before.
    pub fn keep(&self, kept: &Kept) -> Result<(), durable::Error> {
        let hosts = kept.hosts.iter().map(|(id, wish)| Entry {
            id: id.0,
            servers: wish.servers.iter().map(ServerUrl::to_string).collect(),
            room: wish.room.clone(),
            token: wish.token.clone(),
        });
        let file = File { next: kept.next, hosts: hosts.collect() };
        // Nothing in it that JSON can't.
        let text = serde_json::to_vec_pretty(&file).unwrap_or_default();
        durable::write(&self.file, &text)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn kept() -> Kept {
        let wish = Wish {
            servers: vec!["wss://cam.example".parse().unwrap()],
            room: "garden".parse().unwrap(),
            token: Some("secret".to_owned()),
            keep_alive: true,
        };
        Kept { next: 8, hosts: vec![(HostId(7), wish)] }
    }

    #[test]
    fn what_is_kept_is_found_and_is_private() {
        let folder = tempfile::tempdir().unwrap();
        let (shelf, nothing) = Shelf::open(folder.path());
        assert_eq!((nothing.next, nothing.hosts.len()), (0, 0));
        shelf.keep(&kept()).unwrap();
        let (shelf, found) = Shelf::open(folder.path());
        assert_eq!((found.next, found.hosts), (8, kept().hosts));
        let mode = fs::metadata(shelf.file()).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "no draft is left");
    }

    #[test]
    fn a_damaged_file_is_moved_aside() {
        let folder = tempfile::tempdir().unwrap();
        let (shelf, _) = Shelf::open(folder.path());
        shelf.keep(&kept()).unwrap();
        let good = fs::read_to_string(shelf.file()).unwrap();
        let damages = [
            String::new(),
            good[..good.len() / 2].to_owned(),
            good.replace("wss://", "https://"),
            good.replace("garden", "Garten"),
            good.replace(": 7", ": 8"),
            " ".repeat(300_000),
        ];
        for damage in damages {
            fs::write(shelf.file(), &damage).unwrap();
            let (_, kept) = Shelf::open(folder.path());
            assert!(kept.hosts.is_empty(), "{damage}");
            assert!(!shelf.file().exists());
            let aside = folder.path().join("hosts.json.unusable");
            assert_eq!(fs::read_to_string(aside).unwrap(), damage);
        }
    }
}
