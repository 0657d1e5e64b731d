//! What the server keeps on disk, in `state-dir`: its own key, and who claimed which room.
//!
//! | file | holds |
//! |---|---|
//! | `server.key` | the server's Ed25519 key (0600), by which cameras know its clock: 43 characters of base64url |
//! | `claims.redb` | `claims`: room → key, door and issuers |
//!
//! What is there but can't be understood is an error, and is left as it is: the owners of the
//! rooms depend on it.

use std::{
    fs::{self, DirBuilder, File, OpenOptions, TryLockError},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    panic::catch_unwind,
    path::{Path, PathBuf},
    sync::Arc,
};

use futures_util::future::BoxFuture;
use peercam_protocol::{RoomId, SecretKey};
use redb::{Builder, Database, ReadableDatabase, ReadableTable, TableDefinition};
use tokio::task::spawn_blocking;
use tracing::warn;

use crate::claims::{Claim, Keeper, KeeperError};

const KEY: &str = "server.key";
const CLAIMS: &str = "claims.redb";

/// Room → claim, in JSON.
const TABLE: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("claims");

/// All claims are in memory anyway: this is for writing.
const CACHE_BYTES: usize = 1024 * 1024;

/// Why the state directory can't be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StateError {
    /// A file or folder that can't be made, read or written.
    #[error("{}: {action}: {source}: check state-dir and whose it is", .file.display())]
    Io {
        /// The file.
        file: PathBuf,
        /// What was tried.
        action: &'static str,
        /// Why it failed.
        source: io::Error,
    },
    /// Another server uses it.
    #[error("{}: another server uses it: give each a state-dir of its own", .file.display())]
    InUse {
        /// The file.
        file: PathBuf,
    },
    /// A file that is not what it should be. It is left as it is.
    #[error("{} is damaged ({reason}): restore it from a copy, or move it away to {loss}",
        .file.display())]
    Damaged {
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        reason: String,
        /// What moving it away means.
        loss: &'static str,
    },
    /// No random numbers.
    #[error("no random numbers for the server's key: {0}")]
    Random(getrandom::Error),
}

/// An opened state directory.
#[derive(Debug)]
pub(crate) struct State {
    /// The server's own.
    pub(crate) key: SecretKey,
    /// All there are.
    pub(crate) claims: Vec<(RoomId, Claim)>,
    /// Where claims are kept from now on.
    pub(crate) store: Store,
}

impl State {
    /// Opens the folder, which is made where it is missing (0700), and everything in it.
    pub(crate) fn open(folder: &Path) -> Result<Self, StateError> {
        let failed = failed(folder, "make the folder");
        DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(failed)?;
        // First, as it shows whether another server is here.
        let (store, claims) = Store::open(folder)?;
        let key = load_or_make_key(folder)?;
        Ok(Self { key, claims, store })
    }
}

fn failed(file: &Path, action: &'static str) -> impl Fn(io::Error) -> StateError + use<> {
    let file = file.to_owned();
    move |source| StateError::Io { file: file.clone(), action, source }
}

fn load_or_make_key(folder: &Path) -> Result<SecretKey, StateError> {
    let file = folder.join(KEY);
    match fs::read(&file) {
        Ok(bytes) => {
            let text = String::from_utf8_lossy(&bytes);
            text.trim_end().parse().map_err(|error: peercam_protocol::key::KeyError| {
                StateError::Damaged {
                    file,
                    reason: error.to_string(),
                    loss: "get a new key: cameras without a clock then mistrust this server's",
                }
            })
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => make_key(folder, &file),
        Err(error) => Err(failed(&file, "read")(error)),
    }
}

/// Makes a key, in a file that is there whole or not at all.
fn make_key(folder: &Path, file: &Path) -> Result<SecretKey, StateError> {
    let mut seed = [0; 32];
    getrandom::fill(&mut seed).map_err(StateError::Random)?;
    let key = SecretKey::from_bytes(&seed);
    let draft = without_draft(file)?;
    let mut output = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&draft)
        .map_err(failed(&draft, "create"))?;
    writeln!(output, "{}", key.reveal())
        .and_then(|()| output.sync_all())
        .map_err(failed(&draft, "write"))?;
    put_in_place(folder, &draft, file)?;
    Ok(key)
}

/// The name under which `file` is made; what a power failure left of an earlier attempt is gone.
fn without_draft(file: &Path) -> Result<PathBuf, StateError> {
    let mut draft = file.as_os_str().to_owned();
    draft.push(".new");
    let draft = PathBuf::from(draft);
    match fs::remove_file(&draft) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(failed(&draft, "remove an old draft")(error))
        }
        _ => Ok(draft),
    }
}

