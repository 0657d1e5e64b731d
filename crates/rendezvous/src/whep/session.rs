//! One player's session: a viewer of its room who speaks HTTP, in a task of its own. Requests come
//! in as [`Command`]s, one at a time; what the room says is read between them.

use std::{future::poll_fn, sync::Arc, task::Poll, time::Duration};

use axum::http::StatusCode;
use peercam_protocol::{
    signalling::{Candidate, Error, ErrorCode, FromViewer, Pass, ToViewer, Transport},
    wire::{decode, encode},
};
use tokio::{
    sync::{mpsc, oneshot},
    time::{Instant, timeout, timeout_at},
};
use tracing::debug;

use crate::{
    gate::Permit,
    outbox::Outbox,
    peer::{Peer, Refusal},
    rate::TokenBucket,
    rooms::ViewerSeat,
};

use super::{
    fragment::Fragment,
    problem::Problem,
    sdp::{Answer, Credentials, Offer},
    sessions::Place,
};

/// How long a camera has to answer an offer. It takes some milliseconds, but its line may be slow.
const ANSWER: Duration = Duration::from_secs(10);

/// How long an answer waits for the camera's candidates. Those of its own addresses come at once;
/// the rest needs a round trip or two to STUN and TURN servers.
const GATHER: Duration = Duration::from_millis(700);

/// What a session is made of.
pub(super) struct Session {
    pub seat: ViewerSeat,
    pub outbox: Arc<Outbox>,
    pub offer: Offer,
    pub commands: mpsc::Receiver<Command>,
    /// Candidates and requests that the player may still send.
    pub pace: TokenBucket,
    /// Largest message of a viewer.
    pub message_bytes: usize,
    /// Held as long as the session lasts.
    pub _place: Place,
    pub _permit: Permit,
}

/// What a request asks of a session.
#[derive(Debug)]
pub(super) enum Command {
    Patch {
        fragment: Fragment,
        condition: Condition,
        reply: oneshot::Sender<Result<Patched, Problem>>,
    },
    Delete {
        reply: oneshot::Sender<()>,
    },
}

/// Of what state a PATCH takes the session to be in (`If-Match`, RFC 9110 §13.1.1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Condition {
    /// It does not say.
    Unsaid,
    /// Of any: what RFC 9725 §4.3.3 has for restarts of ICE.
    Any,
    /// Of one with one of these entity tags.
    OneOf(Vec<String>),
}

impl Condition {
    /// What these entity tags of `If-Match` say.
    pub fn of(tags: Vec<String>) -> Self {
        match tags.as_slice() {
            [] => Self::Unsaid,
            [any] if any == "*" => Self::Any,
            _ => Self::OneOf(tags),
        }
    }
}

/// What came of a PATCH.
#[derive(Debug)]
pub(super) enum Patched {
    /// The candidates are on their way to the camera.
    Taken,
    /// ICE starts anew.
    Restarted {
        /// The session's entity tag from now on.
        tag: String,
        /// The camera's side of it.
        fragment: String,
    },
}

/// Why a player does not get what it asked for.
enum Failure {
    /// The session goes on.
    Refused(Problem),
    /// It does not.
    Over(Problem),
}

impl From<Refusal> for Failure {
    fn from(Refusal { error, last, .. }: Refusal) -> Self {
        if last { Self::Over(error.into()) } else { Self::Refused(error.into()) }
    }
}

impl Session {
    /// The entity tag of a session whose ICE was not restarted.
    pub fn first_tag() -> String {
        tag(0)
    }

    /// The whole of it. `answered` hears the camera's answer, or why there is none; a player who
    /// does not wait for it has no session.
    pub async fn run(
        mut self,
        pass: Option<Pass>,
        mut answered: oneshot::Sender<Result<Answer, Problem>>,
    ) {
        let outcome = tokio::select! {
            outcome = self.join(pass) => outcome,
            () = answered.closed() => return debug!("a player did not wait for its answer"),
        };
        match outcome {
            Ok(answer) => {
                if answered.send(Ok(answer)).is_ok() {
                    self.serve().await;
                }
            }
            Err(Failure::Refused(problem) | Failure::Over(problem)) => {
                drop(self);
                _ = answered.send(Err(problem));
            }
        }
    }

    /// From the answer to the end.
    async fn serve(mut self) {
        loop {
            let command = tokio::select! {
                command = self.commands.recv() => command,
                said = next(&self.outbox) => match said {
                    Ok(message) if end_of(&message).is_none() => continue,
                    Ok(_) | Err(_) => None,
                },
            };
            match command {
                Some(Command::Patch { fragment, condition, reply }) => {
                    // A player that hung up in the meantime needs no reply.
                    match self.patch(fragment, &condition).await {
                        Ok(patched) => _ = reply.send(Ok(patched)),
                        Err(Failure::Refused(problem)) => _ = reply.send(Err(problem)),
                        Err(Failure::Over(_)) => {
                            drop(self);
                            _ = reply.send(Err(Problem::no_session()));
                            return;
                        }
                    }
                }
                Some(Command::Delete { reply }) => {
                    drop(self);
                    _ = reply.send(());
                    return;
                }
                None => return,
            }
        }
    }

    async fn join(&mut self, pass: Option<Pass>) -> Result<Answer, Failure> {
        self.offer(self.offer.text().to_owned(), pass)?;
        self.answer().await
    }

    /// Hands an offer to the camera.
    fn offer(&mut self, offer: String, pass: Option<Pass>) -> Result<(), Failure> {
        let join = FromViewer::Join { transport: Transport::Rtp, offer, resume: None, pass };
        let size = encode(&join).len();
        if size > self.message_bytes {
            let limit = self.message_bytes;
            let message =
                format!("the offer makes a message of {size} bytes: the limit is {limit}");
            return Err(Failure::Refused(Error::new(ErrorCode::TooLarge, message).into()));
        }
        Ok(self.seat.handle(join)?)
    }

