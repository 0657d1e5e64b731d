//! One room: its camera, its viewers and their sessions, and which message goes to whom.
//!
//! No I/O: a message comes in as a call, and goes out into an [`Outbox`]. The lock is held only
//! to find out who is meant; encoding happens after it.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use peercam_protocol::{
    RoomId, TokenError,
    signalling::{
        ByeReason, Error, ErrorCode, FromCamera, FromViewer, IceServer, SessionId, ToCamera,
        ToViewer,
    },
    wire::encode,
};
use serde::Serialize;
use tracing::{debug, info};

use crate::{
    door::{self, Shown},
    events::Event,
    hosting::Tenant,
    outbox::Outbox,
    peer::Refusal,
    telemetry::Telemetry,
    turn::IceServers,
};

mod overview;

pub(crate) use overview::RoomView;

/// Tells the viewers of one room apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub(crate) struct ViewerId(pub(crate) u64);

/// One room. Exists while somebody is in it.
#[derive(Debug)]
pub(crate) struct Room {
    id: RoomId,
    /// Most candidates of one side in one session.
    candidates: u32,
    telemetry: Arc<Telemetry>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    camera: Option<Camera>,
    viewers: HashMap<ViewerId, Viewer>,
    next_viewer: u64,
}

#[derive(Debug)]
struct Camera {
    outbox: Arc<Outbox>,
    tenant: Tenant,
    sessions: HashMap<SessionId, Session>,
    /// Number of the first session on this connection, and of the next one.
    first: u64,
    next: u64,
}

#[derive(Debug)]
struct Session {
    viewer: ViewerId,
    candidates_from_camera: u32,
    candidates_from_viewer: u32,
}

impl Session {
    fn new(viewer: ViewerId) -> Self {
        Self { viewer, candidates_from_camera: 0, candidates_from_viewer: 0 }
    }
}

#[derive(Debug)]
struct Viewer {
    outbox: Arc<Outbox>,
    standing: Standing,
    /// What he showed at the door, for each camera that comes.
    shown: Shown,
    /// Name of the token (`jti`) that opened the door.
    token: Option<Box<str>>,
    /// The running session.
    session: Option<SessionId>,
    /// Whether there ever was one. If so, what comes for it after its end is merely late.
    joined: bool,
}

/// How far a viewer has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    /// Not welcomed yet.
    Arriving,
    /// Welcomed, and told that no camera is here.
    Waiting,
    /// Told that the camera is here, whose door opened for him.
    Present,
}

impl Camera {
    /// Whether the session was one of this connection's: then a message for it is merely late.
    fn knew(&self, session: SessionId) -> bool {
        (self.first..self.next).contains(&session.0)
    }

    /// Forgets a session; returns the outbox of its viewer.
    fn end(
        &mut self,
        session: SessionId,
        viewers: &mut HashMap<ViewerId, Viewer>,
    ) -> Option<Arc<Outbox>> {
        let viewer = viewers.get_mut(&self.sessions.remove(&session)?.viewer)?;
        viewer.session = None;
        Some(viewer.outbox.clone())
    }
}

/// What the caller does after the lock is let go.
type Mail<M> = Option<(Arc<Outbox>, M)>;

impl Room {
    pub(crate) fn new(id: RoomId, candidates: u32, telemetry: Arc<Telemetry>) -> Self {
        Self { id, candidates, telemetry, state: Mutex::default() }
    }

    pub(crate) fn id(&self) -> &RoomId {
        &self.id
    }

    pub(crate) fn telemetry(&self) -> &Telemetry {
        &self.telemetry
    }

    pub(crate) fn is_online(&self) -> bool {
        self.lock().camera.is_some()
    }

    pub(crate) fn is_empty(&self) -> bool {
        let state = self.lock();
        state.camera.is_none() && state.viewers.is_empty()
    }

