//! What happens on the server, as it is told to those who want to know: numbered, the last ones
//! kept for who was away for a moment, and never waited for.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use peercam_protocol::{
    RoomId,
    signalling::{ErrorCode, SessionId},
};
use serde::Serialize;
use tokio::sync::broadcast;

use crate::{config::EventKind, room::ViewerId, system::unix_ms};

/// How many are kept, and how many a slow listener may be behind.
const KEPT: usize = 1024;

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "type", rename_all = "kebab-case")]
pub(crate) enum Event {
    /// A camera waits in its room now.
    CameraOnline { room: RoomId },
    /// It does not any more; its sessions may go on.
    CameraOffline { room: RoomId },
    /// A viewer is in the room.
    ViewerJoined { room: RoomId, viewer: ViewerId },
    /// He is not any more; his session, if it did not end before, may go on.
    ViewerLeft { room: RoomId, viewer: ViewerId },
    /// A viewer asked for a session, or took up one that lost its path.
    SessionStarted { room: RoomId, viewer: ViewerId, session: SessionId },
    /// One side ended it.
    SessionEnded { room: RoomId, session: SessionId },
    /// The camera reports that something failed.
    Error {
        room: RoomId,
        #[serde(skip_serializing_if = "Option::is_none")]
        session: Option<SessionId>,
        code: ErrorCode,
    },
}

impl Event {
    pub(crate) fn kind(&self) -> EventKind {
        match self {
            Self::CameraOnline { .. } => EventKind::CameraOnline,
            Self::CameraOffline { .. } => EventKind::CameraOffline,
            Self::ViewerJoined { .. } => EventKind::ViewerJoined,
            Self::ViewerLeft { .. } => EventKind::ViewerLeft,
            Self::SessionStarted { .. } => EventKind::SessionStarted,
            Self::SessionEnded { .. } => EventKind::SessionEnded,
            Self::Error { .. } => EventKind::Error,
        }
    }
}

/// An event that was told.
#[derive(Debug)]
pub(crate) struct Notice {
    /// Larger than that of any earlier one, those before a restart of the server included.
    pub(crate) id: u64,
    pub(crate) kind: EventKind,
    /// JSON.
    pub(crate) text: String,
}

#[derive(Serialize)]
struct Written<'a> {
    id: u64,
    /// Milliseconds since 1970.
    time: u64,
    #[serde(flatten)]
    event: &'a Event,
}

/// Tells events.
#[derive(Debug)]
pub(crate) struct Events {
    recent: Mutex<Recent>,
    sender: broadcast::Sender<Arc<Notice>>,
}

#[derive(Debug)]
struct Recent {
    next: u64,
    notices: VecDeque<Arc<Notice>>,
}

/// What a listener gets.
pub(crate) struct Subscription {
    /// Those after the one he heard last, as far as they are still known.
    pub(crate) backlog: Vec<Arc<Notice>>,
    /// Whether there were more of them than are known.
    pub(crate) missed: bool,
    /// Those from now on.
    pub(crate) receiver: broadcast::Receiver<Arc<Notice>>,
}

impl Default for Events {
    fn default() -> Self {
        // Thousandths of a millisecond, so that numbers go up over a restart: it would take more
        // than a million events a second all along. Fits a JavaScript number.
        let next = unix_ms() * 1000;
        let recent = Mutex::new(Recent { next, notices: VecDeque::new() });
        Self { recent, sender: broadcast::Sender::new(KEPT) }
    }
}

impl Events {
    /// Tells everybody who listens. Never waits: who is too slow misses the oldest, and is told
    /// that he did.
    pub(crate) fn tell(&self, event: &Event) {
        let mut recent = self.lock();
        let id = recent.next;
        recent.next += 1;
        let written = Written { id, time: unix_ms(), event };
        // Nothing in it can fail to be written.
        let text = serde_json::to_string(&written).unwrap_or_default();
        let notice = Arc::new(Notice { id, kind: event.kind(), text });
        if recent.notices.len() == KEPT {
            recent.notices.pop_front();
        }
        recent.notices.push_back(notice.clone());
        // Under the lock, so that they go out in order. An error says that nobody listens.
        _ = self.sender.send(notice);
    }

    /// Listens from now on, or from the event behind `last` on.
    pub(crate) fn subscribe(&self, last: Option<u64>) -> Subscription {
        let recent = self.lock();
        let after = |notice: &&Arc<Notice>| last.is_some_and(|last| notice.id > last);
        let backlog: Vec<_> = recent.notices.iter().filter(after).cloned().collect();
        let first = backlog.first().map_or(recent.next, |notice| notice.id);
        let missed = last.is_some_and(|last| last.saturating_add(1) < first);
        Subscription { backlog, missed, receiver: self.sender.subscribe() }
    }

    /// Only whole changes are made under it.
    fn lock(&self) -> MutexGuard<'_, Recent> {
        self.recent.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event() -> Event {
        Event::CameraOnline { room: "front-door".parse().unwrap() }
    }

    #[test]
    fn who_was_away_hears_what_he_missed_and_in_order() {
        let events = Events::default();
        for _ in 0..3 {
            events.tell(&event());
        }
        let first = events.subscribe(Some(0)).backlog[0].id;
        let again = events.subscribe(Some(first));
        assert!(!again.missed);
        let ids: Vec<u64> = again.backlog.iter().map(|notice| notice.id).collect();
        assert_eq!(ids, [first + 1, first + 2]);
        let mut now = events.subscribe(Some(first + 2));
        assert!(now.backlog.is_empty() && !now.missed);
        events.tell(&event());
        assert_eq!(now.receiver.try_recv().unwrap().id, first + 3);
        assert!(events.subscribe(None).backlog.is_empty());
    }

    #[test]
    fn who_was_away_for_too_long_is_told_so() {
        let events = Events::default();
        events.tell(&event());
        let first = events.subscribe(Some(0)).backlog[0].id;
        for _ in 0..KEPT + 1 {
            events.tell(&event());
        }
        let late = events.subscribe(Some(first));
        assert!(late.missed);
        assert_eq!(late.backlog.len(), KEPT);
    }

    #[test]
    fn an_event_says_what_where_and_when() {
        let events = Events::default();
        events.tell(&event());
        let notice = events.subscribe(Some(0)).backlog[0].clone();
        let json: serde_json::Value = serde_json::from_str(&notice.text).unwrap();
        assert_eq!(json["type"], "camera-online");
        assert_eq!(json["room"], "front-door");
        assert_eq!(json["id"], notice.id);
        assert!(json["time"].as_u64().unwrap() > 1_600_000_000_000);
    }
}
