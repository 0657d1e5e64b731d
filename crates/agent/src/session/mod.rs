//! One viewer's session, in a task of its own, from the offer to the last packet. A session's
//! trouble is its own: it ends, with a reason that the viewer and the log hear, and no other
//! session notices.
//!
//! | module | holds |
//! |---|---|
//! | `life` | the life of a session: offer, answer, connection, end |
//! | `signalling` | the viewer's line: candidates both ways, answer, farewell |
//! | `restart` | the offers by which a viewer takes his session up again |
//! | `parts` | what runs on the connection: control channel, media |
//! | `offer` | what the viewer's offer has for us |
//! | [`network`] | where a session listens, and under which addresses it says so |
//! | [`servers`] | STUN and TURN servers, ready for the library |
//! | [`turn`] | TURN over TCP and TLS |
//! | `tcp` | ICE over TCP: streams that hold up nobody |
//! | `queue` | messages that wait for a stream |
//! | `peer` | the library's peer connection, set up |
//! | `runtime` | the library's runtime with sockets that cost little |
//! | `interceptors` | what stands between RTP and the wire |
//! | `congestion` | how much a viewer's path carries |
//! | `rtp`, `fmp4` | the two transports |
//! | `source` | pictures and sound, from whichever encode the viewer has a seat at |
//! | `control` | the `control` data channel |
//!
//! ```text
//!  join ─▶ offer ─▶ peer connection ─▶ answer ─▶ candidates ⇄ ─▶ connected ─▶ media, control ─▶ ended
//!                                                      │            │  ▲
//!                                                      │  path lost │  │ back by itself, or by a
//!                                                      ▼            ▼  │ join with the resume key
//!                                              30 s: given up ◀── media pauses
//! ```
//!
//! The way to the viewer may break without the session: [`Patience`] says how long it waits.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use peercam_media::Camera;
use peercam_protocol::signalling::{ByeReason, Candidate, Error, ResumeKey, SessionId, Transport};
use tokio::sync::{mpsc, watch};
use tracing::{Instrument, info_span};
use webrtc::peer_connection::RTCCertificate;

mod congestion;
mod control;
mod fmp4;
mod interceptors;
mod life;
pub mod network;
mod offer;
mod parts;
mod peer;
mod queue;
mod restart;
mod rtp;
mod runtime;
pub mod servers;
mod signalling;
mod source;
mod tcp;
pub mod turn;

use crate::{
    access::{Kept, Witness},
    network_watch::Change,
    packetizer::Packetizer,
    rendezvous::Outbox,
    streams::Streams,
};
use congestion::Limits;
use network::Network;
use servers::IceServers;
use turn::Turn;

/// Inputs that wait for a session. A full queue means a viewer who sends faster than he is
/// served; see [`Handle::candidate`].
const INPUTS: usize = 64;

/// No estimate is lower than this, in kbit/s: a path that carries less is of no use for a picture.
const MIN_ESTIMATE_KBPS: u32 = 100;

/// What all sessions share.
#[derive(Clone)]
pub struct Host {
    /// Picture and sound.
    pub camera: Arc<Camera>,
    /// Makes RTP of it.
    pub packetizer: Arc<Packetizer>,
    /// This process's side of DTLS: one for all, so that no session has to wait for a new one.
    pub certificate: RTCCertificate,
    /// Addresses and ports.
    pub network: Arc<Network>,
    /// How TURN servers are trusted, and what was said about them.
    pub turn: Arc<Turn>,
    /// Which encode each viewer gets.
    pub streams: Streams,
    /// Bit rate of the picture in kbit/s.
    pub bitrate_kbps: u32,
    /// How long to wait for viewers.
    pub patience: Patience,
}

/// How long a session waits for its viewer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// For him to get from his offer to an open connection and its data channels.
    pub establishment: Duration,
    /// For the path to come back once it is lost, by itself or by a resume: as long as consent to
    /// send lasts (RFC 7675 §5.1).
    pub lost: Duration,
    /// The same where his line to the rendezvous is gone too: most likely he closed the page, but
    /// a phone that changes its network loses both, and is back in a moment.
    pub gone: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            establishment: Duration::from_secs(30),
            lost: Duration::from_secs(30),
            gone: Duration::from_secs(5),
        }
    }
}

impl Host {
    /// Between what the estimate of a viewer's path moves. On the wire, a stream with sound takes
    /// about an eighth more than its picture, and what is lost has to go twice.
    fn wire_limits(&self) -> Limits {
        Limits { floor: MIN_ESTIMATE_KBPS, ceiling: self.bitrate_kbps * 13 / 10 + 100 }
    }
}

/// A viewer's wish to watch.
pub struct Join {
    /// His session on the connection of `outbox`.
    pub id: SessionId,
    /// How media is to travel.
    pub transport: Transport,
    /// His offer (SDP).
    pub offer: String,
    /// Servers to gather candidates with.
    pub ice_servers: IceServers,
    /// Where answer, candidates and errors go.
    pub outbox: Outbox,
    /// By what the viewer takes the session up again.
    pub resume: ResumeKey,
    /// Vouches for the answer, where the viewer asked for that.
    pub witness: Option<Witness>,
    /// To be done before he is answered.
    pub kept: Option<Kept>,
}