    /// The camera moves in, with `hosting` as the first message to it. Sessions are numbered from
    /// `first_session` on. [`Room::open_door`] comes next. If the same camera is there already,
    /// that connection of its is done with: the sessions are forgotten, their media goes on.
    ///
    /// # Errors
    ///
    /// Where the camera of another key is there.
    pub(crate) fn camera_arrives(
        &self,
        outbox: Arc<Outbox>,
        first_session: u64,
        tenant: Tenant,
        hosting: &ToCamera,
    ) -> Result<(), Error> {
        let mut state = self.lock();
        if let Some(former) = state.camera.take_if(|camera| camera.tenant.key == tenant.key) {
            info!(room = %self.id, "the camera comes back by another connection");
            former.outbox.close(Error::new(
                ErrorCode::RoomTaken,
                "this camera has its room on another connection now",
            ));
            state.forget_camera();
        }
        if state.camera.is_some() {
            info!(room = %self.id, "a second camera was refused");
            return Err(Error::new(
                ErrorCode::RoomTaken,
                format!(
                    "another camera is in the room {:?}: give this one a room of its own, or stop \
                     the other one and try again",
                    self.id.as_str()
                ),
            ));
        }
        // Before anything that a viewer could say.
        send(&outbox, hosting);
        state.camera = Some(Camera {
            outbox,
            tenant,
            sessions: HashMap::new(),
            first: first_session,
            next: first_session,
        });
        info!(room = %self.id, waiting = state.viewers.len(), "a camera is here");
        self.telemetry.tell(&Event::CameraOnline { room: self.id.clone() });
        Ok(())
    }

    /// Lets those who wait in to the camera that came, and sends away whom its door does not open
    /// for. Not a part of [`Room::camera_arrives`]: looking at a hundred tokens takes some
    /// milliseconds, for which only this room should have to wait.
    pub(crate) fn open_door(&self, ice_servers: &IceServers, now: u64) {
        let mut state = self.lock();
        let State { camera: Some(camera), viewers, .. } = &mut *state else { return };
        for viewer in viewers.values_mut().filter(|viewer| viewer.standing == Standing::Waiting) {
            match door::open(&camera.tenant, &self.id, &viewer.shown, now) {
                Ok(token) => {
                    viewer.token = token;
                    viewer.standing = Standing::Present;
                    let ice_servers = ice_servers.hand_out(now);
                    send(&viewer.outbox, &ToViewer::Camera { online: true, ice_servers });
                }
                Err(error) => viewer.outbox.close(self.turned_away(error)),
            }
        }
    }

    fn turned_away(&self, error: TokenError) -> Error {
        let error = Error::from(error);
        info!(room = %self.id, code = ?error.code, "a viewer was turned away");
        error
    }

    /// The camera with this outbox is gone, if it is still the room's: its sessions are forgotten,
    /// their media goes on without us.
    pub(crate) fn camera_leaves(&self, outbox: &Arc<Outbox>) {
        let mut state = self.lock();
        let leaves = |camera: &mut Camera| Arc::ptr_eq(&camera.outbox, outbox);
        let Some(camera) = state.camera.take_if(leaves) else { return };
        info!(room = %self.id, sessions = camera.sessions.len(), "the camera left");
        self.telemetry.tell(&Event::CameraOffline { room: self.id.clone() });
        let gone = ToViewer::Camera { online: false, ice_servers: Vec::new() };
        for outbox in state.forget_camera() {
            send(&outbox, &gone);
        }
    }

    /// A viewer comes to the room, unless there are `limit` of them. [`Room::welcome`] comes next.
    pub(crate) fn viewer_arrives(
        &self,
        outbox: Arc<Outbox>,
        shown: Shown,
        limit: usize,
    ) -> Result<ViewerId, Error> {
        let mut state = self.lock();
        if state.viewers.len() >= limit {
            info!(room = %self.id, limit, "a viewer was refused: the room is full");
            return Err(Error::new(
                ErrorCode::Full,
                format!(
                    "{limit} viewers are in the room {:?}, its limit: try again later",
                    self.id.as_str()
                ),
            ));
        }
        let id = ViewerId(state.next_viewer);
        state.next_viewer += 1;
        let standing = Standing::Arriving;
        let viewer = Viewer { outbox, standing, shown, token: None, session: None, joined: false };
        state.viewers.insert(id, viewer);
        Ok(id)
    }

