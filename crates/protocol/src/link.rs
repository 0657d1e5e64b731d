//! Share links: the address a person opens to watch a camera.

use std::{fmt, str::FromStr};

use crate::room::{RoomId, RoomIdError};

/// `https://host/r/<room>`: the player page of one room on one rendezvous server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShareLink {
    origin: String,
    room: RoomId,
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
}

impl ShareLink {
    /// The link to `room` on the server whose pages live at `origin` (`http://host:8080`, with or
    /// without a slash at its end).
    pub fn new(origin: &str, room: RoomId) -> Result<Self, ShareLinkError> {
        let origin = origin.trim_end_matches('/');
        let host = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"));
        match host {
            Some(host) if !host.is_empty() && !host.contains(['/', '?', '#', ' ']) => {
                Ok(Self { origin: origin.to_owned(), room })
            }
            _ => Err(ShareLinkError::NotHttp(shorten(origin))),
        }
    }

    /// `https://host:port`, without a slash at the end.
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// The room it leads to.
    pub fn room(&self) -> &RoomId {
        &self.room
    }
}

/// As much of an input as an error message should repeat.
fn shorten(text: &str) -> String {
    text.chars().take(80).collect()
}

impl FromStr for ShareLink {
    type Err = ShareLinkError;

    fn from_str(text: &str) -> Result<Self, ShareLinkError> {
        let page = text.split(['?', '#']).next().unwrap_or(text);
        if !page.starts_with("http://") && !page.starts_with("https://") {
            return Err(ShareLinkError::NotHttp(shorten(text)));
        }
        let (origin, room) =
            page.split_once("/r/").ok_or_else(|| ShareLinkError::NoRoom(shorten(text)))?;
        Self::new(origin, room.parse()?)
    }
}

impl fmt::Display for ShareLink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/r/{}", self.origin, self.room)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_survives_the_round_trip() {
        for text in ["http://127.0.0.1:8080/r/front-door", "https://[::1]/r/a"] {
            assert_eq!(text.parse::<ShareLink>().unwrap().to_string(), text);
        }
        let link = ShareLink::new("https://cam.example/", "garden".parse().unwrap()).unwrap();
        assert_eq!(link.to_string(), "https://cam.example/r/garden");
    }

    #[test]
    fn what_stands_behind_the_page_is_not_part_of_the_room() {
        let link: ShareLink = "https://cam.example/r/garden?transport=fmp4#x".parse().unwrap();
        assert_eq!(link.room().as_str(), "garden");
    }

    #[test]
    fn refusals() {
        let refusal = |text: &str| text.parse::<ShareLink>().unwrap_err();
        assert!(matches!(refusal("ftp://x/r/a"), ShareLinkError::NotHttp(_)));
        assert!(matches!(refusal("http:///r/a"), ShareLinkError::NotHttp(_)));
        assert!(matches!(refusal("https://cam.example/"), ShareLinkError::NoRoom(_)));
        assert!(matches!(refusal("https://cam.example/r/a/b"), ShareLinkError::Room(_)));
        assert!(
            matches!(refusal(&"x".repeat(10_000)), ShareLinkError::NotHttp(t) if t.len() == 80)
        );
    }
}
