//! Viewer tokens: JSON Web Tokens (RFC 7519) signed by the camera's key or by an owner's, with
//! Ed25519 (RFC 8037), saying who may do what in a room until when.
//!
//! A token names the public half of a key of the viewer's (`cnf`, RFC 7800) and is of no use to
//! anybody without the private half. One without `cnf` is a plain bearer token (RFC 6750), which a
//! camera takes only where its owner allows it.
//!
//! The camera decides; the rendezvous uses the same code to turn strangers away early.
//!
//! Tokens travel in share links, and those in QR codes: what the reader knows anyway is left out.
//! A token without `iss` is the camera's own, and without `room` it is for the camera's own room.

use std::{collections::BTreeSet, fmt};

use data_encoding::BASE64URL_NOPAD;
use serde::{Deserialize, Serialize};

use crate::{
    key::{PublicKey, SecretKey, Signature, decode},
    room::RoomId,
    signalling::{Error, ErrorCode},
};

/// Longest token, in bytes. An owner's for a room with a long name has about 500.
pub const MAX_TOKEN_SIZE: usize = 2048;

/// How far the clocks of who signs and who checks may differ, in seconds.
pub const LEEWAY: u64 = 60;

/// How much longer than its name the id of a token may be: what it is for is the camera's business.
const MAX_ID: usize = 64;

/// The only header there is: no other algorithm can be asked for, `none` least of all (RFC 8725).
const HEADER: &str = r#"{"alg":"EdDSA"}"#;

/// What a viewer may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// See and hear live.
    Watch,
    /// Speak.
    Talk,
    /// Change the camera's settings.
    Control,
    /// See what is recorded.
    Clips,
}

impl Action {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Watch, Self::Talk, Self::Control, Self::Clips];

    /// `watch`, `talk`, …
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Watch => "watch",
            Self::Talk => "talk",
            Self::Control => "control",
            Self::Clips => "clips",
        }
    }
}

impl std::str::FromStr for Action {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|action| action.as_str() == text);
        found.ok_or_else(|| format!("{text:?} is no action: use watch, talk, control or clips"))
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What a token says. Times are seconds after 1970 (RFC 7519 "NumericDate"). Claims that nobody
/// here knows are skipped.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claims {
    /// Whose key signed it; none: the camera's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub iss: Option<PublicKey>,
    /// The room it opens; none: the one that is derived from the camera's key. Only a camera can
    /// leave it out, since an owner's key may be known to several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub room: Option<RoomId>,
    /// What the viewer may do: words with spaces between them (RFC 8693 §4.2). Those that nobody
    /// here knows allow nothing.
    #[serde(with = "scope")]
    pub scope: BTreeSet<Action>,
    /// When it was made.
    pub iat: u64,
    /// From when on it is good.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nbf: Option<u64>,
    /// From when on it is not.
    pub exp: u64,
    /// Its name, by which it can be revoked: 1 to 64 characters.
    pub jti: String,
    /// Whether it is good for a single session.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub once: bool,
    /// The viewer's key. Without one it is a bearer token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cnf: Option<Confirmation>,
}

mod scope {
    use serde::{Deserializer, Serializer};

    use super::{Action, BTreeSet, Deserialize};

    pub(super) fn serialize<S: Serializer>(
        actions: &BTreeSet<Action>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        let words: Vec<_> = actions.iter().map(|action| action.as_str()).collect();
        serializer.serialize_str(&words.join(" "))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<BTreeSet<Action>, D::Error> {
        let words = String::deserialize(deserializer)?;
        Ok(words.split(' ').filter_map(|word| word.parse().ok()).collect())
    }
}

/// The viewer's key, as the key id of a confirmation (RFC 7800 §3.4): for an Ed25519 key, that is
/// the key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Confirmation {
    kid: PublicKey,
}

impl Confirmation {
    /// That the viewer has this key.
    pub fn new(key: PublicKey) -> Self {
        Self { kid: key }
    }

    /// The viewer's key.
    pub fn key(&self) -> &PublicKey {
        &self.kid
    }
}

impl Claims {
    /// The token that says this, signed by the key that `iss` names, or by the camera's.
    pub fn sign(&self, key: &SecretKey) -> String {
        let header = BASE64URL_NOPAD.encode(HEADER.as_bytes());
        // Nothing in it that JSON can't: see `wire::encode`.
        let claims = serde_json::to_vec(self).unwrap_or_default();
        let input = format!("{header}.{}", BASE64URL_NOPAD.encode(&claims));
        let signature = BASE64URL_NOPAD.encode(key.sign(&input).as_bytes());
        format!("{input}.{signature}")
    }
}

