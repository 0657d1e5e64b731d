//! All rooms of the server, and the seats in them.
//!
//! The directory's lock is taken when somebody comes or goes, never for a message: whoever has
//! a seat holds on to its room. Locks nest one way only: directory, then room, then outbox.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock},
    time::{Duration, Instant},
};

use peercam_protocol::{
    RoomId,
    signalling::{Error, ErrorCode, FromViewer, ServerTime, ToCamera},
};

use crate::{
    claims::Claims,
    cluster::{Cluster, Said, ViewerNumber},
    config::{Config, Limits, RoomList},
    door::Shown,
    hosting::{self, Tenant},
    outbox::Outbox,
    peer::Refusal,
    rate::AddressRates,
    room::{Room, ViewerId},
    system::unix_time,
    telemetry::Telemetry,
    turn::IceServers,
};

mod overview;

/// All rooms in which somebody is.
#[derive(Debug)]
pub(crate) struct Rooms {
    settings: RwLock<Arc<Settings>>,
    /// Whose named rooms are whose.
    pub(crate) claims: Claims,
    joins: AddressRates,
    directory: Mutex<Directory>,
    /// Other nodes that serve the same rooms.
    cluster: Option<Arc<Cluster>>,
}

/// What the configuration says about rooms.
#[derive(Debug)]
pub(crate) struct Settings {
    pub(crate) limits: Limits,
    pub(crate) list: RoomList,
    pub(crate) ice_servers: IceServers,
}

impl Settings {
    pub(crate) fn new(config: &Config) -> Self {
        Self {
            limits: config.limits.clone(),
            list: config.rooms.clone(),
            ice_servers: config.ice_servers(),
        }
    }
}

#[derive(Debug, Default)]
struct Directory {
    rooms: HashMap<RoomId, Arc<Room>>,
    /// How many rooms have a camera.
    cameras: usize,
    /// Set when the server ends: nobody comes in any more.
    closed: bool,
    telemetry: Arc<Telemetry>,
}

/// The camera's place in its room, given up when dropped.
#[derive(Debug)]
pub(crate) struct CameraSeat {
    rooms: Arc<Rooms>,
    room: Arc<Room>,
    /// Whose seat it is: another connection of the camera may have taken the room over.
    outbox: Arc<Outbox>,
}

/// A viewer's place in its room, given up when dropped.
#[derive(Debug)]
pub(crate) struct ViewerSeat {
    rooms: Arc<Rooms>,
    room: Arc<Room>,
    id: ViewerId,
    address: Option<IpAddr>,
    /// Who it is to the cluster. Nobody where there is none, or where it is another node's viewer.
    number: Option<ViewerNumber>,
}

/// Who comes to watch.
#[derive(Debug)]
pub(crate) struct Visitor {
    pub(crate) shown: Shown,
    /// Whose rate of joins counts; nobody's, where it is not known.
    pub(crate) address: Option<IpAddr>,
}

impl Rooms {
    pub(crate) fn new(
        settings: Settings,
        claims: Claims,
        telemetry: Arc<Telemetry>,
        cluster: Option<Arc<Cluster>>,
    ) -> Self {
        Self {
            joins: AddressRates::new(settings.limits.joins_per_address_per_minute, 60.0),
            claims,
            settings: RwLock::new(Arc::new(settings)),
            directory: Mutex::new(Directory { telemetry, ..Directory::default() }),
            cluster,
        }
    }

