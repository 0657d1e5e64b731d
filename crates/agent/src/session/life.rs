//! The life of a session: from the viewer's offer to our answer, from there to the connection and
//! to the end.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use peercam_protocol::signalling::{ByeReason, Error, ErrorCode};
use rtc::peer_connection::sdp::RTCSessionDescription;
use tokio::sync::mpsc;
use tracing::{debug, info, warn};
use webrtc::peer_connection::{PeerConnection, RTCPeerConnectionState};

use super::{
    Ended, Host, Input, Join,
    interceptors::Wire,
    network::Lease,
    offer::Offer,
    parts::{Parts, Warm},
    peer::{self, Connection, PeerEvent},
    rtp,
    signalling::Line,
};

/// For a viewer to get from his offer to an open connection and its data channels.
pub(super) const ESTABLISHMENT: Duration = Duration::from_secs(30);

/// The whole of it.
pub(super) async fn run(host: Host, join: Join, inputs: mpsc::Receiver<Input>) -> Ended {
    let transport = join.transport;
    let begun = Instant::now();
    info!("joined");
    let mut line = Line::new(join.id, join.outbox.clone());
    let ended = match Session::establish(host, join, &mut line, inputs).await {
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
    inputs: mpsc::Receiver<Input>,
    lease: Lease,
    parts: Parts,
    connected: bool,
    viewer_left: bool,
}

impl<'a> Session<'a> {
    /// From the viewer's offer to our answer.
    async fn establish(
        host: Host,
        join: Join,
        line: &'a mut Line,
        inputs: mpsc::Receiver<Input>,
    ) -> Result<Self, Ended> {
        let Join { transport, offer, ice_servers, .. } = join;
        let offer = Offer::parse(offer, transport).map_err(Ended::Refused)?;
        let warm = Warm::begin(&host, transport);
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
        let wire = Arc::new(Wire::new(host.wire_limits()));
        let certificate = host.certificate.clone();
        let (connection, events) =
            peer::connect(certificate, ice_servers, addresses, rtp_offer, wire.clone())
                .await
                .map_err(failed)?;
        let audio = rtp_offer.is_none_or(|offer| offer.audio.is_some());
        let (rtp, answer) = match answer(&*connection, offer, wire).await {
            Ok(answered) => answered,
            Err(ended) => {
                connection.close().await;
                return Err(ended);
            }
        };
        line.answer(answer);
        let parts = Parts::new(host, transport, audio, rtp, warm);
        Ok(Self {
            line,
            connection,
            events,
            inputs,
            lease,
            parts,
            connected: false,
            viewer_left: false,
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
                ended = self.parts.next() => ended,
                () = &mut deadline, if !self.is_established() => Some(Ended::NotEstablished),
            };
            if let Some(ended) = step {
                break ended;
            }
        };
        self.parts.end(&ended).await;
        self.connection.close().await;
        ended
    }

    fn is_established(&self) -> bool {
        self.connected && self.parts.are_complete()
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

    /// Something from the connection.
    async fn follow(&mut self, event: PeerEvent, begun: Instant) -> Option<Ended> {
        match event {
            PeerEvent::Candidate(candidate) => {
                self.line.candidate(&candidate.candidate, &self.lease);
            }
            PeerEvent::CandidatesComplete => self.line.candidates_complete(),
            PeerEvent::State(RTCPeerConnectionState::Connected) => {
                if !self.connected {
                    self.connected = true;
                    info!("connected within {} ms", begun.elapsed().as_millis());
                    self.parts.connected();
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
            PeerEvent::Channel(channel) => self.parts.open(channel).await,
        }
        None
    }
}

/// Applies the viewer's offer and makes our answer.
async fn answer(
    connection: &dyn PeerConnection,
    offer: Offer,
    wire: Arc<Wire>,
) -> Result<(Option<rtp::Sender>, String), Ended> {
    let refuse = |error: webrtc::error::Error| {
        let message = format!("the offer can't be answered: {error}");
        Ended::Refused(Error::new(ErrorCode::BadOffer, message))
    };
    let rtp = match &offer.rtp {
        Some(offer) => Some(rtp::Sender::add_to(connection, offer, wire).await.map_err(refuse)?),
        None => None,
    };
    let description = RTCSessionDescription::offer(offer.sdp).map_err(refuse)?;
    connection.set_remote_description(description).await.map_err(refuse)?;
    let answer = connection.create_answer(None).await.map_err(refuse)?;
    let sdp = answer.sdp.clone();
    connection.set_local_description(answer).await.map_err(refuse)?;
    Ok((rtp, sdp))
}
