//! What nodes say to each other: one JSON object a NATS message.
//!
//! | subject | what comes there |
//! |---|---|
//! | `<cluster>.nodes` | signs of life, to all nodes |
//! | `<cluster>.node.<id>` | what is meant for one node |
//!
//! NATS keeps the order of what one node sends to one subject, and may lose messages while a
//! connection breaks. What belongs to one visit is therefore numbered: a gap ends the visit on
//! both sides, and it begins anew.

use std::{fmt, ops::Deref, str::FromStr};

use peercam_protocol::{RoomId, signalling::Error, wire::MAX_MESSAGE_SIZE};
use serde::{Deserialize, Serialize};

use crate::system::random;

/// Changes when an older node would misunderstand a newer one. Nodes of two versions leave each
/// other alone.
const VERSION: u16 = 1;

/// Largest message between nodes, in bytes. A viewer's message is a text in a text here: each
/// quote in it takes two bytes, and those of escapes four.
pub(crate) const MAX_PAYLOAD: usize = 4 * MAX_MESSAGE_SIZE;

/// A node from its start to its end; started again it is another one. 128 random bits, in text 32
/// hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) struct NodeId(u128);

impl NodeId {
    /// For a node that starts. None where the system has no random numbers.
    pub(crate) fn random() -> Option<Self> {
        random().map(Self::from_bytes)
    }

    pub(crate) fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(u128::from_be_bytes(bytes))
    }
}

impl FromStr for NodeId {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let digits = text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        match u128::from_str_radix(text, 16) {
            Ok(number) if digits && text.len() == 32 => Ok(Self(number)),
            _ => Err("a node's id is 32 hexadecimal digits in lower case"),
        }
    }
}

impl TryFrom<String> for NodeId {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<NodeId> for String {
    fn from(id: NodeId) -> Self {
        id.to_string()
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Debug for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// One viewer's visit at a camera of another node; numbered by the viewer's node, never twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct VisitId(pub(crate) u64);

/// A token, or a text that holds one: `{:?}` does not show it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Hidden(String);

impl From<String> for Hidden {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl Deref for Hidden {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Hidden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(hidden)")
    }
}

/// A message between nodes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Message {
    /// To all: I live.
    Alive {
        /// For people.
        name: String,
        /// Say so, too: I am new here.
        greet: bool,
    },
    /// To all: I end. My cameras are gone, and my viewers; their media goes on.
    Leaving {},
    /// To the camera's node: a viewer of mine comes to a room of yours.
    Watch {
        /// From now on.
        visit: VisitId,
        room: RoomId,
        /// What he showed when he connected.
        token: Option<Hidden>,
    },
    /// To the camera's node: a message of the viewer.
    Said {
        visit: VisitId,
        /// From 0, without a gap.
        number: u64,
        /// As the viewer's own node would take it from him. His token is in it when he joins.
        text: Hidden,
    },
    /// To the camera's node: the viewer is gone.
    Gone {
        visit: VisitId,
        /// The camera need not know: his media goes on.
        quiet: bool,
    },
    /// To the viewer's node: a message for the viewer.
    Told {
        visit: VisitId,
        /// From 0, without a gap; counted together with [`Message::Ended`].
        number: u64,
        text: String,
    },
    /// To the viewer's node: his connection would be closed now, with this error.
    Ended { visit: VisitId, number: u64, error: Error },
    /// To the viewer's node: which of these are over? A [`Message::Gone`] may have been lost.
    Check { visits: Vec<VisitId> },
    /// To the viewer's node: there is no such camera here, or not this visit any more.
    NotHere { visit: VisitId },
    /// To the node that has an HTTP player's session: a request came to me instead.
    Errand {
        /// From now on.
        number: u64,
        errand: Errand,
    },
    /// To the node that the request came to.
    Replied { number: u64, reply: Reply },
}

/// What a player wants of its session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Errand {
    pub(crate) room: RoomId,
    /// The session's name.
    pub(crate) session: String,
    /// What the player showed.
    pub(crate) token: Option<Hidden>,
    pub(crate) wants: Wants,
}

/// To do what.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Wants {
    /// As it came, and the entity tags of `If-Match`.
    Patch { tags: Vec<String>, fragment: String },
    /// The end of it.
    Delete {},
}

/// What the player is answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Reply {
    /// Of HTTP.
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: String,
}

#[derive(Serialize, Deserialize)]
struct Envelope<M> {
    version: u16,
    from: NodeId,
    message: M,
}

