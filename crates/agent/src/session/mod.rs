//! One viewer's session, in a task of its own, from the offer to the last packet. A session's
//! trouble is its own: it ends, with a reason that the viewer and the log hear, and no other
//! session notices.
//!
//! | module | holds |
//! |---|---|
//! | `offer` | what the viewer's offer has for us |
//! | [`network`] | where a session listens, and under which addresses it says so |
//! | [`servers`] | STUN and TURN servers, ready for the library |
//! | `peer` | the library's peer connection, set up |
//! | `runtime` | the library's runtime with sockets that cost little |
//! | `interceptors` | what stands between RTP and the wire |
//! | `rtp`, `fmp4` | the two transports |
//! | `control` | the `control` data channel |
//!
//! ```text
//!  join ─▶ offer ─▶ peer connection ─▶ answer ─▶ candidates ⇄ ─▶ connected ─▶ media, control
//!                                                      └─▶ 30 s: given up        └─▶ ended
//! ```

use std::{
    fmt,
    sync::Arc,
    time::{Duration, Instant},
};

use peercam_media::Camera;
use peercam_protocol::{
    control::{CHANNEL, MEDIA_CHANNEL},
    signalling::{ByeReason, Candidate, Error, ErrorCode, FromCamera, SessionId, Transport},
};
use rtc::peer_connection::{sdp::RTCSessionDescription, transport::RTCIceServer};
use tokio::{
    sync::{mpsc, oneshot, watch},
    task::JoinSet,
};
use tracing::{Instrument, debug, info, info_span, warn};
use webrtc::{
    data_channel::DataChannel,
    peer_connection::{
        PeerConnection, RTCCertificate, RTCIceCandidateInit, RTCPeerConnectionState,
    },
};

mod control;
mod fmp4;
mod interceptors;
pub mod network;
mod offer;
mod peer;
mod rtp;
mod runtime;
pub mod servers;

use crate::{packetizer::Packetizer, rendezvous::Outbox};
use control::{Clock, Control};
use fmp4::Limits;
use network::{Lease, Network};
use offer::Offer;
use peer::{Connection, PeerEvent};

/// For a viewer to get from his offer to an open connection and its data channels.
const ESTABLISHMENT: Duration = Duration::from_secs(30);
/// For the farewell of a session that we end.
const FAREWELL: Duration = Duration::from_secs(1);
/// Inputs that wait for a session. A full queue means a viewer who sends faster than he is
/// served; see [`Handle::candidate`].
const INPUTS: usize = 64;
/// Most candidates of one viewer. A browser on a machine with many interfaces has a dozen.
const MAX_CANDIDATES: usize = 64;
/// Largest candidate line. Real ones are below 200 bytes.
const MAX_CANDIDATE: usize = 1024;

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
        (Self { inputs }, run(host, join, receiver).instrument(span))
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

async fn run(host: Host, join: Join, inputs: mpsc::Receiver<Input>) -> Ended {
    let (id, outbox, transport) = (join.id, join.outbox.clone(), join.transport);
    let begun = Instant::now();
    info!("joined");
    let ended = match Session::establish(host, join, inputs).await {
        Ok(session) => session.serve().await,
        Err(ended) => ended,
    };
    match &ended {
        Ended::Refused(error) => {
            outbox.send(FromCamera::Error { session: Some(id), error: error.clone() });
        }
        Ended::ViewerLeft => {}
        Ended::ConnectionLost | Ended::NotEstablished => {
            let reason = ByeReason::ConnectionLost;
            outbox.send(FromCamera::Bye { session: id, reason });
        }
        Ended::Dismissed(reason) => {
            outbox.send(FromCamera::Bye { session: id, reason: *reason });
        }
        Ended::CameraStopped => {
            let reason = ByeReason::CameraStopping;
            outbox.send(FromCamera::Bye { session: id, reason });
        }
    }
    info!(%transport, "ended after {:.1} s: {ended}", begun.elapsed().as_secs_f64());
    ended
}

