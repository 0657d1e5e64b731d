//! What a standard player (WHEP) and its camera say.

use peercam_protocol::signalling::{FromCamera, SessionId, ToCamera};

use super::*;

pub const OFFER: &str = "Content-Type: application/sdp\r\n";
pub const FRAGMENT: &str = "Content-Type: application/trickle-ice-sdpfrag\r\n";
/// ICE credentials, as a browser makes them.
pub fn credentials(user: &str) -> String {
    format!("a=ice-ufrag:{user}\r\na=ice-pwd:{user}Lfwe+T04604M8QduCNF\r\n")
}

pub fn offer(user: &str) -> String {
    format!(
        "v=0\r\no=- 67 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=group:BUNDLE 0\r\n\
         m=video 9 UDP/TLS/RTP/SAVPF 96\r\n{}a=mid:0\r\n",
        credentials(user)
    )
}

pub fn answer(user: &str) -> String {
    format!(
        "v=0\r\ns=-\r\nm=video 9 UDP/TLS/RTP/SAVPF 96\r\n{}a=mid:0\r\na=sendonly\r\n",
        credentials(user)
    )
}

pub fn fragment(user: &str, candidates: &[&str]) -> String {
    let candidates: String = candidates.iter().map(|line| format!("a={line}\r\n")).collect();
    format!("{}m=video 9 UDP/TLS/RTP/SAVPF 0\r\na=mid:0\r\n{candidates}", credentials(user))
}

pub const HOST: &str = "candidate:1 1 udp 2122260223 192.0.2.1 61764 typ host";

/// The camera's part in a player's beginning, with one candidate and no more.
pub async fn answers(camera: &mut Camera, offer: &str, user: &str) -> SessionId {
    let session = camera.hears_join(offer).await;
    camera.answers(session, &answer(user)).await;
    for text in [HOST, ""] {
        camera.says(FromCamera::Candidate { session, candidate: candidate(text) }).await;
    }
    session
}

pub async fn hears_candidate(camera: &mut Camera, session: SessionId, text: &str) {
    match camera.hears().await {
        ToCamera::Candidate { session: heard, candidate } => {
            assert_eq!((heard, candidate.candidate.as_str()), (session, text));
            assert_eq!(candidate.sdp_mid.as_deref(), Some("0"));
        }
        other => panic!("no candidate, but {other:?}"),
    }
}
