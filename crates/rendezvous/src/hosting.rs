//! How a camera comes to its room: the server asks who it is, the camera proves it.
//!
//! | step | where it ends |
//! |---|---|
//! | [`challenge`]: a nonce goes out, a signature over it comes back in bounded time | `bad-proof` |
//! | [`Statement::verify`]: the signature is by the key, for this server and room | `bad-proof` |
//! | [`listed`]: the server serves everybody, or a list that the camera is on | `not-listed` |
//! | [`belongs`]: a room that is derived from a key is that key's | `room-claimed` |
//! | [`crate::claims`]: any other is the first comer's | `room-claimed` |
//!
//! None of this is kept with the connection: an idle camera costs what it costs afterwards.

use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use peercam_protocol::{
    Nonce, PublicKey, RoomId, SecretKey, Signature, proof,
    signalling::{Door, Error, ErrorCode, FromCamera, MAX_ISSUERS, ServerTime, ToCamera},
    wire::{decode, encode},
};
use serde::{Deserialize, Serialize};
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;

use crate::{config::RoomList, connection::Socket, system::nonce};

/// Most frames (pings, say) that are read before the proof.
const PATIENCE: usize = 16;

/// A camera as it has proven to be, with what it says about its room.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Tenant {
    pub(crate) key: PublicKey,
    pub(crate) door: Door,
    /// Keys besides its own that may sign tokens.
    pub(crate) issuers: Vec<PublicKey>,
}

/// What a camera says about itself, not believed yet.
#[derive(Debug)]
pub(crate) struct Statement {
    challenge: Nonce,
    /// The camera's own: the server's clock is signed with it.
    pub(crate) nonce: Nonce,
    tenant: Tenant,
    signature: Signature,
}

/// Asks the camera who it is. Nothing where it is gone.
pub(crate) async fn challenge(
    socket: &mut Socket,
    within: Duration,
) -> Option<Result<Statement, Error>> {
    let Some(nonce) = nonce() else {
        let message = "the server has no random numbers to ask with: try again later";
        return Some(Err(Error::new(ErrorCode::Full, message)));
    };
    match timeout(within, exchange(socket, nonce)).await {
        Ok(outcome) => outcome,
        Err(_) => Some(Err(Error::new(
            ErrorCode::BadProof,
            format!("no proof of who you are within {} s: answer the challenge", within.as_secs()),
        ))),
    }
}

async fn exchange(socket: &mut Socket, challenge: Nonce) -> Option<Result<Statement, Error>> {
    let text = encode(&ToCamera::Challenge { nonce: challenge });
    socket.send(Message::text(text)).await.ok()?;
    for _ in 0..PATIENCE {
        let text = match socket.next().await?.ok()? {
            Message::Text(text) => text,
            Message::Ping(_) | Message::Pong(_) => continue,
            Message::Close(_) => {
                // The WebSocket layer has the answer ready.
                _ = socket.flush().await;
                return None;
            }
            Message::Binary(_) | Message::Frame(_) => break,
        };
        return Some(decode(&text).and_then(|message| match message {
            FromCamera::Prove { key, nonce, door, issuers, signature } => {
                let tenant = Tenant { key, door, issuers };
                Ok(Statement { challenge, nonce, tenant, signature })
            }
            _ => Err(unasked()),
        }));
    }
    Some(Err(unasked()))
}

fn unasked() -> Error {
    Error::new(ErrorCode::OutOfOrder, "the room is not yours yet: answer the challenge first")
}

impl Statement {
    /// The camera, where it has the key it names, and asked for this room on this server:
    /// `authority` is the `Host` header of its request.
    pub(crate) fn verify(self, authority: &str, room: &RoomId) -> Result<Tenant, Error> {
        let Self { challenge, nonce, tenant, signature } = self;
        let Tenant { key, door, issuers } = &tenant;
        if issuers.len() > MAX_ISSUERS {
            return Err(Error::new(
                ErrorCode::BadMessage,
                format!("{} keys that may sign tokens: at most {MAX_ISSUERS}", issuers.len()),
            ));
        }
        let statement = proof::host(authority, room, &challenge, &nonce, *door, issuers);
        if !key.verify(&statement, &signature) {
            return Err(Error::new(
                ErrorCode::BadProof,
                format!(
                    "the signature is not this key's over this room on {authority:?}: a proxy in \
                     between must pass the Host header on as it is"
                ),
            ));
        }
        Ok(tenant)
    }
}

