//! The rooms as an administrator sees them, and what he can do with who is in them.

use std::{sync::Arc, time::Duration};

use peercam_protocol::{
    RoomId,
    signalling::{Error, ErrorCode, ToCamera},
    wire::encode,
};
use tokio_tungstenite::tungstenite::Utf8Bytes;

use super::Rooms;
use crate::{
    metrics::Census,
    room::{Room, RoomView, ViewerId},
};

impl Rooms {
    /// How many are in.
    pub(crate) fn census(&self) -> Census {
        let rooms = self.all();
        let mut census = Census { rooms: rooms.len(), ..Census::default() };
        for room in rooms {
            let (camera, viewers, sessions) = room.count();
            census.cameras += usize::from(camera);
            census.viewers += viewers;
            census.sessions += sessions;
        }
        census
    }

    /// How many rooms have a camera.
    pub(crate) fn cameras(&self) -> usize {
        self.lock().cameras
    }

    /// The rooms whose names come after `after`, in order, at most `limit`; and whether there are
    /// more.
    pub(crate) fn list(&self, after: Option<&RoomId>, limit: usize) -> (Vec<RoomView>, bool) {
        let mut rooms = self.all();
        rooms.retain(|room| after.is_none_or(|after| room.id().as_str() > after.as_str()));
        rooms.sort_unstable_by(|one, other| one.id().as_str().cmp(other.id().as_str()));
        let more = rooms.len() > limit;
        rooms.truncate(limit);
        (rooms.iter().map(|room| room.view()).collect(), more)
    }

    /// One room; none if nobody is in it.
    pub(crate) fn view(&self, id: &RoomId) -> Option<RoomView> {
        self.get(id).map(|room| room.view())
    }

    /// Closes the camera's connection. Whether there was one.
    pub(crate) fn kick_camera(&self, id: &RoomId) -> bool {
        self.get(id).is_some_and(|room| room.kick_camera(kicked()))
    }

    /// Ends the viewer's session and closes his connection. Whether there was one.
    pub(crate) fn kick_viewer(&self, id: &RoomId, viewer: ViewerId) -> bool {
        self.get(id).is_some_and(|room| room.kick_viewer(viewer, kicked()))
    }

    /// Lets nobody in from now on, and tells cameras to move within this time.
    pub(crate) fn drain(&self, within: Duration) {
        let mut directory = self.lock();
        directory.closed = true;
        let within_ms = u32::try_from(within.as_millis()).unwrap_or(u32::MAX);
        let text = Utf8Bytes::from(encode(&ToCamera::Move { within_ms }));
        for room in directory.rooms.values() {
            room.tell_camera(&text);
        }
    }

    fn get(&self, id: &RoomId) -> Option<Arc<Room>> {
        self.lock().rooms.get(id).cloned()
    }

    /// So that the directory is not locked while each room is looked at.
    fn all(&self) -> Vec<Arc<Room>> {
        self.lock().rooms.values().cloned().collect()
    }
}

fn kicked() -> Error {
    Error::new(ErrorCode::SentAway, "the server's administrator ended this connection")
}