    /// What holds now.
    pub(crate) fn settings(&self) -> Arc<Settings> {
        self.settings.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// From now on this holds for who comes; who is there is left alone.
    pub(crate) fn configure(&self, settings: Settings) {
        *self.settings.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(settings);
    }

    /// Whether a camera waits in the room, here or at another node.
    pub(crate) fn is_online(&self, id: &RoomId) -> bool {
        self.has_camera(id) || self.cluster.as_ref().is_some_and(|cluster| cluster.is_elsewhere(id))
    }

    /// Whether a camera waits in the room here.
    pub(crate) fn has_camera(&self, id: &RoomId) -> bool {
        self.lock().rooms.get(id).is_some_and(|room| room.is_online())
    }

    /// Whether a camera may have the room, as far as lists, names and claims say; the room is
    /// claimed by it then.
    pub(crate) async fn admit(
        &self,
        room: &RoomId,
        tenant: &Tenant,
        address: Option<IpAddr>,
    ) -> Result<(), Error> {
        let settings = self.settings();
        hosting::listed(room, &tenant.key, &settings.list)?;
        hosting::belongs(room, &tenant.key)?;
        // Before the claim: who finds no place leaves no trace.
        self.has_place(&self.lock(), room, &settings.limits)?;
        self.claims.claim(room, tenant, address, &settings.limits, unix_time().as_secs()).await
    }

    fn has_place(&self, directory: &Directory, id: &RoomId, limits: &Limits) -> Result<(), Error> {
        let online = directory.rooms.get(id).is_some_and(|room| room.is_online());
        if online || directory.cameras < limits.rooms {
            return Ok(());
        }
        Err(Error::new(
            ErrorCode::Full,
            format!(
                "the server has cameras in {} rooms, its limit: try again later, or use another \
                 server",
                limits.rooms
            ),
        ))
    }

    /// A camera that was admitted takes its room; `hosting` lies in its outbox then. It takes the
    /// room over from an earlier connection of its own.
    pub(crate) fn host(
        self: &Arc<Self>,
        id: RoomId,
        outbox: &Arc<Outbox>,
        tenant: Tenant,
        time: Option<ServerTime>,
    ) -> Result<CameraSeat, Error> {
        let settings = self.settings();
        let now = unix_time();
        let mut directory = self.lock();
        self.has_place(&directory, &id, &settings.limits)?;
        let ice_servers = settings.ice_servers.hand_out(now.as_secs());
        let hosting = ToCamera::Hosting { room: id.clone(), ice_servers, time };
        let room = directory.enter(id, settings.limits.candidates)?;
        room.camera_arrives(outbox.clone(), first_session(now), tenant, &hosting)?;
        directory.cameras += 1;
        if let Some(cluster) = &self.cluster {
            cluster.camera_arrives(room.id(), outbox);
        }
        drop(directory);
        // From here on it is given up when dropped.
        let seat = CameraSeat { rooms: self.clone(), room, outbox: outbox.clone() };
        seat.room.open_door(&settings.ice_servers, now.as_secs());
        Ok(seat)
    }

    /// A viewer comes to a room; `welcome` lies in its outbox then, or will when the node that has
    /// the camera has said it.
    pub(crate) fn watch(
        self: &Arc<Self>,
        id: RoomId,
        outbox: &Arc<Outbox>,
        visitor: Visitor,
    ) -> Result<ViewerSeat, Error> {
        self.seat(id, outbox, visitor, self.cluster.as_deref())
    }

    /// A viewer of another node comes to a room; `welcome` lies in its outbox then.
    pub(crate) fn watch_as_guest(
        self: &Arc<Self>,
        id: RoomId,
        outbox: &Arc<Outbox>,
        visitor: Visitor,
    ) -> Result<ViewerSeat, Error> {
        self.seat(id, outbox, visitor, None)
    }

    fn seat(
        self: &Arc<Self>,
        id: RoomId,
        outbox: &Arc<Outbox>,
        visitor: Visitor,
        cluster: Option<&Cluster>,
    ) -> Result<ViewerSeat, Error> {
        let settings = self.settings();
        let claim = self.claims.of(&id);
        let Visitor { shown, address } = visitor;
        let token = cluster.and_then(|_| shown.token().map(str::to_owned));
        let mut directory = self.lock();
        let room = directory.enter(id, settings.limits.candidates)?;
        let id = room.viewer_arrives(outbox.clone(), shown, settings.limits.viewers_per_room)?;
        drop(directory);
        // From here on it is given up when dropped.
        let mut seat = ViewerSeat { rooms: self.clone(), room, id, address, number: None };
        let elsewhere = cluster.is_some_and(|cluster| cluster.is_elsewhere(seat.room.id()));
        // The node that has the camera welcomes him.
        let welcomed = !(elsewhere && seat.room.wait(id));
        if welcomed {
            let claimant = claim.as_ref().map(|claim| &claim.tenant);
            seat.room.welcome(id, claimant, &settings.ice_servers, unix_time().as_secs())?;
        }
        seat.number = cluster.map(|cluster| {
            let online = welcomed && seat.room.is_online();
            cluster.viewer_arrives(seat.room.id(), outbox, token, welcomed, online)
        });
        Ok(seat)
    }

    /// Sends everybody away, and lets nobody in from now on. All of it under the lock, so that
    /// no seat is given up in between: a camera that heard of its viewers leaving would end
    /// streams that can go on without a server.
    pub(crate) fn close(&self) {
        let mut directory = self.lock();
        directory.closed = true;
        if let Some(cluster) = &self.cluster {
            cluster.close();
        }
        for room in directory.rooms.values() {
            room.close(&shutting_down());
        }
    }

    fn lock(&self) -> MutexGuard<'_, Directory> {
        self.directory.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Directory {
    /// The room of that name, made if nobody is in it.
    fn enter(&mut self, id: RoomId, candidates: u32) -> Result<Arc<Room>, Error> {
        if self.closed {
            return Err(shutting_down());
        }
        let room = self.rooms.entry(id).or_insert_with_key(|id| {
            Arc::new(Room::new(id.clone(), candidates, self.telemetry.clone()))
        });
        Ok(room.clone())
    }

    /// Forgets the room if nobody is left in it.
    fn tidy(&mut self, room: &Room) {
        if room.is_empty() {
            self.rooms.remove(room.id());
        }
    }
}

impl CameraSeat {
    pub(crate) fn room(&self) -> &Room {
        &self.room
    }
}

impl Drop for CameraSeat {
    fn drop(&mut self) {
        let mut directory = self.rooms.lock();
        directory.cameras -= 1;
        self.room.camera_leaves(&self.outbox);
        if let Some(cluster) = &self.rooms.cluster {
            cluster.camera_leaves(self.room.id(), &self.outbox);
        }
        directory.tidy(&self.room);
    }
}

impl ViewerSeat {
    pub(crate) fn room(&self) -> &Room {
        &self.room
    }

    /// A message of the viewer: for this node's camera, or that of another node.
    pub(crate) fn says(&self, message: FromViewer) -> Result<(), Refusal> {
        let mut ice_servers = Vec::new();
        if matches!(message, FromViewer::Join { .. }) {
            let settings = self.rooms.settings();
            if !self.rooms.joins.take(self.address, Instant::now()) {
                return Err(too_many_joins(&settings.limits));
            }
            ice_servers = settings.ice_servers.renew(unix_time().as_secs());
        }
        let elsewhere = self.rooms.cluster.as_deref().zip(self.number);
        let message = match elsewhere.filter(|_| !self.room.is_online()) {
            None => message,
            Some((cluster, number)) => {
                match cluster.viewer_says(number, message).map_err(Refusal::of)? {
                    Said::Done => return Ok(()),
                    Said::Here(message) => message,
                }
            }
        };
        self.room.viewer_says(self.id, message, ice_servers)
    }

    /// Gives the place up without a word to the camera: the viewer's media goes on.
    pub(crate) fn leave_quietly(self) {
        self.room.viewer_vanishes(self.id);
    }
}

fn too_many_joins(limits: &Limits) -> Refusal {
    let most = limits.joins_per_address_per_minute;
    let message = format!(
        "viewers at your address have joined more than {most} times in a minute, the limit: wait \
         a little"
    );
    Refusal::of(Error::new(ErrorCode::TooFast, message)).and_close()
}

impl Drop for ViewerSeat {
    fn drop(&mut self) {
        let mut directory = self.rooms.lock();
        if let Some((cluster, number)) = self.rooms.cluster.as_ref().zip(self.number) {
            cluster.viewer_leaves(number);
        }
        self.room.viewer_leaves(self.id);
        directory.tidy(&self.room);
    }
}

/// The number of a camera connection's first session. From the clock, so that a camera which
/// keeps its running streams over a reconnect, or a restart of the server, does not meet their
/// numbers again: it would take more than a thousand joins a second all along.
fn first_session(now: Duration) -> u64 {
    now.as_millis() as u64
}

pub(crate) fn shutting_down() -> Error {
    Error::new(ErrorCode::ShuttingDown, "the server is shutting down: connect again in a moment")
}

#[cfg(test)]
mod tests {
    use peercam_protocol::{SecretKey, signalling::Door};

    use super::*;

    fn rooms(limits: Limits) -> Arc<Rooms> {
        let claims = Claims::new([], None, &limits);
        let config = Config { limits, ..Config::default() };
        Arc::new(Rooms::new(Settings::new(&config), claims, Arc::default(), None))
    }

    fn outbox() -> Arc<Outbox> {
        Arc::new(Outbox::new(1024))
    }

    fn id(name: &str) -> RoomId {
        name.parse().unwrap()
    }

    fn host(rooms: &Arc<Rooms>, room: &str, seed: u8) -> Result<CameraSeat, Error> {
        let key = SecretKey::from_bytes(&[seed; 32]).public();
        let tenant = Tenant { key, door: Door::Open, issuers: Vec::new() };
        rooms.host(id(room), &outbox(), tenant, None)
    }

    fn watch(rooms: &Arc<Rooms>, room: &str) -> Result<ViewerSeat, Error> {
        let visitor = Visitor { shown: Shown::new(None).unwrap(), address: None };
        rooms.watch(id(room), &outbox(), visitor)
    }

    fn rooms_and_cameras(rooms: &Rooms) -> (usize, usize) {
        let directory = rooms.lock();
        (directory.rooms.len(), directory.cameras)
    }

    #[test]
    fn a_room_that_everybody_left_is_forgotten() {
        let rooms = rooms(Limits::default());
        let camera = host(&rooms, "a", 1).unwrap();
        let viewer = watch(&rooms, "a").unwrap();
        let waiting = watch(&rooms, "b").unwrap();
        drop(camera);
        assert_eq!(rooms_and_cameras(&rooms), (2, 0));
        drop((viewer, waiting));
        assert_eq!(rooms_and_cameras(&rooms), (0, 0));
    }

    #[test]
    fn who_was_refused_leaves_no_trace() {
        let rooms = rooms(Limits { rooms: 1, viewers_per_room: 1, ..Limits::default() });
        let seats = (host(&rooms, "a", 1), watch(&rooms, "a"));
        host(&rooms, "a", 2).unwrap_err();
        host(&rooms, "b", 1).unwrap_err();
        watch(&rooms, "a").unwrap_err();
        assert_eq!(rooms_and_cameras(&rooms), (1, 1));
        drop(seats);
        assert_eq!(rooms_and_cameras(&rooms), (0, 0));
    }

    #[test]
    fn a_room_that_was_taken_over_is_not_given_up_with_the_old_seat() {
        let rooms = rooms(Limits::default());
        let old = host(&rooms, "a", 1).unwrap();
        host(&rooms, "a", 2).unwrap_err();
        let new = host(&rooms, "a", 1).unwrap();
        drop(old);
        assert!(rooms.is_online(&id("a")));
        assert_eq!(rooms_and_cameras(&rooms), (1, 1));
        drop(new);
        assert_eq!(rooms_and_cameras(&rooms), (0, 0));
    }

    #[test]
    fn after_the_close_nobody_comes_in() {
        let rooms = rooms(Limits::default());
        rooms.close();
        let refusal = host(&rooms, "a", 1).unwrap_err();
        assert_eq!(refusal.code, ErrorCode::ShuttingDown);
        let refusal = watch(&rooms, "a").unwrap_err();
        assert_eq!(refusal.code, ErrorCode::ShuttingDown);
    }
}
