//! Which node has which camera: what stands in the shared bucket, and what this node has to write
//! there. No I/O.
//!
//! Two nodes may take the same camera at nearly the same time: it came back by another node while
//! the former one still waits for its dead connection. Each hosting has a generation, later than
//! every one its node knew of; the later one wins, on every node alike, whatever the order in
//! which they hear of it.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use peercam_protocol::RoomId;
use serde::{Deserialize, Serialize};

use super::message::NodeId;
use crate::outbox::Outbox;

/// Most cameras of the whole cluster that are kept in mind. What is beyond is not found.
const MOST: usize = 1_000_000;

/// Who has a camera, as it stands in the bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Hosting {
    pub(crate) node: NodeId,
    /// Milliseconds after 1970, or one more than that of the hosting before.
    pub(crate) generation: u64,
}

impl Hosting {
    /// Whether this one wins.
    fn beats(self, other: Self) -> bool {
        (self.generation, self.node) > (other.generation, other.node)
    }
}

/// A camera of this node.
#[derive(Debug)]
struct Own {
    generation: u64,
    outbox: Arc<Outbox>,
    /// Another node has the camera now. Its connection here ends in a moment.
    lost: bool,
}

/// What has to be done in the bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Task {
    /// Write this, if the last revision there is still this one (0: nothing was ever there).
    Write(Hosting, u64),
    /// Delete what is there, if it is still this revision.
    Delete(u64),
}

/// All cameras, as far as this node knows.
#[derive(Debug)]
pub(crate) struct Cameras {
    node: NodeId,
    /// What stands in the bucket, and its revision.
    known: HashMap<RoomId, (Hosting, u64)>,
    /// How many of those are at other nodes.
    elsewhere: usize,
    own: HashMap<RoomId, Own>,
    /// Where bucket and truth may differ.
    unwritten: HashSet<RoomId>,
}

impl Cameras {
    pub(crate) fn new(node: NodeId) -> Self {
        Self {
            node,
            known: HashMap::new(),
            elsewhere: 0,
            own: HashMap::new(),
            unwritten: HashSet::new(),
        }
    }

    /// How many cameras are at this node, and how many at others.
    pub(crate) fn count(&self) -> (usize, usize) {
        (self.own.len(), self.elsewhere)
    }

    /// What stands in the bucket for a room, with its revision.
    fn note(&mut self, room: &RoomId, found: Option<(Hosting, u64)>) {
        let before = match found {
            Some(found) => self.known.insert(room.clone(), found),
            None => self.known.remove(room),
        };
        let others = |found: Option<(Hosting, u64)>| {
            usize::from(found.is_some_and(|(hosting, _)| hosting.node != self.node))
        };
        self.elsewhere = self.elsewhere + others(found) - others(before);
    }

    /// A camera came to this node.
    pub(crate) fn arrives(&mut self, room: &RoomId, outbox: &Arc<Outbox>, unix_ms: u64) {
        let known = self.known.get(room).map(|(hosting, _)| hosting.generation);
        let own = self.own.get(room).map(|own| own.generation);
        let generation = unix_ms.max(known.max(own).map_or(0, |last| last.saturating_add(1)));
        self.own.insert(room.clone(), Own { generation, outbox: outbox.clone(), lost: false });
        self.unwritten.insert(room.clone());
    }

    /// A camera left this node, if it is still the one with this outbox. Returns whether it was.
    pub(crate) fn leaves(&mut self, room: &RoomId, outbox: &Arc<Outbox>) -> bool {
        let ours = self.own.get(room).is_some_and(|own| Arc::ptr_eq(&own.outbox, outbox));
        if ours {
            self.own.remove(room);
            self.unwritten.insert(room.clone());
        }
        ours
    }

    /// What stands in the bucket from this revision on. `alive` says whether the node it names
    /// lives. Returns the outbox of our own camera if it lost its room to that node.
    pub(crate) fn observe(
        &mut self,
        room: &RoomId,
        found: Option<Hosting>,
        revision: u64,
        alive: bool,
    ) -> Option<Arc<Outbox>> {
        if self.known.get(room).is_some_and(|(_, known)| *known >= revision) {
            return None;
        }
        let fits = self.known.len() < MOST || self.known.contains_key(room);
        self.note(room, found.filter(|_| fits).map(|hosting| (hosting, revision)));
        let own = self.own.get_mut(room);
        match (own, found) {
            (Some(own), Some(hosting)) if hosting.node != self.node => {
                if hosting.beats(Hosting { node: self.node, generation: own.generation }) {
                    if alive || own.lost {
                        self.unwritten.remove(room);
                        own.lost = true;
                        return Some(own.outbox.clone());
                    }
                    own.generation = hosting.generation.saturating_add(1);
                }
                self.unwritten.insert(room.clone());
            }
            (Some(own), found) => {
                if found.is_none_or(|hosting| hosting.generation != own.generation) {
                    self.unwritten.insert(room.clone());
                }
            }
            (None, Some(hosting)) if hosting.node == self.node => {
                self.unwritten.insert(room.clone());
            }
            (None, _) => {}
        }
        None
    }