/// A session whose answer is out.
struct Session {
    host: Host,
    id: SessionId,
    transport: Transport,
    outbox: Outbox,
    connection: Connection,
    events: mpsc::Receiver<PeerEvent>,
    inputs: mpsc::Receiver<Input>,
    lease: Lease,
    /// Whether sound is sent.
    audio: bool,
    /// Until the connection is there.
    rtp: Option<rtp::Sender>,
    /// Keeps the encoders running while the connection is made.
    warm: Option<Warm>,
    candidates: usize,
    connected: bool,
    viewer_left: bool,
    clock: (watch::Sender<Option<Clock>>, watch::Receiver<Option<Clock>>),
    dismiss: Option<oneshot::Sender<ByeReason>>,
    media_started: bool,
    tasks: JoinSet<TaskEnded>,
}

/// A subscription that nobody reads: encoding begins with the offer, not with the connection.
enum Warm {
    Frames { _subscription: peercam_media::Subscription<peercam_media::Frame> },
    Chunks { _subscription: peercam_media::Subscription<peercam_media::Chunk> },
}

/// How one of a session's two tasks ended.
enum TaskEnded {
    Control(control::Ended),
    Media,
}

impl Session {
    /// From the viewer's offer to our answer.
    async fn establish(
        host: Host,
        join: Join,
        inputs: mpsc::Receiver<Input>,
    ) -> Result<Self, Ended> {
        let Join { id, transport, offer, ice_servers, outbox } = join;
        let offer = Offer::parse(offer, transport).map_err(Ended::Refused)?;
        // Encoders that sleep need longest of all; and a key frame that is made now is in the
        // cache when the connection is there, with a short group of pictures behind it.
        let warm = match transport {
            Transport::Rtp => Warm::Frames { _subscription: host.camera.subscribe_frames() },
            Transport::Fmp4 => Warm::Chunks { _subscription: host.camera.subscribe_chunks() },
        };
        host.camera.request_key_frame();
        let lease = host.network.lease().map_err(|error| {
            warn!("no session: {error}");
            Ended::Refused(Error::new(ErrorCode::Full, error.to_string()))
        })?;
        let failed = |error: webrtc::error::Error| {
            warn!("no peer connection: {error}");
            let message = "the camera can't open a connection: see its log".to_owned();
            Ended::Refused(Error::new(ErrorCode::Other, message))
        };
        let addresses = lease.addresses().to_vec();
        let rtp_offer = offer.rtp.as_ref();
        let (connection, events) =
            peer::connect(host.certificate.clone(), ice_servers, addresses, rtp_offer)
                .await
                .map_err(failed)?;
        let audio = rtp_offer.is_none_or(|offer| offer.audio.is_some());
        let (rtp, answer) = match answer(&*connection, offer).await {
            Ok(answered) => answered,
            Err(ended) => {
                connection.close().await;
                return Err(ended);
            }
        };
        outbox.send(FromCamera::Answer { session: id, sdp: answer });
        Ok(Self {
            host,
            id,
            transport,
            outbox,
            connection,
            events,
            inputs,
            lease,
            audio,
            rtp,
            warm: Some(warm),
            candidates: 0,
            connected: false,
            viewer_left: false,
            clock: watch::channel(None),
            dismiss: None,
            media_started: false,
            tasks: JoinSet::new(),
        })
    }

    /// From our answer to the end.
    async fn serve(mut self) -> Ended {
        let begun = Instant::now();
        let deadline = tokio::time::sleep(ESTABLISHMENT);
        tokio::pin!(deadline);
        let ended = loop {
            let step = tokio::select! {
                input = self.inputs.recv() => self.hear(input).await,
                event = self.events.recv() => match event {
                    Some(event) => self.follow(event, begun).await,
                    None => Some(Ended::ConnectionLost),
                },
                Some(ended) = self.tasks.join_next() => match ended {
                    Ok(ended) => self.conclude(ended),
                    Err(error) => {
                        warn!("a part of the session failed: {error}");
                        Some(Ended::ConnectionLost)
                    }
                },
                () = &mut deadline, if !self.is_established() => Some(Ended::NotEstablished),
            };
            if let Some(ended) = step {
                break ended;
            }
        };
        self.say_bye(&ended).await;
        self.tasks.shutdown().await;
        self.connection.close().await;
        ended
    }

    fn is_established(&self) -> bool {
        self.connected && self.dismiss.is_some() && self.media_started
    }