/// Why a token does not open a door. Each has an [`ErrorCode`] and says the way out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// None was shown.
    #[error("this room asks for a token: open it by the link that its owner shared")]
    Missing,
    /// Longer than [`MAX_TOKEN_SIZE`].
    #[error("the token has {0} bytes, more than any of ours: copy the whole link, and only that")]
    TooLong(usize),
    /// Not three parts of base64url with the right things in them.
    #[error("the token is damaged ({0}): copy the whole link")]
    Malformed(String),
    /// Another algorithm than EdDSA.
    #[error("the token is signed by {0:?}: only EdDSA with Ed25519 (RFC 8037) is taken")]
    Algorithm(String),
    /// By a key that this camera does not know.
    #[error("the token was made by a key that this camera does not take: ask its owner for a link")]
    Issuer,
    /// Not made by the key that it names, or changed after that.
    #[error("the token's signature is wrong: copy the whole link, or ask the owner for a new one")]
    Signature,
    /// For another room.
    #[error("the token is for the room {0}: use the link as it was shared")]
    Room(RoomId),
    /// Too late.
    #[error("the token expired {ago} s ago: ask the owner for a new link")]
    Expired {
        /// Seconds.
        ago: u64,
    },
    /// Too early.
    #[error("the token is not good for another {wait} s: come back then, or check the clocks")]
    NotYet {
        /// Seconds.
        wait: u64,
    },
    /// The camera has served it already.
    #[error("the token was good for one visit, which it had: ask the owner for a new link")]
    Used,
    /// The owner took it back.
    #[error("the owner has revoked this link: ask for a new one")]
    Revoked,
    /// A bearer token, and those are not allowed.
    #[error("the token is bound to no key, and this camera takes no such ones: use a share link")]
    Bearer,
    /// The viewer's key did not sign, or not this.
    #[error("who shows the token does not have its key: use the whole link, with what is behind #")]
    Possession,
    /// It does not allow this.
    #[error("the link does not allow to {0}: ask the owner for one that does")]
    Action(Action),
}

impl From<TokenError> for Error {
    fn from(error: TokenError) -> Self {
        use TokenError as T;
        let code = match error {
            T::Missing => ErrorCode::TokenMissing,
            T::TooLong(_) | T::Malformed(_) | T::Algorithm(_) | T::Issuer | T::Signature => {
                ErrorCode::TokenInvalid
            }
            T::Room(_) => ErrorCode::TokenForAnotherRoom,
            T::Expired { .. } => ErrorCode::TokenExpired,
            T::NotYet { .. } => ErrorCode::TokenNotYetValid,
            T::Used => ErrorCode::TokenUsed,
            T::Revoked => ErrorCode::TokenRevoked,
            T::Bearer | T::Possession => ErrorCode::TokenNotYours,
            T::Action(_) => ErrorCode::NotAllowed,
        };
        Error::new(code, error.to_string())
    }
}

/// A token that was read but not believed yet: [`Token::verify`] hands out what it says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    claims: Claims,
    input: String,
    signature: Signature,
}

#[derive(Deserialize)]
struct Header {
    alg: String,
    /// Extensions that must be understood (RFC 7515 §4.1.11): we know none.
    crit: Option<serde_json::Value>,
}

impl Token {
    /// Reads a token; nothing in it is proven by that.
    ///
    /// # Errors
    ///
    /// What no signature could make good: see [`TokenError`].
    pub fn parse(text: &str) -> Result<Self, TokenError> {
        if text.len() > MAX_TOKEN_SIZE {
            return Err(TokenError::TooLong(text.len()));
        }
        let malformed = |what: &str| TokenError::Malformed(what.to_owned());
        let mut parts = text.split('.');
        let (Some(header), Some(claims), Some(signature), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(malformed("a token has three parts with dots between them"));
        };
        let decoded =
            |part: &str, what| BASE64URL_NOPAD.decode(part.as_bytes()).map_err(|_| malformed(what));
        let header: Header = serde_json::from_slice(&decoded(header, "its header")?)
            .map_err(|_| malformed("its header"))?;
        if header.alg != "EdDSA" {
            return Err(TokenError::Algorithm(header.alg.chars().take(20).collect()));
        }
        if header.crit.is_some() {
            return Err(malformed("its header asks for extensions"));
        }
        let claims: Claims = serde_json::from_slice(&decoded(claims, "its claims")?)
            .map_err(|error| TokenError::Malformed(error.to_string()))?;
        if claims.jti.is_empty() || claims.jti.len() > MAX_ID {
            return Err(malformed("its jti has no text of 1 to 64 characters"));
        }
        if claims.iss.is_some() && claims.room.is_none() {
            return Err(malformed("it names no room, which only a camera can leave out"));
        }
        let end = text.len() - signature.len() - 1;
        let signature = decode(signature, "a signature")
            .map(Signature::from_bytes)
            .map_err(|_| malformed("its signature"))?;
        Ok(Self { claims, input: text[..end].to_owned(), signature })
    }

