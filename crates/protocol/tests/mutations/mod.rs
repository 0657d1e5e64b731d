//! Messages as programs send them, and what is left of them after a few bytes were changed, cut,
//! doubled or exchanged: nearer to what a parser takes than chance would come. The same for a
//! given seed, which is printed where a test fails; `PEERCAM_SEED` sets another one.
#![allow(dead_code, clippy::unwrap_used, missing_docs)]

use peercam_protocol::{
    Fingerprint, Nonce, PublicKey, RoomId, SecretKey,
    control::{Event, Request, Stream},
    proof,
    signalling::*,
    token::{Action, Claims, Confirmation},
    wire::encode,
};

/// Recorded from Chromium.
pub const OFFER: &str = include_str!("../../../agent/src/session/offer_chromium.sdp");

/// What opens, closes, ends or overflows something in JSON, and in what our messages hold.
const PIECES: &[&str] = &[
    "\"",
    "\\",
    "{",
    "}",
    "[",
    "]",
    ",",
    ":",
    "null",
    "true",
    "-1",
    "0",
    "1e999",
    "-0.0",
    "\u{0}",
    "\\u0000",
    "\\ud800",
    "\\uD83D\\uDE00",
    "ü",
    "\u{1f600}",
    "\r\n",
    "\\r\\n",
    "=",
    ".",
    "#",
    "18446744073709551615",
    "18446744073709551616",
    "99999999999999999999999999999999",
    "{\"type\":",
    "\"type\":\"bye\",",
    "\"session\":1,",
    "\"code\":\"other\",",
    "\"resume\":\"",
    "[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[",
    "a=fingerprint:sha-256 ",
    "a=candidate:",
    "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
];

/// The seed of this run.
pub fn seed() -> u64 {
    let seed = std::env::var("PEERCAM_SEED").ok().map_or(4, |text| text.parse().unwrap());
    println!("PEERCAM_SEED={seed}");
    seed
}

/// Changes messages.
pub struct Mutator {
    pub random: fastrand::Rng,
}

impl Mutator {
    pub fn new(seed: u64) -> Self {
        Self { random: fastrand::Rng::with_seed(seed) }
    }

    /// One of the messages with up to four changes. It is text still: anything else the WebSocket
    /// layer refuses.
    pub fn frame(&mut self, recorded: &[String]) -> String {
        let mut bytes = self.pick(recorded).as_bytes().to_vec();
        for _ in 0..self.random.usize(1..=4) {
            self.change(&mut bytes, recorded);
        }
        String::from_utf8_lossy(&bytes).into_owned()
    }

    fn pick<'a>(&mut self, recorded: &'a [String]) -> &'a str {
        &recorded[self.random.usize(..recorded.len())]
    }

    fn range(&mut self, length: usize) -> std::ops::Range<usize> {
        let start = self.random.usize(..=length);
        // Mostly a few bytes, now and then many.
        let most = if self.random.u8(..4) == 0 { length - start } else { 8.min(length - start) };
        start..start + self.random.usize(..=most)
    }

    fn change(&mut self, bytes: &mut Vec<u8>, recorded: &[String]) {
        let range = self.range(bytes.len());
        let at = range.start;
        match self.random.u8(..8) {
            0 | 1 => {
                if let Some(byte) = bytes.get_mut(at) {
                    *byte ^= 1 << self.random.u8(..7);
                }
            }
            2 => drop(bytes.drain(range)),
            3 => {
                let twice = bytes[range].to_vec();
                bytes.splice(at..at, twice);
            }
            4 | 5 => {
                let piece = PIECES[self.random.usize(..PIECES.len())];
                let range = if self.random.bool() { at..at } else { range };
                bytes.splice(range, piece.bytes());
            }
            6 => {
                let other = self.pick(recorded).as_bytes();
                let from = self.random.usize(..=other.len());
                bytes.truncate(at);
                bytes.extend_from_slice(&other[from..]);
            }
            _ => bytes.truncate(at),
        }
    }
}

pub fn key(seed: u8) -> SecretKey {
    SecretKey::from_bytes(&[seed; 32])
}

pub fn room() -> RoomId {
    "front-door".parse().unwrap()
}

fn public(seed: u8) -> PublicKey {
    key(seed).public()
}

pub fn token() -> String {
    let claims = Claims {
        iss: Some(public(1)),
        room: Some(room()),
        scope: [Action::Watch, Action::Talk].into(),
        iat: 1_800_000_000,
        nbf: Some(1_800_000_000),
        exp: 1_800_086_400,
        jti: "uX3v".to_owned(),
        once: true,
        cnf: Some(Confirmation::new(public(2))),
    };
    claims.sign(&key(1))
}

fn candidate() -> Candidate {
    Candidate {
        candidate: "candidate:842163049 1 udp 1677729535 192.0.2.7 45664 typ srflx raddr 0.0.0.0 \
                    rport 0 generation 0 ufrag Nf2q network-cost 999"
            .to_owned(),
        sdp_mid: Some("0".to_owned()),
        sdp_m_line_index: Some(0),
        username_fragment: Some("Nf2q".to_owned()),
    }
}

