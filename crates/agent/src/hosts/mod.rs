//! Where this camera waits: rooms on rendezvous servers, several at once, each with a line of its
//! own.
//!
//! | module | holds |
//! |---|---|
//! | `wish` | a room to wait in: [`Wish`] |
//! | `kept` | the rooms that were added while the camera ran, for the next start |
//!
//! One comes from the configuration. Others are added and removed while the camera runs, and
//! those that are to be kept are there again after a restart. A room on a server is served once.

use std::{
    collections::BTreeMap,
    fmt,
    path::Path,
    task::{Context, Poll},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use peercam_protocol::RoomId;
use tracing::warn;

mod kept;
mod wish;

pub use wish::Wish;

use crate::{
    durable,
    rendezvous::{Client, Event, Plan, ServerUrl},
};
use kept::{Kept, Shelf};

/// Most rooms besides the configured one.
pub const MAX_ADDED: usize = 16;

/// A room's number: 0 is the configured one, others are counted from 1 and never given again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct HostId(pub u32);

impl HostId {
    /// The one from the configuration.
    pub const CONFIGURED: Self = Self(0);
}

impl fmt::Display for HostId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// How a room stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// On the way, or on the way back.
    Connecting,
    /// Viewers find the camera on this server.
    Hosting(ServerUrl),
}

/// A state and since when, in seconds after 1970.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Phase {
    /// How it stands.
    pub state: State,
    /// Since when.
    pub since: u64,
}

impl Phase {
    fn begin(state: State) -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        Self { state, since: now.map_or(0, |now| now.as_secs()) }
    }
}

/// A room that the camera waits in, or is on its way to.
#[derive(Debug)]
pub struct Host {
    /// What was wished for.
    pub wish: Wish,
    /// How it stands.
    pub phase: Phase,
    /// How it stood before that.
    pub before: Phase,
    /// Why it is not hosting, in words, where the server or the network said so.
    pub trouble: Option<String>,
    client: Client,
}

impl Host {
    fn enter(&mut self, state: State) {
        self.before = std::mem::replace(&mut self.phase, Phase::begin(state));
    }

    /// Where viewers find it now, or will.
    pub fn server(&self) -> &ServerUrl {
        match &self.phase.state {
            State::Hosting(server) => server,
            State::Connecting => &self.wish.servers[0],
        }
    }

    /// Whether viewers find it.
    pub fn is_hosting(&self) -> bool {
        matches!(self.phase.state, State::Hosting(_))
    }

    /// Says goodbye to the server, within `patience`. Every outbox must be gone or go in that time.
    pub async fn close(self, patience: Duration) {
        self.client.close(patience).await;
    }
}

/// Why a room is not added or removed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It is there.
    #[error("room {room} on {server} is hosted already (configId {id}): remove that one first")]
    Duplicate {
        /// The room.
        room: RoomId,
        /// The server.
        server: ServerUrl,
        /// Its number.
        id: HostId,
    },
    /// As many as there may be.
    #[error("{MAX_ADDED} rooms were added, more are not taken: remove one (listConfig shows them)")]
    TooMany,
    /// There is none.
    #[error("no room has the configId {0}: listConfig shows which there are")]
    Unknown(HostId),
    /// It stands in a file that a person writes.
    #[error("configId 0 comes from the configuration: change rendezvous.urls there, and restart")]
    Configured,
    /// It could not be written down, so nothing was changed.
    #[error("the list of rooms can't be kept in {file}: {source}: is state-dir full or read-only?")]
    NotKept {
        /// Where.
        file: String,
        /// Why.
        source: durable::Error,
    },
}

/// All of them.
pub struct Hosts {
    plan: Box<dyn Fn(&Wish) -> Plan + Send>,
    hosts: BTreeMap<HostId, Host>,
    shelf: Shelf,
    next: u32,
    /// Whose events are looked for first, so that a busy room does not keep the others waiting.
    turn: usize,
}

impl Hosts {
    /// Goes to the configured room, if there is one, and to those kept in `state_dir`. `plan`
    /// says how a room is hosted.
    pub fn start(
        state_dir: &Path,
        configured: Option<Wish>,
        plan: impl Fn(&Wish) -> Plan + Send + 'static,
    ) -> Self {
        let (shelf, kept) = Shelf::open(state_dir);
        let mut all = Self {
            plan: Box::new(plan),
            hosts: BTreeMap::new(),
            shelf,
            next: kept.next.max(1),
            turn: 0,
        };
        if let Some(wish) = configured {
            all.launch(HostId::CONFIGURED, wish);
        }
        for (id, wish) in kept.hosts.into_iter().take(MAX_ADDED) {
            match all.find(&wish) {
                None => all.launch(id, wish),
                // The configuration has come to name what was added before.
                Some((twin, _)) => warn!("room {} (configId {id}) is configId {twin}", wish.room),
            }
        }
        all
    }

