//! STUN and TURN servers as they are handed out: fixed ones as they stand in the configuration,
//! and TURN ones with a user name and password that are good for a while.
//!
//! Those are what coturn calls `use-auth-secret` (draft-uberti-behave-turn-rest-00): the user name
//! is the time it expires, the password is made of it and of a secret that the rendezvous and the
//! TURN server share. Who sees them can relay through the server until then, and no longer.

use std::{fmt, time::Duration};

use data_encoding::BASE64;
use hmac::{Hmac, Mac};
use peercam_protocol::{signalling::IceServer, wire::encode};
use sha1::Sha1;

/// TURN servers that share a secret with the rendezvous.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TurnServers {
    /// `turn:host:port?transport=udp`, …
    pub urls: Vec<String>,
    /// coturn's `static-auth-secret`.
    pub secret: TurnSecret,
    /// How long user name and password are good, in seconds from when they are handed out.
    pub ttl: Duration,
}

/// What rendezvous and TURN server share. Never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct TurnSecret(String);

impl TurnSecret {
    /// From the content of its file, without the white space around it.
    ///
    /// # Errors
    ///
    /// In words: where nothing is left.
    pub fn new(text: &str) -> Result<Self, &'static str> {
        match text.trim() {
            "" => Err("the file is empty: write the TURN server's static-auth-secret into it"),
            text => Ok(Self(text.to_owned())),
        }
    }
}

impl fmt::Debug for TurnSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TurnSecret(hidden)")
    }
}

impl TurnServers {
    /// With a user name of its own each time, good from `now` on (seconds after 1970): a TURN
    /// server counts by user.
    fn hand_out(&self, now: u64, tag: u64) -> IceServer {
        let username = format!("{}:{tag:016x}", now.saturating_add(self.ttl.as_secs()));
        // HMAC takes a key of any length.
        let credential = Hmac::<Sha1>::new_from_slice(self.secret.0.as_bytes()).map(|mut mac| {
            mac.update(username.as_bytes());
            BASE64.encode(&mac.finalize().into_bytes())
        });
        IceServer { urls: self.urls.clone(), username: Some(username), credential: credential.ok() }
    }
}

/// All servers of the configuration.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct IceServers {
    fixed: Vec<IceServer>,
    turn: Vec<TurnServers>,
}

impl IceServers {
    pub(crate) fn new(fixed: Vec<IceServer>, turn: Vec<TurnServers>) -> Self {
        Self { fixed, turn }
    }

    /// For one peer.
    pub(crate) fn hand_out(&self, now: u64) -> Vec<IceServer> {
        let mut bytes = [0; 8];
        // Without random numbers users share a name, and a quota: better than no relay.
        _ = getrandom::fill(&mut bytes);
        let tag = u64::from_le_bytes(bytes);
        let turn = self.turn.iter().map(|servers| servers.hand_out(now, tag));
        self.fixed.iter().cloned().chain(turn).collect()
    }

    /// For a peer that has had them: nothing, where what it has does not expire.
    pub(crate) fn renew(&self, now: u64) -> Vec<IceServer> {
        if self.turn.is_empty() { Vec::new() } else { self.hand_out(now) }
    }

    /// How much they add to a message, in bytes.
    pub(crate) fn renewed_bytes(&self) -> usize {
        let servers = self.renew(u64::MAX);
        if servers.is_empty() { 0 } else { encode(&servers).len() + r#","ice_servers":"#.len() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn servers(ttl: u64) -> TurnServers {
        TurnServers {
            urls: vec!["turn:turn.example".to_owned()],
            secret: TurnSecret::new(" north\n").unwrap(),
            ttl: Duration::from_secs(ttl),
        }
    }

    /// The password is what `openssl dgst -sha1 -hmac north -binary | base64` says of the name.
    #[test]
    fn the_password_is_made_of_the_name_and_the_secret() {
        let server = servers(3600).hand_out(1_700_000_000, 1);
        assert_eq!(server.username.as_deref(), Some("1700003600:0000000000000001"));
        assert_eq!(server.credential.as_deref(), Some("mvU2g03OzIrCqmcaG3RPk6vGmD0="));
    }

    #[test]
    fn each_peer_has_a_name_of_its_own_and_what_does_not_expire_is_not_sent_again() {
        let fixed = IceServer {
            urls: vec!["stun:stun.example".to_owned()],
            username: None,
            credential: None,
        };
        let all = IceServers::new(vec![fixed.clone()], vec![servers(60)]);
        let (one, two) = (all.hand_out(7), all.renew(7));
        assert_eq!((&one[0], one.len()), (&fixed, 2));
        assert_ne!(one[1].username, two[1].username);
        assert!(encode(&two).len() < all.renewed_bytes());
        assert!(IceServers::new(vec![fixed], vec![]).renew(7).is_empty());
        assert_eq!(IceServers::default().renewed_bytes(), 0);
    }

    #[test]
    fn the_secret_is_not_shown() {
        assert!(!format!("{:?}", servers(1)).contains("north"));
        TurnSecret::new(" \n").unwrap_err();
    }
}
