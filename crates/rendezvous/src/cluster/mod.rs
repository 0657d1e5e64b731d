//! More than one node: servers that share rooms by way of NATS, so that a viewer at one of them
//! watches a camera at another.
//!
//! | module | holds |
//! |---|---|
//! | [`config`] | `[cluster]` of the configuration |
//! | `message` | what nodes say to each other |
//! | `nodes` | which nodes live |
//! | `claims` | whose a room is, on all nodes |
//! | `cameras` | which node has which camera |
//! | `visits` | this node's viewers, at cameras of other nodes |
//! | `guests` | other nodes' viewers, at cameras of this one |
//! | `errands` | requests of HTTP players that belong to another node |
//! | `figures` | what is counted |
//! | `nats` | the connection, and what is read from it and written to it |
//!
//! ```text
//!  viewer ⇄ connection ⇄ visits ══ NATS ══ guests ⇄ room ⇄ connection ⇄ camera
//!           └──── the viewer's node ───┘   └──── the camera's node ───┘
//! ```
//!
//! Every node knows of every camera: who has one writes it into a bucket (JetStream KV) which all
//! of them watch. Who lives says so every second (`nodes::BEAT`); what a node wrote that has been
//! silent for six (`nodes::SILENCE`) counts for nothing. The camera's node decides everything
//! about a viewer as if he sat there: door, limits, ICE servers. NATS is trusted as the nodes are
//! themselves; what comes from it is bounded all the same, and garbage is skipped.
//!
//! Without NATS a node goes on alone: its cameras, their viewers and whatever streams are not
//! concerned. It stays ready, so that a load balancer does not take the cameras away from all nodes
//! because one NATS server ended; only a node that has never reached NATS since its start is not, as
//! its configuration may be wrong.

pub mod config;

mod cameras;
mod claims;
mod errands;
mod figures;
mod guests;
mod message;
mod nats;
mod nodes;
mod visits;

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use async_nats::jetstream::kv::{Entry, Store};
use peercam_protocol::{
    RoomId,
    signalling::{Error, ErrorCode, FromViewer},
};
use tokio::{sync::Notify, time::timeout};
use tracing::info;

use self::{
    cameras::{Cameras, Task},
    claims::SharedClaims,
    config::ClusterConfig,
    errands::Errands,
    figures::{Figures, Now},
    message::{Message, VisitId},
    nats::Line,
    nodes::Nodes,
    visits::Visits,
};
pub(crate) use self::{
    errands::NoReply,
    message::{Errand, NodeId, Reply, Wants},
    nats::run,
    visits::{Place, Said, ViewerNumber},
};
use crate::{claims::Keeper, metrics::Page, outbox::Outbox};

/// Keeps claims where all nodes see them, and in this node's own store, if it has one.
pub(crate) fn keeper(cluster: &Arc<Cluster>, own: Option<Box<dyn Keeper>>) -> Box<dyn Keeper> {
    Box::new(SharedClaims { cluster: cluster.clone(), own })
}

/// How long a goodbye to the other nodes may take.
const GOODBYE: Duration = Duration::from_secs(1);

/// This node's part in the cluster. Its lock is taken under that of the directory of rooms, never
/// the other way round, and never for what a camera and a viewer of the same node say.
#[derive(Debug)]
pub(crate) struct Cluster {
    node: NodeId,
    config: Arc<ClusterConfig>,
    state: Mutex<State>,
    figures: Arc<Figures>,
    /// There is something to write to the bucket.
    unwritten: Notify,
}

#[derive(Debug)]
struct State {
    nodes: Nodes,
    cameras: Cameras,
    visits: Visits,
    errands: Errands,
    /// The connection, or why there is none, in words for anybody.
    line: Result<Line, String>,
    /// Whether there has been a connection.
    was_connected: bool,
    /// Nodes that had cameras and did not live when it was last looked.
    suspects: HashSet<NodeId>,
    /// This node ends.
    closing: bool,
}

impl State {
    fn place(&self, room: &RoomId) -> Place {
        place(&self.cameras, &self.nodes, room)
    }

    /// The room's viewers follow its camera.
    fn follow(&mut self, room: &RoomId) {
        self.visits.follow(room, self.place(room), Instant::now());
    }

    /// Nodes came or went: viewers may have to go elsewhere.
    fn follow_all(&mut self) {
        for room in self.visits.rooms() {
            self.follow(&room);
        }
    }
}

fn place(cameras: &Cameras, nodes: &Nodes, room: &RoomId) -> Place {
    if cameras.is_own(room) {
        return Place::Here;
    }
    match cameras.elsewhere(room) {
        Some(node) if nodes.is_alive(node) => Place::At(node),
        _ => Place::Nowhere,
    }
}

