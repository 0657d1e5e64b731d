//! The messages on the WebSocket between camera, rendezvous and viewer.
//!
//! Each direction has an enum of its own, so that "a viewer sent an answer" is not a case anyone
//! has to handle: it doesn't parse, and is refused as an unknown type. The camera's side names the
//! session in every message; a viewer has at most one session on its socket and names none.

use serde::{Deserialize, Serialize};

use crate::{
    key::{Nonce, PublicKey, Signature},
    room::RoomId,
};

/// One viewer's visit to a room, numbered by the rendezvous; never used again on one camera
/// connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SessionId(pub u64);

impl std::fmt::Display for SessionId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// A secret by which a viewer's session that lost its connection is taken up again, on whatever
/// connection to whichever server. The camera tells it on the session's own encrypted `control`
/// channel ([`crate::control::Event::Session`]). The rendezvous sees it when it is used: it says
/// which session is meant, and no more. Who may take that up shows in the DTLS certificate.
#[derive(Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ResumeKey(String);

impl ResumeKey {
    /// From 128 random bits.
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
    }

    /// 32 hexadecimal digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for ResumeKey {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let digits = text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        if text.len() == 32 && digits {
            Ok(Self(text))
        } else {
            Err("\"resume\" is 32 hexadecimal digits in lower case, as the camera gave them")
        }
    }
}

impl From<ResumeKey> for String {
    fn from(key: ResumeKey) -> Self {
        key.0
    }
}

impl std::fmt::Debug for ResumeKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ResumeKey(hidden)")
    }
}

/// Who may come into a room. The camera decides, and tells the rendezvous.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Door {
    /// Everybody.
    Open,
    /// Who has a token (see [`crate::token`]) signed by the camera's key, or by an owner's.
    #[default]
    Token,
}

impl Door {
    /// `open` or `token`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Token => "token",
        }
    }
}

/// What a viewer shows with his offer.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pass {
    /// Made by the viewer for this join: makes his signature and the camera's proof fresh.
    pub nonce: Nonce,
    /// His token, where the room asks for one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
    /// [`crate::proof::join`], signed with the key that the token is bound to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signature: Option<Signature>,
}

impl std::fmt::Debug for Pass {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let token = self.token.as_ref().map(|_| "(hidden)");
        f.debug_struct("Pass").field("nonce", &self.nonce).field("token", &token).finish()
    }
}

/// That an answer is the camera's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proof {
    /// The camera's key. A viewer compares it with the one in his link.
    pub key: PublicKey,
    /// [`crate::proof::answer`], signed with it.
    pub signature: Signature,
}

/// The server's clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServerTime {
    /// Milliseconds after 1970 (UTC, without leap seconds).
    pub unix_ms: u64,
    /// The server's own key.
    pub key: PublicKey,
    /// [`crate::proof::time`], signed with it.
    pub signature: Signature,
}

/// How media travels in a session; the viewer chooses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Transport {
    /// H.264 and Opus over SRTP (RFC 3711): lowest latency.
    #[default]
    Rtp,
    /// H.264 and AAC as CMAF chunks (ISO/IEC 23000-19) over a data channel, for Media Source
    /// Extensions.
    Fmp4,
}

impl Transport {
    /// `rtp` or `fmp4`, as in messages and on command lines.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Rtp => "rtp",
            Self::Fmp4 => "fmp4",
        }
    }
}

impl std::str::FromStr for Transport {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "rtp" => Ok(Self::Rtp),
            "fmp4" => Ok(Self::Fmp4),
            other => Err(format!("{other:?} is no transport: use rtp or fmp4")),
        }
    }
}

impl std::fmt::Display for Transport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A STUN or TURN server as `RTCIceServer` (W3C WebRTC §4.2.4) has it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IceServer {
    /// `stun:host:port`, `turn:host:port?transport=udp`, … (RFC 7064, RFC 7065).
    pub urls: Vec<String>,
    /// TURN user name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    /// TURN password. Never logged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credential: Option<String>,
}

impl std::fmt::Debug for IceServer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("IceServer")
            .field("urls", &self.urls)
            .field("username", &self.username)
            .field("credential", &self.credential.as_ref().map(|_| "(hidden)"))
            .finish()
    }
}

/// A trickled ICE candidate as `RTCIceCandidateInit` (W3C WebRTC §4.8.1.1) has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Candidate {
    /// `candidate:…` (RFC 8839 §5.1); empty says that no more will come.
    pub candidate: String,
    /// Media stream identification (RFC 5888).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sdp_mid: Option<String>,
    /// Index of the media description.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sdp_m_line_index: Option<u16>,
    /// Which generation of ICE credentials it belongs to (RFC 8445).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub username_fragment: Option<String>,
}

