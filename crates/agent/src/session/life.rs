//! The life of a session: from the viewer's offer to our answer, from there to the connection and
//! to the end; and over the gaps in between, where the path to the viewer is lost and found again.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use peercam_protocol::signalling::{ByeReason, Error, ErrorCode};
use rtc::peer_connection::sdp::RTCSessionDescription;
use tokio::{
    sync::{mpsc, watch},
    time::Instant,
};
use tracing::{debug, info, warn};
use webrtc::peer_connection::{PeerConnection, RTCPeerConnectionState};

use crate::network_watch::Change;

use super::{
    Ended, Host, Input, Join, Patience, Resume, Told,
    interceptors::Wire,
    network::Lease,
    offer::Offer,
    parts::{Parts, Plan, Warm},
    peer::{self, Connection, PeerEvent, Setup},
    restart::{Allowance, Ground, Renewal},
    rtp,
    signalling::Line,
    turn::RelayEvent,
};

/// The whole of it. `path_lost` is for others to see.
pub(super) async fn run(host: Host, join: Join, told: Told, path_lost: Arc<AtomicBool>) -> Ended {
    let transport = join.transport;
    let begun = Instant::now();
    info!("joined");
    let mut line = Line::new(join.id, join.outbox.clone());
    let ended = match Session::establish(host, join, &mut line, told, path_lost).await {
        Ok(session) => session.serve().await,
        Err(ended) => ended,
    };
    line.ended(&ended);
    info!(%transport, "ended after {:.1} s: {ended}", begun.elapsed().as_secs_f64());
    ended
}

/// A session whose answer is out.
struct Session<'a> {
    line: &'a mut Line,
    connection: Connection,
    events: mpsc::Receiver<PeerEvent>,
    told: Told,
    lease: Lease,
    parts: Parts,
    ground: Ground,
    restarts: Allowance,
    path: Path,
    path_lost: Arc<AtomicBool>,
    patience: Patience,
    begun: Instant,
    /// The network has moved since the sockets were bound.
    shaken: bool,
    /// Since when the viewer has no line to the rendezvous.
    left: Option<Instant>,
}

/// The way to the viewer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Path {
    /// Not found yet.
    Sought,
    /// Packets go through.
    Open,
    /// It was there and is not now.
    Lost { since: Instant },
}

impl<'a> Session<'a> {
    /// From the viewer's offer to our answer.
    async fn establish(
        host: Host,
        join: Join,
        line: &'a mut Line,
        told: Told,
        path_lost: Arc<AtomicBool>,
    ) -> Result<Self, Ended> {
        let Join { transport, offer, ice_servers, resume, witness, kept, .. } = join;
        let offer = Offer::parse(offer, transport).map_err(Ended::Refused)?;
        let ground = Ground::of(&offer, transport).map_err(Ended::Refused)?;
        let warm = Warm::begin(&host, transport);
        let lease = host.network.lease().map_err(|error| {
            warn!("no session: {error}");
            Ended::Refused(Error::new(ErrorCode::Full, error.to_string()))
        })?;
        let failed = |error: anyhow::Error| {
            warn!("no peer connection: {error}");
            let message = "the camera can't open a connection: see its log".to_owned();
            Ended::Refused(Error::new(ErrorCode::Other, message))
        };
        if host.network.is_relay_only() && !ice_servers.relay() {
            let message = "the camera may be reached over TURN servers only (network.relay-only), \
                           and the rendezvous names none, or none with an address";
            warn!("no session: {message}");
            return Err(Ended::Refused(Error::new(ErrorCode::Other, message)));
        }
        let rtp_offer = offer.rtp.as_ref();
        let wire = Arc::new(Wire::new(host.wire_limits()));
        let setup = Setup {
            certificate: host.certificate.clone(),
            sockets: lease.sockets(),
            tcp: host.network.has_tcp(),
            ice_servers,
            turn: host.turn.clone(),
            relay_only: host.network.is_relay_only(),
            rtp: rtp_offer,
            wire: wire.clone(),
        };
        let (connection, events) = peer::connect(setup).await.map_err(failed)?;
        let audio = rtp_offer.is_none_or(|offer| offer.audio.is_some());
        let controlled = offer.data_channels;
        let (rtp, answer) = match begin(&*connection, offer, wire).await {
            Ok(begun) => begun,
            Err(error) => {
                connection.close().await;
                let message = format!("the offer can't be answered: {error}");
                return Err(Ended::Refused(Error::new(ErrorCode::BadOffer, message)));
            }
        };
        if let Some(kept) = kept
            && let Err(error) = kept.done().await
        {
            connection.close().await;
            return Err(Ended::Refused(error));
        }
        line.answer(answer, witness.as_ref());
        let patience = host.patience;
        let parts = Parts::new(host, Plan { transport, resume, controlled, audio, rtp, warm });
        Ok(Self {
            line,
            connection,
            events,
            told,
            lease,
            parts,
            ground,
            restarts: Allowance::new(Instant::now()),
            path: Path::Sought,
            path_lost,
            patience,
            begun: Instant::now(),
            shaken: false,
            left: None,
        })
    }

