//! What runs on a session's connection: the `control` channel and media, a task each. A standard
//! player of `rtp` has no `control` channel: then there is only media.

use std::{sync::Arc, time::Duration};

use peercam_media::Stream;
use peercam_protocol::{
    control::{CHANNEL, MEDIA_CHANNEL},
    signalling::{ByeReason, ResumeKey, Transport},
};
use tokio::{
    sync::{oneshot, watch},
    task::JoinSet,
};
use tracing::{Instrument, debug, warn};
use webrtc::data_channel::DataChannel;

use super::{
    Ended, Host,
    control::{self, Clock, Control},
    fmp4, rtp,
    source::{Media, Source},
};

/// For the farewell of a session that we end.
const FAREWELL: Duration = Duration::from_secs(1);

/// The two tasks of a session, and what they are made of.
pub(super) struct Parts {
    host: Host,
    transport: Transport,
    /// Whether sound is sent.
    audio: bool,
    /// Until the connection is there.
    rtp: Option<rtp::Sender>,
    /// Keeps the encoders running while the connection is made.
    warm: Option<Warm>,
    clock: (watch::Sender<Option<Clock>>, watch::Receiver<Option<Clock>>),
    /// Which encode the viewer gets.
    shown: watch::Sender<Stream>,
    /// Whether there is a path to the viewer.
    path: watch::Sender<bool>,
    /// Told on the control channel.
    resume: ResumeKey,
    /// Whether the viewer opens a control channel.
    controlled: bool,
    /// Once there is a control channel.
    dismiss: Option<oneshot::Sender<ByeReason>>,
    media_started: bool,
    tasks: JoinSet<TaskEnded>,
}

/// What a session's parts are to be.
pub(super) struct Plan {
    pub transport: Transport,
    pub resume: ResumeKey,
    /// Whether the viewer opens a control channel.
    pub controlled: bool,
    /// Whether sound is sent.
    pub audio: bool,
    /// For that transport.
    pub rtp: Option<rtp::Sender>,
    pub warm: Warm,
}

/// A subscription that nobody reads: encoding begins with the offer, not with the connection.
pub(super) enum Warm {
    Frames { _subscription: peercam_media::Subscription<peercam_media::Frame> },
    Chunks { _subscription: peercam_media::Subscription<peercam_media::Chunk> },
}

/// How one of the two tasks ended.
enum TaskEnded {
    Control(control::Ended),
    Media,
}

impl Warm {
    /// Encoders that sleep need longest of all; and a key frame that is made now is in the cache
    /// when the connection is there, with a short group of pictures behind it.
    pub fn begin(host: &Host, transport: Transport) -> Self {
        let warm = match transport {
            Transport::Rtp => {
                Self::Frames { _subscription: host.camera.subscribe_frames(Stream::Main) }
            }
            Transport::Fmp4 => {
                Self::Chunks { _subscription: host.camera.subscribe_chunks(Stream::Main) }
            }
        };
        host.camera.request_key_frame(Stream::Main);
        warm
    }
}

impl Parts {
    /// Nothing runs yet.
    pub fn new(host: Host, plan: Plan) -> Self {
        let Plan { transport, resume, controlled, audio, rtp, warm } = plan;
        Self {
            host,
            transport,
            audio,
            rtp,
            warm: Some(warm),
            clock: watch::channel(None),
            shown: watch::Sender::new(Stream::Main),
            path: watch::Sender::new(true),
            resume,
            controlled,
            dismiss: None,
            media_started: false,
            tasks: JoinSet::new(),
        }
    }

    /// Whether all that belongs to the session runs.
    pub fn are_complete(&self) -> bool {
        (self.dismiss.is_some() || !self.controlled) && self.media_started
    }

    /// Whether the viewer has another way to say goodbye than signalling.
    pub fn are_controlled(&self) -> bool {
        self.controlled
    }

    /// There is a path to the viewer, for the first time or again: media begins, with a key frame.
    pub fn path_found(&mut self) {
        if !self.path.send_replace(true) && self.media_started {
            self.host.camera.request_key_frame(*self.shown.borrow());
        }
        self.start_rtp();
    }

    /// The path is lost: nothing is sent into the void, least of all what would be old when the
    /// path is back.
    pub fn path_lost(&mut self) {
        self.path.send_replace(false);
    }