    /// Welcomes a viewer who has arrived, where the camera's door opens for him. While it is not
    /// here, the door is as it was last (`claimant`); where that isn't known he waits before it,
    /// without ICE servers.
    pub(crate) fn welcome(
        &self,
        id: ViewerId,
        claimant: Option<&Tenant>,
        ice_servers: &IceServers,
        now: u64,
    ) -> Result<(), Error> {
        let mut state = self.lock();
        let State { camera, viewers, .. } = &mut *state;
        let Some(viewer) = viewers.get_mut(&id) else { return Ok(()) };
        let online = camera.is_some();
        let tenant = camera.as_ref().map(|camera| &camera.tenant).or(claimant);
        let ice_servers = match tenant {
            Some(tenant) => {
                let opened = door::open(tenant, &self.id, &viewer.shown, now);
                viewer.token = opened.map_err(|error| self.turned_away(error))?;
                ice_servers.hand_out(now)
            }
            None => Vec::new(),
        };
        viewer.standing = if online { Standing::Present } else { Standing::Waiting };
        send(&viewer.outbox, &ToViewer::Welcome { room: self.id.clone(), online, ice_servers });
        info!(room = %self.id, viewers = viewers.len(), "a viewer is here");
        self.telemetry.tell(&Event::ViewerJoined { room: self.id.clone(), viewer: id });
        Ok(())
    }

    /// A viewer who has arrived waits for the camera; somebody else welcomes him. Not so, where the
    /// camera is here: returns false then.
    pub(crate) fn wait(&self, id: ViewerId) -> bool {
        let mut state = self.lock();
        let waits = state.camera.is_none();
        if let Some(viewer) = state.viewers.get_mut(&id).filter(|_| waits) {
            viewer.standing = Standing::Waiting;
            info!(room = %self.id, viewers = state.viewers.len(), "a viewer is here");
            self.telemetry.tell(&Event::ViewerJoined { room: self.id.clone(), viewer: id });
        }
        waits
    }

    /// A viewer is gone; the camera hears of it if they had a session.
    pub(crate) fn viewer_leaves(&self, id: ViewerId) {
        let mut state = self.lock();
        let Some(viewer) = state.viewers.remove(&id) else { return };
        if viewer.standing != Standing::Arriving {
            info!(room = %self.id, viewers = state.viewers.len(), "a viewer left");
            self.telemetry.tell(&Event::ViewerLeft { room: self.id.clone(), viewer: id });
        }
        let Some((session, camera)) = viewer.session.zip(state.camera.as_mut()) else { return };
        camera.sessions.remove(&session);
        let outbox = camera.outbox.clone();
        drop(state);
        send(&outbox, &ToCamera::Bye { session, reason: ByeReason::ViewerLeft });
    }

    /// A viewer of another node is gone, and nobody knows why: his media goes on, and if he is not
    /// there any more the camera will notice.
    pub(crate) fn viewer_vanishes(&self, id: ViewerId) {
        let mut state = self.lock();
        let Some(viewer) = state.viewers.remove(&id) else { return };
        if let Some((session, camera)) = viewer.session.zip(state.camera.as_mut()) {
            camera.sessions.remove(&session);
        }
        info!(room = %self.id, viewers = state.viewers.len(), "a viewer's node lost him");
        self.telemetry.tell(&Event::ViewerLeft { room: self.id.clone(), viewer: id });
    }

    /// Everybody is told that it is over.
    pub(crate) fn close(&self, error: &Error) {
        let state = self.lock();
        if let Some(camera) = &state.camera {
            camera.outbox.close(error.clone());
        }
        for viewer in state.viewers.values() {
            viewer.outbox.close(error.clone());
        }
    }

