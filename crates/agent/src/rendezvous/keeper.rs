//! Which server, and when: keeps the camera in its room on the best server that can be had.

use std::time::Duration;

use peercam_protocol::signalling::ErrorCode;
use tokio::sync::{mpsc, watch};
use tracing::{debug, info, warn};

use super::{
    Ended, Event, OUTGOING, Outbox, Plan, ServerUrl,
    backoff::Backoff,
    connection,
    open::{Hosted, open},
};

/// Waiting between attempts after a failure, at most.
const RETRY: Backoff = Backoff::new(Duration::from_millis(500), Duration::from_secs(30));
/// The same where the server does not want this camera, or not in this room: that changes when
/// people change something.
const RETRY_TAKEN: Backoff = Backoff::new(Duration::from_secs(4), Duration::from_secs(60));

/// Longest sentence about a server, in characters: it may quote the server.
const MAX_TROUBLE: usize = 500;

/// Longest time over which a move that a server asks for is spread.
const LONGEST_MOVE: Duration = Duration::from_secs(600);

/// See [`super::Client`].
pub(super) struct Keeper {
    pub plan: Plan,
    pub events: mpsc::Sender<Event>,
    /// This machine's network has changed.
    pub changes: watch::Receiver<()>,
    /// What was said about each server, so that one that is away for a night does not fill the
    /// log.
    pub said: Vec<Option<String>>,
}

/// How a room was lost.
enum Lost {
    /// The agent is done.
    ByAgent,
    /// This machine moved; the room is still there.
    Moved,
    Failed,
}

impl Keeper {
    /// Connects, hosts, and does it again when that ends; until the agent no longer listens or
    /// has dropped every outbox of a running connection.
    pub async fn run(mut self) {
        // Rounds through all servers that failed, one after the other.
        let mut rounds = 0;
        loop {
            let events = self.events.clone();
            let (lost, backoff) = tokio::select! {
                outcome = self.round() => outcome,
                () = events.closed() => return,
            };
            match lost {
                Some(Lost::ByAgent) => return,
                Some(Lost::Moved) => {
                    rounds = 0;
                    continue;
                }
                Some(Lost::Failed) => rounds = 0,
                None => {}
            }
            let pause = backoff.pause(rounds);
            rounds = rounds.saturating_add(1);
            debug!("trying again in {pause:?}");
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = self.events.closed() => return,
                Ok(()) = self.changes.changed() => rounds = 0,
            }
        }
    }

    /// Once through the servers in order of preference, up to one that takes the camera in, and
    /// with that one to the end. How it ended, or none where no server did; and how to wait.
    async fn round(&mut self) -> (Option<Lost>, Backoff) {
        let mut backoff = RETRY;
        let servers = self.plan.servers.clone();
        for (nth, server) in servers.iter().enumerate() {
            let opened = tokio::select! {
                opened = open(server, &self.plan) => opened,
                // From the beginning: what failed may work now, and what hangs may not.
                Ok(()) = self.changes.changed() => return (Some(Lost::Moved), RETRY),
            };
            match opened {
                Ok(hosted) => return (Some(self.host(nth, hosted).await), RETRY),
                Err(ended) => {
                    if matches!(ended, Ended::Refused(_)) {
                        backoff = RETRY_TAKEN;
                    }
                    self.report(nth, server, ended);
                }
            }
        }
        (None, backoff)
    }

    /// Holds the room on the server at `nth`, or on a better one that is found meanwhile.
    async fn host(&mut self, mut nth: usize, mut hosted: Hosted) -> Lost {
        loop {
            let server = self.plan.servers[nth].clone();
            self.said[nth] = None;
            let Hosted { mut wire, room, ice_servers, ends } = hosted;
            let (sender, mut outgoing) = mpsc::channel(OUTGOING);
            let outbox = Outbox(sender);
            let event = Event::Hosting { server: server.clone(), room, ice_servers, outbox };
            if self.events.send(event).await.is_err() {
                return Lost::ByAgent;
            }
            let (told, mut moves) = watch::channel(None);
            let other = tokio::select! {
                ended = connection::serve(
                    &mut wire, ends, &self.events, &mut outgoing, &mut self.changes, &told,
                ) => Err(ended),
                (better, found) = find_better(&self.plan, nth) => {
                    info!("{} is back and preferred to {server}", self.plan.servers[better]);
                    Ok((better, found))
                }
                (other, found) = find_other(&self.plan, nth, &mut moves) => {
                    info!("{server} is about to end: moved to {}", self.plan.servers[other]);
                    Ok((other, found))
                }
            };
            // Messages on the way out belong to this connection and end with it.
            drop(outgoing);
            match other {
                Ok(other) => {
                    tokio::spawn(wire.close());
                    (nth, hosted) = other;
                }
                Err(Ended::ByAgent) => {
                    wire.close().await;
                    return Lost::ByAgent;
                }
                Err(ended) => {
                    tokio::spawn(wire.close());
                    let moved = matches!(ended, Ended::Moved);
                    self.report(nth, &server, ended);
                    if self.events.send(Event::Lost).await.is_err() {
                        return Lost::ByAgent;
                    }
                    return if moved { Lost::Moved } else { Lost::Failed };
                }
            }
        }
    }

    fn report(&mut self, nth: usize, server: &ServerUrl, ended: Ended) {
        let room = &self.plan.room;
        let problem = match ended {
            Ended::ByAgent => return,
            Ended::Moved => {
                return info!("this machine's network is another: connecting to {server} anew");
            }
            Ended::Refused(error) if error.code == ErrorCode::RoomTaken => format!(
                "{server} says that another camera is in the room {room} ({error}): stop that \
                 one, or set another rendezvous.room; trying again"
            ),
            Ended::Refused(error) => format!("{server} refuses this camera: {error}; trying again"),
            Ended::Failed(reason) => format!("no connection to {server}: {reason}; trying again"),
        };
        // What the server says in it ends on a terminal.
        let printable = problem.chars().filter(|c| !c.is_control());
        let problem: String = printable.take(MAX_TROUBLE).collect();
        // Once in words.
        if self.said[nth].as_deref() == Some(problem.as_str()) {
            debug!("{problem}");
        } else {
            warn!("{problem}");
            // Who is too busy for it finds it in the log.
            drop(self.events.try_send(Event::Trouble(problem.clone())));
            self.said[nth] = Some(problem);
        }
    }
}