/// The payload of a NATS message.
pub(crate) fn encode(from: NodeId, message: &Message) -> Vec<u8> {
    // Nothing in these types is refused by JSON.
    serde_json::to_vec(&Envelope { version: VERSION, from, message }).unwrap_or_default()
}

/// Reads a payload; nothing if it is none of ours, or of another version.
pub(crate) fn decode(payload: &[u8]) -> Option<(NodeId, Message)> {
    if payload.len() > MAX_PAYLOAD {
        return None;
    }
    let Envelope { version, from, message } = serde_json::from_slice(payload).ok()?;
    (version == VERSION).then_some((from, message))
}

/// Where all nodes listen.
pub(crate) fn nodes_subject(cluster: &str) -> String {
    format!("{cluster}.nodes")
}

/// Where one node listens.
pub(crate) fn node_subject(cluster: &str, node: NodeId) -> String {
    format!("{cluster}.node.{node}")
}

#[cfg(test)]
mod tests {
    use peercam_protocol::signalling::ErrorCode;

    use super::*;

    fn node() -> NodeId {
        NodeId::from_bytes([0xa1; 16])
    }

    fn hidden(text: &str) -> Hidden {
        text.to_owned().into()
    }

    #[test]
    fn no_token_is_shown() {
        let (visit, room) = (VisitId(7), "garden".parse::<RoomId>().unwrap());
        let token = || Some(hidden("a-token"));
        let errand = Errand {
            room: room.clone(),
            session: "name".into(),
            token: token(),
            wants: Wants::Delete {},
        };
        for message in [
            Message::Watch { visit, room, token: token() },
            Message::Said { visit, number: 0, text: hidden("{\"token\":\"a-token\"}") },
            Message::Errand { number: 4, errand },
        ] {
            assert!(encode(node(), &message).windows(7).any(|part| part == b"a-token"));
            let shown = format!("{message:?}");
            assert!(!shown.contains("a-token") && shown.contains("(hidden)"), "{shown}");
        }
    }

    #[test]
    fn every_message_survives_the_round_trip() {
        let visit = VisitId(7);
        for message in [
            Message::Alive { name: "a".into(), greet: true },
            Message::Leaving {},
            Message::Watch { visit, room: "front.door".parse().unwrap(), token: Some(hidden("t")) },
            Message::Said { visit, number: 3, text: hidden("{\"a\":\"\\r\\n\"}") },
            Message::Gone { visit, quiet: true },
            Message::Told { visit, number: u64::MAX, text: String::new() },
            Message::Ended { visit, number: 1, error: Error::new(ErrorCode::Full, "full") },
            Message::Check { visits: vec![visit] },
            Message::NotHere { visit },
            Message::Errand {
                number: 4,
                errand: Errand {
                    room: "front.door".parse().unwrap(),
                    session: "name".into(),
                    token: None,
                    wants: Wants::Patch { tags: vec!["*".into()], fragment: "a=mid:0".into() },
                },
            },
            Message::Replied {
                number: 4,
                reply: Reply {
                    status: 204,
                    headers: vec![("etag".into(), "\"0\"".into())],
                    body: String::new(),
                },
            },
        ] {
            assert_eq!(decode(&encode(node(), &message)), Some((node(), message)));
        }
    }

    #[test]
    fn the_largest_message_of_a_viewer_fits() {
        // A text of nothing but line ends, which are two characters each in JSON, and four here.
        let text = hidden(&"\\n".repeat(MAX_MESSAGE_SIZE / 2));
        let payload = encode(node(), &Message::Said { visit: VisitId(1), number: 1, text });
        assert!(decode(&payload).is_some(), "{} bytes", payload.len());
    }

    #[test]
    fn what_nobody_knows_is_no_message() {
        let from = "a".repeat(32);
        for payload in [
            String::new(),
            "null".into(),
            "{}".into(),
            format!("{{\"version\":2,\"from\":\"{from}\",\"message\":{{\"leaving\":{{}}}}}}"),
            format!("{{\"version\":1,\"from\":\"{from}\",\"message\":{{\"newer\":{{}}}}}}"),
            "{\"version\":1,\"from\":\"x\",\"message\":{\"leaving\":{}}}".into(),
            format!(
                "{{\"version\":1,\"from\":\"+{}\",\"message\":{{\"leaving\":{{}}}}}}",
                &from[1..]
            ),
            "[".repeat(100_000),
        ] {
            assert_eq!(decode(payload.as_bytes()), None, "{payload:.80}");
        }
        assert_eq!(decode(&vec![b' '; MAX_PAYLOAD + 1]), None);
        assert_eq!(decode(&[0xff; 64]), None);
    }
}