    /// A message of the room's camera.
    pub(crate) fn camera_says(&self, message: FromCamera) -> Result<(), Refusal> {
        match message {
            FromCamera::Prove { .. } => {
                return Err(Refusal::of(Error::new(
                    ErrorCode::OutOfOrder,
                    "the room is the camera's already: there is nothing to prove",
                )));
            }
            FromCamera::Answer { session, sdp, proof } => {
                if let Some(viewer) = self.viewer_of(session)? {
                    send(&viewer, &ToViewer::Answer { sdp, proof });
                }
            }
            FromCamera::Candidate { session, candidate } => {
                match self.count_camera_candidate(session)? {
                    Some((viewer, Ok(()))) => send(&viewer, &ToViewer::Candidate { candidate }),
                    Some((viewer, Err(error))) => {
                        send(&viewer, &ToViewer::Error { error: error.clone() });
                        return Err(Refusal { session: Some(session), error, last: false });
                    }
                    None => {}
                }
            }
            FromCamera::Restart { session } => {
                if let Some(viewer) = self.viewer_of(session)? {
                    send(&viewer, &ToViewer::Restart {});
                }
            }
            FromCamera::Bye { session, reason } => {
                if let Some(viewer) = self.end(session)? {
                    info!(room = %self.id, %session, ?reason, "the camera ended a session");
                    self.telemetry.tell(&Event::SessionEnded { room: self.id.clone(), session });
                    send(&viewer, &ToViewer::Bye { reason });
                }
            }
            FromCamera::Error { session: Some(session), error } if !error.code.ends_session() => {
                if let Some(viewer) = self.viewer_of(session)? {
                    send(&viewer, &ToViewer::Error { error });
                }
            }
            FromCamera::Error { session: Some(session), error } => {
                if let Some(viewer) = self.end(session)? {
                    info!(room = %self.id, %session, code = ?error.code, "a session failed");
                    self.tell_error(Some(session), &error);
                    send(&viewer, &ToViewer::Error { error });
                }
            }
            FromCamera::Error { session: None, error } => {
                info!(room = %self.id, code = ?error.code, "the camera reports an error");
                self.tell_error(None, &error);
            }
        }
        Ok(())
    }

    /// A message of one of the room's viewers; the camera gets these ICE servers along with a join.
    pub(crate) fn viewer_says(
        &self,
        id: ViewerId,
        message: FromViewer,
        ice_servers: Vec<IceServer>,
    ) -> Result<(), Refusal> {
        let mail = match message {
            FromViewer::Join { transport, offer, resume, pass } => {
                let (camera, session, running) = self.begin(id)?;
                let restarts = running || resume.is_some();
                info!(room = %self.id, %session, %transport, restarts, "a session begins");
                let room = self.id.clone();
                self.telemetry.tell(&Event::SessionStarted { room, viewer: id, session });
                Some((
                    camera,
                    ToCamera::Join { session, transport, offer, resume, pass, ice_servers },
                ))
            }
            FromViewer::Candidate { candidate } => self
                .count_viewer_candidate(id)?
                .map(|(camera, session)| (camera, ToCamera::Candidate { session, candidate })),
            FromViewer::Bye { reason } => self.viewer_ends(id, reason),
        };
        if let Some((camera, message)) = mail {
            send(&camera, &message);
        }
        Ok(())
    }

    /// A session for a viewer: a new one, or the one that runs already, which the join restarts;
    /// whether its offer and its key fit is for the camera to say. And which of the two it is.
    fn begin(&self, id: ViewerId) -> Result<(Arc<Outbox>, SessionId, bool), Refusal> {
        let mut state = self.lock();
        let State { camera, viewers, .. } = &mut *state;
        let viewer = viewers.get_mut(&id).ok_or_else(gone)?;
        if let (Some(session), Some(camera)) = (viewer.session, camera.as_mut()) {
            // A restart of ICE is a new generation of candidates.
            camera.sessions.insert(session, Session::new(id));
            return Ok((camera.outbox.clone(), session, true));
        }
        // A camera before whose door he still stands is not there for him.
        let here = camera.as_mut().filter(|_| viewer.standing == Standing::Present);
        let Some(camera) = here else {
            return Err(Refusal::of(Error::new(
                ErrorCode::CameraOffline,
                format!(
                    "no camera is in the room {:?} now: you will be told when it comes",
                    self.id.as_str()
                ),
            )));
        };
        let session = SessionId(camera.next);
        camera.next += 1;
        camera.sessions.insert(session, Session::new(id));
        viewer.session = Some(session);
        viewer.joined = true;
        Ok((camera.outbox.clone(), session, false))
    }

    /// Where the viewer's next candidate goes; nowhere if its session has just ended.
    fn count_viewer_candidate(&self, id: ViewerId) -> Result<Mail<SessionId>, Refusal> {
        let mut state = self.lock();
        let State { camera, viewers, .. } = &mut *state;
        let viewer = viewers.get(&id).ok_or_else(gone)?;
        let Some((session, camera)) = viewer.session.zip(camera.as_mut()) else {
            if viewer.joined {
                return Ok(None);
            }
            return Err(out_of_order(
                None,
                "a candidate before the join: send the join first".to_owned(),
            ));
        };
        let Some(entry) = camera.sessions.get_mut(&session) else { return Ok(None) };
        entry.candidates_from_viewer += 1;
        if entry.candidates_from_viewer > self.candidates {
            return Err(Refusal::of(self.too_many_candidates()).and_close());
        }
        Ok(Some((camera.outbox.clone(), session)))
    }

