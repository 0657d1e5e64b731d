//! What the server tells about itself: counters and events.

use crate::{
    events::{Event, Events},
    metrics::Metrics,
};

/// Counters and events. Nothing here waits, so all of it may be called under a lock.
#[derive(Debug, Default)]
pub(crate) struct Telemetry {
    pub(crate) metrics: Metrics,
    pub(crate) events: Events,
}

impl Telemetry {
    /// Something happened.
    pub(crate) fn tell(&self, event: &Event) {
        self.metrics.count_event(event.kind());
        if let Event::Error { code, .. } = event {
            self.metrics.count_error(*code);
        }
        self.events.tell(event);
    }
}