    /// Something from outside.
    async fn hear(&mut self, input: Option<Input>) -> Option<Ended> {
        match input {
            Some(Input::Candidate(candidate)) => {
                self.add_candidate(candidate).await.err().map(Ended::Refused)
            }
            Some(Input::ViewerLeft) if !self.connected => Some(Ended::ViewerLeft),
            Some(Input::ViewerLeft) => {
                debug!("the viewer's line to the rendezvous is gone; media goes on");
                self.viewer_left = true;
                None
            }
            Some(Input::Stop(reason)) => Some(Ended::Dismissed(reason)),
            None => Some(Ended::Dismissed(ByeReason::CameraStopping)),
        }
    }

    /// A bad candidate is answered and the session goes on; too many end it.
    async fn add_candidate(&mut self, candidate: Candidate) -> Result<(), Error> {
        self.candidates += 1;
        if self.candidates > MAX_CANDIDATES {
            let message = format!("more than {MAX_CANDIDATES} candidates for one session");
            return Err(Error::new(ErrorCode::TooFast, message));
        }
        let Candidate { candidate, sdp_mid, sdp_m_line_index, username_fragment } = candidate;
        if candidate.is_empty() {
            // No more will come; the library has no use for that.
            return Ok(());
        }
        let added = if candidate.len() > MAX_CANDIDATE {
            Err(format!("{} bytes long", candidate.len()))
        } else {
            let candidate = RTCIceCandidateInit {
                candidate,
                sdp_mid,
                sdp_mline_index: sdp_m_line_index,
                username_fragment,
                url: None,
            };
            self.connection.add_ice_candidate(candidate).await.map_err(|error| error.to_string())
        };
        if let Err(problem) = added {
            debug!("a candidate that can't be used: {problem}");
            let message = format!("a candidate that can't be used: {problem}");
            let error = Error::new(ErrorCode::BadMessage, message);
            self.outbox.send(FromCamera::Error { session: Some(self.id), error });
        }
        Ok(())
    }

    /// Something from the connection.
    async fn follow(&mut self, event: PeerEvent, begun: Instant) -> Option<Ended> {
        match event {
            PeerEvent::Candidate(candidate) => self.offer_candidate(&candidate.candidate),
            PeerEvent::CandidatesComplete => self.send_candidate(String::new()),
            PeerEvent::State(RTCPeerConnectionState::Connected) => {
                if !self.connected {
                    self.connected = true;
                    info!("connected within {} ms", begun.elapsed().as_millis());
                    self.start_rtp();
                }
            }
            PeerEvent::State(RTCPeerConnectionState::Disconnected) if self.viewer_left => {
                return Some(Ended::ViewerLeft);
            }
            PeerEvent::State(RTCPeerConnectionState::Failed | RTCPeerConnectionState::Closed) => {
                let left = self.viewer_left;
                return Some(if left { Ended::ViewerLeft } else { Ended::ConnectionLost });
            }
            PeerEvent::State(state) => debug!("connection: {state}"),
            PeerEvent::Channel(channel) => self.open(channel).await,
        }
        None
    }

    /// One of our candidates, and its likes under the advertised addresses.
    fn offer_candidate(&self, candidate: &str) {
        self.send_candidate(candidate.to_owned());
        for advertised in self.lease.advertised(candidate) {
            self.send_candidate(advertised);
        }
    }

    fn send_candidate(&self, candidate: String) {
        // All media runs over one transport (BUNDLE): the first section stands for it.
        let candidate = Candidate {
            candidate,
            sdp_mid: None,
            sdp_m_line_index: Some(0),
            username_fragment: None,
        };
        self.outbox.send(FromCamera::Candidate { session: self.id, candidate });
    }

    /// The viewer opened a data channel.
    async fn open(&mut self, channel: Arc<dyn DataChannel>) {
        match channel.label().await.as_deref() {
            Ok(CHANNEL) if self.dismiss.is_none() => self.start_control(channel),
            Ok(MEDIA_CHANNEL) if self.transport == Transport::Fmp4 && !self.media_started => {
                self.start_fmp4(channel);
            }
            Ok(label) => debug!("a data channel that means nothing here: {label:?}"),
            Err(error) => debug!("a data channel without a label: {error}"),
        }
    }

