//! The proof that an answer is the camera's.

use peercam_protocol::{Fingerprint, Nonce, RoomId, SecretKey, proof, signalling::Proof};
use tracing::warn;

/// Vouches for the camera's answers to one offer. See [`proof::answer`].
#[derive(Debug, Clone)]
pub struct Witness {
    pub(super) key: SecretKey,
    pub(super) room: RoomId,
    pub(super) nonce: Nonce,
    /// Of the offer.
    pub(super) viewer: Fingerprint,
}

impl Witness {
    /// For this answer (SDP). None where it has no certificate to vouch for.
    pub fn prove(&self, answer: &str) -> Option<Proof> {
        let camera = Fingerprint::of_sdp(answer)
            .inspect_err(|error| warn!("an answer goes out without a proof: {error}"))
            .ok()?;
        let statement = proof::answer(&self.room, &self.nonce, &camera, &self.viewer);
        Some(Proof { key: self.key.public(), signature: self.key.sign(&statement) })
    }
}
