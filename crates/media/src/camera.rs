//! The camera: its pipeline runs while somebody watches.

use std::{
    ops::RangeInclusive,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use gstreamer as gst;
use tokio::sync::watch;

use crate::{
    config::{Config, EncodeSettings, Settings},
    error::Error,
    hub::{Hub, Subscription},
    key_frame::Requests,
    lifecycle::{Action, Lifecycle, Observation, Phase},
    pipeline::{
        self, Run, encoder,
        sink::{Outlet, Pulse},
        time::MediaClock,
    },
    signal::Signal,
    status::{State, Status, StreamInfo},
    stream::{Each, Stream},
    unit::{Chunk, Frame},
};

/// How often the number of encoded frames is brought up to date.
const STATUS_INTERVAL: Duration = Duration::from_secs(1);

/// The one encode. Opens its devices with the first subscriber and closes them a little after the
/// last one; survives devices that fail. Dropping it stops it.
pub struct Camera {
    frames: Each<Hub<Frame>>,
    chunks: Each<Hub<Chunk>>,
    bitrates: Each<Option<RangeInclusive<u32>>>,
    status: Arc<watch::Sender<Status>>,
    news: Arc<Signal<News>>,
    supervisor: Option<thread::JoinHandle<()>>,
}

/// What the supervisor is told.
#[derive(Debug, Default, PartialEq)]
struct News {
    stop: bool,
    /// Somebody came or went, or the first picture did.
    look: bool,
    key_frame: Each<bool>,
    /// In kbit/s.
    bitrate: Each<Option<u32>>,
    /// A run, by its number, has failed.
    fault: Option<(u64, String)>,
}

impl Camera {
    /// Checks the settings and that every element they need is there, and chooses the encoder.
    /// Opens no capture device yet.
    pub fn start(config: Config) -> Result<Self, Error> {
        let settings = config.validate()?;
        gst::init().map_err(|error| Error::GStreamer(error.to_string()))?;
        gstfmp4::plugin_register_static()
            .map_err(|error| Error::GStreamer(format!("its fmp4 plugin: {error}")))?;
        pipeline::require(&settings)?;
        let encoder = encoder::choose(&settings.video.encoders)?;

        let news = Arc::new(Signal::<News>::default());
        let look = {
            let news = news.clone();
            move || news.tell(|news| news.look = true)
        };
        let bitrates = Each { main: Some(settings.video.main.bitrate_kbps.clone()), sub: None };
        let (main_frames, main_chunks) = hubs(&settings.video.main, &look);
        let (sub_frames, sub_chunks) = hubs(&settings.video.main, &look);
        sub_frames.close();
        sub_chunks.close();
        let frames = Each { main: main_frames, sub: sub_frames };
        let chunks = Each { main: main_chunks, sub: sub_chunks };
        let status = Status { encoder: Some(encoder.clone()), ..Status::default() };
        let status = Arc::new(watch::Sender::new(status));
        let supervisor = Supervisor {
            lifecycle: Lifecycle::new(settings.linger),
            kbps: *settings.video.main.bitrate_kbps.end(),
            settings: Arc::new(settings),
            encoder,
            frames: frames.main.clone(),
            chunks: chunks.main.clone(),
            clock: MediaClock::start(),
            encoded: Arc::default(),
            status: status.clone(),
            news: news.clone(),
            run: None,
            runs: 0,
            hanging: None,
        };
        let supervisor = thread::Builder::new()
            .name("peercam-camera".to_owned())
            .spawn(move || supervisor.run())
            .map_err(Error::Thread)?;
        Ok(Self { frames, chunks, bitrates, status, news, supervisor: Some(supervisor) })
    }

    /// Access units and Opus packets, for RTP. Begins with the cached group of pictures; sound
    /// begins with what is heard now. Timestamps of both streams are on the same clock: who
    /// changes from one to the other goes on at a key frame. Ends at once if there is no such
    /// stream.
    pub fn subscribe_frames(&self, stream: Stream) -> Subscription<Frame> {
        self.frames[stream].subscribe()
    }

    /// CMAF chunks with H.264 and AAC. Begins with the cached group of pictures; timestamps as in
    /// [`subscribe_frames`](Self::subscribe_frames). Ends at once if there is no such stream.
    pub fn subscribe_chunks(&self, stream: Stream) -> Subscription<Chunk> {
        self.chunks[stream].subscribe()
    }

    /// Asks the encoder of a stream for a key frame. However often it is called, at most one is
    /// made in 500 ms; a request that comes too early is not lost but served when the time has
    /// come.
    pub fn request_key_frame(&self, stream: Stream) {
        self.news.tell(|news| news.key_frame[stream] = true);
    }

    /// Between which bit rates, in kbit/s, a stream can be set; `None` if there is no such stream.
    pub fn bitrates(&self, stream: Stream) -> Option<RangeInclusive<u32>> {
        self.bitrates[stream].clone()
    }

    /// Sets the bit rate of a stream, in kbit/s. The encoder takes it with one of its next
    /// pictures, without a break; it stays when the pipeline is rebuilt. Returns what it was set
    /// to: the nearest one that [`bitrates`](Self::bitrates) allows.
    pub fn set_bitrate(&self, stream: Stream, kbps: u32) -> Option<u32> {
        let range = self.bitrates(stream)?;
        let kbps = kbps.clamp(*range.start(), *range.end());
        self.news.tell(|news| news.bitrate[stream] = Some(kbps));
        Some(kbps)
    }

    /// How the camera is doing, now and on every change.
    pub fn status(&self) -> watch::Receiver<Status> {
        self.status.subscribe()
    }

    /// Ends every subscription, stops the pipeline and waits until its thread is gone. Dropping
    /// the camera does the same.
    pub fn stop(self) {
        drop(self);
    }
}

/// The hubs of one encode.
fn hubs(
    encode: &EncodeSettings,
    look: &(impl Fn() + Clone + Send + Sync + 'static),
) -> (Hub<Frame>, Hub<Chunk>) {
    // An encoder that makes its groups a little longer still has them cached whole. Behind the
    // group, a subscriber's queue holds two seconds.
    let cached = encode.key_frame_interval as usize * 3 / 2 + 30;
    let queued = cached + 2 * encode.framerate as usize;
    (Hub::new(cached, queued + 100, look.clone()), Hub::new(cached, queued, look.clone()))
}

impl Drop for Camera {
    fn drop(&mut self) {
        for stream in Stream::ALL {
            self.frames[stream].close();
            self.chunks[stream].close();
        }
        self.news.tell(|news| news.stop = true);
        if self.supervisor.take().is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the camera's thread has panicked");
        }
    }
}

/// Owns the run of the pipeline; lives in a thread of its own.
struct Supervisor {
    settings: Arc<Settings>,
    encoder: String,
    /// Bit rate of the picture in kbit/s.
    kbps: u32,
    lifecycle: Lifecycle,
    frames: Hub<Frame>,
    chunks: Hub<Chunk>,
    clock: MediaClock,
    encoded: Arc<AtomicU64>,
    status: Arc<watch::Sender<Status>>,
    news: Arc<Signal<News>>,
    run: Option<(Run, Arc<Pulse>)>,
    /// Runs so far: the number of the current one.
    runs: u64,
    /// A run whose driver hangs.
    hanging: Option<Run>,
}

impl Supervisor {
    fn run(mut self) {
        let mut key_frames = Requests::default();
        let mut fault = None;
        loop {
            let seen = self.observe(fault.take());
            let action = self.lifecycle.step(Instant::now(), seen);
            if matches!(self.lifecycle.phase(), Phase::Failed { .. }) {
                // Before the device is closed: one that hangs takes its time.
                self.publish_status();
            }
            match action {
                Some(Action::Start) => fault = self.start(),
                Some(Action::Stop) => self.stop_run(),
                None => {}
            }
            self.publish_status();
            if fault.is_some() {
                continue;
            }

            let now = Instant::now();
            if let Some((run, _)) = &self.run
                && key_frames.take(now)
            {
                run.request_key_frame();
            }

            let seen = self.observe(None);
            let tick = self.run.is_some().then_some(now + STATUS_INTERVAL);
            let deadlines = [self.lifecycle.deadline(&seen), tick, key_frames.deadline()];
            let deadline = deadlines.into_iter().flatten().min();
            let news = self.news.wait(deadline);
            if news.stop {
                break;
            }
            if self.run.is_none() {
                key_frames.forget();
            } else if news.key_frame.main {
                key_frames.want();
            }
            if let Some(kbps) = news.bitrate.main {
                self.kbps = kbps;
                if let Some((run, _)) = &self.run {
                    run.set_bitrate(kbps);
                }
            }
            fault = news.fault.filter(|(run, _)| *run == self.runs).map(|(_, message)| message);
        }
        self.stop_run();
        self.status.send_modify(|status| status.state = State::Idle);
    }

    fn observe(&self, fault: Option<String>) -> Observation {
        let outputs = self.run.iter().flat_map(|(_, pulse)| {
            let sound = self.settings.audio.as_ref().map(|_| ("sound", pulse.sound.last()));
            [("picture", pulse.picture.last()), ("muxed picture", pulse.chunk.last())]
                .into_iter()
                .chain(sound)
        });
        Observation {
            watchers: self.frames.subscribers() + self.chunks.subscribers(),
            outputs: outputs.collect(),
            fault,
        }
    }

    /// Starts a run; says what went wrong if it can't.
    fn start(&mut self) -> Option<String> {
        if self.hanging.take_if(|run| run.has_ended()).is_none() && self.hanging.is_some() {
            return Some("a device does not let go: its driver hangs; unplug it".to_owned());
        }
        self.runs += 1;
        let pulse = Arc::new(Pulse::default());
        let (news, number) = (self.news.clone(), self.runs);
        let failed = move |message| news.tell(|news| news.fault = Some((number, message)));
        let news = self.news.clone();
        let outlet = Outlet {
            frames: self.frames.clone(),
            chunks: self.chunks.clone(),
            clock: self.clock.clone(),
            pulse: pulse.clone(),
            encoded: self.encoded.clone(),
            came_alive: Arc::new(move || news.tell(|news| news.look = true)),
        };
        match Run::start(self.settings.clone(), self.encoder.clone(), self.kbps, outlet, failed) {
            Ok(run) => {
                self.run = Some((run, pulse));
                None
            }
            Err(error) => Some(format!("the pipeline's thread can't be started: {error}")),
        }
    }

    fn stop_run(&mut self) {
        // First, so that nobody who comes now begins with what is over; and again, since the run
        // went on until it stopped.
        self.frames.reset();
        self.chunks.reset();
        if let Some((run, _)) = self.run.take() {
            self.hanging = run.stop().or(self.hanging.take());
        }
        self.frames.reset();
        self.chunks.reset();
    }

    /// Tells the world what has changed; says in the log what a person wants to know.
    fn publish_status(&self) {
        let (state, message) = match self.lifecycle.phase() {
            Phase::Idle => (State::Idle, None),
            Phase::Running { live: false, .. } => (State::Starting, None),
            Phase::Running { live: true, .. } => (State::Live, None),
            Phase::Failed { message, .. } => (State::Failed, Some(message.clone())),
        };
        let codec = self.run.as_ref().and_then(|(_, pulse)| pulse.codec.get());
        self.status.send_if_modified(|status| {
            let stream = codec.map(|codec| StreamInfo {
                width: self.settings.video.main.width,
                height: self.settings.video.main.height,
                video_codec: codec.clone(),
                bitrate_kbps: self.kbps,
                audio: self.settings.audio.is_some(),
            });
            let new = Status {
                state,
                message,
                encoder: status.encoder.clone(),
                stream: stream.or_else(|| status.stream.clone()),
                frames_encoded: self.encoded.load(Ordering::Relaxed),
            };
            if new.state != status.state {
                match &new.message {
                    Some(message) => tracing::warn!("no picture: {message}"),
                    None => tracing::info!(state = ?new.state, encoder = %self.encoder, "camera"),
                }
            }
            let changed = new != *status;
            *status = new;
            changed
        });
    }
}
