//! A session's `control` data channel: answers the viewer, and tells him what happens here.

use std::{
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use peercam_media::{Camera, State, Status};
use peercam_protocol::{
    control::{Event, Request, Stream},
    signalling::{ByeReason, Error, ErrorCode, ResumeKey, Transport},
    wire,
};
use tokio::sync::{oneshot, watch};
use tracing::debug;
use webrtc::{
    data_channel::{DataChannel, DataChannelEvent, RTCDataChannelMessage},
    error::Result,
};

/// A viewer who reads nothing is answered nothing more once so many bytes wait for him.
const MAX_BACKLOG: usize = 64 * 1024;
/// How long a farewell may take to reach the viewer.
const FAREWELL: Duration = Duration::from_millis(500);

/// When a frame was captured: what the media sender knows and the viewer wants to.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Clock {
    /// RTP timestamp (`rtp`) or media time in seconds (`fmp4`).
    pub media: f64,
    /// On this machine's clock.
    pub captured: SystemTime,
}

/// Why the channel is no longer served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ended {
    /// The viewer said bye.
    ViewerLeft,
    /// The viewer closed it, or the connection is gone.
    Closed,
    /// We said bye.
    Dismissed,
}

/// The channel and all that is reported on it.
pub(super) struct Control {
    pub channel: Arc<dyn DataChannel>,
    pub camera: Arc<Camera>,
    pub transport: Transport,
    /// Whether sound is sent in this session.
    pub audio: bool,
    /// By what the viewer takes the session up again.
    pub resume: ResumeKey,
    pub clock: watch::Receiver<Option<Clock>>,
    /// Which encode the viewer gets.
    pub shown: watch::Receiver<peercam_media::Stream>,
    /// Makes the channel say bye, and end.
    pub dismiss: oneshot::Receiver<ByeReason>,
}

impl Control {
    /// Serves the channel to its end.
    pub async fn serve(mut self) -> Ended {
        match self.try_serve().await {
            Ok(ended) => ended,
            Err(error) => {
                debug!("control channel: {error}");
                Ended::Closed
            }
        }
    }

    async fn try_serve(&mut self) -> Result<Ended> {
        self.send(&Event::Session { resume: self.resume.clone() }).await?;
        let mut status = self.camera.status();
        status.mark_changed();
        let mut reported = Reported::default();
        loop {
            tokio::select! {
                event = self.channel.poll() => match event {
                    Some(DataChannelEvent::OnMessage(message)) => {
                        if self.answer(&message).await? {
                            return Ok(Ended::ViewerLeft);
                        }
                    }
                    None | Some(DataChannelEvent::OnClose) => return Ok(Ended::Closed),
                    Some(_) => {}
                },
                changed = status.changed() => {
                    if changed.is_err() {
                        return Ok(Ended::Closed);
                    }
                    let shown = *self.shown.borrow();
                    let events = reported.changes(&status.borrow_and_update(), shown);
                    for event in events {
                        self.send(&self.complete(event)).await?;
                    }
                }
                Ok(()) = self.shown.changed() => {
                    let shown = *self.shown.borrow_and_update();
                    let events = reported.changes(&status.borrow(), shown);
                    for event in events {
                        self.send(&self.complete(event)).await?;
                    }
                }
                // The viewer needs to know the stream first.
                Ok(()) = self.clock.changed(), if reported.stream.is_some() => {
                    let clock = *self.clock.borrow_and_update();
                    if let Some(Clock { media, captured }) = clock {
                        self.send(&Event::Clock { media, capture_ms: unix_ms(captured) }).await?;
                    }
                }
                Ok(reason) = &mut self.dismiss => {
                    self.send(&Event::Bye { reason }).await?;
                    self.flush().await?;
                    return Ok(Ended::Dismissed);
                }
            }
        }
    }

    /// Does what a message asks. Whether it was a farewell.
    async fn answer(&self, message: &RTCDataChannelMessage) -> Result<bool> {
        let request = if message.is_string {
            match std::str::from_utf8(&message.data) {
                Ok(text) => wire::decode::<Request>(text),
                Err(_) => Err(Error::new(ErrorCode::BadMessage, "a text message is UTF-8")),
            }
        } else {
            Err(Error::new(ErrorCode::BadMessage, "messages are JSON in text messages"))
        };
        match request {
            Ok(Request::Time { id }) => {
                self.send(&Event::Time { id, camera_ms: unix_ms(SystemTime::now()) }).await?;
            }
            Ok(Request::KeyFrame {}) => {
                self.camera.request_key_frame(*self.shown.borrow());
            }
            Ok(Request::Bye {}) => return Ok(true),
            Err(error) => self.send(&Event::Error { error }).await?,
        }
        Ok(false)
    }

    /// `stream` as it is in this session.
    fn complete(&self, event: Event) -> Event {
        let codec = match self.transport {
            Transport::Rtp => "opus",
            Transport::Fmp4 => "mp4a.40.2",
        };
        match event {
            Event::Stream { stream, width, height, video_codec, audio_codec } => {
                let audio_codec = audio_codec.filter(|_| self.audio).map(|_| codec.to_owned());
                Event::Stream { stream, width, height, video_codec, audio_codec }
            }
            other => other,
        }
    }