    /// The bucket may be another one: forgets what stood there, and writes all of our own anew.
    pub(crate) fn forget(&mut self) {
        self.known = HashMap::new();
        self.elsewhere = 0;
        let own = self.own.iter().filter(|(_, own)| !own.lost);
        self.unwritten = own.map(|(room, _)| room.clone()).collect();
    }

    /// Rooms in which bucket and truth may differ, at most `limit`. They are taken for written:
    /// who fails to says so by [`Cameras::put_back`].
    pub(crate) fn take_unwritten(&mut self, limit: usize) -> Vec<RoomId> {
        let rooms: Vec<_> = self.unwritten.iter().take(limit).cloned().collect();
        for room in &rooms {
            self.unwritten.remove(room);
        }
        rooms
    }

    pub(crate) fn put_back(&mut self, room: RoomId) {
        self.unwritten.insert(room);
    }

    /// What has to be done for the room; `last` is the revision in the bucket where that is known
    /// better than here.
    pub(crate) fn task(&self, room: &RoomId, last: Option<u64>) -> Option<Task> {
        let known = self.known.get(room);
        let own = self.own.get(room).filter(|own| !own.lost).map(|own| own.generation);
        match (own, known) {
            (Some(generation), known) => {
                let hosting = Hosting { node: self.node, generation };
                let revision = last.or(known.map(|(_, revision)| *revision)).unwrap_or(0);
                (known.map(|(known, _)| *known) != Some(hosting))
                    .then_some(Task::Write(hosting, revision))
            }
            (None, Some((hosting, revision))) if hosting.node == self.node => {
                Some(Task::Delete(*revision))
            }
            (None, _) => None,
        }
    }

    /// The node that has the room's camera, if it is another one.
    pub(crate) fn elsewhere(&self, room: &RoomId) -> Option<NodeId> {
        if self.own.contains_key(room) {
            return None;
        }
        let node = self.known.get(room)?.0.node;
        (node != self.node).then_some(node)
    }

    pub(crate) fn is_own(&self, room: &RoomId) -> bool {
        self.own.contains_key(room)
    }

    /// Rooms of those nodes for which `of` is true, and what revision stands there.
    pub(crate) fn of_nodes(&self, of: impl Fn(NodeId) -> bool) -> Vec<(RoomId, u64)> {
        let rooms = self.known.iter().filter(|(_, (hosting, _))| of(hosting.node));
        rooms.map(|(room, (_, revision))| (room.clone(), *revision)).collect()
    }