fn put_in_place(folder: &Path, draft: &Path, file: &Path) -> Result<(), StateError> {
    fs::rename(draft, file).map_err(failed(file, "put in place"))?;
    let sync = File::open(folder).and_then(|folder| folder.sync_all());
    sync.map_err(failed(folder, "sync"))
}

/// The claims on disk: an embedded database, each write of which is on the disk when it is done.
#[derive(Debug)]
pub(crate) struct Store {
    database: Arc<Database>,
}

impl Store {
    fn open(folder: &Path) -> Result<(Self, Vec<(RoomId, Claim)>), StateError> {
        let file = folder.join(CLAIMS);
        let damaged = |reason: String| StateError::Damaged {
            file: file.clone(),
            reason,
            loss: "begin without claims: named rooms are then the first comers' again",
        };
        let exists = file.try_exists().map_err(failed(&file, "look for it"))?;
        if !exists {
            // Under another name, so that an empty file is never taken for a new one.
            let draft = without_draft(&file)?;
            make_database(&draft).map_err(|error| damaged(error.to_string()))?;
            put_in_place(folder, &draft, &file)?;
        }
        // The library mends what it opens, and thereby writes to what it can't mend: a copy shows
        // first whether it can.
        let copy = copy_unless_in_use(&file)?;
        let readable = read_database(&copy).map_err(&damaged);
        fs::remove_file(&copy).map_err(failed(&copy, "remove"))?;
        readable?;
        match read_database(&file) {
            Ok((database, claims)) => Ok((Self { database: Arc::new(database) }, claims)),
            Err(reason) => Err(damaged(reason)),
        }
    }
}

fn copy_unless_in_use(file: &Path) -> Result<PathBuf, StateError> {
    let copy = without_draft(file)?;
    let original = File::open(file).map_err(failed(file, "open"))?;
    match original.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Err(StateError::InUse { file: file.to_owned() }),
        Err(TryLockError::Error(error)) => return Err(failed(file, "lock")(error)),
    }
    fs::copy(file, &copy).map_err(failed(&copy, "copy the claims to"))?;
    Ok(copy)
}

fn make_database(file: &Path) -> Result<(), redb::Error> {
    let database = Builder::new().set_cache_size(CACHE_BYTES).create(file)?;
    let write = database.begin_write()?;
    write.open_table(TABLE)?;
    write.commit()?;
    Ok(())
}

/// Opens a database of claims, in which there may be anything; the error says what is wrong.
fn read_database(file: &Path) -> Result<(Database, Vec<(RoomId, Claim)>), String> {
    let read = || {
        let mut database =
            Builder::new().set_cache_size(CACHE_BYTES).open(file).map_err(in_words)?;
        if !database.check_integrity().map_err(in_words)? {
            warn!(file = %file.display(), "the claims were repaired: the latest may be lost");
        }
        let claims = read_claims(&database).map_err(in_words)?;
        let claims = claims.into_iter().map(|(room, claim)| {
            let parsed = room.parse().ok().zip(serde_json::from_slice(&claim).ok());
            parsed.ok_or_else(|| format!("what stands at the room {room:?}"))
        });
        Ok((database, claims.collect::<Result<_, String>>()?))
    };
    // A panic in the library is one more way to say that it can't be read.
    catch_unwind(read).unwrap_or_else(|_| Err("it makes no sense".to_owned()))
}

fn in_words(error: impl std::fmt::Display) -> String {
    error.to_string()
}

fn read_claims(database: &Database) -> Result<Vec<(String, Vec<u8>)>, redb::Error> {
    let table = database.begin_read()?.open_table(TABLE)?;
    let entries = table.iter()?.map(|entry| {
        let (room, claim) = entry?;
        Ok((room.value().to_owned(), claim.value().to_owned()))
    });
    entries.collect()
}

impl Keeper for Store {
    fn put<'a>(
        &'a self,
        room: &'a RoomId,
        claim: &'a Claim,
    ) -> BoxFuture<'a, Result<Claim, KeeperError>> {
        let (database, room, claim) = (self.database.clone(), room.clone(), claim.clone());
        Box::pin(on_disk(move || {
            let value = serde_json::to_vec(&claim).map_err(|error| error.to_string())?;
            write(&database, |table| {
                table.insert(room.as_str(), value.as_slice())?;
                Ok(())
            })?;
            Ok(claim)
        }))
    }

    fn remove<'a>(&'a self, room: &'a RoomId) -> BoxFuture<'a, Result<(), KeeperError>> {
        let (database, room) = (self.database.clone(), room.clone());
        Box::pin(on_disk(move || {
            write(&database, |table| {
                table.remove(room.as_str())?;
                Ok(())
            })
        }))
    }
}

