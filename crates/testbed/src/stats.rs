//! What the player says of itself: the property `stats` of `<peercam-player>`.

use serde::{Deserialize, Serialize};

/// The state a person sees in words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// Not started.
    Idle,
    /// On its way to the rendezvous.
    Looking,
    /// No camera in the room.
    Offline,
    /// On its way to the camera.
    Connecting,
    /// Pictures move.
    Playing,
    /// Connected, but no pictures come.
    Stalled,
    /// On its way to the camera again.
    Reconnecting,
    /// The camera or the server said no.
    Refused,
    /// What answers has not shown that it is the camera of the link: not played.
    Unsafe,
    /// Stopped.
    Ended,
}

/// Milliseconds over the last frames.
#[derive(Debug, Clone, Copy, PartialEq, Default, Deserialize, Serialize)]
pub struct Latency {
    /// Median.
    pub p50: Option<f64>,
    /// 95th percentile.
    pub p95: Option<f64>,
    /// The newest frame's.
    #[serde(skip_serializing)]
    pub last: Option<f64>,
}

/// Which of the camera's encodes it shows.
pub use peercam_protocol::control::Stream;

/// How direct the way is that media takes: as direct as the less direct one of its two ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Path {
    /// Both ends have the addresses that they know themselves.
    Host,
    /// An address translator in between, but no server.
    Reflexive,
    /// Over a TURN server.
    Relay,
}

/// What carries it: to the relay, where the player's end is one, else between the two ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// Datagrams.
    Udp,
    /// A stream.
    Tcp,
    /// An encrypted stream.
    Tls,
}

/// The player's figures; times are in milliseconds, null before they are known.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Stats {
    /// What it is doing.
    pub state: State,
    /// The sentence shown to the person.
    pub message: Option<String>,
    /// `rtp` or `fmp4`.
    pub transport: Option<String>,
    /// Width of the decoded picture in pixels.
    pub width: Option<u32>,
    /// Height of the decoded picture in pixels.
    pub height: Option<u32>,
    /// RFC 6381 codecs string of the picture.
    pub video_codec: Option<String>,
    /// RFC 6381 codecs string of the sound.
    pub audio_codec: Option<String>,
    /// Frames that the browser decoded.
    pub frames_decoded: f64,
    /// Samples (`rtp`) or bytes (`fmp4`) of sound that the browser decoded.
    pub audio_decoded: f64,
    /// From start to ICE and DTLS connected.
    pub connect_ms: Option<f64>,
    /// From start to the first decoded frame.
    pub first_frame_ms: Option<f64>,
    /// Capture to presentation.
    pub latency_ms: Latency,
    /// Frames shown in the last second.
    pub fps: f64,
    /// Longest time without a new frame since the first one or `resetStats()`, one that still
    /// lasts included.
    pub freeze_longest_ms: f64,
    /// Since start, over all sessions: media and data channels, without network headers.
    pub bytes_received: f64,
    /// Which encode.
    pub stream: Option<Stream>,
    /// Which way media takes.
    pub path: Option<Path>,
    /// Type of the player's candidate: `host`, `srflx`, `prflx` or `relay` (RFC 8445).
    pub path_local: Option<String>,
    /// Type of the camera's candidate, as the player sees it.
    pub path_remote: Option<String>,
    /// What carries it.
    pub path_protocol: Option<Protocol>,
    /// ICE restarts of running sessions.
    pub restarts: u32,
    /// How often it had to connect again with a new session.
    pub reconnects: u32,
    /// The camera has shown that it has the link's key.
    pub verified: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_figures_of_an_idle_and_of_a_playing_player_are_read() {
        let idle: Stats = serde_json::from_str(
            r#"{"state":"idle","message":"","transport":null,"width":null,"height":null,
                "video_codec":null,"audio_codec":null,"frames_decoded":0,"audio_decoded":0,
                "connect_ms":null,"first_frame_ms":null,
                "latency_ms":{"p50":null,"p95":null,"last":null},"fps":0,"freeze_longest_ms":0,
                "bytes_received":0,"stream":null,"path":null,"path_local":null,"path_remote":null,
                "path_protocol":null,"restarts":0,"reconnects":0,"verified":false}"#,
        )
        .unwrap();
        assert_eq!(idle.state, State::Idle);
        let playing: Stats = serde_json::from_str(
            r#"{"state":"playing","message":"Connected directly","transport":"rtp","width":640,
                "height":360,"video_codec":"avc1.42c01f","audio_codec":"opus",
                "frames_decoded":31,"audio_decoded":96000,"connect_ms":120.5,
                "first_frame_ms":250,"latency_ms":{"p50":40.25,"p95":61,"last":40},"fps":30,"freeze_longest_ms":52,
                "bytes_received":250000,"stream":"sub","path":"relay","path_local":"relay",
                "path_remote":"srflx","path_protocol":"tls","restarts":1,"reconnects":0,"verified":true,
                "something-new":true}"#,
        )
        .unwrap();
        assert_eq!((playing.state, playing.width), (State::Playing, Some(640)));
        assert_eq!(playing.latency_ms.p50, Some(40.25));
        assert_eq!((playing.path, playing.stream), (Some(Path::Relay), Some(Stream::Sub)));
        assert_eq!(playing.path_protocol, Some(Protocol::Tls));
        assert!(playing.verified && !idle.verified);
    }
}
