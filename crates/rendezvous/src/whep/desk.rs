//! What is done for requests that belong to a session of this node, whether they came here or to
//! another node of the cluster.

use std::sync::Arc;

use axum::{
    body::to_bytes,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use tokio::sync::{mpsc, oneshot};

use super::{
    SDP_FRAGMENT,
    fragment::Fragment,
    problem::Problem,
    session::{Command, Condition, Patched},
    sessions::{Sessions, TokenDigest},
};
use crate::{
    cluster::{Errand, NodeId, Reply, Wants},
    control::Control,
};

/// Largest body of a reply to another node, in bytes: a camera's candidates.
const REPLY_BYTES: usize = 64 * 1024;

/// All sessions of this node, and what can be asked of them.
#[derive(Debug)]
pub(crate) struct Desk {
    pub(super) sessions: Arc<Sessions>,
    control: Control,
}

impl Desk {
    /// Of this node of a cluster, if there is one.
    pub(crate) fn new(control: Control, node: Option<NodeId>) -> Self {
        Self { sessions: Arc::new(Sessions::new(node)), control }
    }

    /// For a player whose request came to another node.
    pub(crate) async fn answer(&self, errand: Errand) -> Reply {
        let response = self.carry_out(errand).await.unwrap_or_else(Problem::into_response);
        let (parts, body) = response.into_parts();
        let headers = parts.headers.iter().filter_map(|(name, value)| {
            Some((name.as_str().to_owned(), value.to_str().ok()?.to_owned()))
        });
        // A body of ours, and all there: nothing is waited for.
        let body = to_bytes(body, REPLY_BYTES).await.unwrap_or_default();
        Reply {
            status: parts.status.as_u16(),
            headers: headers.collect(),
            body: String::from_utf8_lossy(&body).into_owned(),
        }
    }

    /// Does what a player wants of a session of this node.
    pub(super) async fn carry_out(&self, errand: Errand) -> Result<Response, Problem> {
        let Errand { room, session, token, wants } = errand;
        let token = TokenDigest::of(token.as_deref());
        let session = match self.sessions.find(&room, &session, &token) {
            Some((session, true)) => session,
            Some((_, false)) => return Err(Problem::not_the_sessions_token()),
            None => return Err(Problem::no_session()),
        };
        match wants {
            Wants::Patch { tags, fragment } => self.patch(&session, tags, &fragment).await,
            Wants::Delete {} => {
                let (reply, gone) = oneshot::channel();
                tell(&session, Command::Delete { reply })?;
                // However it ended: it is gone.
                _ = gone.await;
                Ok(StatusCode::OK.into_response())
            }
        }
    }

    async fn patch(
        &self,
        session: &mpsc::Sender<Command>,
        tags: Vec<String>,
        fragment: &str,
    ) -> Result<Response, Problem> {
        let most = self.control.config().limits.candidates as usize;
        let fragment = Fragment::parse(fragment, most)
            .map_err(|problem| Problem::new(StatusCode::BAD_REQUEST, problem))?;
        let (reply, patched) = oneshot::channel();
        tell(session, Command::Patch { fragment, condition: Condition::of(tags), reply })?;
        match patched.await.map_err(|_| Problem::no_session())?? {
            Patched::Taken => Ok(StatusCode::NO_CONTENT.into_response()),
            Patched::Restarted { tag, fragment } => {
                let headers =
                    [(header::CONTENT_TYPE, SDP_FRAGMENT.to_owned()), (header::ETAG, tag)];
                Ok((headers, fragment).into_response())
            }
        }
    }
}

/// What another node answered, for the player.
pub(super) fn response_of(Reply { status, headers, body }: Reply) -> Response {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_GATEWAY);
    let mut response = (status, body).into_response();
    response.headers_mut().clear();
    for (name, value) in headers {
        let (name, value) = (header::HeaderName::try_from(name), HeaderValue::try_from(value));
        if let (Ok(name), Ok(value)) = (name, value) {
            response.headers_mut().append(name, value);
        }
    }
    response
}

/// Hands a request to its session.
fn tell(session: &mpsc::Sender<Command>, command: Command) -> Result<(), Problem> {
    session.try_send(command).map_err(|error| match error {
        mpsc::error::TrySendError::Full(_) => Problem::too_fast(),
        mpsc::error::TrySendError::Closed(_) => Problem::no_session(),
    })
}