/// The name the camera knows the server by, where that is one of the server's.
pub(crate) fn authority<'a>(
    host: Option<&'a str>,
    public_names: &[String],
) -> Result<&'a str, Error> {
    let host = host.unwrap_or_default();
    if public_names.is_empty() || public_names.iter().any(|name| name.eq_ignore_ascii_case(host)) {
        return Ok(host);
    }
    Err(Error::new(
        ErrorCode::BadProof,
        format!("this server is not called {host:?}: use the address {:?}", public_names[0]),
    ))
}

/// What time it is, signed for a camera that may have no clock of its own.
pub(crate) fn time(key: &SecretKey, room: &RoomId, nonce: &Nonce, now: Duration) -> ServerTime {
    let unix_ms = u64::try_from(now.as_millis()).unwrap_or(u64::MAX);
    let signature = key.sign(&proof::time(unix_ms, room, nonce));
    ServerTime { unix_ms, key: key.public(), signature }
}

/// Whether the server serves this camera.
pub(crate) fn listed(room: &RoomId, key: &PublicKey, list: &RoomList) -> Result<(), Error> {
    let RoomList { allow_keys, allow_rooms } = list;
    let everybody = allow_keys.is_empty() && allow_rooms.is_empty();
    if everybody || allow_keys.contains(key) || allow_rooms.contains(room) {
        return Ok(());
    }
    Err(Error::new(
        ErrorCode::NotListed,
        format!(
            "this server serves listed cameras only: have its operator add the key {key} to \
             rooms.allow-keys, or {:?} to rooms.allow-rooms",
            room.as_str()
        ),
    ))
}

/// Whether the key may have the room as far as the room's name says.
pub(crate) fn belongs(room: &RoomId, key: &PublicKey) -> Result<(), Error> {
    if room.is_derived() && RoomId::from_public_key(key.as_bytes()) != *room {
        return Err(Error::new(
            ErrorCode::RoomClaimed,
            format!(
                "the room {:?} belongs to the key that it is derived from, and yours is another: \
                 leave the room's name out to wait in your own",
                room.as_str()
            ),
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_servers_names_are_taken_in_any_case_and_no_others() {
        let names = ["Cam.example".to_owned(), "cam.example:8443".to_owned()];
        for host in ["cam.example", "CAM.EXAMPLE", "cam.example:8443"] {
            assert_eq!(authority(Some(host), &names), Ok(host));
            assert_eq!(authority(Some(host), &[]), Ok(host));
        }
        for host in [Some("cam.example:80"), Some("evil.example"), Some(""), None] {
            assert_eq!(authority(host, &names).unwrap_err().code, ErrorCode::BadProof);
        }
    }

    #[test]
    fn a_list_names_keys_or_rooms_and_none_means_everybody() {
        let [own, other] = [1, 2].map(|seed| SecretKey::from_bytes(&[seed; 32]).public());
        let [garden, door]: [RoomId; 2] = ["garden", "door"].map(|name| name.parse().unwrap());
        let mut list = RoomList::default();
        assert_eq!(listed(&garden, &own, &list), Ok(()));
        list.allow_keys.insert(own);
        assert_eq!(listed(&garden, &own, &list), Ok(()));
        assert_eq!(listed(&garden, &other, &list).unwrap_err().code, ErrorCode::NotListed);
        list.allow_rooms.insert(door.clone());
        assert_eq!(listed(&door, &other, &list), Ok(()));
        assert_eq!(listed(&garden, &other, &list).unwrap_err().code, ErrorCode::NotListed);
    }

    #[test]
    fn a_derived_room_is_its_keys_and_any_other_anybodys() {
        let [own, other] = [1, 2].map(|seed| SecretKey::from_bytes(&[seed; 32]).public());
        let room = RoomId::from_public_key(own.as_bytes());
        assert_eq!(belongs(&room, &own), Ok(()));
        assert_eq!(belongs(&room, &other).unwrap_err().code, ErrorCode::RoomClaimed);
        assert_eq!(belongs(&"garden".parse().unwrap(), &other), Ok(()));
    }
}
