//! One viewer's session, in a task of its own, from the offer to the last packet. A session's
//! trouble is its own: it ends, with a reason that the viewer and the log hear, and no other
//! session notices.
//!
//! | module | holds |
//! |---|---|
//! | `life` | the life of a session: offer, answer, connection, end |
//! | `signalling` | the viewer's line: candidates both ways, answer, farewell |
//! | `parts` | what runs on the connection: control channel, media |
//! | `offer` | what the viewer's offer has for us |
//! | [`network`] | where a session listens, and under which addresses it says so |
//! | [`servers`] | STUN and TURN servers, ready for the library |
//! | `peer` | the library's peer connection, set up |
//! | `runtime` | the library's runtime with sockets that cost little |
//! | `interceptors` | what stands between RTP and the wire |
//! | `congestion` | how much a viewer's path carries |
//! | `rtp`, `fmp4` | the two transports |
//! | `control` | the `control` data channel |
//!
//! ```text
//!  join ─▶ offer ─▶ peer connection ─▶ answer ─▶ candidates ⇄ ─▶ connected ─▶ media, control
//!                                                      └─▶ 30 s: given up        └─▶ ended
//! ```

use std::{fmt, sync::Arc};

use peercam_media::Camera;
use peercam_protocol::signalling::{ByeReason, Candidate, Error, SessionId, Transport};
use rtc::peer_connection::transport::RTCIceServer;
use tokio::sync::mpsc;
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
mod rtp;
mod runtime;
pub mod servers;
mod signalling;

use crate::{packetizer::Packetizer, rendezvous::Outbox};
use congestion::Limits;
use network::Network;

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
    /// Bit rate of the picture in kbit/s.
    pub bitrate_kbps: u32,
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
    pub ice_servers: Vec<RTCIceServer>,
    /// Where answer, candidates and errors go.
    pub outbox: Outbox,
}

/// What a session is told.
#[derive(Debug)]
enum Input {
    Candidate(Candidate),
    /// His line to the rendezvous is gone.
    ViewerLeft,
    Stop(ByeReason),
}

/// The way to a running session.
#[derive(Debug, Clone)]
pub struct Handle {
    inputs: mpsc::Sender<Input>,
}

/// How a session ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ended {
    /// The viewer stopped watching.
    ViewerLeft,
    /// ICE or DTLS failed, or the viewer fell silent.
    ConnectionLost,
    /// Nobody came: the offer was abandoned.
    NotEstablished,
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
        let span = info_span!("session", id = join.id.0, transport = %join.transport);
        (Self { inputs }, life::run(host, join, receiver).instrument(span))
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
            Self::NotEstablished => {
                let limit = life::ESTABLISHMENT.as_secs();
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