    fn launch(&mut self, id: HostId, wish: Wish) {
        let client = Client::start((self.plan)(&wish));
        let phase = Phase::begin(State::Connecting);
        let host = Host { wish, before: phase.clone(), phase, trouble: None, client };
        self.hosts.insert(id, host);
    }

    /// The one that has this room on one of these servers.
    fn find(&self, wish: &Wish) -> Option<(HostId, &ServerUrl)> {
        self.hosts.iter().filter(|(_, host)| host.wish.room == wish.room).find_map(|(id, host)| {
            let twin = host.wish.servers.iter().find(|server| wish.servers.contains(server))?;
            Some((*id, twin))
        })
    }

    /// Goes to one more room; its number.
    ///
    /// # Errors
    ///
    /// Where it is there already, or as many as there may be, or it can't be kept.
    pub fn add(&mut self, wish: Wish) -> Result<HostId, Error> {
        if let Some((id, server)) = self.find(&wish) {
            let server = server.clone();
            return Err(Error::Duplicate { room: wish.room, server, id });
        }
        if self.added().count() >= MAX_ADDED {
            return Err(Error::TooMany);
        }
        let id = HostId(self.next);
        if wish.keep_alive {
            self.keep(self.added().chain([(id, &wish)]), self.next + 1)?;
        }
        self.next += 1;
        self.launch(id, wish);
        Ok(id)
    }

    /// Leaves a room for good: what was known of it. The caller ends its sessions and closes it.
    ///
    /// # Errors
    ///
    /// Where there is none, or it is the configured one, or that can't be kept.
    pub fn remove(&mut self, id: HostId) -> Result<Host, Error> {
        if id == HostId::CONFIGURED && self.hosts.contains_key(&id) {
            return Err(Error::Configured);
        }
        let host = self.hosts.get(&id).ok_or(Error::Unknown(id))?;
        if host.wish.keep_alive {
            self.keep(self.added().filter(|(other, _)| *other != id), self.next)?;
        }
        self.hosts.remove(&id).ok_or(Error::Unknown(id))
    }

    fn keep<'a>(
        &'a self,
        hosts: impl Iterator<Item = (HostId, &'a Wish)>,
        next: u32,
    ) -> Result<(), Error> {
        let hosts = hosts.filter(|(_, wish)| wish.keep_alive);
        let hosts = hosts.map(|(id, wish)| (id, wish.clone())).collect();
        self.shelf.keep(&Kept { next, hosts }).map_err(|source| Error::NotKept {
            file: self.shelf.file().display().to_string(),
            source,
        })
    }

    /// Those that were added, with their numbers.
    fn added(&self) -> impl Iterator<Item = (HostId, &Wish)> {
        let hosts = self.hosts.iter().filter(|(id, _)| **id != HostId::CONFIGURED);
        hosts.map(|(id, host)| (*id, &host.wish))
    }

    /// All of them, in order of their numbers.
    pub fn iter(&self) -> impl Iterator<Item = (HostId, &Host)> {
        self.hosts.iter().map(|(id, host)| (*id, host))
    }

    /// One of them.
    pub fn get(&self, id: HostId) -> Option<&Host> {
        self.hosts.get(&id)
    }

    /// None at all.
    pub fn is_empty(&self) -> bool {
        self.hosts.is_empty()
    }

    /// This machine's network has changed: see [`Client::network_changed`].
    pub fn network_changed(&self) {
        for host in self.hosts.values() {
            host.client.network_changed();
        }
    }

    /// The next event of any of them. Cancel safe.
    pub async fn next(&mut self) -> (HostId, Event) {
        let (id, event) = std::future::poll_fn(|context| self.poll_next(context)).await;
        if let Some(host) = self.hosts.get_mut(&id) {
            match &event {
                Event::Hosting { server, .. } => {
                    host.trouble = None;
                    host.enter(State::Hosting(server.clone()));
                }
                Event::Lost => host.enter(State::Connecting),
                Event::Trouble(words) => host.trouble = Some(words.clone()),
                Event::Message(_) => {}
            }
        }
        (id, event)
    }

    fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<(HostId, Event)> {
        let count = self.hosts.len();
        self.turn = (self.turn + 1) % count.max(1);
        for later in [true, false] {
            let turn = self.turn;
            let hosts = self.hosts.iter_mut().enumerate();
            for (_, (id, host)) in hosts.filter(|(nth, _)| (*nth >= turn) == later) {
                if let Poll::Ready(Some(event)) = host.client.poll_next(context) {
                    return Poll::Ready((*id, event));
                }
            }
        }
        Poll::Pending
    }

    /// The end of all of them: what is queued goes out first. See [`Client::close`].
    pub async fn close(self, patience: Duration) {
        let closing = self.hosts.into_values().map(|host| host.client.close(patience));
        futures_util::future::join_all(closing).await;
    }
}

/// For tests: rooms on servers where nobody listens.
#[cfg(test)]
pub(crate) fn start(folder: &Path, configured: Option<Wish>) -> Hosts {
    use crate::{access::Access, config, identity::Identity, tls::Tls};
    let elsewhere = tempfile::tempdir().unwrap();
    let identity = Identity::load_or_create(elsewhere.path()).unwrap();
    let access = Access::open(&identity, &config::Access::default(), elsewhere.path());
    let tls = Tls::load(None).unwrap();
    Hosts::start(folder, configured, move |wish| {
        Plan::new(wish.servers.clone(), wish.room.clone(), tls.clone(), access.clone())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wish(server: &str, room: &str, keep_alive: bool) -> Wish {
        let servers = vec![server.parse().unwrap()];
        Wish { servers, room: room.parse().unwrap(), token: None, keep_alive }
    }

    fn listed(hosts: &Hosts) -> Vec<(u32, String)> {
        hosts.iter().map(|(id, host)| (id.0, host.wish.room.to_string())).collect()
    }

    const HERE: &str = "ws://127.0.0.1:9";

    #[tokio::test]
    async fn what_was_added_is_there_after_a_restart_with_its_number() {
        let folder = tempfile::tempdir().unwrap();
        let configured = Some(wish(HERE, "main", true));
        let mut hosts = start(folder.path(), configured.clone());
        for room in ["a", "b", "c"] {
            hosts.add(wish(HERE, room, true)).unwrap();
        }
        let passing = hosts.add(wish(HERE, "passing", false)).unwrap();
        assert_eq!(passing, HostId(4));
        hosts.remove(HostId(2)).unwrap();
        drop(hosts);
        let mut hosts = start(folder.path(), configured);
        let expected = [(0, "main"), (1, "a"), (3, "c")].map(|(id, room)| (id, room.to_owned()));
        assert_eq!(listed(&hosts), expected);
        assert_eq!(hosts.add(wish(HERE, "b", true)).unwrap(), HostId(5), "none is given again");
    }

    #[tokio::test]
    async fn one_room_on_one_server_is_served_once() {
        let folder = tempfile::tempdir().unwrap();
        let mut hosts = start(folder.path(), Some(wish(HERE, "main", true)));
        let error = hosts.add(wish(HERE, "main", true)).unwrap_err().to_string();
        assert!(error.contains("main") && error.contains("configId 0"), "{error}");
        hosts.add(wish("ws://127.0.0.1:10", "main", true)).unwrap();
        assert!(matches!(
            hosts.add(wish("ws://127.0.0.1:10", "main", false)),
            Err(Error::Duplicate { id: HostId(1), .. })
        ));
    }

    #[tokio::test]
    async fn there_is_a_limit_and_the_configured_room_stays() {
        let folder = tempfile::tempdir().unwrap();
        let mut hosts = start(folder.path(), Some(wish(HERE, "main", true)));
        for nth in 0..MAX_ADDED {
            hosts.add(wish(HERE, &format!("r{nth}"), nth % 2 == 0)).unwrap();
        }
        assert!(matches!(hosts.add(wish(HERE, "more", true)), Err(Error::TooMany)));
        assert!(matches!(hosts.remove(HostId(0)), Err(Error::Configured)));
        assert!(matches!(hosts.remove(HostId(99)), Err(Error::Unknown(HostId(99)))));
        hosts.remove(HostId(1)).unwrap();
        hosts.add(wish(HERE, "more", true)).unwrap();
    }

    #[tokio::test]
    async fn what_can_not_be_kept_is_not_begun() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        std::fs::write(&file, "").unwrap();
        let mut hosts = start(&file, None);
        let error = hosts.add(wish(HERE, "a", true)).unwrap_err().to_string();
        assert!(error.contains("hosts.json") && error.contains("state-dir"), "{error}");
        assert!(hosts.is_empty());
        hosts.add(wish(HERE, "a", false)).unwrap();
    }
}
