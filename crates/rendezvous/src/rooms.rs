//! All rooms of the server, and the seats in them.
//!
//! The directory's lock is taken when somebody comes or goes, never for a message: whoever has
//! a seat holds on to its room. Locks nest one way only: directory, then room, then outbox.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{SystemTime, UNIX_EPOCH},
};

use peercam_protocol::{
    RoomId,
    signalling::{Error, ErrorCode, IceServer, ResumeKey, ToCamera, ToViewer},
    wire::encode,
};

use crate::{
    config::Limits,
    outbox::Outbox,
    room::{Room, ViewerId},
};

/// All rooms in which somebody is.
#[derive(Debug)]
pub(crate) struct Rooms {
    limits: Limits,
    ice_servers: Vec<IceServer>,
    directory: Mutex<Directory>,
}

#[derive(Debug, Default)]
struct Directory {
    rooms: HashMap<RoomId, Arc<Room>>,
    /// How many rooms have a camera.
    cameras: usize,
    /// Set when the server ends: nobody comes in any more.
    closed: bool,
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
}

impl Rooms {
    pub(crate) fn new(limits: Limits, ice_servers: Vec<IceServer>) -> Self {
        Self { limits, ice_servers, directory: Mutex::default() }
    }

    /// Whether a camera waits in the room.
    pub(crate) fn is_online(&self, id: &RoomId) -> bool {
        self.lock().rooms.get(id).is_some_and(|room| room.is_online())
    }

    /// A camera takes its room; `hosting` lies in its outbox then. With the key of the camera that
    /// is there it takes the room over.
    pub(crate) fn host(
        self: &Arc<Self>,
        id: RoomId,
        outbox: &Arc<Outbox>,
        takeover: Option<ResumeKey>,
    ) -> Result<CameraSeat, Error> {
        let mut directory = self.lock();
        let online = directory.rooms.get(&id).is_some_and(|room| room.is_online());
        if !online && directory.cameras >= self.limits.rooms {
            return Err(Error::new(
                ErrorCode::Full,
                format!(
                    "the server has cameras in {} rooms, its limit: try again later, or use \
                     another server",
                    self.limits.rooms
                ),
            ));
        }
        let room = directory.enter(id, self.limits.candidates)?;
        room.camera_arrives(outbox.clone(), first_session(), takeover)?;
        directory.cameras += 1;
        let ice_servers = self.ice_servers.clone();
        outbox.push(
            encode(&ToCamera::Hosting { room: room.id().clone(), ice_servers, time: None }).into(),
        );
        Ok(CameraSeat { rooms: self.clone(), room, outbox: outbox.clone() })
    }

    /// A viewer comes to a room; `welcome` lies in its outbox then.
    pub(crate) fn watch(
        self: &Arc<Self>,
        id: RoomId,
        outbox: &Arc<Outbox>,
    ) -> Result<ViewerSeat, Error> {
        let mut directory = self.lock();
        let room = directory.enter(id, self.limits.candidates)?;
        let (id, online) = room.viewer_arrives(outbox.clone(), self.limits.viewers_per_room)?;
        let ice_servers = self.ice_servers.clone();
        let welcome = ToViewer::Welcome { room: room.id().clone(), online, ice_servers };
        outbox.push(encode(&welcome).into());
        Ok(ViewerSeat { rooms: self.clone(), room, id })
    }

    /// Sends everybody away, and lets nobody in from now on. All of it under the lock, so that
    /// no seat is given up in between: a camera that heard of its viewers leaving would end
    /// streams that can go on without a server.
    pub(crate) fn close(&self) {
        let mut directory = self.lock();
        directory.closed = true;
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
        let room = self
            .rooms
            .entry(id)
            .or_insert_with_key(|id| Arc::new(Room::new(id.clone(), candidates)));
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
        directory.tidy(&self.room);
    }
}