fn ice_servers() -> Vec<IceServer> {
    vec![
        IceServer {
            urls: vec!["stun:stun.example.org:3478".to_owned()],
            username: None,
            credential: None,
        },
        IceServer {
            urls: vec!["turn:turn.example.org:3478?transport=udp".to_owned()],
            username: Some("1800000000:x7".to_owned()),
            credential: Some("4fC0ff+1BCoJvRaGt2sPOmvbsXU=".to_owned()),
        },
    ]
}

fn error() -> Error {
    Error::new(ErrorCode::SessionGone, "this session does not run any more: join anew")
}

fn pass() -> Pass {
    let nonce = Nonce::from_bytes([9; 16]);
    let fingerprint = Fingerprint::of_sdp(OFFER).unwrap();
    let statement = proof::join(&public(1), &room(), &nonce, &fingerprint);
    Pass { nonce, token: Some(token()), signature: Some(key(2).sign(&statement)) }
}

fn resume() -> ResumeKey {
    ResumeKey::from_bytes([0xa5; 16])
}

fn proof_of_answer() -> Proof {
    Proof { key: public(1), signature: key(1).sign("an answer") }
}

const SESSION: SessionId = SessionId(17);

pub fn from_camera() -> Vec<String> {
    let prove = FromCamera::Prove {
        key: public(1),
        nonce: Nonce::from_bytes([3; 16]),
        door: Door::Token,
        issuers: vec![public(4), public(5)],
        signature: key(1).sign("a room"),
    };
    let answer = FromCamera::Answer {
        session: SESSION,
        sdp: OFFER.to_owned(),
        proof: Some(proof_of_answer()),
    };
    let failed = FromCamera::Error { session: Some(SESSION), error: error() };
    let mut texts = several(&FromCamera::Candidate { session: SESSION, candidate: candidate() });
    texts.extend([prove, answer, failed].iter().map(encode));
    texts.extend(several(&FromCamera::Bye { session: SESSION, reason: ByeReason::CameraStopping }));
    texts.push(encode(&FromCamera::Restart { session: SESSION }));
    texts
}

pub fn to_camera() -> Vec<String> {
    let join = ToCamera::Join {
        session: SESSION,
        transport: Transport::Fmp4,
        offer: OFFER.to_owned(),
        resume: Some(resume()),
        pass: Some(pass()),
        ice_servers: ice_servers(),
    };
    let time = ServerTime {
        unix_ms: 1_800_000_000_123,
        key: public(6),
        signature: key(6).sign("what time it is"),
    };
    let hosting = ToCamera::Hosting { room: room(), ice_servers: ice_servers(), time: Some(time) };
    let challenge = ToCamera::Challenge { nonce: Nonce::from_bytes([7; 16]) };
    let failed = ToCamera::Error { session: None, error: error() };
    let mut texts = several(&ToCamera::Candidate { session: SESSION, candidate: candidate() });
    texts.extend([join, hosting, challenge, failed].iter().map(encode));
    texts.extend(several(&ToCamera::Bye { session: SESSION, reason: ByeReason::ViewerLeft }));
    texts.push(encode(&ToCamera::Move { within_ms: 30_000 }));
    texts
}

pub fn from_viewer() -> Vec<String> {
    let join = FromViewer::Join {
        transport: Transport::Rtp,
        offer: OFFER.to_owned(),
        resume: Some(resume()),
        pass: Some(pass()),
    };
    let mut texts = several(&FromViewer::Candidate { candidate: candidate() });
    texts.push(encode(&join));
    texts.extend(several(&FromViewer::Bye { reason: ByeReason::ViewerLeft }));
    texts
}

pub fn to_viewer() -> Vec<String> {
    let answer = ToViewer::Answer { sdp: OFFER.to_owned(), proof: Some(proof_of_answer()) };
    let welcome = ToViewer::Welcome { room: room(), online: true, ice_servers: ice_servers() };
    let camera = ToViewer::Camera { online: false, ice_servers: Vec::new() };
    let mut texts = several(&ToViewer::Candidate { candidate: candidate() });
    texts.extend([answer, welcome, camera, ToViewer::Restart {}].iter().map(encode));
    texts.push(encode(&ToViewer::Error { error: error() }));
    texts.extend(several(&ToViewer::Bye { reason: ByeReason::CameraLeft }));
    texts
}

pub fn requests() -> Vec<String> {
    [Request::Time { id: 7 }, Request::KeyFrame {}, Request::Bye {}].iter().map(encode).collect()
}

pub fn events() -> Vec<String> {
    let stream = Event::Stream {
        stream: Stream::Sub,
        width: 640,
        height: 360,
        video_codec: "avc1.42c01f".to_owned(),
        audio_codec: Some("opus".to_owned()),
    };
    let source = Event::Source { live: false, message: "/dev/video0 is gone".to_owned() };
    [
        Event::Session { resume: resume() },
        stream,
        Event::Time { id: 7, camera_ms: 1_800_000_000_123.5 },
        Event::Clock { media: 4_294_967_295.0, capture_ms: 1_800_000_000_100.25 },
        source,
        Event::Bye { reason: ByeReason::ConnectionLost },
        Event::Error { error: error() },
    ]
    .iter()
    .map(encode)
    .collect()
}

/// A short message more often than the long ones between which it stands.
fn several<M: serde::Serialize>(message: &M) -> Vec<String> {
    vec![encode(message); 3]
}