    /// What the token says, where it is signed by the camera or one of its owners' keys, opens
    /// `room`, and is good `now` (seconds after 1970), give or take [`LEEWAY`].
    ///
    /// # Errors
    ///
    /// The first thing that is wrong. Of a token that nobody we know has signed no more is told.
    pub fn verify(
        &self,
        camera: &PublicKey,
        owners: &[PublicKey],
        room: &RoomId,
        now: u64,
    ) -> Result<&Claims, TokenError> {
        let claims = &self.claims;
        let issuer = claims.iss.as_ref().unwrap_or(camera);
        if issuer != camera && !owners.contains(issuer) {
            return Err(TokenError::Issuer);
        }
        if !issuer.verify(&self.input, &self.signature) {
            return Err(TokenError::Signature);
        }
        let own = || RoomId::from_public_key(camera.as_bytes());
        let opens = claims.room.clone().unwrap_or_else(own);
        if opens != *room {
            return Err(TokenError::Room(opens));
        }
        if now >= claims.exp.saturating_add(LEEWAY) {
            return Err(TokenError::Expired { ago: now - claims.exp });
        }
        let from = claims.nbf.unwrap_or(claims.iat);
        if now.saturating_add(LEEWAY) < from {
            return Err(TokenError::NotYet { wait: from - now });
        }
        Ok(claims)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_800_000_000;

    fn key(seed: u8) -> SecretKey {
        SecretKey::from_bytes(&[seed; 32])
    }

    fn room() -> RoomId {
        "front-door".parse().unwrap()
    }

    fn claims() -> Claims {
        Claims {
            iss: None,
            room: Some(room()),
            scope: BTreeSet::from([Action::Watch, Action::Talk]),
            iat: NOW,
            nbf: None,
            exp: NOW + 3600,
            jti: "one".to_owned(),
            once: false,
            cnf: Some(Confirmation::new(key(2).public())),
        }
    }

    fn check(text: &str, now: u64) -> Result<Claims, TokenError> {
        Token::parse(text)?.verify(&key(1).public(), &[key(4).public()], &room(), now).cloned()
    }

    fn raw(header: &str, claims: &str) -> String {
        let encode = |text: &str| BASE64URL_NOPAD.encode(text.as_bytes());
        let input = format!("{}.{}", encode(header), encode(claims));
        let signature = BASE64URL_NOPAD.encode(key(1).sign(&input).as_bytes());
        format!("{input}.{signature}")
    }

    #[test]
    fn a_token_says_what_was_signed() {
        let text = claims().sign(&key(1));
        assert_eq!(check(&text, NOW), Ok(claims()));
        let json = serde_json::to_value(claims()).unwrap();
        let expected = serde_json::json!({
            "room": "front-door", "scope": "watch talk", "iat": NOW, "exp": NOW + 3600,
            "jti": "one", "cnf": { "kid": key(2).public() },
        });
        assert_eq!(json, expected);
        let owners = Claims { iss: Some(key(4).public()), ..claims() };
        assert_eq!(check(&owners.sign(&key(4)), NOW), Ok(owners));
    }

    #[test]
    fn a_token_without_a_room_opens_its_cameras_own() {
        let own = Claims { room: None, ..claims() };
        let token = Token::parse(&own.sign(&key(1))).unwrap();
        let [camera, other] = [1, 3].map(|seed| key(seed).public());
        let room = |key: &PublicKey| RoomId::from_public_key(key.as_bytes());
        assert_eq!(token.verify(&camera, &[], &room(&camera), NOW), Ok(&own));
        let elsewhere = token.verify(&camera, &[], &"garden".parse().unwrap(), NOW);
        assert_eq!(elsewhere, Err(TokenError::Room(room(&camera))));
        let elsewhere = token.verify(&other, &[camera], &room(&other), NOW);
        assert_eq!(elsewhere, Err(TokenError::Signature));
        // With an owner's key it would open every camera of his.
        let owners = Claims { iss: Some(key(4).public()), ..own };
        let error = Token::parse(&owners.sign(&key(4))).unwrap_err();
        assert!(matches!(error, TokenError::Malformed(_)), "{error}");
    }

    #[test]
    fn what_is_left_out_keeps_a_link_short() {
        let claims = Claims {
            room: None,
            scope: BTreeSet::from([Action::Watch]),
            jti: "0123456789abcdef".to_owned(),
            ..claims()
        };
        let length = claims.sign(&key(1)).len();
        assert!(length <= 292, "{length} bytes: the QR code grows wider than a terminal");
    }

    #[test]
    fn other_words_in_a_scope_allow_nothing() {
        let body = |scope: serde_json::Value| {
            let mut json = serde_json::to_value(claims()).unwrap();
            json["scope"] = scope;
            check(&raw(HEADER, &json.to_string()), NOW)
        };
        let some = body("fly watch  WATCH openid".into()).unwrap();
        assert_eq!(some.scope, BTreeSet::from([Action::Watch]));
        assert_eq!(body("".into()).unwrap().scope, BTreeSet::new());
        let list = body(serde_json::json!(["watch"]));
        assert!(matches!(list, Err(TokenError::Malformed(_))), "{list:?}");
    }

    #[test]
    fn clocks_may_differ_a_little() {
        let text = claims().sign(&key(1));
        assert!(check(&text, NOW - LEEWAY).is_ok());
        assert!(check(&text, NOW + 3600 + LEEWAY - 1).is_ok());
    }

    #[test]
    fn each_thing_that_can_be_wrong_has_its_own_error() {
        let text = claims().sign(&key(1));
        let error = |text: &str| check(text, NOW).unwrap_err();
        assert_eq!(check(&text, NOW + 3700), Err(TokenError::Expired { ago: 100 }));
        assert_eq!(check(&text, NOW - 100), Err(TokenError::NotYet { wait: 100 }));
        let late = Claims { nbf: Some(NOW + 500), ..claims() };
        assert_eq!(error(&late.sign(&key(1))), TokenError::NotYet { wait: 500 });
        let elsewhere = Claims { room: Some("garden".parse().unwrap()), ..claims() };
        let garden = TokenError::Room("garden".parse().unwrap());
        assert_eq!(error(&elsewhere.sign(&key(1))), garden);
        let stranger = Claims { iss: Some(key(3).public()), ..claims() };
        assert_eq!(error(&stranger.sign(&key(3))), TokenError::Issuer);
        assert_eq!(error(&claims().sign(&key(3))), TokenError::Signature);
        let truncated = TokenError::Malformed("its signature".to_owned());
        assert_eq!(error(&text[..text.len() - 1]), truncated);
        assert!(matches!(error(&text[..text.len() / 2]), TokenError::Malformed(_)));
        let body = serde_json::to_string(&claims()).unwrap();
        for alg in ["none", "None", "HS256", "ES256", "eddsa"] {
            let text = raw(&format!(r#"{{"alg":"{alg}"}}"#), &body);
            assert_eq!(error(&text), TokenError::Algorithm(alg.to_owned()));
            let unsigned = format!("{}.", text.rsplit_once('.').unwrap().0);
            assert_eq!(error(&unsigned), TokenError::Algorithm(alg.to_owned()));
        }
        let critical = raw(r#"{"alg":"EdDSA","crit":["x"],"x":1}"#, &body);
        assert!(matches!(error(&critical), TokenError::Malformed(_)));
        let nameless = Claims { jti: String::new(), ..claims() };
        assert!(matches!(error(&nameless.sign(&key(1))), TokenError::Malformed(_)));
        assert_eq!(error(&"x".repeat(5000)), TokenError::TooLong(5000));
    }

    #[test]
    fn what_a_newer_issuer_adds_is_skipped() {
        let mut json = serde_json::to_value(claims()).unwrap();
        json["quota"] = 7.into();
        assert_eq!(check(&raw(HEADER, &json.to_string()), NOW), Ok(claims()));
    }

    #[test]
    fn a_change_of_any_character_is_noticed() {
        let text = claims().sign(&key(1));
        for at in 0..text.len() {
            let mut changed = text.clone().into_bytes();
            changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(changed).unwrap();
            assert!(check(&changed, NOW).is_err(), "at {at}: {changed}");
        }
    }
}
