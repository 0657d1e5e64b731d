//! Viewers of other nodes at cameras of this one. Each is a viewer of the room like any other;
//! what lies in his outbox is sent to his node instead of into a socket.

use std::{collections::HashMap, future::poll_fn, sync::Arc, task::Poll};

use peercam_protocol::{
    RoomId,
    signalling::{Error, ErrorCode, FromViewer},
    wire::decode,
};
use tokio::{sync::mpsc, task::JoinHandle, time::Instant};
use tracing::debug;

use super::{
    figures::Counted,
    message::{Message, NodeId, VisitId},
    nats::Line,
};
use crate::{
    connection::{Manners, Rules},
    door::Shown,
    outbox::Outbox,
    peer::{Peer, Refusal},
    rooms::{Rooms, ViewerSeat, Visitor},
};

/// Visits that are asked after in one message.
const CHECKED_AT_ONCE: usize = 1_000;

/// A viewer of another node.
struct Guest {
    /// None once he was sent away, until he has heard so.
    seat: Option<ViewerSeat>,
    outbox: Arc<Outbox>,
    manners: Manners,
    /// Number of his next message.
    hears: u64,
    /// Sends what lies in his outbox.
    sending: JoinHandle<()>,
    _counted: Counted,
}

impl Drop for Guest {
    fn drop(&mut self) {
        self.sending.abort();
        if let Some(seat) = self.seat.take() {
            seat.leave_quietly();
        }
    }
}

/// All viewers of other nodes. Dropping them leaves their rooms quietly: their media goes on.
pub(crate) struct Guests {
    rooms: Arc<Rooms>,
    rules: Rules,
    limit: usize,
    guests: HashMap<(NodeId, VisitId), Guest>,
    /// Whoever has heard his goodbye.
    ended: mpsc::Sender<(NodeId, VisitId)>,
}

impl Guests {
    /// At most `limit` guests; `ended` gets those for whom [`Guests::forget`] is to be called.
    pub(crate) fn new(
        rooms: Arc<Rooms>,
        rules: Rules,
        limit: usize,
        ended: mpsc::Sender<(NodeId, VisitId)>,
    ) -> Self {
        Self { rooms, rules, limit, guests: HashMap::new(), ended }
    }

    /// A viewer of another node comes in.
    pub(crate) fn arrives(
        &mut self,
        line: &Line,
        node: NodeId,
        visit: VisitId,
        token: Option<&str>,
        room: RoomId,
    ) {
        let name = (node, visit);
        if self.guests.contains_key(&name) {
            return;
        }
        if !self.rooms.has_camera(&room) {
            line.send_now(node, Message::NotHere { visit });
            return;
        }
        let outbox = Arc::new(Outbox::new(self.rules.queue_bytes));
        let seat = if self.guests.len() >= self.limit {
            Err(Error::new(
                ErrorCode::Full,
                format!(
                    "the camera's node has {} viewers from other nodes, its limit: try again later",
                    self.limit
                ),
            ))
        } else {
            // How often he joins is counted by his own node, which knows his address.
            Shown::new(token).map_err(Error::from).and_then(|shown| {
                let visitor = Visitor { shown, address: None };
                self.rooms.watch_as_guest(room, &outbox, visitor)
            })
        };
        let seat = match seat {
            Ok(seat) => seat,
            Err(error) => {
                line.send_now(node, Message::Ended { visit, number: 0, error });
                return;
            }
        };
        let sending =
            tokio::spawn(send_all(line.clone(), outbox.clone(), name, self.ended.clone()));
        let guest = Guest {
            seat: Some(seat),
            outbox,
            manners: Manners::new(&self.rules),
            hears: 0,
            sending,
            _counted: Counted::guest(line.figures()),
        };
        self.guests.insert(name, guest);
    }

    /// A message of a guest.
    pub(crate) fn says(
        &mut self,
        line: &Line,
        node: NodeId,
        visit: VisitId,
        number: u64,
        text: &str,
        now: Instant,
    ) {
        let Some(guest) = self.guests.get_mut(&(node, visit)) else {
            line.send_now(node, Message::NotHere { visit });
            return;
        };
        if number != guest.hears {
            debug!("messages of another node's viewer were lost");
            line.figures().gaps.one();
            self.leaves(node, visit, true);
            line.send_now(node, Message::NotHere { visit });
            return;
        }
        guest.hears += 1;
        guest.hears(&self.rules, text, now);
    }

    /// A guest is gone.
    pub(crate) fn leaves(&mut self, node: NodeId, visit: VisitId, quiet: bool) {
        if let Some(mut guest) = self.guests.remove(&(node, visit))
            && !quiet
        {
            guest.seat = None;
        }
    }

    /// A node is gone, and its viewers with it.
    pub(crate) fn node_left(&mut self, node: NodeId) {
        self.guests.retain(|(of, _), _| *of != node);
    }

    /// A guest has heard his goodbye.
    pub(crate) fn forget(&mut self, name: (NodeId, VisitId)) {
        self.guests.remove(&name);
    }

    /// Asks the other nodes whether their viewers are still there.
    pub(crate) fn check(&self, line: &Line) {
        let mut by_node: HashMap<NodeId, Vec<VisitId>> = HashMap::new();
        for &(node, visit) in self.guests.keys() {
            by_node.entry(node).or_default().push(visit);
        }
        for (node, visits) in by_node {
            for visits in visits.chunks(CHECKED_AT_ONCE) {
                line.send_now(node, Message::Check { visits: visits.to_vec() });
            }
        }
    }
}

impl Guest {
    /// As a connection does with what its peer says.
    fn hears(&mut self, rules: &Rules, text: &str, now: Instant) {
        let Some(seat) = &mut self.seat else { return };
        if let Err(error) = self.manners.allow(rules, now) {
            return self.send_away(error);
        }
        let done = if text.len() > rules.message_bytes {
            Err(Refusal::of(Error::new(
                ErrorCode::TooLarge,
                format!("a message of {} bytes: the limit is {}", text.len(), rules.message_bytes),
            ))
            .and_close())
        } else {
            decode::<FromViewer>(text).map_err(Refusal::of).and_then(|message| seat.handle(message))
        };
        let Err(refusal) = done else { return };
        if refusal.last {
            return self.send_away(refusal.error);
        }
        match self.manners.forgive(rules, now, &refusal) {
            Ok(()) => self.outbox.push(ViewerSeat::explain(refusal).into()),
            Err(error) => self.send_away(error),
        }
    }

    fn send_away(&mut self, error: Error) {
        self.seat = None;
        self.outbox.close(error);
    }
}

/// Sends what lies in a guest's outbox to his node, in order, until it is closed.
async fn send_all(
    line: Line,
    outbox: Arc<Outbox>,
    (node, visit): (NodeId, VisitId),
    ended: mpsc::Sender<(NodeId, VisitId)>,
) {
    let mut number = 0;
    let mut closing = None;
    while closing.is_none() {
        let next = poll_fn(|cx| {
            if let Some(error) = outbox.poll_closing(cx) {
                return Poll::Ready(Err(error));
            }
            outbox.pop().map_or(Poll::Pending, |text| Poll::Ready(Ok(text)))
        });
        let rest = match next.await {
            Ok(text) => vec![text],
            Err(error) => {
                closing = Some(error);
                std::iter::from_fn(|| outbox.pop()).collect()
            }
        };
        for text in rest {
            line.send(node, Message::Told { visit, number, text: text.to_string() }).await;
            number += 1;
        }
    }
    if let Some(error) = closing {
        line.send(node, Message::Ended { visit, number, error }).await;
    }
    _ = ended.send((node, visit)).await;
}