impl ViewerSeat {
    pub(crate) fn room(&self) -> &Room {
        &self.room
    }

    pub(crate) fn id(&self) -> ViewerId {
        self.id
    }
}

impl Drop for ViewerSeat {
    fn drop(&mut self) {
        let mut directory = self.rooms.lock();
        self.room.viewer_leaves(self.id);
        directory.tidy(&self.room);
    }
}

/// The number of a camera connection's first session. From the clock, so that a camera which
/// keeps its running streams over a reconnect, or a restart of the server, does not meet their
/// numbers again: it would take more than a thousand joins a second all along.
fn first_session() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}

fn shutting_down() -> Error {
    Error::new(ErrorCode::ShuttingDown, "the server is shutting down: connect again in a moment")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rooms(limits: Limits) -> Arc<Rooms> {
        Arc::new(Rooms::new(limits, Vec::new()))
    }

    fn outbox() -> Arc<Outbox> {
        Arc::new(Outbox::new(1024))
    }

    fn id(name: &str) -> RoomId {
        name.parse().unwrap()
    }

    fn rooms_and_cameras(rooms: &Rooms) -> (usize, usize) {
        let directory = rooms.lock();
        (directory.rooms.len(), directory.cameras)
    }

    #[test]
    fn a_room_that_everybody_left_is_forgotten() {
        let rooms = rooms(Limits::default());
        let camera = rooms.host(id("a"), &outbox(), None).unwrap();
        let viewer = rooms.watch(id("a"), &outbox()).unwrap();
        let waiting = rooms.watch(id("b"), &outbox()).unwrap();
        drop(camera);
        assert_eq!(rooms_and_cameras(&rooms), (2, 0));
        drop((viewer, waiting));
        assert_eq!(rooms_and_cameras(&rooms), (0, 0));
    }

    #[test]
    fn who_was_refused_leaves_no_trace() {
        let rooms = rooms(Limits { rooms: 1, viewers_per_room: 1, ..Limits::default() });
        let seats = (rooms.host(id("a"), &outbox(), None), rooms.watch(id("a"), &outbox()));
        rooms.host(id("a"), &outbox(), None).unwrap_err();
        rooms.host(id("b"), &outbox(), None).unwrap_err();
        rooms.watch(id("a"), &outbox()).unwrap_err();
        assert_eq!(rooms_and_cameras(&rooms), (1, 1));
        drop(seats);
        assert_eq!(rooms_and_cameras(&rooms), (0, 0));
    }

    #[test]
    fn a_room_that_was_taken_over_is_not_given_up_with_the_old_seat() {
        let rooms = rooms(Limits::default());
        let key = || Some(ResumeKey::from_bytes([1; 16]));
        let old = rooms.host(id("a"), &outbox(), key()).unwrap();
        let other = Some(ResumeKey::from_bytes([2; 16]));
        rooms.host(id("a"), &outbox(), other).unwrap_err();
        rooms.host(id("a"), &outbox(), None).unwrap_err();
        let new = rooms.host(id("a"), &outbox(), key()).unwrap();
        drop(old);
        assert!(rooms.is_online(&id("a")));
        assert_eq!(rooms_and_cameras(&rooms), (1, 1));
        drop(new);
        assert_eq!(rooms_and_cameras(&rooms), (0, 0));
        let keyless = rooms.host(id("a"), &outbox(), None).unwrap();
        rooms.host(id("a"), &outbox(), None).unwrap_err();
        drop(keyless);
    }

    #[test]
    fn after_the_close_nobody_comes_in() {
        let rooms = rooms(Limits::default());
        rooms.close();
        let refusal = rooms.host(id("a"), &outbox(), None).unwrap_err();
        assert_eq!(refusal.code, ErrorCode::ShuttingDown);
        let refusal = rooms.watch(id("a"), &outbox()).unwrap_err();
        assert_eq!(refusal.code, ErrorCode::ShuttingDown);
    }
}