impl Cluster {
    /// A node that is not connected yet; [`run`] does that. None where the system has no random
    /// numbers.
    pub(crate) fn new(config: ClusterConfig) -> Option<Self> {
        let node = NodeId::random()?;
        let figures = Arc::<Figures>::default();
        Some(Self {
            node,
            config: Arc::new(config),
            state: Mutex::new(State {
                nodes: Nodes::default(),
                cameras: Cameras::new(node),
                visits: Visits::new(figures.clone()),
                errands: Errands::default(),
                line: Err("not connected to NATS yet".to_owned()),
                was_connected: false,
                suspects: HashSet::new(),
                closing: false,
            }),
            figures,
            unwritten: Notify::new(),
        })
    }

    /// Why other nodes can't be reached, if so.
    pub(crate) fn alone(&self) -> Option<String> {
        self.lock().line.as_ref().err().map(|reason| format!("cluster: {reason}"))
    }

    /// Whether other nodes could be reached at some time since the start.
    pub(crate) fn was_connected(&self) -> bool {
        self.lock().was_connected
    }

    /// This node's id.
    pub(crate) fn node(&self) -> NodeId {
        self.node
    }

    /// Adds what is counted here.
    pub(crate) fn write_figures(&self, page: &mut Page) {
        let state = self.lock();
        let (cameras_here, cameras_elsewhere) = state.cameras.count();
        let now = Now {
            connected: state.line.is_ok(),
            nodes: state.nodes.count(),
            cameras_here,
            cameras_elsewhere,
            visits: state.visits.count(),
        };
        drop(state);
        self.figures.write(page, &now);
    }

    // For the rooms of this node.

    /// Whether another node has the room's camera.
    pub(crate) fn is_elsewhere(&self, room: &RoomId) -> bool {
        matches!(self.lock().place(room), Place::At(_))
    }