/// What kind of error; a program may act on it, the message beside it is for people.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ErrorCode {
    /// The room's name is not allowed.
    BadRoom,
    /// Another camera waits in the room, or this one does on another connection.
    RoomTaken,
    /// The room belongs to the key of another camera.
    RoomClaimed,
    /// The server has a list of the cameras it serves, and this one is not on it.
    NotListed,
    /// The signature by which a camera shows that it has its key is wrong.
    BadProof,
    /// The room asks for a token, and none was shown.
    TokenMissing,
    /// The token is damaged, or signed by no key of this room.
    TokenInvalid,
    /// The token is for another room.
    TokenForAnotherRoom,
    /// The token's time is over.
    TokenExpired,
    /// The token's time has not come.
    TokenNotYetValid,
    /// The token was for a single session, which it had.
    TokenUsed,
    /// The owner took the token back.
    TokenRevoked,
    /// Who shows the token has not its key, or it has none and must have one.
    TokenNotYours,
    /// The token does not allow this.
    NotAllowed,
    /// The administrator of the server ended this connection.
    SentAway,
    /// No camera waits in the room.
    CameraOffline,
    /// The camera, or the server, has as many as it takes.
    Full,
    /// Not JSON, or not the fields that the type asks for.
    BadMessage,
    /// A type that this side does not know.
    UnknownType,
    /// Larger than [`crate::wire::MAX_MESSAGE_SIZE`].
    TooLarge,
    /// More messages in a second than the server allows.
    TooFast,
    /// A message that makes sense, but not now: a second join, a candidate before the join.
    OutOfOrder,
    /// The offer has no codec, or no transport, that the camera can serve; or it is no SDP.
    BadOffer,
    /// The session that a join wants to take up again does not run any more: join anew.
    SessionGone,
    /// The camera has no picture to give (device missing, pipeline broken).
    MediaUnavailable,
    /// The server is ending.
    ShuttingDown,
    /// What a newer peer may say. Treat as final.
    #[serde(other)]
    Other,
}

impl ErrorCode {
    /// Whether the session it is about is over. The others only say that one message was of no use.
    pub fn ends_session(self) -> bool {
        !matches!(self, Self::BadMessage | Self::UnknownType | Self::OutOfOrder)
    }
}

/// An error as it is sent: a code for programs, a sentence for people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct Error {
    /// What kind.
    pub code: ErrorCode,
    /// One sentence that names the thing and the way out.
    pub message: String,
}

impl Error {
    /// An error with its sentence.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }
}

/// Why a session ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ByeReason {
    /// The viewer stopped watching.
    ViewerLeft,
    /// The camera's connection to the rendezvous ended (its running streams may go on).
    CameraLeft,
    /// The camera is shutting down.
    CameraStopping,
    /// ICE or DTLS failed, or consent was lost (RFC 7675).
    ConnectionLost,
    /// What a newer peer may say.
    #[serde(other)]
    Other,
}

/// Most keys besides the camera's own that may sign tokens for it.
pub const MAX_ISSUERS: usize = 8;

/// Camera → rendezvous, on `/host/<room>`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case")]
pub enum FromCamera {
    /// Answers [`ToCamera::Challenge`]: by this the room becomes the camera's.
    Prove {
        /// The camera's key.
        key: PublicKey,
        /// Made by the camera: what the server signs its clock with.
        nonce: Nonce,
        /// Who may come in.
        door: Door,
        /// Keys besides the camera's own that may sign tokens: at most
        /// [`MAX_ISSUERS`].
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        issuers: Vec<PublicKey>,
        /// [`crate::proof::host`] over all of this, signed with the camera's key.
        signature: Signature,
    },
    /// The answer (RFC 8829) to a session's offer.
    Answer {
        /// The viewer's session.
        session: SessionId,
        /// SDP (RFC 8866).
        sdp: String,
        /// That it is the camera's.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        proof: Option<Proof>,
    },
    /// A candidate of the camera.
    Candidate {
        /// The viewer's session.
        session: SessionId,
        /// The candidate.
        candidate: Candidate,
    },
    /// The camera ended the session.
    Bye {
        /// The viewer's session.
        session: SessionId,
        /// Why.
        reason: ByeReason,
    },
    /// The camera's network changed: the viewer should offer an ICE restart (RFC 8445 §9), a
    /// [`FromViewer::Join`] with the session's resume key.
    Restart {
        /// The viewer's session.
        session: SessionId,
    },
    /// The camera could not do what was asked; the session, if it names one, is over where
    /// [`ErrorCode::ends_session`] says so.
    Error {
        /// The viewer's session, where it is about one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        session: Option<SessionId>,
        /// What went wrong.
        #[serde(flatten)]
        error: Error,
    },
}

