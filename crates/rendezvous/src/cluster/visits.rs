//! This node's viewers, and their visits at cameras of other nodes. No I/O: what is to be sent
//! goes into a bounded queue.
//!
//! A viewer sits in a room of his own node. Where its camera is at another node he gets a link
//! there: what he says goes along it as it is, and what comes back goes into his outbox. With the
//! link everything that the camera's node knows of him ends, never the media.

use std::{
    collections::{HashMap, HashSet, hash_map::Entry},
    sync::Arc,
    time::{Duration, Instant},
};

use peercam_protocol::{
    RoomId,
    signalling::{Error, ErrorCode, FromViewer, ToViewer},
    wire,
};
use tokio::sync::mpsc;
use tracing::debug;

use super::{
    figures::Figures,
    message::{Hidden, Message, NodeId, VisitId},
};
use crate::outbox::Outbox;

/// Time the camera's node has to welcome a viewer.
const WELCOME: Duration = Duration::from_secs(3);

/// Time until a node that did not take a viewer is asked again, unless there is news before.
const AGAIN: Duration = Duration::from_secs(3);

/// Tells this node's viewers apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct ViewerNumber(u64);

/// What became of a viewer's message.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Said {
    /// On its way to the camera's node, or late and of no use any more.
    Done,
    /// Nobody else's: the room of this node has to see to it.
    Here(FromViewer),
}

#[derive(Debug)]
struct Viewer {
    room: RoomId,
    outbox: Arc<Outbox>,
    token: Option<Hidden>,
    /// Whether he had his first message.
    welcomed: bool,
    /// Whether he was told last that the camera is here.
    online: bool,
    /// Whether he had a session at another node. What comes for it after its end is merely late.
    joined: bool,
    link: Option<Link>,
    /// When a node may be asked again after it did not take him.
    again: Option<Instant>,
}

#[derive(Debug)]
struct Link {
    visit: VisitId,
    node: NodeId,
    opened: Instant,
    /// Whether the other side welcomed him.
    up: bool,
    /// Number of the next message in either direction.
    sends: u64,
    hears: u64,
}

/// Where a room's camera is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// At this node.
    Here,
    /// At another one that lives.
    At(NodeId),
    /// At none.
    Nowhere,
}

/// All viewers of this node.
#[derive(Debug, Default)]
pub(crate) struct Visits {
    viewers: HashMap<ViewerNumber, Viewer>,
    by_room: HashMap<RoomId, HashSet<ViewerNumber>>,
    by_visit: HashMap<VisitId, ViewerNumber>,
    next: u64,
    /// What goes to other nodes; none while there is no connection.
    outgoing: Option<mpsc::Sender<(NodeId, Message)>>,
    figures: Arc<Figures>,
}

impl Visits {
    pub(crate) fn new(figures: Arc<Figures>) -> Self {
        Self { figures, ..Self::default() }
    }

    /// How many of this node's viewers are at cameras of other nodes.
    pub(crate) fn count(&self) -> usize {
        self.by_visit.len()
    }

    /// From now on messages to other nodes go here.
    pub(crate) fn connect(&mut self, outgoing: mpsc::Sender<(NodeId, Message)>) {
        self.outgoing = Some(outgoing);
    }

    /// No other node can be reached any more.
    pub(crate) fn disconnect(&mut self) {
        self.outgoing = None;
        self.by_visit.clear();
        for viewer in self.viewers.values_mut() {
            if viewer.link.take().is_some() {
                viewer.camera_is_away();
            }
        }
    }

    /// A viewer came: whether he was welcomed, and told that the camera is here. Then
    /// [`Visits::place`] is to be called.
    pub(crate) fn arrives(
        &mut self,
        room: RoomId,
        outbox: Arc<Outbox>,
        token: Option<String>,
        (welcomed, online): (bool, bool),
    ) -> ViewerNumber {
        let number = ViewerNumber(self.next);
        self.next += 1;
        self.by_room.entry(room.clone()).or_default().insert(number);
        let viewer = Viewer {
            room,
            outbox,
            token: token.map(Hidden::from),
            welcomed,
            online,
            joined: false,
            link: None,
            again: None,
        };
        self.viewers.insert(number, viewer);
        number
    }

