//! New viewer tokens: on the camera, or wherever an owner's key is.

use std::{collections::BTreeSet, time::Duration};

use data_encoding::BASE32_NOPAD;
use peercam_protocol::{Action, Claims, RoomId, SecretKey, link::Grant, token::Confirmation};

/// Longest time that a token may be good for: ten years.
pub const MAX_VALIDITY: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

/// What a token is to allow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Terms {
    /// The room it opens.
    pub room: RoomId,
    /// What the viewer may do; to watch is always among it.
    pub actions: BTreeSet<Action>,
    /// How long it is good: from a second to [`MAX_VALIDITY`].
    pub valid_for: Duration,
    /// From when on, in seconds after 1970, at most [`MAX_VALIDITY`] from now; none: at once.
    pub not_before: Option<u64>,
    /// For a single session.
    pub once: bool,
    /// Bound to no key of the viewer's, as WHEP players need it.
    pub bearer: bool,
}

/// By whose word a token opens a door.
#[derive(Debug, Clone, Copy)]
pub enum Signer<'a> {
    /// The camera's, with its key.
    Camera(&'a SecretKey),
    /// With a key of an owner's, which several cameras may know.
    Owner(&'a SecretKey),
}

/// A token, and what a viewer needs besides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Minted {
    /// What it says.
    pub claims: Claims,
    /// For a share link.
    pub grant: Grant,
}

/// Why there is no token.
#[derive(Debug, thiserror::Error)]
pub enum MintError {
    /// Without that, there is nothing to allow.
    #[error("a link that does not allow to watch opens nothing: add watch")]
    NoWatch,
    /// Over at once, or for too long.
    #[error("a link is good for a second at least and for ten years at most")]
    Validity,
    /// Most likely milliseconds.
    #[error("a link begins to be good within ten years: its beginning is in seconds after 1970")]
    NotBefore,
    /// No random numbers.
    #[error("no random numbers for a token: {0}")]
    Random(#[from] getrandom::Error),
}

/// Makes a token, at the time `now` (seconds after 1970).
///
/// # Errors
///
/// See [`MintError`].
pub fn mint(signer: Signer<'_>, terms: &Terms, now: u64) -> Result<Minted, MintError> {
    let Terms { room, actions, valid_for, not_before, once, bearer } = terms.clone();
    if !actions.contains(&Action::Watch) {
        return Err(MintError::NoWatch);
    }
    if valid_for < Duration::from_secs(1) || valid_for > MAX_VALIDITY {
        return Err(MintError::Validity);
    }
    if not_before.is_some_and(|from| from > now.saturating_add(MAX_VALIDITY.as_secs())) {
        return Err(MintError::NotBefore);
    }
    let mut id = [0; 8];
    getrandom::fill(&mut id)?;
    let viewer = if bearer {
        None
    } else {
        let mut seed = [0; 32];
        getrandom::fill(&mut seed)?;
        Some(SecretKey::from_bytes(&seed))
    };
    // A camera's own key and room stand in the share link already: see `Claims`.
    let (key, iss, room) = match signer {
        Signer::Owner(key) => (key, Some(key.public()), Some(room)),
        Signer::Camera(key) => {
            let own = RoomId::from_public_key(key.public().as_bytes());
            (key, None, Some(room).filter(|room| *room != own))
        }
    };
    let claims = Claims {
        iss,
        room,
        scope: actions,
        iat: now,
        nbf: not_before,
        exp: not_before.unwrap_or(now).max(now).saturating_add(valid_for.as_secs()),
        // 13 characters, which leave room in the link's QR code; none of them is taken for an
        // option of a program.
        jti: BASE32_NOPAD.encode(&id).to_ascii_lowercase(),
        once,
        cnf: viewer.as_ref().map(|key| Confirmation::new(key.public())),
    };
    let grant = Grant { token: claims.sign(key), key: viewer };
    Ok(Minted { claims, grant })
}

#[cfg(test)]
mod tests {
    use peercam_protocol::Token;

    use super::*;

    const NOW: u64 = 1_800_000_000;

    fn terms() -> Terms {
        Terms {
            room: "garden".parse().unwrap(),
            actions: BTreeSet::from([Action::Watch]),
            valid_for: Duration::from_secs(3600),
            not_before: None,
            once: false,
            bearer: false,
        }
    }

    #[test]
    fn a_token_is_good_from_when_it_should_for_as_long_as_it_should() {
        let key = SecretKey::from_bytes(&[1; 32]);
        let Minted { claims, grant } = mint(Signer::Camera(&key), &terms(), NOW).unwrap();
        let token = Token::parse(&grant.token).unwrap();
        assert_eq!(token.verify(&key.public(), &[], &terms().room, NOW), Ok(&claims));
        assert_eq!((claims.iat, claims.nbf, claims.exp), (NOW, None, NOW + 3600));
        let viewer = grant.key.unwrap().public();
        assert_eq!(claims.cnf.unwrap().key(), &viewer);
        let plain = |c| matches!(c, 'a'..='z' | '2'..='7');
        assert!(claims.jti.len() == 13 && claims.jti.chars().all(plain), "{}", claims.jti);
        let later = Terms { not_before: Some(NOW + 100), bearer: true, once: true, ..terms() };
        let Minted { claims, grant } = mint(Signer::Camera(&key), &later, NOW).unwrap();
        assert_eq!((claims.nbf, claims.exp), (Some(NOW + 100), NOW + 3700));
        assert!(claims.once && claims.cnf.is_none() && grant.key.is_none());
    }

    #[test]
    fn only_a_camera_leaves_out_who_it_is_and_its_own_room() {
        let [camera, owner] = [1, 2].map(|seed| SecretKey::from_bytes(&[seed; 32]));
        let own = RoomId::from_public_key(camera.public().as_bytes());
        for room in [own.clone(), "garden".parse().unwrap()] {
            let terms = Terms { room: room.clone(), ..terms() };
            for (signer, names) in [
                (Signer::Camera(&camera), (false, room != own)),
                (Signer::Owner(&owner), (true, true)),
            ] {
                let Minted { claims, grant } = mint(signer, &terms, NOW).unwrap();
                assert_eq!((claims.iss.is_some(), claims.room.is_some()), names, "{signer:?}");
                let token = Token::parse(&grant.token).unwrap();
                let verified = token.verify(&camera.public(), &[owner.public()], &room, NOW);
                assert_eq!(verified, Ok(&claims), "{signer:?}");
            }
        }
    }

    #[test]
    fn what_would_be_of_no_use_is_refused() {
        let key = SecretKey::from_bytes(&[1; 32]);
        let talk = Terms { actions: BTreeSet::from([Action::Talk]), ..terms() };
        assert!(matches!(mint(Signer::Camera(&key), &talk, NOW), Err(MintError::NoWatch)));
        for valid_for in [Duration::ZERO, MAX_VALIDITY + Duration::from_secs(1)] {
            let long = Terms { valid_for, ..terms() };
            assert!(matches!(mint(Signer::Camera(&key), &long, NOW), Err(MintError::Validity)));
        }
        for from in [NOW * 1000, u64::MAX] {
            let late = Terms { not_before: Some(from), ..terms() };
            assert!(matches!(mint(Signer::Camera(&key), &late, NOW), Err(MintError::NotBefore)));
        }
    }
}