    /// From our answer to the end.
    async fn serve(mut self) -> Ended {
        let ended = loop {
            let deadline = self.deadline();
            let step = tokio::select! {
                error = refused(&mut self.told.verdict) => Some(Ended::Refused(error)),
                input = self.told.inputs.recv() => self.hear(input).await,
                event = self.events.recv() => match event {
                    Some(event) => self.follow(event).await,
                    None => Some(Ended::ConnectionLost),
                },
                ended = self.parts.next() => ended,
                ended = expire(deadline) => Some(ended),
            };
            if let Some(ended) = step {
                break ended;
            }
        };
        self.parts.end(&ended).await;
        self.connection.close().await;
        ended
    }

    /// When the session's patience ends, and how.
    fn deadline(&self) -> Option<(Instant, Ended)> {
        let Patience { establishment, lost, gone } = self.patience;
        match (self.path, self.left) {
            (Path::Lost { since }, Some(left)) => {
                Some(((since + lost).min(left.max(since) + gone), Ended::ViewerLeft))
            }
            (Path::Lost { since }, None) => Some((since + lost, Ended::ConnectionLost)),
            (Path::Open, _) if self.parts.are_complete() => None,
            (Path::Open | Path::Sought, _) => {
                Some((self.begun + establishment, Ended::NotEstablished(establishment)))
            }
        }
    }

    /// Something from outside.
    async fn hear(&mut self, input: Option<Input>) -> Option<Ended> {
        match input {
            Some(Input::Candidate(candidate)) => self
                .line
                .hear_candidate(candidate, &*self.connection)
                .await
                .err()
                .map(Ended::Refused),
            Some(Input::Resume(resume)) => self.resume(*resume).await,
            Some(Input::NetworkChanged(change)) => {
                self.follow_network(change);
                None
            }
            // Who has no control channel can neither come back nor say goodbye in another way.
            Some(Input::ViewerLeft)
                if self.path == Path::Sought || !self.parts.are_controlled() =>
            {
                Some(Ended::ViewerLeft)
            }
            Some(Input::ViewerLeft) => {
                debug!("the viewer's line to the rendezvous is gone; the session goes on");
                self.left = Some(Instant::now());
                None
            }
            Some(Input::Stop(reason)) => Some(Ended::Dismissed(reason)),
            None => Some(Ended::Dismissed(ByeReason::CameraStopping)),
        }
    }

    /// This machine's network is another one: the viewer is asked for a restart of ICE, by which
    /// the connection gets sockets on the addresses of now. New addresses alone are no reason as
    /// long as the old ones do.
    fn follow_network(&mut self, change: Change) {
        self.shaken |= change == Change::Moved;
        if self.shaken || matches!(self.path, Path::Lost { .. }) {
            self.line.ask_for_restart();
        }
    }

    /// The viewer takes his session up again, perhaps by another line. What is wrong with his
    /// offer he hears, and the session stays as it was.
    async fn resume(&mut self, resume: Resume) -> Option<Ended> {
        let Resume { id, transport, offer, ice_servers, outbox, witness } = resume;
        // Candidates are counted for each generation.
        *self.line = Line::new(id, outbox);
        self.left = None;
        let (sdp, ground) = match self.ground.renew(offer, transport) {
            Ok(Renewal::Restart { sdp, ground }) => (sdp, ground),
            Ok(Renewal::Repeat) => {
                if let Some(answer) = self.connection.local_description().await {
                    debug!("the answer is repeated");
                    self.line.answer(answer.sdp, witness.as_ref());
                }
                return None;
            }
            Err(error) => {
                debug!("no restart: {error}");
                self.line.error(error);
                return None;
            }
        };
        if let Err(error) = self.restarts.take(Instant::now()) {
            self.line.error(error);
            return None;
        }
        if !self.connection.can_rebind() {
            let message = "the camera's network is another: join anew".to_owned();
            return Some(Ended::Refused(Error::new(ErrorCode::SessionGone, message)));
        }
        if let Err(error) = self.connection.renew_servers(ice_servers).await {
            warn!("the ICE servers can't be renewed: {error}");
        }
        info!(line = id.0, "the viewer restarts ICE");
        match answer(&*self.connection, sdp).await {
            Ok(answer) => {
                self.ground = ground;
                self.shaken = false;
                self.line.answer(answer, witness.as_ref());
                // From here on as long as for a path that was lost just now.
                if matches!(self.path, Path::Lost { .. }) {
                    self.path = Path::Lost { since: Instant::now() };
                }
                None
            }
            Err(error) => {
                // Half applied: the connection can't be trusted any more.
                let message = format!("the session can't be restarted: {error}; join anew");
                Some(Ended::Refused(Error::new(ErrorCode::SessionGone, message)))
            }
        }
    }

