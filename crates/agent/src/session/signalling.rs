//! The viewer's line: what he says in signalling, and what is said to him.

use peercam_protocol::signalling::{ByeReason, Candidate, Error, ErrorCode, FromCamera, SessionId};
use tracing::debug;
use webrtc::peer_connection::{PeerConnection, RTCIceCandidateInit};

use super::{Ended, network::Lease};
use crate::{access::Witness, rendezvous::Outbox};

/// Most candidates of one viewer. A browser on a machine with many interfaces has a dozen.
const MAX_CANDIDATES: usize = 64;
/// Largest candidate line. Real ones are below 200 bytes.
const MAX_CANDIDATE: usize = 1024;

/// A session's line to its viewer, past the rendezvous.
pub(super) struct Line {
    id: SessionId,
    outbox: Outbox,
    /// Candidates that came.
    candidates: usize,
}

impl Line {
    /// By `outbox`, where the session goes by the number `id`.
    pub fn new(id: SessionId, outbox: Outbox) -> Self {
        Self { id, outbox, candidates: 0 }
    }

    /// Our answer (SDP), and the proof that it is ours where the viewer wants one.
    pub fn answer(&self, sdp: String, witness: Option<&Witness>) {
        let proof = witness.and_then(|witness| witness.prove(&sdp));
        self.outbox.send(FromCamera::Answer { session: self.id, sdp, proof });
    }

    /// One of our candidates, and its likes under the advertised addresses.
    pub fn candidate(&self, candidate: &str, lease: &Lease) {
        let Some(discreet) = lease.discreet(candidate) else { return };
        self.send_candidate(discreet);
        for advertised in lease.advertised(candidate) {
            self.send_candidate(advertised);
        }
    }

    /// There will be no more candidates.
    pub fn candidates_complete(&self) {
        self.send_candidate(String::new());
    }

    /// Asks the viewer for an offer that restarts ICE.
    pub fn ask_for_restart(&self) {
        self.outbox.send(FromCamera::Restart { session: self.id });
    }

    /// What went wrong.
    pub fn error(&self, error: Error) {
        self.outbox.send(FromCamera::Error { session: Some(self.id), error });
    }

    /// How the session ended.
    pub fn ended(&self, ended: &Ended) {
        let reason = match ended {
            Ended::Refused(error) => return self.error(error.clone()),
            Ended::ViewerLeft => return,
            Ended::ConnectionLost | Ended::NotEstablished(_) => ByeReason::ConnectionLost,
            Ended::Dismissed(reason) => *reason,
            Ended::CameraStopped => ByeReason::CameraStopping,
        };
        self.outbox.send(FromCamera::Bye { session: self.id, reason });
    }

    /// A candidate of the viewer's. A bad one is answered and the session goes on.
    ///
    /// # Errors
    ///
    /// Too many: this ends the session.
    pub async fn hear_candidate(
        &mut self,
        candidate: Candidate,
        connection: &dyn PeerConnection,
    ) -> Result<(), Error> {
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
            connection.add_ice_candidate(candidate).await.map_err(|error| error.to_string())
        };
        if let Err(problem) = added {
            debug!("a candidate that can't be used: {problem}");
            let message = format!("a candidate that can't be used: {problem}");
            self.error(Error::new(ErrorCode::BadMessage, message));
        }
        Ok(())
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
}
