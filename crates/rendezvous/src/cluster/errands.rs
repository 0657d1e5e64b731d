//! Requests of HTTP players (WHEP) that came to another node than the one that has their session: a
//! load balancer sends each request where it likes. The node that got one asks the session's node,
//! whose id stands in the session's address, and hands the reply on.

use std::{collections::HashMap, time::Duration};

use tokio::sync::oneshot;

use super::message::{NodeId, Reply};

/// Longest wait for a reply. A restart of ICE waits for the camera, which has ten seconds.
pub(crate) const PATIENCE: Duration = Duration::from_secs(15);

/// Requests that may wait for other nodes, and that are worked on for them, at the same time.
pub(crate) const MOST: usize = 256;

impl Reply {
    /// For a node that wants more than this one does at the same time.
    pub(crate) fn busy() -> Self {
        Self {
            status: 503,
            headers: vec![("retry-after".to_owned(), "5".to_owned())],
            body: "the session's server has too much to do: try again in a moment\n".to_owned(),
        }
    }
}

/// Why there is no reply.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum NoReply {
    /// The session's node has ended, and the session with it.
    Gone,
    /// It may be there, but can't be reached now: why.
    Unreachable(String),
}

/// Requests that wait for another node's reply.
#[derive(Debug, Default)]
pub(crate) struct Errands {
    next: u64,
    waiting: HashMap<u64, (NodeId, oneshot::Sender<Reply>)>,
}

impl Errands {
    /// One more, unless there are too many: its number, and where the reply arrives.
    pub(crate) fn begin(&mut self, node: NodeId) -> Option<(u64, oneshot::Receiver<Reply>)> {
        // Whoever hung up or lost patience waits no more.
        self.waiting.retain(|_, (_, reply)| !reply.is_closed());
        if self.waiting.len() >= MOST {
            return None;
        }
        let number = self.next;
        self.next += 1;
        let (reply, receiver) = oneshot::channel();
        self.waiting.insert(number, (node, reply));
        Some((number, receiver))
    }

    /// A node's reply; nothing where nobody waits for it.
    pub(crate) fn end(&mut self, node: NodeId, number: u64, reply: Reply) {
        if self.waiting.get(&number).is_some_and(|(asked, _)| *asked == node)
            && let Some((_, waiting)) = self.waiting.remove(&number)
        {
            _ = waiting.send(reply);
        }
    }

    /// No other node can be reached any more.
    pub(crate) fn forget(&mut self) {
        self.waiting = HashMap::new();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply() -> Reply {
        Reply { status: 204, headers: Vec::new(), body: String::new() }
    }

    #[test]
    fn only_the_node_that_was_asked_can_reply() {
        let (asked, other) = (NodeId::from_bytes([1; 16]), NodeId::from_bytes([2; 16]));
        let mut errands = Errands::default();
        let (number, mut receiver) = errands.begin(asked).unwrap();
        errands.end(other, number, reply());
        errands.end(asked, number + 1, reply());
        assert!(receiver.try_recv().is_err());
        errands.end(asked, number, reply());
        assert_eq!(receiver.try_recv(), Ok(reply()));
        errands.end(asked, number, reply());
    }

    #[test]
    fn who_waits_no_more_takes_no_place() {
        let node = NodeId::from_bytes([1; 16]);
        let mut errands = Errands::default();
        let mut receivers: Vec<_> = (0..MOST).map(|_| errands.begin(node).unwrap()).collect();
        assert!(errands.begin(node).is_none());
        receivers.pop();
        assert!(errands.begin(node).is_some());
    }
}