/// A disk may take its time: no other task waits for it.
async fn on_disk<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, String> + Send + 'static,
) -> Result<T, KeeperError> {
    let done = spawn_blocking(work).await.map_err(|error| KeeperError(error.to_string()))?;
    done.map_err(KeeperError)
}

fn write(
    database: &Database,
    change: impl FnOnce(&mut redb::Table<'_, &str, &[u8]>) -> Result<(), redb::StorageError>,
) -> Result<(), String> {
    let written = || -> Result<(), redb::Error> {
        let write = database.begin_write()?;
        change(&mut write.open_table(TABLE)?)?;
        write.commit()?;
        Ok(())
    };
    written().map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use peercam_protocol::signalling::Door;

    use super::*;
    use crate::hosting::Tenant;

    fn claim(seed: u8) -> Claim {
        let key = SecretKey::from_bytes(&[seed; 32]).public();
        Claim { tenant: Tenant { key, door: Door::Token, issuers: vec![key] }, since: 7 }
    }

    fn room(number: usize) -> RoomId {
        format!("room-{number}").parse().unwrap()
    }

    async fn filled(folder: &Path, rooms: usize) -> Vec<(RoomId, Claim)> {
        let state = State::open(folder).unwrap();
        for number in 0..rooms {
            state.store.put(&room(number), &claim(number as u8 + 1)).await.unwrap();
        }
        drop(state);
        State::open(folder).unwrap().claims
    }

    #[tokio::test]
    async fn what_was_put_there_is_there_the_next_time() {
        let folder = tempfile::tempdir().unwrap();
        let state = State::open(&folder.path().join("a/b")).unwrap();
        let (one, two) = (room(1), room(2));
        state.store.put(&one, &claim(1)).await.unwrap();
        state.store.put(&two, &claim(2)).await.unwrap();
        state.store.put(&two, &claim(3)).await.unwrap();
        state.store.remove(&one).await.unwrap();
        let key = state.key.clone();
        drop(state);
        let state = State::open(&folder.path().join("a/b")).unwrap();
        assert_eq!(state.claims, [(two, claim(3))]);
        assert_eq!(state.key, key);
        let mode = |name: &str| {
            let meta = fs::metadata(folder.path().join("a/b").join(name)).unwrap();
            meta.permissions().mode() & 0o777
        };
        assert_eq!((mode(KEY), mode(".")), (0o600, 0o700));
    }

    #[test]
    fn a_folder_serves_one_server_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let first = State::open(folder.path()).unwrap();
        let second = State::open(folder.path());
        assert!(matches!(second, Err(StateError::InUse { .. })), "{second:?}");
        drop(first);
        State::open(folder.path()).unwrap();
    }

    #[test]
    fn a_key_that_is_damaged_is_left_as_it_is() {
        let folder = tempfile::tempdir().unwrap();
        drop(State::open(folder.path()).unwrap());
        let file = folder.path().join(KEY);
        for content in [b"".as_slice(), b"short", &[0xff; 43]] {
            fs::write(&file, content).unwrap();
            let error = State::open(folder.path()).unwrap_err().to_string();
            assert!(error.contains("server.key is damaged"), "{error}");
            assert_eq!(fs::read(&file).unwrap(), content);
        }
    }

    /// Cut off at any length, or with bytes changed: never a panic, never fewer claims without a
    /// word, and what can't be read is not written to.
    #[tokio::test]
    async fn damaged_claims_are_an_error_and_left_as_they_are() {
        let folder = tempfile::tempdir().unwrap();
        let claims = filled(folder.path(), 20).await;
        assert_eq!(claims.len(), 20);
        let file = folder.path().join(CLAIMS);
        let whole = fs::read(&file).unwrap();
        let mut damages: Vec<Vec<u8>> =
            [0, 1, 9, 512, 4096, whole.len() / 2].map(|length| whole[..length].to_vec()).into();
        damages.push(b"this is no database".repeat(1000));
        for at in (0..whole.len()).step_by(whole.len() / 60) {
            let mut changed = whole.clone();
            for byte in changed.iter_mut().skip(at).take(64) {
                *byte ^= 0xff;
            }
            damages.push(changed);
        }
        let mut refused = 0;
        for damage in damages {
            fs::write(&file, &damage).unwrap();
            match State::open(folder.path()) {
                // The damage lay where nothing is kept.
                Ok(state) => assert!(state.claims == claims, "{:?}", state.claims),
                Err(error) => {
                    let error = error.to_string();
                    assert!(error.contains("claims.redb is damaged"), "{error}");
                    assert!(fs::read(&file).unwrap() == damage, "written to: {error}");
                    refused += 1;
                }
            }
        }
        assert!(refused >= 7, "{refused} refused");
        fs::write(&file, &whole).unwrap();
        assert_eq!(State::open(folder.path()).unwrap().claims, claims);
    }
}
