//! Who may watch: the camera decides, whatever a rendezvous says.
//!
//! [`Access`] is one handle for all who need it; clones share what they know.

use std::sync::Arc;

use peercam_protocol::{
    Nonce, PublicKey, RoomId, SecretKey, proof,
    signalling::{Door, FromCamera},
};

use crate::{config, identity::Identity};

/// The camera's key, and who may come in.
#[derive(Debug, Clone)]
pub struct Access(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    key: SecretKey,
    door: Door,
    owner_keys: Vec<PublicKey>,
}

impl Access {
    /// As `config` says, for the camera with this identity.
    pub fn new(identity: &Identity, config: &config::Access) -> Self {
        let config::Access { door, owner_keys, .. } = config.clone();
        Self(Arc::new(Shared { key: identity.key().clone(), door, owner_keys }))
    }

    /// The camera's key: viewers know it by the link.
    pub fn public_key(&self) -> PublicKey {
        self.0.key.public()
    }

    /// That this camera asks for `room` on the server it knows as `authority`: the answer to its
    /// `challenge`. See [`proof::host`].
    pub fn prove(
        &self,
        authority: &str,
        room: &RoomId,
        challenge: &Nonce,
        nonce: Nonce,
    ) -> FromCamera {
        let Shared { key, door, owner_keys, .. } = &*self.0;
        let statement = proof::host(authority, room, challenge, &nonce, *door, owner_keys);
        FromCamera::Prove {
            key: key.public(),
            nonce,
            door: *door,
            issuers: owner_keys.clone(),
            signature: key.sign(&statement),
        }
    }
}
