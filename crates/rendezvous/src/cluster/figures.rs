//! What is counted of the cluster, for `/metrics`.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering::Relaxed},
};

use crate::metrics::{Counter, Page};

/// From the start of the node on, whatever becomes of its connections.
#[derive(Debug, Default)]
pub(crate) struct Figures {
    /// Messages to other nodes, without signs of life.
    pub(crate) sent: Counter,
    /// Messages from other nodes, without signs of life.
    pub(crate) received: Counter,
    /// Not sent: NATS took nothing for too long.
    pub(crate) unsent: Counter,
    /// Not taken: they came faster than this node reads.
    pub(crate) unread: Counter,
    /// None of ours, or of another version.
    pub(crate) unreadable: Counter,
    /// Visits that began anew because a message of theirs was lost.
    pub(crate) gaps: Counter,
    /// Claims that another key made at another node at the same time.
    pub(crate) conflicts: Counter,
    /// Connections to NATS that broke.
    pub(crate) breaks: Counter,
    guests: AtomicUsize,
}

/// A guest is counted as long as this is there.
#[derive(Debug)]
pub(crate) struct Counted(Arc<Figures>);

impl Counted {
    /// One more.
    pub(crate) fn guest(figures: &Arc<Figures>) -> Self {
        figures.guests.fetch_add(1, Relaxed);
        Self(figures.clone())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.guests.fetch_sub(1, Relaxed);
    }
}

/// How things are at the moment.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Now {
    pub(crate) connected: bool,
    /// Nodes that live, this one among them; none without a connection.
    pub(crate) nodes: usize,
    pub(crate) cameras_here: usize,
    pub(crate) cameras_elsewhere: usize,
    /// Viewers of this node at cameras of others.
    pub(crate) visits: usize,
}

impl Figures {
    /// Writes all of them.
    pub(crate) fn write(&self, page: &mut Page, now: &Now) {
        page.gauge(
            "peercam_cluster_connected",
            "1 while other nodes can be reached by way of NATS.",
            u8::from(now.connected),
        );
        page.gauge("peercam_cluster_nodes", "Nodes that live, this one among them.", now.nodes);
        let name = "peercam_cluster_cameras";
        page.family(name, "gauge", "Cameras of the cluster that this node knows of, by place.");
        page.sample(name, &[("at", "here")], now.cameras_here);
        page.sample(name, &[("at", "elsewhere")], now.cameras_elsewhere);
        let name = "peercam_cluster_visits";
        let help = "Viewers whose camera is at another node: of this node (out), of others (in).";
        page.family(name, "gauge", help);
        page.sample(name, &[("direction", "out")], now.visits);
        page.sample(name, &[("direction", "in")], self.guests.load(Relaxed));
        let name = "peercam_cluster_messages_total";
        page.family(name, "counter", "Messages to other nodes and from them, no signs of life.");
        page.sample(name, &[("direction", "out")], self.sent.get());
        page.sample(name, &[("direction", "in")], self.received.get());
        let name = "peercam_cluster_messages_dropped_total";
        let help = "Messages that NATS took too slowly, or this node, or that are none of a node.";
        page.family(name, "counter", help);
        page.sample(name, &[("reason", "unsent")], self.unsent.get());
        page.sample(name, &[("reason", "unread")], self.unread.get());
        page.sample(name, &[("reason", "unreadable")], self.unreadable.get());
        page.counter(
            "peercam_cluster_visits_interrupted_total",
            "Viewers who had to join anew because a message between nodes was lost.",
            &self.gaps,
        );
        page.counter(
            "peercam_cluster_claim_conflicts_total",
            "Claims that another key made at another node first.",
            &self.conflicts,
        );
        let help = "Connections to NATS that broke.";
        page.counter("peercam_cluster_disconnects_total", help, &self.breaks);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_comes_and_goes_is_counted() {
        let figures = Arc::<Figures>::default();
        let now =
            Now { connected: true, nodes: 2, cameras_here: 3, cameras_elsewhere: 4, visits: 5 };
        let has = |line: &str| {
            let mut page = Page::default();
            figures.write(&mut page, &now);
            let text = page.finish();
            assert!(text.lines().any(|other| other == line), "no {line} in:\n{text}");
        };
        let guest = Counted::guest(&figures);
        has("peercam_cluster_visits{direction=\"in\"} 1");
        drop(guest);
        figures.unread.one();
        for line in [
            "peercam_cluster_connected 1",
            "peercam_cluster_nodes 2",
            "peercam_cluster_cameras{at=\"elsewhere\"} 4",
            "peercam_cluster_visits{direction=\"out\"} 5",
            "peercam_cluster_visits{direction=\"in\"} 0",
            "peercam_cluster_messages_dropped_total{reason=\"unread\"} 1",
            "peercam_cluster_claim_conflicts_total 0",
        ] {
            has(line);
        }
    }
}