    /// Candidates, or a restart of ICE.
    async fn patch(
        &mut self,
        fragment: Fragment,
        condition: &Condition,
    ) -> Result<Patched, Failure> {
        let Fragment { credentials, candidates } = fragment;
        let now = std::time::Instant::now();
        if !(0..=candidates.len()).all(|_| self.pace.take(now)) {
            return Err(Failure::Refused(Problem::too_fast()));
        }
        let running = credentials.as_ref() == Some(self.offer.credentials());
        if credentials.as_ref().is_some_and(|pair| self.offer.is_former(pair)) {
            return Err(Failure::Refused(overtaken()));
        }
        self.check(condition, running).map_err(Failure::Refused)?;
        match credentials.filter(|_| !running) {
            Some(credentials) => self.restart(credentials, candidates).await,
            None => {
                self.trickle(candidates)?;
                Ok(Patched::Taken)
            }
        }
    }

    /// Whether the player means the session as it is (RFC 9725 §4.3.1). One that shows the
    /// credentials of the running generation means that one: players are about that leave
    /// `If-Match` out.
    fn check(&self, condition: &Condition, running: bool) -> Result<(), Problem> {
        match condition {
            Condition::Any => Ok(()),
            Condition::OneOf(tags) if tags.contains(&tag(self.offer.restarts())) => Ok(()),
            Condition::OneOf(_) => Err(overtaken()),
            Condition::Unsaid if running => Ok(()),
            Condition::Unsaid => Err(Problem::new(
                StatusCode::PRECONDITION_REQUIRED,
                "If-Match is missing: the session's latest ETag, or \"*\" to restart ICE",
            )),
        }
    }

    fn trickle(&mut self, candidates: Vec<Candidate>) -> Result<(), Failure> {
        for candidate in candidates {
            self.seat.handle(FromViewer::Candidate { candidate })?;
        }
        Ok(())
    }

    /// A join of a running session is a restart of its ICE.
    async fn restart(
        &mut self,
        credentials: Credentials,
        candidates: Vec<Candidate>,
    ) -> Result<Patched, Failure> {
        let offer = self.offer.restarted(credentials);
        self.offer(offer.text().to_owned(), None)?;
        self.trickle(candidates)?;
        let answer = self.answer().await?;
        let fragment = answer.as_fragment().ok_or_else(|| {
            let message = "the camera's answer has no ICE credentials";
            Failure::Over(Error::new(ErrorCode::Other, message).into())
        })?;
        self.offer = offer;
        Ok(Patched::Restarted { tag: tag(self.offer.restarts()), fragment })
    }

    /// The camera's answer, and the candidates that come soon after it.
    async fn answer(&mut self) -> Result<Answer, Failure> {
        let sdp = async {
            loop {
                match self.hear().await? {
                    ToViewer::Answer { sdp, .. } => break Ok(sdp),
                    ToViewer::Error { error } => break Err(Failure::Refused(error.into())),
                    // Candidates of a former generation, for instance.
                    _ => {}
                }
            }
        };
        let Ok(sdp) = timeout(ANSWER, sdp).await else {
            return Err(Failure::Refused(Problem::no_answer()));
        };
        let mut answer = Answer { sdp: sdp?, ..Answer::default() };
        let until = Instant::now() + GATHER;
        while !answer.complete {
            let Ok(said) = timeout_at(until, self.hear()).await else { break };
            if let ToViewer::Candidate { candidate } = said? {
                answer.complete = candidate.candidate.is_empty();
                if !answer.complete {
                    answer.candidates.push(candidate.candidate);
                }
            }
        }
        Ok(answer)
    }

    /// The next thing the room says, unless it ends the session. Cancel safe.
    async fn hear(&mut self) -> Result<ToViewer, Failure> {
        let message = next(&self.outbox).await.map_err(|error| Failure::Over(error.into()))?;
        match end_of(&message) {
            None => Ok(message),
            Some(error) => Err(Failure::Over(error.into())),
        }
    }
}

/// The next message of an outbox; an error where there won't be another one. Cancel safe.
pub(super) async fn next(outbox: &Outbox) -> Result<ToViewer, Error> {
    let text = poll_fn(|cx| {
        // First, so that what comes from here on wakes us.
        let closing = outbox.poll_closing(cx);
        match (outbox.pop(), closing) {
            (Some(text), _) => Poll::Ready(Ok(text)),
            (None, Some(error)) => Poll::Ready(Err(error)),
            (None, None) => Poll::Pending,
        }
    });
    decode(&text.await?)
}

/// Why a message is the end of a WHEP session; none where it is not.
fn end_of(message: &ToViewer) -> Option<Error> {
    match message {
        ToViewer::Error { error } if error.code.ends_session() => Some(error.clone()),
        ToViewer::Bye { .. } => {
            let message = "the camera has ended the session: try again in a moment";
            Some(Error::new(ErrorCode::MediaUnavailable, message))
        }
        // Where the camera's line to us breaks, pictures go on; but the session is one of that
        // line, and its key to another one was never told.
        ToViewer::Camera { .. } => {
            Some(Error::new(ErrorCode::CameraOffline, "the camera has just left its room"))
        }
        _ => None,
    }
}

/// What belongs to a generation of ICE that runs no more.
fn overtaken() -> Problem {
    let message = "ICE was restarted since: send what belongs to the latest ETag";
    Problem::new(StatusCode::PRECONDITION_FAILED, message)
}

/// The entity tag (RFC 9110 §8.8.3) of a session after so many restarts of ICE.
fn tag(restarts: u64) -> String {
    format!("\"{restarts}\"")
}