/// A viewer's wish to go on watching: an offer that restarts ICE.
pub struct Resume {
    /// What the session goes by from now on, on the connection of `outbox`.
    pub id: SessionId,
    /// As the session's.
    pub transport: Transport,
    /// His offer (SDP).
    pub offer: String,
    /// Servers to gather candidates with.
    pub ice_servers: IceServers,
    /// Where answer, candidates and errors go from now on.
    pub outbox: Outbox,
    /// Vouches for the answer, where the viewer asked for that.
    pub witness: Option<Witness>,
}

/// What a session is told.
enum Input {
    Candidate(Candidate),
    Resume(Box<Resume>),
    NetworkChanged(Change),
    /// His line to the rendezvous is gone.
    ViewerLeft,
    Stop(ByeReason),
}

/// The other ends of a [`Handle`].
struct Told {
    inputs: mpsc::Receiver<Input>,
    /// Why the viewer may not watch any longer.
    verdict: watch::Receiver<Option<Error>>,
}

/// The way to a running session.
#[derive(Debug, Clone)]
pub struct Handle {
    inputs: mpsc::Sender<Input>,
    path_lost: Arc<AtomicBool>,
    /// Beside the inputs: no queue that he filled may keep a viewer here.
    verdict: watch::Sender<Option<Error>>,
}

/// How a session ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ended {
    /// The viewer stopped watching.
    ViewerLeft,
    /// ICE or DTLS failed, or the viewer fell silent.
    ConnectionLost,
    /// Nobody came in the time given: the offer was abandoned.
    NotEstablished(Duration),
    /// We ended it.
    Dismissed(ByeReason),
    /// The camera does no longer give anything.
    CameraStopped,
    /// It could not begin, or went against the rules.
    Refused(Error),
}

impl Handle {
    /// A session for `join`, and its task: run it.
    pub fn new(host: Host, join: Join) -> (Self, impl Future<Output = Ended> + Send + 'static) {
        let (inputs, receiver) = mpsc::channel(INPUTS);
        let path_lost = Arc::new(AtomicBool::new(false));
        let verdict = watch::Sender::new(None);
        let span = info_span!("session", id = join.id.0, transport = %join.transport);
        let told = Told { inputs: receiver, verdict: verdict.subscribe() };
        let life = life::run(host, join, told, path_lost.clone()).instrument(span);
        (Self { inputs, path_lost, verdict }, life)
    }

    /// Whether the viewer was there and is out of reach now: such a session is the first to go.
    pub fn is_path_lost(&self) -> bool {
        self.path_lost.load(Ordering::Relaxed)
    }

    /// The viewer takes the session up again. False: see [`Handle::candidate`].
    #[must_use]
    pub fn resume(&self, resume: Resume) -> bool {
        !matches!(
            self.inputs.try_send(Input::Resume(Box::new(resume))),
            Err(mpsc::error::TrySendError::Full(_))
        )
    }

    /// This machine's network is another one.
    pub fn network_changed(&self, change: Change) {
        // A queue that is full of candidates is one of a viewer who is restarting anyway.
        drop(self.inputs.try_send(Input::NetworkChanged(change)));
    }

    /// A candidate of the viewer's. False: he sends faster than he is served, and it was dropped.
    #[must_use]
    pub fn candidate(&self, candidate: Candidate) -> bool {
        !matches!(
            self.inputs.try_send(Input::Candidate(candidate)),
            Err(mpsc::error::TrySendError::Full(_))
        )
    }

    /// The viewer's line to the rendezvous is gone. A session that is still being set up ends; one
    /// that runs ends when its own connection does: the line may be all that broke.
    pub fn viewer_left(&self) {
        // Nothing to be told when full or closed: the connection says so in time.
        drop(self.inputs.try_send(Input::ViewerLeft));
    }

    /// The viewer may not watch any longer: he hears why, and the session ends.
    pub fn refuse(&self, error: Error) {
        self.verdict.send_replace(Some(error));
    }

    /// Ends the session with a farewell. So does dropping the handle, for a camera that stops.
    pub fn stop(&self, reason: ByeReason) {
        // Nothing to do where it has ended by itself.
        drop(self.inputs.try_send(Input::Stop(reason)));
    }
}
impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ViewerLeft => f.write_str("the viewer left"),
            Self::ConnectionLost => f.write_str("the connection was lost"),
            Self::NotEstablished(limit) => {
                let limit = limit.as_secs();
                write!(f, "connection and data channels were not complete within {limit} s")
            }
            Self::Dismissed(ByeReason::CameraStopping) | Self::CameraStopped => {
                f.write_str("the camera is stopping")
            }
            Self::Dismissed(_) => f.write_str("ended by the camera"),
            Self::Refused(error) => write!(f, "refused: {error}"),
        }
    }
}
