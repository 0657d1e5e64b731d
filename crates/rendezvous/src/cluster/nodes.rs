//! Which nodes live: those that said so a short time ago; and which are gone for good. Time is
//! passed in.

use std::{
    collections::{BTreeMap, VecDeque, btree_map::Entry},
    time::{Duration, Instant},
};

use super::message::NodeId;

/// Time between two signs of life of one node.
pub(crate) const BEAT: Duration = Duration::from_secs(1);

/// Silence after which a node is taken for dead: its cameras are elsewhere by then, or nowhere.
pub(crate) const SILENCE: Duration = Duration::from_secs(6);

/// Silence after which a node is taken for gone. Before, it may live without NATS, and what it does
/// for viewers that reach it goes on.
const GONE: Duration = Duration::from_secs(3 * 60);

/// Most nodes that are listened to. Who sends signs of life under ever new ids costs no more.
const MOST: usize = 256;

/// The nodes that live, this one among them.
#[derive(Debug, Default)]
pub(crate) struct Nodes {
    heard: BTreeMap<NodeId, Instant>,
    /// The last [`MOST`] that do not live any more, the latest at the end, and when those were
    /// heard that did not say goodbye.
    lost: VecDeque<(NodeId, Option<Instant>)>,
    /// Since when others can be heard.
    connected: Option<Instant>,
}

impl Nodes {
    /// From now on others can be heard.
    pub(crate) fn connect(&mut self, now: Instant) {
        self.connected = Some(now);
    }

    /// None can be heard any more, whether it lives or not.
    pub(crate) fn disconnect(&mut self) {
        self.heard.clear();
        self.connected = None;
    }

    /// A sign of life. Returns whether the node is new.
    pub(crate) fn heard(&mut self, node: NodeId, now: Instant) -> bool {
        let full = self.heard.len() >= MOST;
        match self.heard.entry(node) {
            Entry::Occupied(mut known) => {
                known.insert(now);
                false
            }
            Entry::Vacant(place) if !full => {
                place.insert(now);
                true
            }
            Entry::Vacant(_) => false,
        }
    }

    /// A node said goodbye. Returns whether it was there.
    pub(crate) fn left(&mut self, node: NodeId) -> bool {
        self.lose(node, None);
        self.heard.remove(&node).is_some()
    }

    fn lose(&mut self, node: NodeId, heard: Option<Instant>) {
        self.lost.retain(|(other, _)| *other != node);
        if self.lost.len() >= MOST {
            self.lost.pop_front();
        }
        self.lost.push_back((node, heard));
    }

    /// Removes and returns those that have been silent for too long.
    pub(crate) fn fell_silent(&mut self, now: Instant) -> Vec<NodeId> {
        let silent = |heard: &Instant| now.saturating_duration_since(*heard) >= SILENCE;
        let dead: Vec<_> =
            self.heard.iter().filter(|(_, heard)| silent(heard)).map(|(&node, _)| node).collect();
        for &node in &dead {
            let heard = self.heard.remove(&node);
            self.lose(node, heard);
        }
        dead
    }

    /// Whether a node has ended: it said so, or was silent for minutes while others could be heard.
    /// One that merely does not live may be without NATS.
    pub(crate) fn is_gone(&self, node: NodeId, now: Instant) -> bool {
        if self.is_alive(node) {
            return false;
        }
        let heard = match self.lost.iter().find(|(other, _)| *other == node) {
            Some((_, None)) => return true,
            Some((_, heard)) => *heard,
            None => None,
        };
        self.connected.is_some_and(|connected| {
            let since = heard.map_or(connected, |heard| heard.max(connected));
            now.saturating_duration_since(since) >= GONE
        })
    }

    pub(crate) fn is_alive(&self, node: NodeId) -> bool {
        self.heard.contains_key(&node)
    }

    /// Whether this node does what one of them has to do for all.
    pub(crate) fn is_first(&self, node: NodeId) -> bool {
        self.heard.keys().next() == Some(&node)
    }

    /// How many live.
    pub(crate) fn count(&self) -> usize {
        self.heard.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(number: u8) -> NodeId {
        NodeId::from_bytes([number; 16])
    }

    #[test]
    fn a_node_lives_as_long_as_it_says_so() {
        let start = Instant::now();
        let mut nodes = Nodes::default();
        assert!(nodes.heard(node(1), start));
        assert!(nodes.heard(node(2), start));
        assert!(!nodes.heard(node(1), start + BEAT));
        assert_eq!(nodes.fell_silent(start + SILENCE), [node(2)]);
        assert!(nodes.is_alive(node(1)) && !nodes.is_alive(node(2)));
        assert!(nodes.left(node(1)) && !nodes.left(node(1)));
        assert_eq!(nodes.count(), 0);
    }

    #[test]
    fn a_node_is_gone_when_it_says_so_or_after_minutes_of_silence() {
        let start = Instant::now();
        let mut nodes = Nodes::default();
        let gone = |nodes: &Nodes, at: Duration| {
            [1, 2, 3].map(|number| nodes.is_gone(node(number), start + at))
        };
        // Nobody can be heard yet.
        assert_eq!(gone(&nodes, GONE), [false; 3]);
        nodes.connect(start);
        nodes.heard(node(1), start);
        nodes.heard(node(2), start);
        nodes.left(node(1));
        nodes.heard(node(2), start + BEAT);
        nodes.fell_silent(start + BEAT + SILENCE);
        assert_eq!(gone(&nodes, BEAT + SILENCE), [true, false, false]);
        // The third one was never heard.
        assert_eq!(gone(&nodes, GONE), [true, false, true]);
        assert_eq!(gone(&nodes, BEAT + GONE), [true; 3]);
        // While this node was deaf, nobody was silent; what was said stays said.
        nodes.disconnect();
        assert_eq!(gone(&nodes, 2 * GONE), [true, false, false]);
        nodes.connect(start + 2 * GONE);
        assert_eq!(gone(&nodes, 2 * GONE + SILENCE), [true, false, false]);
        nodes.heard(node(2), start + 2 * GONE);
        assert_eq!(gone(&nodes, 3 * GONE), [true, false, true]);
    }

    #[test]
    fn ever_new_ids_fill_no_memory() {
        let now = Instant::now();
        let mut nodes = Nodes::default();
        for number in 0..10_000_u128 {
            nodes.heard(NodeId::from_bytes(number.to_be_bytes()), now);
        }
        assert_eq!(nodes.count(), MOST);
        for number in 0..10_000_u128 {
            nodes.left(NodeId::from_bytes((number + 5000).to_be_bytes()));
        }
        assert_eq!(nodes.lost.len(), MOST);
        nodes.fell_silent(now + SILENCE);
        assert_eq!(nodes.lost.len(), MOST);
        assert!(nodes.heard(node(1), now));
    }
}