    /// The viewer opened a data channel.
    pub async fn open(&mut self, channel: Arc<dyn DataChannel>) {
        match channel.label().await.as_deref() {
            Ok(CHANNEL) if self.dismiss.is_none() => self.start_control(channel),
            Ok(MEDIA_CHANNEL) if self.transport == Transport::Fmp4 && !self.media_started => {
                self.start_fmp4(channel);
            }
            Ok(label) => debug!("a data channel that means nothing here: {label:?}"),
            Err(error) => debug!("a data channel without a label: {error}"),
        }
    }

    fn start_control(&mut self, channel: Arc<dyn DataChannel>) {
        let (dismiss, dismissed) = oneshot::channel();
        self.dismiss = Some(dismiss);
        let control = Control {
            channel,
            camera: self.host.camera.clone(),
            transport: self.transport,
            audio: self.audio,
            resume: self.resume.clone(),
            clock: self.clock.1.clone(),
            shown: self.shown.subscribe(),
            dismiss: dismissed,
        };
        let task = async move { TaskEnded::Control(control.serve().await) };
        self.tasks.spawn(task.in_current_span());
    }

    /// The session's pictures and sound, from its own seat.
    fn source<T: Media>(&self) -> Source<T> {
        Source::new(self.host.camera.clone(), self.host.streams.seat(), self.shown.clone())
    }

    fn start_rtp(&mut self) {
        let Some(sender) = self.rtp.take() else { return };
        self.media_started = true;
        let source = self.source();
        self.warm = None;
        let (packetizer, clock) = (self.host.packetizer.clone(), self.clock.0.clone());
        let path = self.path.subscribe();
        let task = async move {
            if let Err(error) = sender.run(source, packetizer, clock, path).await {
                debug!("rtp: {error}");
            }
            TaskEnded::Media
        };
        self.tasks.spawn(task.in_current_span());
    }

    fn start_fmp4(&mut self, channel: Arc<dyn DataChannel>) {
        self.media_started = true;
        let source = self.source();
        self.warm = None;
        let (limits, clock) = (fmp4::limits(self.host.bitrate_kbps), self.clock.0.clone());
        let path = self.path.subscribe();
        let task = async move {
            if let Err(error) = fmp4::run(channel, source, limits, clock, path).await {
                debug!("fmp4: {error}");
            }
            TaskEnded::Media
        };
        self.tasks.spawn(task.in_current_span());
    }

    /// Waits until a part ends, and says what that means for the session. None: it goes on.
    /// For ever while nothing runs. Cancel safe.
    pub async fn next(&mut self) -> Option<Ended> {
        match self.tasks.join_next().await {
            Some(Ok(ended)) => self.conclude(ended),
            Some(Err(error)) => {
                warn!("a part of the session failed: {error}");
                Some(Ended::ConnectionLost)
            }
            None => std::future::pending().await,
        }
    }

    fn conclude(&self, ended: TaskEnded) -> Option<Ended> {
        match ended {
            TaskEnded::Control(control::Ended::Dismissed) => None,
            // A page that is closed or reloaded closes its channels on the way.
            TaskEnded::Control(control::Ended::ViewerLeft | control::Ended::Closed) => {
                Some(Ended::ViewerLeft)
            }
            TaskEnded::Media if self.host.camera.status().has_changed().is_err() => {
                Some(Ended::CameraStopped)
            }
            TaskEnded::Media => Some(Ended::ViewerLeft),
        }
    }

    /// Says bye on the `control` channel, where there is one (signalling has its own), and ends
    /// every task.
    pub async fn end(mut self, ended: &Ended) {
        match ended {
            Ended::Dismissed(reason) => self.say_bye(*reason).await,
            Ended::CameraStopped => self.say_bye(ByeReason::CameraStopping).await,
            _ => {}
        }
        self.tasks.shutdown().await;
    }

    async fn say_bye(&mut self, reason: ByeReason) {
        let Some(dismiss) = self.dismiss.take() else { return };
        if dismiss.send(reason).is_err() {
            return;
        }
        let said = async {
            while let Some(ended) = self.tasks.join_next().await {
                if matches!(ended, Ok(TaskEnded::Control(_))) {
                    return;
                }
            }
        };
        if tokio::time::timeout(FAREWELL, said).await.is_err() {
            debug!("the viewer did not hear the farewell");
        }
    }
}
