//! Which nodes live: those that said so a short time ago. Time is passed in.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    time::{Duration, Instant},
};

use super::message::NodeId;

/// Time between two signs of life of one node.
pub(crate) const BEAT: Duration = Duration::from_secs(1);

/// Silence after which a node is taken for dead: its cameras are elsewhere by then, or nowhere.
pub(crate) const SILENCE: Duration = Duration::from_secs(6);

/// Most nodes that are listened to. Who sends signs of life under ever new ids costs no more.
const MOST: usize = 256;

/// The nodes that live, this one among them.
#[derive(Debug, Default)]
pub(crate) struct Nodes {
    heard: BTreeMap<NodeId, Instant>,
}

impl Nodes {
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
        self.heard.remove(&node).is_some()
    }

    /// Removes and returns those that have been silent for too long.
    pub(crate) fn fell_silent(&mut self, now: Instant) -> Vec<NodeId> {
        let silent = |heard: &Instant| now.saturating_duration_since(*heard) >= SILENCE;
        let dead: Vec<_> =
            self.heard.iter().filter(|(_, heard)| silent(heard)).map(|(&node, _)| node).collect();
        for node in &dead {
            self.heard.remove(node);
        }
        dead
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
    fn ever_new_ids_fill_no_memory() {
        let now = Instant::now();
        let mut nodes = Nodes::default();
        for number in 0..10_000_u128 {
            nodes.heard(NodeId::from_bytes(number.to_be_bytes()), now);
        }
        assert_eq!(nodes.count(), MOST);
        nodes.fell_silent(now + SILENCE);
        assert!(nodes.heard(node(1), now));
    }
}
