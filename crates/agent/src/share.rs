//! Share links: a token and the address it opens, in one.

use peercam_protocol::{PublicKey, RoomId, ShareLink};

use crate::{
    access::{Minted, Terms},
    control_socket::messages::{Shared, Wanted},
};

/// Where viewers find a room.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The server's pages, such as `https://cam.example.org`.
    pub origin: String,
    /// The room.
    pub room: RoomId,
}

impl Place {
    /// What is to be minted for it.
    pub fn terms(&self, wanted: &Wanted) -> Terms {
        let mut actions = wanted.allow.clone();
        if actions.is_empty() {
            actions.insert(peercam_protocol::Action::Watch);
        }
        Terms {
            room: self.room.clone(),
            actions,
            valid_for: std::time::Duration::from_secs(wanted.valid_for_seconds),
            not_before: wanted.not_before,
            once: wanted.once,
            bearer: wanted.bearer,
        }
    }

    /// The link to it, without anything that opens its door.
    ///
    /// # Errors
    ///
    /// In words, where the origin is none.
    pub fn link(&self) -> Result<ShareLink, String> {
        ShareLink::new(&self.origin, self.room.clone()).map_err(|error| {
            let Self { origin, .. } = self;
            format!(
                "no link to the server {origin}: {error}; name it with server, as viewers see it, and nothing behind it"
            )
        })
    }
}

/// What somebody needs to watch the camera with this key by `minted`.
pub fn shared(link: ShareLink, camera: PublicKey, minted: Minted) -> Shared {
    let Minted { claims, grant } = minted;
    let token = grant.key.is_none().then(|| grant.token.clone());
    let room = link.room().clone();
    let link = link.to_camera(camera).with_grant(grant).to_string();
    Shared { id: claims.jti, room, link, token, expires: claims.exp }
}