    async fn send(&self, event: &Event) -> Result<()> {
        if self.channel.outstanding_bytes().await? > MAX_BACKLOG {
            debug!("a viewer does not read his control channel");
            return Ok(());
        }
        self.channel.send_text(&wire::encode(event)).await
    }

    /// Waits until what was sent has arrived.
    async fn flush(&self) -> Result<()> {
        let arrived = async {
            while self.channel.outstanding_bytes().await? > 0 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            Ok(())
        };
        tokio::time::timeout(FAREWELL, arrived).await.unwrap_or(Ok(()))
    }
}

/// What the viewer knows about the camera's state.
#[derive(Debug, Default)]
struct Reported {
    /// As it was told: the bit rate, which changes all the time, is no part of it.
    stream: Option<Event>,
    failed: bool,
}

/// What a stream is, once that is known.
fn describe(status: &Status, shown: peercam_media::Stream) -> Option<Event> {
    let info = status.stream(shown)?;
    let stream = match shown {
        peercam_media::Stream::Main => Stream::Main,
        peercam_media::Stream::Sub => Stream::Sub,
    };
    Some(Event::Stream {
        stream,
        width: info.width,
        height: info.height,
        video_codec: info.video_codec.clone(),
        audio_codec: info.audio.then(String::new),
    })
}

impl Reported {
    /// What he has to hear to know `status`, while he gets the stream `shown`.
    fn changes(&mut self, status: &Status, shown: peercam_media::Stream) -> Vec<Event> {
        let mut events = Vec::new();
        let stream = describe(status, shown);
        if stream.is_some() && stream != self.stream {
            events.extend(stream.clone());
            self.stream = stream;
        }
        match status.state {
            State::Failed if !self.failed => {
                self.failed = true;
                let message = status.message.clone();
                let message = message.unwrap_or_else(|| "the camera gives no picture".to_owned());
                events.push(Event::Source { live: false, message });
            }
            State::Live if self.failed => {
                self.failed = false;
                let message = "the camera gives a picture again".to_owned();
                events.push(Event::Source { live: true, message });
            }
            _ => {}
        }
        events
    }
}

/// Milliseconds since the Unix epoch.
fn unix_ms(time: SystemTime) -> f64 {
    time.duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64() * 1000.0)
}

#[cfg(test)]
mod tests {
    use peercam_media::StreamInfo;

    use super::*;

    fn status(state: State, width: Option<u32>) -> Status {
        let stream = width.map(|width| StreamInfo {
            width,
            height: 720,
            video_codec: "avc1.42c01f".to_owned(),
            bitrate_kbps: 2000,
            audio: true,
        });
        let message = (state == State::Failed).then(|| "unplugged".to_owned());
        Status { state, message, stream, ..Status::default() }
    }

    const MAIN: peercam_media::Stream = peercam_media::Stream::Main;

    #[test]
    fn another_encode_is_told_once_it_is_known() {
        let sub = peercam_media::Stream::Sub;
        let mut reported = Reported::default();
        let mut status = status(State::Live, Some(1280));
        assert_eq!(reported.changes(&status, MAIN).len(), 1);
        assert_eq!(reported.changes(&status, sub), [], "nobody knows what it is");
        status.sub.stream = status.stream.clone();
        let events = reported.changes(&status, sub);
        assert!(matches!(events[..], [Event::Stream { stream: Stream::Sub, .. }]), "{events:?}");
        assert_eq!(reported.changes(&status, MAIN).len(), 1);
    }

    #[test]
    fn a_bit_rate_is_no_news() {
        let mut reported = Reported::default();
        let mut status = status(State::Live, Some(1280));
        assert_eq!(reported.changes(&status, MAIN).len(), 1);
        status.stream.as_mut().unwrap().bitrate_kbps = 700;
        assert_eq!(reported.changes(&status, MAIN), []);
    }

    #[test]
    fn a_viewer_hears_of_each_change_once() {
        let mut reported = Reported::default();
        let mut count = |state, width| reported.changes(&status(state, width), MAIN).len();
        assert_eq!(count(State::Starting, None), 0);
        assert_eq!(count(State::Live, Some(1280)), 1, "the stream");
        assert_eq!(count(State::Live, Some(1280)), 0);
        assert_eq!(count(State::Failed, Some(1280)), 1, "the source failed");
        assert_eq!(count(State::Failed, Some(1280)), 0);
        assert_eq!(count(State::Starting, Some(1280)), 0, "another attempt is no news");
        assert_eq!(count(State::Live, Some(640)), 2, "another stream, and the source is back");
    }

    #[test]
    fn who_comes_while_the_source_is_broken_hears_why() {
        let events = Reported::default().changes(&status(State::Failed, None), MAIN);
        assert_eq!(events, [Event::Source { live: false, message: "unplugged".to_owned() }]);
    }
}
