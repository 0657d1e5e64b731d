//! Share links: the address a person opens to watch a camera.

use std::{fmt, str::FromStr};

use crate::{
    key::{KeyError, PublicKey, SecretKey},
    room::{RoomId, RoomIdError},
    token::{MAX_TOKEN_SIZE, Token, TokenError},
};

/// Longest host with its port, in bytes: a name has at most 253 (RFC 1035 §2.3.4).
const MAX_HOST: usize = 260;

/// `https://host/r/<room>#k=<camera's public key>&t=<token>&p=<viewer's private key>`: the player
/// page of one room on one rendezvous server, and what opens it.
///
/// What stands behind `#` is the browser's: it goes to no server and into no log. The player shows
/// the token, keeps the private key, and checks the camera by its public key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShareLink {
    origin: String,
    room: RoomId,
    camera: Option<PublicKey>,
    grant: Option<Grant>,
}

/// What lets a viewer in: a token, and the private half of the key it is bound to.
#[derive(Clone, PartialEq, Eq)]
pub struct Grant {
    /// See [`crate::token`].
    pub token: String,
    /// None with a bearer token.
    pub key: Option<SecretKey>,
}

impl fmt::Debug for Grant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Grant(hidden)")
    }
}

/// Why a text is no [`ShareLink`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ShareLinkError {
    /// Not an http(s) address.
    #[error("{0:?} is no web address: it must begin with http:// or https:// and name a host")]
    NotHttp(String),
    /// No `/r/<room>` behind the host.
    #[error("{0:?} names no room: a share link looks like https://host/r/<room>")]
    NoRoom(String),
    /// The room's name is not allowed.
    #[error("the link's room is not valid: {0}")]
    Room(#[from] RoomIdError),
    /// What is behind `#` is damaged.
    #[error("the link's {what} (behind #) is damaged: copy the whole link: {source}")]
    Key {
        /// Which part.
        what: &'static str,
        /// Why.
        source: KeyError,
    },
    /// The token is damaged.
    #[error("the link's token: {0}")]
    Token(#[from] TokenError),
}

impl ShareLink {
    /// The link to `room` on the server whose pages live at `origin` (`http://host:8080`, with or
    /// without a slash at its end).
    pub fn new(origin: &str, room: RoomId) -> Result<Self, ShareLinkError> {
        let origin = origin.trim_end_matches('/');
        let host = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"));
        match host {
            Some(host)
                if (1..=MAX_HOST).contains(&host.len())
                    && host.chars().all(|c| c.is_alphanumeric() || "-._~:[]%".contains(c)) =>
            {
                Ok(Self { origin: origin.to_owned(), room, camera: None, grant: None })
            }
            _ => Err(ShareLinkError::NotHttp(shorten(origin))),
        }
    }

    /// The same link, by which the player can tell whether it talks to that camera.
    #[must_use]
    pub fn to_camera(self, key: PublicKey) -> Self {
        Self { camera: Some(key), ..self }
    }

    /// The same link, by which a viewer is let in.
    #[must_use]
    pub fn with_grant(self, grant: Grant) -> Self {
        Self { grant: Some(grant), ..self }
    }

    /// `https://host:port`, without a slash at the end.
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// The room it leads to.
    pub fn room(&self) -> &RoomId {
        &self.room
    }

    /// The camera's key, where the link has one.
    pub fn camera(&self) -> Option<&PublicKey> {
        self.camera.as_ref()
    }

    /// What lets a viewer in, where the link has it.
    pub fn grant(&self) -> Option<&Grant> {
        self.grant.as_ref()
    }
}

/// As much of an input as an error message should repeat: never what is behind `#`.
fn shorten(text: &str) -> String {
    text.split('#').next().unwrap_or_default().chars().take(80).collect()
}

impl FromStr for ShareLink {
    type Err = ShareLinkError;

    fn from_str(text: &str) -> Result<Self, ShareLinkError> {
        let (page, fragment) = text.split_once('#').unwrap_or((text, ""));
        let page = page.split('?').next().unwrap_or(page);
        if !page.starts_with("http://") && !page.starts_with("https://") {
            return Err(ShareLinkError::NotHttp(shorten(text)));
        }
        let (origin, room) =
            page.split_once("/r/").ok_or_else(|| ShareLinkError::NoRoom(shorten(text)))?;
        let mut link = Self::new(origin, room.parse()?)?;
        if fragment.len() > 2 * MAX_TOKEN_SIZE {
            return Err(TokenError::TooLong(fragment.len()).into());
        }
        let (mut token, mut key) = (None, None);
        // Parts that a newer link may have are skipped.
        for (name, value) in fragment.split('&').filter_map(|part| part.split_once('=')) {
            match name {
                "k" => {
                    let parsed = value.parse();
                    link.camera =
                        Some(parsed.map_err(|source| ShareLinkError::Key {
                            what: "camera key",
                            source,
                        })?);
                }
                "t" => {
                    Token::parse(value)?;
                    token = Some(value.to_owned());
                }
                "p" => {
                    let parsed = value.parse();
                    key =
                        Some(parsed.map_err(|source| ShareLinkError::Key {
                            what: "viewer key",
                            source,
                        })?);
                }
                _ => {}
            }
        }
        link.grant = token.map(|token| Grant { token, key });
        Ok(link)
    }
}

impl fmt::Display for ShareLink {
    /// All of it, secrets included: for the person it is for, never for a log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/r/{}", self.origin, self.room)?;
        let mut separator = '#';
        let mut part = |f: &mut fmt::Formatter<'_>, name: char, value: &str| {
            write!(f, "{separator}{name}={value}")?;
            separator = '&';
            Ok(())
        };
        if let Some(key) = &self.camera {
            part(f, 'k', &key.to_string())?;
        }
        if let Some(Grant { token, key }) = &self.grant {
            part(f, 't', token)?;
            if let Some(key) = key {
                part(f, 'p', &key.reveal())?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::token::{Action, Claims, Confirmation};

    fn full() -> ShareLink {
        let (camera, viewer) = (SecretKey::from_bytes(&[1; 32]), SecretKey::from_bytes(&[2; 32]));
        let room: RoomId = "garden".parse().unwrap();
        let claims = Claims {
            iss: None,
            room: Some(room.clone()),
            scope: BTreeSet::from([Action::Watch]),
            iat: 1,
            nbf: None,
            exp: 2,
            jti: "x".to_owned(),
            once: false,
            cnf: Some(Confirmation::new(viewer.public())),
        };
        ShareLink::new("https://cam.example", room)
            .unwrap()
            .to_camera(camera.public())
            .with_grant(Grant { token: claims.sign(&camera), key: Some(viewer) })
    }

    #[test]
    fn a_link_survives_the_round_trip() {
        for text in ["http://127.0.0.1:8080/r/front-door", "https://[::1]/r/a"] {
            assert_eq!(text.parse::<ShareLink>().unwrap().to_string(), text);
        }
        let link = ShareLink::new("https://cam.example/", "garden".parse().unwrap()).unwrap();
        assert_eq!(link.to_string(), "https://cam.example/r/garden");
        let full = full();
        let text = full.to_string();
        assert_eq!(text.parse(), Ok(full.clone()));
        assert!(text.starts_with("https://cam.example/r/garden#k="), "{text}");
        assert!(!format!("{full:?}").contains(&text[text.find("&t=").unwrap() + 3..]));
    }

    #[test]
    fn what_stands_behind_the_page_is_not_part_of_the_room() {
        let link: ShareLink = "https://cam.example/r/garden?transport=fmp4#x&y=1".parse().unwrap();
        assert_eq!(link.room().as_str(), "garden");
        assert_eq!((link.camera(), link.grant()), (None, None));
    }

    #[test]
    fn refusals() {
        let refusal = |text: &str| text.parse::<ShareLink>().unwrap_err();
        assert!(matches!(refusal("ftp://x/r/a"), ShareLinkError::NotHttp(_)));
        assert!(matches!(refusal("http:///r/a"), ShareLinkError::NotHttp(_)));
        for host in ["\u{1b}[2J", "a b", "user@cam.example", "<b>", &"x".repeat(261)] {
            let text = format!("https://{host}/r/a");
            assert!(matches!(refusal(&text), ShareLinkError::NotHttp(_)), "{text:?}");
        }
        assert!(matches!(refusal("https://cam.example/"), ShareLinkError::NoRoom(_)));
        assert!(matches!(refusal("https://cam.example/r/a/b"), ShareLinkError::Room(_)));
        assert!(
            matches!(refusal(&"x".repeat(10_000)), ShareLinkError::NotHttp(t) if t.len() == 80)
        );
        let text = full().to_string();
        let half = refusal(&text[..text.find("&p=").unwrap() + 10]);
        assert!(matches!(half, ShareLinkError::Key { what: "viewer key", .. }), "{half}");
        let half = refusal(&text[..text.find("&t=").unwrap() + 100]);
        assert!(matches!(half, ShareLinkError::Token(TokenError::Malformed(_))), "{half}");
        let long = refusal(&format!("https://cam.example/r/a#t={}", "x".repeat(10_000)));
        assert!(matches!(long, ShareLinkError::Token(TokenError::TooLong(_))), "{long}");
        let secret = refusal("nothing#p=secret").to_string();
        assert!(!secret.contains("secret"), "{secret}");
    }
}