    /// Where the camera's next candidate goes. With one too many the session is over, and both
    /// sides get the error.
    fn count_camera_candidate(
        &self,
        session: SessionId,
    ) -> Result<Mail<Result<(), Error>>, Refusal> {
        let mut state = self.lock();
        let State { camera, viewers, .. } = &mut *state;
        let Some(camera) = camera else { return Ok(None) };
        let Some(entry) = camera.sessions.get_mut(&session) else {
            return late_or_wrong(camera, session);
        };
        entry.candidates_from_camera += 1;
        if entry.candidates_from_camera > self.candidates {
            let error = self.too_many_candidates();
            return Ok(camera.end(session, viewers).map(|viewer| (viewer, Err(error))));
        }
        Ok(viewers.get(&entry.viewer).map(|viewer| (viewer.outbox.clone(), Ok(()))))
    }

    /// Whose session it is; nobody's if it has just ended.
    fn viewer_of(&self, session: SessionId) -> Result<Option<Arc<Outbox>>, Refusal> {
        let state = self.lock();
        let Some(camera) = &state.camera else { return Ok(None) };
        match camera.sessions.get(&session) {
            Some(entry) => Ok(state.viewers.get(&entry.viewer).map(|viewer| viewer.outbox.clone())),
            None => late_or_wrong(camera, session),
        }
    }

    /// The camera ends a session; whose it was.
    fn end(&self, session: SessionId) -> Result<Option<Arc<Outbox>>, Refusal> {
        let mut state = self.lock();
        let State { camera, viewers, .. } = &mut *state;
        let Some(camera) = camera else { return Ok(None) };
        match camera.end(session, viewers) {
            Some(viewer) => Ok(Some(viewer)),
            None => late_or_wrong(camera, session),
        }
    }

    /// A viewer ends its session, if it has one.
    fn viewer_ends(&self, id: ViewerId, reason: ByeReason) -> Mail<ToCamera> {
        let mut state = self.lock();
        let State { camera, viewers, .. } = &mut *state;
        let session = viewers.get(&id)?.session?;
        let camera = camera.as_mut()?;
        camera.end(session, viewers);
        info!(room = %self.id, %session, ?reason, "a viewer ended its session");
        self.telemetry.tell(&Event::SessionEnded { room: self.id.clone(), session });
        Some((camera.outbox.clone(), ToCamera::Bye { session, reason }))
    }

    fn tell_error(&self, session: Option<SessionId>, error: &Error) {
        let room = self.id.clone();
        self.telemetry.tell(&Event::Error { room, session, code: error.code });
    }

    fn too_many_candidates(&self) -> Error {
        Error::new(
            ErrorCode::Full,
            format!("more than {} candidates in one session: the limit", self.candidates),
        )
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// The camera's sessions are forgotten, and its viewers wait; returns who was with it.
    fn forget_camera(&mut self) -> Vec<Arc<Outbox>> {
        let mut with_it = Vec::new();
        for viewer in self.viewers.values_mut() {
            viewer.session = None;
            if viewer.standing == Standing::Present {
                viewer.standing = Standing::Waiting;
                with_it.push(viewer.outbox.clone());
            }
        }
        with_it
    }
}

fn send<M: serde::Serialize>(outbox: &Outbox, message: &M) {
    outbox.push(encode(message).into());
}

/// A camera's message for a session that is not there: it may have crossed with the viewer's
/// leaving, which is nobody's fault, or there never was one.
fn late_or_wrong<T>(camera: &Camera, session: SessionId) -> Result<Option<T>, Refusal> {
    if camera.knew(session) {
        debug!(%session, "a message for a session that has ended");
        return Ok(None);
    }
    Err(out_of_order(
        Some(session),
        format!("there is no session {session}: use the number that came with the join"),
    ))
}

fn out_of_order(session: Option<SessionId>, message: String) -> Refusal {
    Refusal { session, error: Error::new(ErrorCode::OutOfOrder, message), last: false }
}

/// A viewer's message after it left; its own connection is the only one that could send it.
fn gone() -> Refusal {
    out_of_order(None, "you have left this room".to_owned())
}
