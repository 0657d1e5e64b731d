//! The running WHEP sessions, by name. A name is 128 random bits: who knows it is the player that
//! was told it, or somebody whom that one told.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use peercam_protocol::RoomId;
use sha2::{Digest, Sha256};
use tokio::sync::mpsc;

use super::session::Command;
use crate::{cluster::NodeId, system::nonce};

/// Commands that wait for one session. A player has one request under way at a time.
const COMMANDS: usize = 8;

/// All of them.
#[derive(Debug)]
pub(super) struct Sessions {
    /// Part of each name, where there are other nodes.
    node: Option<NodeId>,
    by_name: Mutex<HashMap<String, Entry>>,
}

#[derive(Debug)]
struct Entry {
    room: RoomId,
    token: TokenDigest,
    commands: mpsc::Sender<Command>,
}

/// What tells whether it is the same token, and nothing else; so comparing may take its time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct TokenDigest(Option<[u8; 32]>);

impl TokenDigest {
    /// Of a token, or of none.
    pub fn of(token: Option<&str>) -> Self {
        Self(token.map(|token| Sha256::digest(token).into()))
    }
}

/// A session's place among the others, given up when dropped.
#[derive(Debug)]
pub(super) struct Place {
    sessions: Arc<Sessions>,
    name: String,
}

/// The node of a cluster that has the session of this name.
pub(super) fn node_of(name: &str) -> Option<NodeId> {
    name.split_once('.')?.1.parse().ok()
}

impl Sessions {
    /// Of this node, if it is one of a cluster.
    pub fn new(node: Option<NodeId>) -> Self {
        Self { node, by_name: Mutex::default() }
    }

    /// A place for one more, and what it is told by requests. None without random numbers.
    pub fn enter(
        self: &Arc<Self>,
        room: RoomId,
        token: TokenDigest,
    ) -> Option<(Place, mpsc::Receiver<Command>)> {
        let random = nonce()?;
        let name = match self.node {
            Some(node) => format!("{random}.{node}"),
            None => random.to_string(),
        };
        let (commands, receiver) = mpsc::channel(COMMANDS);
        self.lock().insert(name.clone(), Entry { room, token, commands });
        Some((Place { sessions: self.clone(), name }, receiver))
    }

    /// The way to a session; nothing where there is none of that name in the room. And whether the
    /// token is the one it began with.
    pub fn find(
        &self,
        room: &RoomId,
        name: &str,
        token: &TokenDigest,
    ) -> Option<(mpsc::Sender<Command>, bool)> {
        let sessions = self.lock();
        let entry = sessions.get(name).filter(|entry| entry.room == *room)?;
        Some((entry.commands.clone(), entry.token == *token))
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Entry>> {
        self.by_name.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place {
    /// What the session is called in its address.
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.sessions.lock().remove(&self.name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_is_found_by_name_in_its_room_and_known_by_its_token() {
        let sessions = Arc::new(Sessions::new(None));
        let (a, b): (RoomId, RoomId) = ("a".parse().unwrap(), "b".parse().unwrap());
        let token = TokenDigest::of(Some("token"));
        let (place, _commands) = sessions.enter(a.clone(), token.clone()).unwrap();
        let (other, _) = sessions.enter(a.clone(), token.clone()).unwrap();
        assert_ne!(place.name(), other.name());
        let found = |room: &RoomId, name: &str, token: &TokenDigest| {
            sessions.find(room, name, token).map(|(_, same)| same)
        };
        assert_eq!(found(&a, place.name(), &token), Some(true));
        assert_eq!(found(&a, place.name(), &TokenDigest::of(Some("other"))), Some(false));
        assert_eq!(found(&a, place.name(), &TokenDigest::of(None)), Some(false));
        assert_eq!(found(&b, place.name(), &token), None);
        assert_eq!(found(&a, "", &token), None);
        let name = place.name().to_owned();
        drop(place);
        assert_eq!(found(&a, &name, &token), None);
        drop(other);
        assert!(sessions.lock().is_empty());
    }
    #[test]
    fn a_name_says_which_node_has_the_session() {
        let node: NodeId = "0123456789abcdef0123456789abcdef".parse().unwrap();
        let sessions = Arc::new(Sessions::new(Some(node)));
        let (place, _commands) =
            sessions.enter("a".parse().unwrap(), TokenDigest::of(None)).unwrap();
        assert_eq!(node_of(place.name()), Some(node));
        for name in ["", ".", "a", "a.b", "a.0123456789abcdef0123456789abcdef.b"] {
            assert_eq!(node_of(name), None, "{name}");
        }
    }
}
