//! Events as they happen, as server-sent events (WHATWG HTML §9.2).

use std::{collections::VecDeque, convert::Infallible, sync::Arc, time::Duration};

use axum::{
    body::Body,
    extract::State,
    http::{HeaderMap, Response, Uri},
    response::{
        IntoResponse, Sse,
        sse::{Event, KeepAlive},
    },
};
use futures_util::{Stream, stream::unfold};
use tokio::sync::broadcast::{Receiver, error::RecvError};

use super::{AdminState, api::parameter};
use crate::{
    control::{Control, Phase},
    events::Notice,
};

/// How often a line goes out where nothing happens, so that whoever is gone is noticed.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// `GET /api/v1/events`: what happens from now on; with `Last-Event-ID`, or `after` in the query,
/// first what happened since that event. Who missed some, because he was away for too long or reads
/// too slowly, gets an event `missed`, and has to ask how things are.
pub(super) async fn events(
    State(admin): State<Arc<AdminState>>,
    headers: HeaderMap,
    uri: Uri,
) -> Response<Body> {
    let header = headers.get("last-event-id").and_then(|value| value.to_str().ok());
    let last = header.map(str::to_owned).or_else(|| parameter(&uri, "after"));
    let last = last.and_then(|id| id.parse().ok());
    let subscription = admin.shared.telemetry.events.subscribe(last);
    let listener = Listener {
        missed: subscription.missed,
        backlog: subscription.backlog.into(),
        receiver: subscription.receiver,
        control: admin.shared.control.clone(),
    };
    let keep_alive = KeepAlive::new().interval(KEEP_ALIVE).text("");
    Sse::new(listener.stream()).keep_alive(keep_alive).into_response()
}

struct Listener {
    missed: bool,
    backlog: VecDeque<Arc<Notice>>,
    receiver: Receiver<Arc<Notice>>,
    control: Control,
}

impl Listener {
    fn stream(self) -> impl Stream<Item = Result<Event, Infallible>> {
        unfold(self, |mut listener| async move {
            let event = listener.next().await?;
            Some((Ok(event), listener))
        })
    }

    /// None when the server ends.
    async fn next(&mut self) -> Option<Event> {
        if std::mem::take(&mut self.missed) {
            return Some(Event::default().event("missed").data("{}"));
        }
        if let Some(notice) = self.backlog.pop_front() {
            return Some(written(&notice));
        }
        let heard = tokio::select! {
            heard = self.receiver.recv() => heard,
            () = self.control.reached(Phase::Ending) => return None,
        };
        match heard {
            Ok(notice) => Some(written(&notice)),
            Err(RecvError::Lagged(_)) => Some(Event::default().event("missed").data("{}")),
            Err(RecvError::Closed) => None,
        }
    }
}

fn written(notice: &Notice) -> Event {
    Event::default().id(notice.id.to_string()).event(notice.kind.name()).data(&notice.text)
}