    /// Something from the connection.
    async fn follow(&mut self, event: PeerEvent) -> Option<Ended> {
        match event {
            PeerEvent::Candidate(candidate) => {
                self.line.candidate(&candidate.candidate, &self.lease);
                None
            }
            PeerEvent::CandidatesComplete => {
                self.line.candidates_complete();
                None
            }
            PeerEvent::State(state) => self.follow_path(state),
            PeerEvent::Relay(event) => {
                self.follow_relay(event).await;
                None
            }
            PeerEvent::Channel(channel) => {
                self.parts.open(channel).await;
                None
            }
        }
    }

    /// A relay that is gone takes its allocation along, and only a new generation of ICE has
    /// another one.
    async fn follow_relay(&mut self, event: RelayEvent) {
        match (event, self.path) {
            (RelayEvent::Lost, Path::Open) if self.connection.is_relayed().await => {
                info!("the relay of the path to the viewer is lost");
                self.lose_path();
                self.line.ask_for_restart();
            }
            (RelayEvent::Back, Path::Sought | Path::Lost { .. }) => self.line.ask_for_restart(),
            (RelayEvent::Lost | RelayEvent::Back, _) => {}
        }
    }

    fn follow_path(&mut self, state: RTCPeerConnectionState) -> Option<Ended> {
        use RTCPeerConnectionState::{Closed, Connected, Connecting, Disconnected, Failed};
        debug!("connection: {state}");
        match (state, self.path) {
            (Connected, Path::Sought) => {
                info!("connected within {} ms", self.begun.elapsed().as_millis());
                self.open_path();
            }
            (Connected, Path::Lost { since }) => {
                info!("the path is back after {:.1} s", since.elapsed().as_secs_f64());
                self.open_path();
            }
            (Disconnected, Path::Open) => {
                let patience = self.patience.lost.as_secs();
                info!("the path to the viewer is lost; waiting up to {patience} s for him");
                self.lose_path();
            }
            // A restart of ICE.
            (Connecting, Path::Open) => self.lose_path(),
            // Where the path was open: not the path, but what runs on it (DTLS).
            (Failed, Path::Sought | Path::Open) | (Closed, _) => {
                let left = self.left.is_some();
                return Some(if left { Ended::ViewerLeft } else { Ended::ConnectionLost });
            }
            _ => {}
        }
        None
    }

    fn lose_path(&mut self) {
        self.path = Path::Lost { since: Instant::now() };
        self.path_lost.store(true, Ordering::Relaxed);
        self.parts.path_lost();
    }

    fn open_path(&mut self) {
        self.path = Path::Open;
        self.path_lost.store(false, Ordering::Relaxed);
        self.parts.path_found();
    }
}

/// Adds what the viewer's first offer asks for, and answers it.
async fn begin(
    connection: &dyn PeerConnection,
    offer: Offer,
    wire: Arc<Wire>,
) -> webrtc::error::Result<(Option<rtp::Sender>, String)> {
    let rtp = match &offer.rtp {
        Some(offer) => Some(rtp::Sender::add_to(connection, offer, wire).await?),
        None => None,
    };
    Ok((rtp, answer(connection, offer.sdp).await?))
}

/// Applies an offer and makes our answer.
async fn answer(connection: &dyn PeerConnection, sdp: String) -> webrtc::error::Result<String> {
    let description = RTCSessionDescription::offer(sdp)?;
    connection.set_remote_description(description).await?;
    let answer = connection.create_answer(None).await?;
    let sdp = answer.sdp.clone();
    connection.set_local_description(answer).await?;
    Ok(sdp)
}

/// Resolves when the viewer may not watch any longer.
async fn refused(verdict: &mut watch::Receiver<Option<Error>>) -> Error {
    match verdict.wait_for(Option::is_some).await.map(|verdict| verdict.clone()) {
        Ok(Some(error)) => error,
        // The handle is gone, which ends the session by its inputs.
        _ => std::future::pending().await,
    }
}

/// Resolves with the end when the deadline has passed; never without one.
async fn expire(deadline: Option<(Instant, Ended)>) -> Ended {
    match deadline {
        Some((at, ended)) => {
            tokio::time::sleep_until(at).await;
            ended
        }
        None => std::future::pending().await,
    }
}