/// Waits until a server that is preferred to the one at `nth` takes the camera in: the room on
/// the lesser one is left only then. For ever where there is none.
async fn find_better(plan: &Plan, nth: usize) -> (usize, Hosted) {
    if nth == 0 {
        return std::future::pending().await;
    }
    loop {
        // From a half to the whole of it, so that cameras that fled together return spread out.
        let half = plan.reconsider / 2;
        tokio::time::sleep(half + Backoff::new(half, half).pause(0)).await;
        for (better, server) in plan.servers.iter().enumerate().take(nth) {
            match open(server, plan).await {
                Ok(hosted) => return (better, hosted),
                Err(Ended::Failed(reason)) => debug!("{server} is still away: {reason}"),
                Err(_) => debug!("{server} is still of no use"),
            }
        }
    }
}

/// Waits until the server at `nth` asks the camera to move; then, at a moment of its own choice, for
/// one that takes it in: the next in the list, or one before, or the same where several stand
/// behind one name. The room is left only then; where none is found, when the server ends.
async fn find_other(
    plan: &Plan,
    nth: usize,
    moves: &mut watch::Receiver<Option<Duration>>,
) -> (usize, Hosted) {
    let Some(within) = moves.wait_for(Option::is_some).await.ok().and_then(|within| *within) else {
        return std::future::pending().await;
    };
    let within = within.min(LONGEST_MOVE);
    tokio::time::sleep(Backoff::new(within, within).pause(0)).await;
    let mut attempts = 0;
    loop {
        let count = plan.servers.len();
        for other in (1..=count).map(|step| (nth + step) % count) {
            match open(&plan.servers[other], plan).await {
                Ok(hosted) => return (other, hosted),
                Err(_) => debug!("{} is of no use now", plan.servers[other]),
            }
        }
        tokio::time::sleep(RETRY.pause(attempts)).await;
        attempts = attempts.saturating_add(1);
    }
}
