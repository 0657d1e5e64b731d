//! What the media sender sees of the wire.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use tokio::sync::watch;

use super::super::congestion::{Limits, Status};

/// Shared by a session's interceptors, which write, and its media sender, which reads.
#[derive(Debug)]
pub(in crate::session) struct Wire {
    /// Between what the estimate moves.
    pub limits: Limits,
    /// How long pictures wait to leave, in µs.
    queued: AtomicU64,
    /// How fast they leave, in bit/s.
    pace: AtomicU64,
    /// The newest estimate; none before the first report.
    status: watch::Sender<Option<Status>>,
}

impl Wire {
    /// For one session.
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            queued: AtomicU64::default(),
            pace: AtomicU64::default(),
            status: watch::Sender::new(None),
        }
    }

    /// How long a picture that is sent now waits before it leaves.
    pub fn queued(&self) -> Duration {
        Duration::from_micros(self.queued.load(Ordering::Relaxed))
    }

    /// How long `bytes` take to leave.
    pub fn duration(&self, bytes: usize) -> Duration {
        let pace = self.pace.load(Ordering::Relaxed);
        if pace == 0 {
            return Duration::ZERO;
        }
        Duration::from_secs_f64(bytes as f64 * 8.0 / pace as f64)
    }

    /// The estimate, on every change.
    pub fn status(&self) -> watch::Receiver<Option<Status>> {
        self.status.subscribe()
    }

    pub(super) fn set_queue(&self, queued: Duration, pace: f64) {
        let queued = u64::try_from(queued.as_micros()).unwrap_or(u64::MAX);
        self.queued.store(queued, Ordering::Relaxed);
        self.pace.store(pace as u64, Ordering::Relaxed);
    }

    pub(super) fn set_status(&self, status: Status) {
        self.status.send_replace(Some(status));
    }
}
