//! One room as an administrator sees it, and what he can do with who is in it.

use peercam_protocol::{
    PublicKey, RoomId,
    signalling::{ByeReason, Door, Error, SessionId, ToCamera},
};
use serde::Serialize;
use tokio_tungstenite::tungstenite::Utf8Bytes;

use super::{Room, State, Viewer, ViewerId, send};
use crate::events::Event;

/// A room.
#[derive(Debug, Serialize)]
pub(crate) struct RoomView {
    pub(crate) room: RoomId,
    pub(crate) camera: Option<CameraView>,
    pub(crate) viewers: Vec<ViewerView>,
}

/// The camera in it.
#[derive(Debug, Serialize)]
pub(crate) struct CameraView {
    pub(crate) key: PublicKey,
    pub(crate) door: Door,
    /// Sessions that viewers have with it by this server.
    pub(crate) sessions: usize,
}

/// A viewer in it.
#[derive(Debug, Serialize)]
pub(crate) struct ViewerView {
    pub(crate) viewer: ViewerId,
    pub(crate) session: Option<SessionId>,
    /// Name (`jti`) of the token that let him in.
    pub(crate) token: Option<Box<str>>,
}

impl Room {
    /// Whether there is a camera, how many viewers, how many sessions.
    pub(crate) fn count(&self) -> (bool, usize, usize) {
        let state = self.lock();
        let sessions = state.camera.as_ref().map_or(0, |camera| camera.sessions.len());
        (state.camera.is_some(), state.viewers.len(), sessions)
    }

    pub(crate) fn view(&self) -> RoomView {
        let state = self.lock();
        let camera = state.camera.as_ref().map(|camera| CameraView {
            key: camera.tenant.key,
            door: camera.tenant.door,
            sessions: camera.sessions.len(),
        });
        let mut viewers: Vec<_> = state
            .viewers
            .iter()
            .map(|(&id, Viewer { session, token, .. })| ViewerView {
                viewer: id,
                session: *session,
                token: token.clone(),
            })
            .collect();
        viewers.sort_unstable_by_key(|viewer| viewer.viewer);
        RoomView { room: self.id.clone(), camera, viewers }
    }

    /// Puts a message that is encoded already into the camera's outbox.
    pub(crate) fn tell_camera(&self, text: &Utf8Bytes) {
        if let Some(camera) = &self.lock().camera {
            camera.outbox.push(text.clone());
        }
    }

    pub(crate) fn kick_camera(&self, error: Error) -> bool {
        let state = self.lock();
        state.camera.as_ref().inspect(|camera| camera.outbox.close(error)).is_some()
    }

    /// The session goes with him: merely left by its viewer it would go on as long as its path
    /// does, so the camera is told something else.
    pub(crate) fn kick_viewer(&self, id: ViewerId, error: Error) -> bool {
        let mut state = self.lock();
        let State { camera, viewers, .. } = &mut *state;
        let Some(viewer) = viewers.get(&id) else { return false };
        viewer.outbox.close(error);
        if let (Some(session), Some(camera)) = (viewer.session, camera.as_mut()) {
            camera.end(session, viewers);
            send(&camera.outbox, &ToCamera::Bye { session, reason: ByeReason::Other });
            self.telemetry.tell(&Event::SessionEnded { room: self.id.clone(), session });
        }
        true
    }
}