    /// The nodes that have cameras.
    pub(crate) fn nodes(&self) -> HashSet<NodeId> {
        self.known.values().map(|(hosting, _)| hosting.node).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: [u8; 16] = [1; 16];

    fn here() -> NodeId {
        NodeId::from_bytes(HERE)
    }

    fn there() -> NodeId {
        NodeId::from_bytes([2; 16])
    }

    fn room() -> RoomId {
        "front-door".parse().unwrap()
    }

    fn outbox() -> Arc<Outbox> {
        Arc::new(Outbox::new(1024))
    }

    fn at(node: NodeId, generation: u64) -> Option<Hosting> {
        Some(Hosting { node, generation })
    }

    /// Does the work as the bucket would have it done; returns the new revision.
    fn write(cameras: &mut Cameras, revision: u64) -> u64 {
        for room in cameras.take_unwritten(10) {
            match cameras.task(&room, None) {
                Some(Task::Write(hosting, last)) => {
                    assert!(last < revision + 1);
                    assert!(cameras.observe(&room, Some(hosting), revision + 1, true).is_none());
                    return revision + 1;
                }
                Some(Task::Delete(last)) => {
                    assert_eq!(last, revision);
                    assert!(cameras.observe(&room, None, revision + 1, true).is_none());
                    return revision + 1;
                }
                None => {}
            }
        }
        revision
    }

    #[test]
    fn a_camera_is_written_when_it_comes_and_deleted_when_it_goes() {
        let mut cameras = Cameras::new(here());
        let line = outbox();
        cameras.arrives(&room(), &line, 100);
        assert_eq!(cameras.task(&room(), None), Some(Task::Write(at(here(), 100).unwrap(), 0)));
        assert_eq!(write(&mut cameras, 0), 1);
        assert_eq!(cameras.task(&room(), None), None);
        assert_eq!(cameras.elsewhere(&room()), None);
        assert!(!cameras.leaves(&room(), &outbox()), "somebody else's");
        assert!(cameras.leaves(&room(), &line));
        assert_eq!(write(&mut cameras, 1), 2);
        assert!(cameras.known.is_empty() && cameras.unwritten.is_empty());
    }

    #[test]
    fn the_camera_that_came_back_elsewhere_is_let_go_here() {
        let mut cameras = Cameras::new(here());
        let line = outbox();
        cameras.arrives(&room(), &line, 100);
        write(&mut cameras, 0);
        let evicted = cameras.observe(&room(), at(there(), 101), 2, true).unwrap();
        assert!(Arc::ptr_eq(&evicted, &line));
        // Its connection ends later, and must not delete what the other node wrote.
        assert_eq!(cameras.elsewhere(&room()), None);
        assert_eq!(cameras.task(&room(), None), None);
        assert!(cameras.leaves(&room(), &line));
        assert_eq!(cameras.elsewhere(&room()), Some(there()));
        assert_eq!(cameras.task(&room(), None), None);
    }

    #[test]
    fn the_later_one_stays_and_writes_over_the_earlier() {
        let mut cameras = Cameras::new(here());
        cameras.observe(&room(), at(there(), 500), 7, true);
        // By a clock that is behind.
        cameras.arrives(&room(), &outbox(), 100);
        assert_eq!(cameras.task(&room(), None), Some(Task::Write(at(here(), 501).unwrap(), 7)));
        // The other one had not heard of it, and wrote again.
        assert!(cameras.observe(&room(), at(there(), 499), 8, true).is_none());
        assert_eq!(cameras.task(&room(), None), Some(Task::Write(at(here(), 501).unwrap(), 8)));
    }

    #[test]
    fn both_sides_see_the_same_winner() {
        for (ours, theirs) in [(5, 6), (6, 5), (5, 5)] {
            let (mut a, mut b) = (Cameras::new(here()), Cameras::new(there()));
            a.arrives(&room(), &outbox(), ours);
            b.arrives(&room(), &outbox(), theirs);
            let lost = a.observe(&room(), at(there(), theirs), 1, true).is_some();
            let won = b.observe(&room(), at(here(), ours), 1, true).is_none();
            assert_eq!(lost, won, "{ours} {theirs}");
        }
    }

    #[test]
    fn what_a_dead_node_left_behind_stands_in_nobodys_way() {
        let mut cameras = Cameras::new(here());
        cameras.arrives(&room(), &outbox(), 100);
        assert!(cameras.observe(&room(), at(there(), 900), 3, false).is_none());
        assert_eq!(cameras.task(&room(), None), Some(Task::Write(at(here(), 901).unwrap(), 3)));
    }

    #[test]
    fn old_news_changes_nothing() {
        let mut cameras = Cameras::new(here());
        cameras.observe(&room(), at(there(), 2), 9, true);
        cameras.observe(&room(), None, 8, true);
        assert_eq!(cameras.elsewhere(&room()), Some(there()));
    }

    #[test]
    fn a_new_bucket_is_filled_anew() {
        let mut cameras = Cameras::new(here());
        cameras.arrives(&room(), &outbox(), 100);
        write(&mut cameras, 40);
        cameras.forget();
        assert_eq!(cameras.take_unwritten(9), [room()]);
        assert_eq!(cameras.task(&room(), None), Some(Task::Write(at(here(), 100).unwrap(), 0)));
    }
    #[test]
    fn cameras_are_counted_where_they_are() {
        let mut cameras = Cameras::new(here());
        cameras.arrives(&room(), &outbox(), 100);
        write(&mut cameras, 4);
        assert_eq!(cameras.count(), (1, 0));
        let other: RoomId = "back-door".parse().unwrap();
        cameras.observe(&other, at(there(), 2), 5, true);
        cameras.observe(&other, at(there(), 3), 6, true);
        assert_eq!(cameras.count(), (1, 1));
        cameras.observe(&other, None, 7, true);
        assert_eq!(cameras.count(), (1, 0));
        cameras.observe(&other, at(there(), 4), 8, true);
        cameras.forget();
        assert_eq!(cameras.count(), (1, 0));
    }
}