    /// A camera came to this node.
    pub(crate) fn camera_arrives(&self, room: &RoomId, outbox: &Arc<Outbox>) {
        let unix_ms = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX));
        let mut state = self.lock();
        state.cameras.arrives(room, outbox, unix_ms);
        state.follow(room);
        drop(state);
        self.unwritten.notify_one();
    }

    /// A camera left this node, and its viewers here have heard so.
    pub(crate) fn camera_leaves(&self, room: &RoomId, outbox: &Arc<Outbox>) {
        let mut state = self.lock();
        if state.cameras.leaves(room, outbox) {
            state.visits.camera_left(room);
            state.follow(room);
        }
        drop(state);
        self.unwritten.notify_one();
    }

    /// A viewer came to a room of this node. He was welcomed already, unless another node has the
    /// camera: then its welcome is his.
    pub(crate) fn viewer_arrives(
        &self,
        room: &RoomId,
        outbox: &Arc<Outbox>,
        token: Option<String>,
        welcomed: bool,
        online: bool,
    ) -> ViewerNumber {
        let mut state = self.lock();
        let place = state.place(room);
        let number = state.visits.arrives(room.clone(), outbox.clone(), token, (welcomed, online));
        state.visits.place(number, place, Instant::now());
        number
    }

    /// A viewer left this node.
    pub(crate) fn viewer_leaves(&self, number: ViewerNumber) {
        let mut state = self.lock();
        let quiet = state.closing;
        state.visits.leaves(number, quiet);
    }

    /// A message of a viewer whose room has no camera at this node.
    pub(crate) fn viewer_says(
        &self,
        number: ViewerNumber,
        message: FromViewer,
    ) -> Result<Said, Error> {
        let mut state = self.lock();
        let joins = matches!(message, FromViewer::Join { .. });
        let said = state.visits.says(number, message, Instant::now());
        match (&said, &state.line) {
            (Said::Here(_), Err(reason)) if joins => Err(Error::new(
                ErrorCode::CameraOffline,
                format!(
                    "no camera is in this room at this server, and it can't reach the others now \
                     ({reason}): you will be told when the camera can be reached"
                ),
            )),
            _ => Ok(said),
        }
    }

    // For standard players.

    /// Has another node do what a player wants of a session there.
    pub(crate) async fn ask(&self, node: NodeId, errand: Errand) -> Result<Reply, NoReply> {
        let unreachable = |reason: &str| NoReply::Unreachable(reason.to_owned());
        let (line, number, reply) = {
            let mut state = self.lock();
            let line = state.line.clone().map_err(NoReply::Unreachable)?;
            if state.nodes.is_gone(node, Instant::now()) {
                return Err(NoReply::Gone);
            }
            if !state.nodes.is_alive(node) {
                return Err(unreachable("nothing is heard of it"));
            }
            let begun = state.errands.begin(node);
            let (number, reply) = begun.ok_or_else(|| unreachable("too many wait for others"))?;
            (line, number, reply)
        };
        let replied = async {
            line.send(node, Message::Errand { number, errand }).await;
            reply.await
        };
        match timeout(errands::PATIENCE, replied).await {
            Ok(Ok(reply)) => Ok(reply),
            // Forgotten: the connection broke.
            Ok(Err(_)) => Err(unreachable("the connection between the servers broke")),
            Err(_) => Err(unreachable("it does not answer")),
        }
    }

    /// This node ends: from now on its viewers leave without a word to their cameras, whose
    /// streams can go on.
    pub(crate) fn close(&self) {
        self.lock().closing = true;
    }

    /// Says goodbye to the other nodes.
    pub(crate) async fn leave(&self) {
        let line = self.lock().line.as_ref().ok().cloned();
        if let Some(line) = line {
            _ = timeout(GOODBYE, line.goodbye()).await;
        }
    }

    // For the connection.

    fn connected(&self, line: &Line) {
        info!(node = %self.node, "in the cluster");
        let mut state = self.lock();
        state.line = Ok(line.clone());
        state.was_connected = true;
        state.nodes.connect(Instant::now());
        state.visits.connect(line.outgoing());
        state.follow_all();
        drop(state);
        self.unwritten.notify_one();
    }

    fn disconnected(&self, reason: &str) {
        let mut state = self.lock();
        if state.line.is_ok() {
            self.figures.breaks.one();
        }
        state.line = Err(reason.to_owned());
        state.visits.disconnect();
        state.errands.forget();
        state.cameras.forget();
        state.nodes.disconnect();
    }

    fn node_lives(&self, node: NodeId, name: &str) {
        let mut state = self.lock();
        if state.nodes.heard(node, Instant::now()) && node != self.node {
            info!(%node, name = name.escape_debug().to_string(), "a node is here");
            state.follow_all();
        }
    }

    fn node_left(&self, node: NodeId) {
        let mut state = self.lock();
        if node != self.node && state.nodes.left(node) {
            info!(%node, "a node left");
            state.follow_all();
        }
    }

    /// Called every `nodes::BEAT`. Returns the nodes that fell silent.
    fn tick(&self) -> Vec<NodeId> {
        let now = Instant::now();
        let mut state = self.lock();
        let dead = state.nodes.fell_silent(now);
        for node in &dead {
            info!(%node, "a node fell silent");
        }
        if !dead.is_empty() {
            state.follow_all();
        }
        let State { nodes, cameras, visits, .. } = &mut *state;
        visits.tick(now, |room| place(cameras, nodes, room));
        dead
    }

    fn learn_camera(&self, entry: &Entry) {
        let Some((room, hosting)) = nats::camera_of(entry) else { return };
        let mut state = self.lock();
        let alive = hosting.is_some_and(|hosting| state.nodes.is_alive(hosting.node));
        let lost = state.cameras.observe(&room, hosting, entry.revision, alive);
        if let Some(outbox) = lost {
            info!(%room, "the camera came back by another node");
            outbox.close(Error::new(
                ErrorCode::RoomTaken,
                "this camera has its room on another connection now",
            ));
        }
        state.follow(&room);
        drop(state);
        self.unwritten.notify_one();
    }

    fn told(&self, node: NodeId, visit: VisitId, number: u64, text: String) {
        self.lock().visits.told(node, visit, number, text, Instant::now());
    }

    fn ended(&self, node: NodeId, visit: VisitId, number: u64, error: Error) {
        self.lock().visits.ended(node, visit, number, error, Instant::now());
    }

    fn not_here(&self, node: NodeId, visit: VisitId) {
        self.lock().visits.not_here(node, visit, Instant::now());
    }

    fn replied(&self, node: NodeId, number: u64, reply: Reply) {
        self.lock().errands.end(node, number, reply);
    }

    fn check(&self, node: NodeId, visits: &[VisitId]) {
        self.lock().visits.check(node, visits);
    }

    /// Waits until there is something to write; at most `limit` rooms.
    async fn unwritten(&self, limit: usize) -> Vec<RoomId> {
        loop {
            let rooms = self.lock().cameras.take_unwritten(limit);
            if !rooms.is_empty() {
                return rooms;
            }
            self.unwritten.notified().await;
        }
    }

    /// Where claims are kept, or why they can't be.
    fn claims(&self) -> Result<Store, String> {
        self.lock().line.as_ref().map(|line| line.claims().clone()).map_err(Clone::clone)
    }

    fn put_back(&self, room: RoomId) {
        self.lock().cameras.put_back(room);
    }

    fn task(&self, room: &RoomId, last: Option<u64>) -> Option<Task> {
        self.lock().cameras.task(room, last)
    }

    /// Cameras of nodes that did not live when this was asked last, and do not now. One node
    /// sees to them for all.
    fn orphans(&self) -> Vec<(RoomId, u64)> {
        let mut state = self.lock();
        let State { nodes, cameras, suspects, .. } = &mut *state;
        let dead: HashSet<_> =
            cameras.nodes().into_iter().filter(|node| !nodes.is_alive(*node)).collect();
        let before = std::mem::replace(suspects, dead);
        if !nodes.is_first(self.node) {
            return Vec::new();
        }
        cameras.of_nodes(|node| before.contains(&node) && suspects.contains(&node))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