    fn start_control(&mut self, channel: Arc<dyn DataChannel>) {
        let (dismiss, dismissed) = oneshot::channel();
        self.dismiss = Some(dismiss);
        let control = Control {
            channel,
            camera: self.host.camera.clone(),
            transport: self.transport,
            audio: self.audio,
            clock: self.clock.1.clone(),
            dismiss: dismissed,
        };
        let task = async move { TaskEnded::Control(control.serve().await) };
        self.tasks.spawn(task.in_current_span());
    }

    fn start_rtp(&mut self) {
        let Some(sender) = self.rtp.take() else { return };
        self.media_started = true;
        let camera = self.host.camera.clone();
        let frames = camera.subscribe_frames();
        self.warm = None;
        let (packetizer, clock) = (self.host.packetizer.clone(), self.clock.0.clone());
        let task = async move {
            if let Err(error) = sender.run(camera, frames, packetizer, clock).await {
                debug!("rtp: {error}");
            }
            TaskEnded::Media
        };
        self.tasks.spawn(task.in_current_span());
    }

    fn start_fmp4(&mut self, channel: Arc<dyn DataChannel>) {
        self.media_started = true;
        let chunks = self.host.camera.subscribe_chunks();
        self.warm = None;
        let (limits, clock) = (Limits::new(self.host.bitrate_kbps), self.clock.0.clone());
        let task = async move {
            if let Err(error) = fmp4::run(channel, chunks, limits, clock).await {
                debug!("fmp4: {error}");
            }
            TaskEnded::Media
        };
        self.tasks.spawn(task.in_current_span());
    }

    /// What the end of a part means for the session.
    fn conclude(&mut self, ended: TaskEnded) -> Option<Ended> {
        match ended {
            TaskEnded::Control(control::Ended::Dismissed) => None,
            // A page that is closed or reloaded closes its channels on the way.
            TaskEnded::Control(control::Ended::ViewerLeft | control::Ended::Closed) => {
                Some(Ended::ViewerLeft)
            }
            TaskEnded::Media if self.host.camera.status().has_changed().is_err() => {
                Some(Ended::CameraStopped)
            }
            TaskEnded::Media => Some(Ended::ViewerLeft),
        }
    }

    /// On the `control` channel, where there is one. Signalling has its own.
    async fn say_bye(&mut self, ended: &Ended) {
        let reason = match ended {
            Ended::Dismissed(reason) => *reason,
            Ended::CameraStopped => ByeReason::CameraStopping,
            _ => return,
        };
        let Some(dismiss) = self.dismiss.take() else { return };
        if dismiss.send(reason).is_err() {
            return;
        }
        let said = async {
            while let Some(ended) = self.tasks.join_next().await {
                if matches!(ended, Ok(TaskEnded::Control(_))) {
                    return;
                }
            }
        };
        if tokio::time::timeout(FAREWELL, said).await.is_err() {
            debug!("the viewer did not hear the farewell");
        }
    }
}

/// Applies the viewer's offer and makes our answer.
async fn answer(
    connection: &dyn PeerConnection,
    offer: Offer,
) -> Result<(Option<rtp::Sender>, String), Ended> {
    let refuse = |error: webrtc::error::Error| {
        let message = format!("the offer can't be answered: {error}");
        Ended::Refused(Error::new(ErrorCode::BadOffer, message))
    };
    let rtp = match &offer.rtp {
        Some(offer) => Some(rtp::Sender::add_to(connection, offer).await.map_err(refuse)?),
        None => None,
    };
    let description = RTCSessionDescription::offer(offer.sdp).map_err(refuse)?;
    connection.set_remote_description(description).await.map_err(refuse)?;
    let answer = connection.create_answer(None).await.map_err(refuse)?;
    let sdp = answer.sdp.clone();
    connection.set_local_description(answer).await.map_err(refuse)?;
    Ok((rtp, sdp))
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ViewerLeft => f.write_str("the viewer left"),
            Self::ConnectionLost => f.write_str("the connection was lost"),
            Self::NotEstablished => {
                let limit = ESTABLISHMENT.as_secs();
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