/// Rendezvous → camera, on `/host/<room>`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case")]
pub enum ToCamera {
    /// First message: show that the room is yours.
    Challenge {
        /// Made by the server for this connection.
        nonce: Nonce,
    },
    /// The room is the camera's from here on.
    Hosting {
        /// The room.
        room: RoomId,
        /// Servers to gather candidates with.
        #[serde(default)]
        ice_servers: Vec<IceServer>,
        /// What time it is.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        time: Option<ServerTime>,
    },
    /// The server is about to end: connect again, to it or to another one, at a moment of your own
    /// choice before `within_ms` milliseconds are over. What runs is not concerned.
    Move {
        /// Time to do so, in milliseconds.
        within_ms: u32,
    },
    /// A viewer wants to watch.
    Join {
        /// The number of this visit.
        session: SessionId,
        /// How media should travel.
        #[serde(default)]
        transport: Transport,
        /// The viewer's offer (SDP, RFC 8866).
        offer: String,
        /// The offer is an ICE restart of the session that this key belongs to, which goes by the
        /// number above from now on. Where none does: [`ErrorCode::SessionGone`]. Without a key, an
        /// offer under the number of a session that runs on this connection is an ICE restart of
        /// it: a viewer without a `control` channel is never told a key.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        resume: Option<ResumeKey>,
        /// What the viewer shows.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pass: Option<Pass>,
        /// Servers to gather candidates with, where those of [`ToCamera::Hosting`] may no longer
        /// be good: TURN credentials expire.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        ice_servers: Vec<IceServer>,
    },
    /// A candidate of the viewer.
    Candidate {
        /// The viewer's session.
        session: SessionId,
        /// The candidate.
        candidate: Candidate,
    },
    /// The viewer is gone.
    Bye {
        /// The viewer's session.
        session: SessionId,
        /// Why.
        reason: ByeReason,
    },
    /// The camera said something wrong, or can't have the room; where the code is final the
    /// server closes the socket after it.
    Error {
        /// The session it is about, if any.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        session: Option<SessionId>,
        /// What went wrong.
        #[serde(flatten)]
        error: Error,
    },
}

/// Viewer → rendezvous, on `/watch/<room>`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case")]
pub enum FromViewer {
    /// Let me watch. At most one session at a time on one socket; after its end another may begin.
    /// With `resume` the offer is an ICE restart (RFC 8445 §9) of a running session: of the one on
    /// this socket, or of one that lost its socket. While a session runs on this socket, any offer
    /// is an ICE restart of it.
    Join {
        /// How media should travel.
        #[serde(default)]
        transport: Transport,
        /// The offer (SDP, RFC 8866).
        offer: String,
        /// What the camera gave the session that is to be taken up again.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        resume: Option<ResumeKey>,
        /// What the viewer shows. A room that is open asks for nothing; who wants the camera's
        /// proof sends a nonce there too.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pass: Option<Pass>,
    },
    /// A candidate of the viewer.
    Candidate {
        /// The candidate.
        candidate: Candidate,
    },
    /// The viewer stopped watching.
    Bye {
        /// Why.
        reason: ByeReason,
    },
}

/// Rendezvous → viewer, on `/watch/<room>`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case")]
pub enum ToViewer {
    /// First message: what the viewer needs before it makes its offer.
    Welcome {
        /// The room.
        room: RoomId,
        /// Whether a camera waits in it now.
        online: bool,
        /// Servers to gather candidates with. None before the viewer's token could be checked: then
        /// they come with [`ToViewer::Camera`].
        #[serde(default)]
        ice_servers: Vec<IceServer>,
    },
    /// A camera came to the room, or left it. A running session does not end by it.
    Camera {
        /// Whether a camera waits in the room now.
        online: bool,
        /// Servers to gather candidates with from now on, where they are others than before.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        ice_servers: Vec<IceServer>,
    },
    /// The camera's answer.
    Answer {
        /// SDP (RFC 8866).
        sdp: String,
        /// That it is the camera's.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        proof: Option<Proof>,
    },
    /// A candidate of the camera.
    Candidate {
        /// The candidate.
        candidate: Candidate,
    },
    /// The session is over.
    Bye {
        /// Why.
        reason: ByeReason,
    },
    /// The camera's network changed: join again with the session's resume key and an offer that
    /// restarts ICE.
    Restart {},
    /// Something went wrong; the session is over where [`ErrorCode::ends_session`] says so.
    Error {
        /// What went wrong.
        #[serde(flatten)]
        error: Error,
    },
}
