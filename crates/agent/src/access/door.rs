//! Whether a viewer may come in.

use peercam_protocol::{
    Action, Claims, Fingerprint, PublicKey, RoomId, SecretKey, Token, TokenError, proof,
    signalling::{Door, Pass},
};

use crate::config;

/// Who may come in, and by whose word.
#[derive(Debug)]
pub(super) struct Rules {
    /// The camera's.
    pub key: SecretKey,
    pub door: Door,
    /// Whether tokens that are bound to no key are taken.
    pub bearer: bool,
    /// Who may sign tokens, besides the camera.
    pub owners: Vec<PublicKey>,
}

impl Rules {
    /// As `config` says, on the camera with this key.
    pub fn new(key: SecretKey, config: &config::Access) -> Self {
        let config::Access { door, owner_keys, bearer } = config.clone();
        Self { key, door, bearer, owners: owner_keys }
    }

    /// What the token allows that a viewer shows with an offer of this certificate, at the time
    /// `now`. Whether it was taken back or used is another question.
    ///
    /// # Errors
    ///
    /// The first thing that is wrong.
    pub fn check(
        &self,
        room: &RoomId,
        viewer: &Fingerprint,
        pass: Option<&Pass>,
        now: u64,
    ) -> Result<Claims, TokenError> {
        let (pass, text) = pass
            .and_then(|pass| Some((pass, pass.token.as_deref()?)))
            .ok_or(TokenError::Missing)?;
        let token = Token::parse(text)?;
        let camera = self.key.public();
        let claims = token.verify(&camera, &self.owners, room, now)?;
        match &claims.cnf {
            Some(bound) => {
                let statement = proof::join(&camera, room, &pass.nonce, viewer);
                if !pass.signature.is_some_and(|signed| bound.key().verify(&statement, &signed)) {
                    return Err(TokenError::Possession);
                }
            }
            None if self.bearer => {}
            None => return Err(TokenError::Bearer),
        }
        if !claims.scope.contains(&Action::Watch) {
            return Err(TokenError::Action(Action::Watch));
        }
        Ok(claims.clone())
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, time::Duration};

    use peercam_protocol::Nonce;

    use super::{
        super::mint::{Minted, Signer, Terms, mint},
        *,
    };

    const NOW: u64 = 1_800_000_000;

    fn key(seed: u8) -> SecretKey {
        SecretKey::from_bytes(&[seed; 32])
    }

    fn room() -> RoomId {
        "garden".parse().unwrap()
    }

    fn viewer() -> Fingerprint {
        Fingerprint::from_bytes([5; 32])
    }

    fn rules() -> Rules {
        Rules { key: key(1), door: Door::Token, bearer: false, owners: vec![key(2).public()] }
    }

    fn token(signer: u8, bearer: bool) -> Minted {
        let terms = Terms {
            room: room(),
            actions: BTreeSet::from([Action::Watch]),
            valid_for: Duration::from_secs(3600),
            not_before: None,
            once: false,
            bearer,
        };
        let key = key(signer);
        let signer = if signer == 1 { Signer::Camera(&key) } else { Signer::Owner(&key) };
        mint(signer, &terms, NOW).unwrap()
    }

    /// What the right viewer shows.
    fn pass(minted: &Minted) -> Pass {
        let nonce = Nonce::from_bytes([6; 16]);
        let statement = proof::join(&key(1).public(), &room(), &nonce, &viewer());
        let signature = minted.grant.key.as_ref().map(|key| key.sign(&statement));
        Pass { nonce, token: Some(minted.grant.token.clone()), signature }
    }

    fn check(rules: &Rules, pass: &Pass) -> Result<(), TokenError> {
        rules.check(&room(), &viewer(), Some(pass), NOW).map(drop)
    }

    #[test]
    fn tokens_of_the_camera_and_of_its_owners_open_the_door() {
        for signer in [1, 2] {
            assert_eq!(check(&rules(), &pass(&token(signer, false))), Ok(()));
        }
        let stranger = pass(&token(3, false));
        assert_eq!(check(&rules(), &stranger), Err(TokenError::Issuer));
        let none = Pass { token: None, ..pass(&token(1, false)) };
        assert_eq!(check(&rules(), &none), Err(TokenError::Missing));
        let nothing = rules().check(&room(), &viewer(), None, NOW);
        assert_eq!(nothing.unwrap_err(), TokenError::Missing);
    }

    #[test]
    fn a_stolen_token_is_of_no_use() {
        let minted = token(1, false);
        let good = pass(&minted);
        let silent = Pass { signature: None, ..good.clone() };
        // With a key of the thief's.
        let statement = proof::join(&key(1).public(), &room(), &good.nonce, &viewer());
        let forged = Pass { signature: Some(key(9).sign(&statement)), ..good.clone() };
        // What he saw, with another nonce.
        let moved = Pass { nonce: Nonce::from_bytes([7; 16]), ..good.clone() };
        for stolen in [&silent, &forged, &moved] {
            assert_eq!(check(&rules(), stolen), Err(TokenError::Possession));
        }
        // All that he saw, over a connection of his own.
        let thief = Fingerprint::from_bytes([8; 32]);
        let replayed = rules().check(&room(), &thief, Some(&good), NOW);
        assert_eq!(replayed.unwrap_err(), TokenError::Possession);
        // And on another camera of the same owner.
        let owners = token(2, false);
        let other = Rules { key: key(4), ..rules() };
        assert_eq!(check(&other, &pass(&owners)), Err(TokenError::Possession));
    }

    #[test]
    fn bearer_tokens_are_for_those_who_want_them() {
        let bearer = pass(&token(1, true));
        assert_eq!(check(&rules(), &bearer), Err(TokenError::Bearer));
        assert_eq!(check(&Rules { bearer: true, ..rules() }, &bearer), Ok(()));
    }

    #[test]
    fn who_may_not_watch_does_not_come_in() {
        let mut claims = token(1, false).claims;
        claims.scope = BTreeSet::from([Action::Talk]);
        let viewer_key = key(3);
        claims.cnf = Some(peercam_protocol::token::Confirmation::new(viewer_key.public()));
        let grant =
            peercam_protocol::link::Grant { token: claims.sign(&key(1)), key: Some(viewer_key) };
        let talk = pass(&Minted { claims, grant });
        assert_eq!(check(&rules(), &talk), Err(TokenError::Action(Action::Watch)));
    }
}