    /// A viewer left. His camera is told so, unless it is `quiet`.
    pub(crate) fn leaves(&mut self, number: ViewerNumber, quiet: bool) {
        self.unlink(number, quiet);
        let Some(viewer) = self.viewers.remove(&number) else { return };
        if let Entry::Occupied(mut room) = self.by_room.entry(viewer.room) {
            room.get_mut().remove(&number);
            if room.get().is_empty() {
                room.remove();
            }
        }
    }

    /// A room's camera came, went or moved: its viewers follow.
    pub(crate) fn follow(&mut self, room: &RoomId, place: Place, now: Instant) {
        let Some(viewers) = self.by_room.get(room) else { return };
        for number in viewers.iter().copied().collect::<Vec<_>>() {
            if let Some(viewer) = self.viewers.get_mut(&number) {
                viewer.again = None;
            }
            self.place(number, place, now);
        }
    }

    /// The camera that a room had at this node left; the room has told its viewers.
    pub(crate) fn camera_left(&mut self, room: &RoomId) {
        for number in self.by_room.get(room).into_iter().flatten() {
            if let Some(viewer) = self.viewers.get_mut(number) {
                viewer.online = false;
            }
        }
    }

    /// Those of another node's visits that are none of ours: it is told to forget them.
    pub(crate) fn check(&self, node: NodeId, visits: &[VisitId]) {
        for &visit in visits {
            if !self.by_visit.contains_key(&visit) {
                self.send(node, Message::Gone { visit, quiet: true });
            }
        }
    }

    /// Links without an answer are given up, and nodes asked again. Called every second or so.
    pub(crate) fn tick(&mut self, now: Instant, place: impl Fn(&RoomId) -> Place) {
        let numbers: Vec<_> = self.viewers.keys().copied().collect();
        for number in numbers {
            let Some(viewer) = self.viewers.get_mut(&number) else { continue };
            let silent = |link: &Link| !link.up && now.duration_since(link.opened) >= WELCOME;
            if viewer.link.as_ref().is_some_and(silent) {
                debug!(room = %viewer.room, "the camera's node does not answer");
                self.give_up(number, now);
            } else if viewer.link.is_none() && viewer.again.is_some_and(|again| again <= now) {
                viewer.again = None;
                let place = place(&viewer.room);
                self.place(number, place, now);
            }
        }
    }

    /// A message of a viewer.
    pub(crate) fn says(&mut self, number: ViewerNumber, message: FromViewer, now: Instant) -> Said {
        let Some(viewer) = self.viewers.get_mut(&number) else { return Said::Here(message) };
        let Some(link) = viewer.link.as_mut().filter(|link| link.up) else {
            let late = viewer.joined && !matches!(message, FromViewer::Join { .. });
            return if late && !viewer.online { Said::Done } else { Said::Here(message) };
        };
        viewer.joined |= matches!(message, FromViewer::Join { .. });
        let said = Message::Said {
            visit: link.visit,
            number: link.sends,
            text: wire::encode(&message).into(),
        };
        link.sends += 1;
        let node = link.node;
        if !self.send(node, said) {
            self.give_up(number, now);
        }
        Said::Done
    }

    /// The camera's node has a message for a viewer.
    pub(crate) fn told(
        &mut self,
        node: NodeId,
        visit: VisitId,
        number: u64,
        text: String,
        now: Instant,
    ) {
        let Some((viewer_number, in_order)) = self.hear(node, visit, number) else { return };
        if !in_order {
            self.figures.gaps.one();
        }
        // It comes from another machine: what a viewer of this node gets is a message for viewers.
        let message = wire::decode::<ToViewer>(&text).ok().filter(|_| in_order);
        let Some(viewer) = self.viewers.get_mut(&viewer_number) else { return };
        match message {
            None => self.give_up(viewer_number, now),
            Some(ToViewer::Welcome { online, ice_servers, .. }) => {
                if let Some(link) = &mut viewer.link {
                    link.up = true;
                }
                if viewer.welcomed {
                    viewer.tell(&ToViewer::Camera { online, ice_servers });
                } else {
                    viewer.outbox.push(text.into());
                }
                viewer.welcomed = true;
                viewer.online = online;
            }
            Some(ToViewer::Camera { online: false, .. }) => self.give_up(viewer_number, now),
            Some(_) => viewer.outbox.push(text.into()),
        }
    }

    /// The camera's node would close the viewer's connection.
    pub(crate) fn ended(
        &mut self,
        node: NodeId,
        visit: VisitId,
        number: u64,
        error: Error,
        now: Instant,
    ) {
        let Some((viewer_number, _)) = self.hear(node, visit, number) else { return };
        if error.code == ErrorCode::ShuttingDown {
            // That node ends, not this one.
            self.give_up(viewer_number, now);
            return;
        }
        if let Some(viewer) = self.viewers.get_mut(&viewer_number) {
            viewer.link = None;
            viewer.outbox.close(error);
        }
        self.by_visit.remove(&visit);
    }

    /// The camera's node does not know the visit.
    pub(crate) fn not_here(&mut self, node: NodeId, visit: VisitId, now: Instant) {
        if let Some((viewer, _)) = self.hear(node, visit, 0) {
            self.give_up(viewer, now);
        }
    }

    /// The rooms in which viewers are.
    pub(crate) fn rooms(&self) -> Vec<RoomId> {
        self.by_room.keys().cloned().collect()
    }

    /// Whose visit it is, and whether the message is the one that was due.
    fn hear(&mut self, node: NodeId, visit: VisitId, number: u64) -> Option<(ViewerNumber, bool)> {
        let viewer_number = *self.by_visit.get(&visit)?;
        let link = self.viewers.get_mut(&viewer_number)?.link.as_mut()?;
        if link.node != node || link.visit != visit {
            return None;
        }
        let in_order = link.hears == number;
        link.hears = number.saturating_add(1);
        Some((viewer_number, in_order))
    }

    /// Links a viewer to where the camera is.
    pub(crate) fn place(&mut self, number: ViewerNumber, place: Place, now: Instant) {
        let Some(viewer) = self.viewers.get_mut(&number) else { return };
        let linked = viewer.link.as_ref().map(|link| link.node);
        match place {
            Place::At(node) if linked == Some(node) => {}
            Place::At(node) => {
                self.unlink(number, true);
                self.open(number, node, now);
            }
            Place::Here => {
                self.unlink(number, true);
                if let Some(viewer) = self.viewers.get_mut(&number) {
                    if !viewer.welcomed {
                        viewer.camera_is_away();
                    }
                    // The room of this node says so in a moment.
                    viewer.online = true;
                    viewer.joined = false;
                }
            }
            Place::Nowhere => {
                self.unlink(number, true);
                if let Some(viewer) = self.viewers.get_mut(&number) {
                    viewer.camera_is_away();
                }
            }
        }
    }

    fn open(&mut self, number: ViewerNumber, node: NodeId, now: Instant) {
        let visit = VisitId(self.next);
        self.next += 1;
        let Some(viewer) = self.viewers.get_mut(&number) else { return };
        let watch =
            Message::Watch { visit, room: viewer.room.clone(), token: viewer.token.clone() };
        viewer.link = Some(Link { visit, node, opened: now, up: false, sends: 0, hears: 0 });
        self.by_visit.insert(visit, number);
        if !self.send(node, watch) {
            self.give_up(number, now);
        }
    }

    fn unlink(&mut self, number: ViewerNumber, quiet: bool) {
        let Some(link) = self.viewers.get_mut(&number).and_then(|viewer| viewer.link.take()) else {
            return;
        };
        self.by_visit.remove(&link.visit);
        // Should it not get through: the other side finds out when the next message is missing.
        self.send(link.node, Message::Gone { visit: link.visit, quiet });
    }

    /// The link is of no use: he hears that the camera is away, and it is tried again later.
    fn give_up(&mut self, number: ViewerNumber, now: Instant) {
        self.unlink(number, true);
        if let Some(viewer) = self.viewers.get_mut(&number) {
            viewer.camera_is_away();
            viewer.again = Some(now + AGAIN);
        }
    }

    /// Whether it could be sent.
    fn send(&self, node: NodeId, message: Message) -> bool {
        let Some(outgoing) = &self.outgoing else { return false };
        let sent = outgoing.try_send((node, message)).is_ok();
        if !sent {
            self.figures.unsent.one();
        }
        sent
    }
}

impl Viewer {
    fn camera_is_away(&mut self) {
        if !self.welcomed {
            let room = self.room.clone();
            self.tell(&ToViewer::Welcome { room, online: false, ice_servers: Vec::new() });
        } else if self.online {
            self.tell(&ToViewer::Camera { online: false, ice_servers: Vec::new() });
        }
        self.welcomed = true;
        self.online = false;
    }

    fn tell(&self, message: &ToViewer) {
        self.outbox.push(wire::encode(message).into());
    }
}
