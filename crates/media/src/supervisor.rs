//! The camera's own thread: it does what [`lifecycle`](crate::lifecycle) decides, and tells how
//! the camera is doing.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use tokio::sync::watch;

use crate::{
    camera::Hubs,
    config::{AudioInput, Settings},
    key_frame::Requests,
    lifecycle::{Action, Lifecycle, Observation, Phase, patience},
    pipeline::{
        Part, Run, encoder,
        sink::{Outlet, Pulse},
        source,
        time::MediaClock,
    },
    signal::Signal,
    sound::{self, Sound},
    status::{State, Status, StreamInfo, SubStatus},
    stream::{Each, Stream},
};

/// How often the number of encoded frames is brought up to date.
const STATUS_INTERVAL: Duration = Duration::from_secs(1);

/// What the supervisor is told.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct News {
    pub stop: bool,
    /// Somebody came or went, or the first picture did.
    pub look: bool,
    pub key_frame: Each<bool>,
    /// In kbit/s.
    pub bitrate: Each<Option<u32>>,
    /// A run, by its number, or the second encode in it has failed.
    pub fault: Each<Option<(u64, String)>>,
    /// The microphone of a run has failed.
    pub sound_fault: Option<(u64, String)>,
    /// What came of listening to the microphone.
    pub heard: Option<Result<(), String>>,
}

/// Owns the run of the pipeline; lives in a thread of its own.
pub(crate) struct Supervisor {
    settings: Arc<Settings>,
    encoder: Each<String>,
    /// Bit rates in kbit/s.
    kbps: Each<u32>,
    /// Of the pipeline with the main encode, and of the second encode within it.
    lifecycle: Each<Lifecycle>,
    sound: Sound,
    hubs: Each<Hubs>,
    key_frames: Each<Requests>,
    clock: MediaClock,
    encoded: Arc<AtomicU64>,
    status: Arc<watch::Sender<Status>>,
    news: Arc<Signal<News>>,
    run: Option<(Run, Each<Arc<Pulse>>)>,
    /// Runs so far: the number of the current one.
    runs: u64,
    /// A run whose driver hangs.
    hanging: Option<Run>,
}

impl Supervisor {
    pub(crate) fn new(
        settings: Settings,
        encoder: String,
        hubs: Each<Hubs>,
        status: Arc<watch::Sender<Status>>,
        news: Arc<Signal<News>>,
    ) -> Self {
        let video = &settings.video;
        let highest = |encode: &crate::config::EncodeSettings| *encode.bitrate_kbps.end();
        let linger = settings.linger;
        Self {
            encoder: Each { main: encoder.clone(), sub: encoder },
            kbps: Each { main: highest(&video.main), sub: video.sub.as_ref().map_or(0, highest) },
            sound: Sound::default(),
            lifecycle: Each { main: Lifecycle::new(linger), sub: Lifecycle::new(linger) },
            settings: Arc::new(settings),
            hubs,
            key_frames: Each::default(),
            clock: MediaClock::start(),
            encoded: Arc::default(),
            status,
            news,
            run: None,
            runs: 0,
            hanging: None,
        }
    }

    pub(crate) fn run(mut self) {
        let mut faults = Each::default();
        let mut sound = sound::Observation::default();
        loop {
            faults.main = self.step_sound(std::mem::take(&mut sound)).or(faults.main);
            faults.main = self.step(faults.main);
            self.step_sub(faults.sub.take());
            self.publish_status();
            if faults.main.is_some() {
                continue;
            }
            self.request_key_frames();

            let news = self.news.wait(self.deadline());
            if news.stop {
                break;
            }
            self.take_wishes(&news);
            let of_this_run = |fault: Option<(u64, String)>| {
                fault.filter(|(run, _)| *run == self.runs).map(|(_, message)| message)
            };
            faults = Each { main: of_this_run(news.fault.main), sub: of_this_run(news.fault.sub) };
            (sound.fault, sound.heard) = (of_this_run(news.sound_fault), news.heard);
        }
        self.stop_run();
        self.status.send_modify(|status| {
            (status.state, status.message) = (State::Idle, None);
            (status.sub.state, status.sub.message) = (State::Idle, None);
        });
    }

    /// Does what is due to the pipeline; says what went wrong with that.
    fn step(&mut self, fault: Option<String>) -> Option<String> {
        let seen = self.observe(Stream::Main, fault);
        let action = self.lifecycle.main.step(Instant::now(), seen);
        if matches!(self.lifecycle.main.phase(), Phase::Failed { .. }) {
            // Before the device is closed: one that hangs takes its time.
            self.publish_status();
        }
        match action {
            Some(Action::Start) => return self.start(),
            Some(Action::Stop) => {
                self.stop_run();
                self.sound = Sound::default();
            }
            None => {}
        }
        None
    }

    /// Does what is due to the microphone; says what went wrong with that.
    fn step_sound(&mut self, mut seen: sound::Observation) -> Option<String> {
        let now = Instant::now();
        self.run.as_ref()?;
        seen.fault = seen.fault.or_else(|| self.silence(now));
        match self.sound.step(now, seen)? {
            sound::Action::Rebuild => {
                match self.sound.message() {
                    Some(message) => tracing::warn!("the picture goes on without sound: {message}"),
                    None => tracing::info!("the microphone is back"),
                }
                self.stop_run();
                self.lifecycle.main.restarted(now);
                self.start()
            }
            sound::Action::Listen => {
                let (settings, news) = (self.settings.clone(), self.news.clone());
                // Not waited for: its driver may hang.
                let listen = move || {
                    let heard = source::listen(&settings);
                    news.tell(|news| news.heard = Some(heard));
                };
                let thread = thread::Builder::new().name("peercam-listen".to_owned());
                if let Err(error) = thread.spawn(listen) {
                    self.news.tell(|news| news.heard = Some(Err(error.to_string())));
                }
                None
            }
        }
    }

    /// Until when the microphone must have given something; none without a microphone.
    fn sound_deadline(&self) -> Option<Instant> {
        let Phase::Running { since, .. } = self.lifecycle.main.phase() else { return None };
        let (_, pulses) = self.run.as_ref().filter(|_| self.has_microphone())?;
        self.sound.is_on().then(|| patience(*since, pulses.main.sound.last()))
    }

    /// Says so if the microphone alone has stalled.
    fn silence(&self, now: Instant) -> Option<String> {
        let late = self.sound_deadline().is_some_and(|deadline| now >= deadline);
        let (_, pulses) = self.run.as_ref().filter(|_| late)?;
        let Phase::Running { since, .. } = self.lifecycle.main.phase() else { return None };
        let picture_is_late = now >= patience(*since, pulses.main.picture.last());
        let message = "the microphone gives no sound (audio.source = \"none\" does without)";
        (!picture_is_late).then(|| message.to_owned())
    }

    fn has_microphone(&self) -> bool {
        self.settings.audio.as_ref().is_some_and(|a| matches!(a.input, AudioInput::Alsa(_)))
    }

    /// Does what is due to the second encode. It can only run in a pipeline that is live.
    fn step_sub(&mut self, fault: Option<String>) {
        let seen = self.observe(Stream::Sub, fault);
        let action = self.lifecycle.sub.step(Instant::now(), seen);
        let Some((run, pulses)) = &self.run else { return };
        match action {
            Some(Action::Start) => {
                pulses.sub.clear();
                run.start_sub(&self.encoder.sub);
            }
            Some(Action::Stop) => {
                // And again when it is out. Nobody who comes now begins with what is over.
                self.hubs.sub.reset();
                run.stop_sub();
                if let Phase::Failed { message, .. } = self.lifecycle.sub.phase() {
                    tracing::warn!(encoder = %self.encoder.sub, "no smaller picture: {message}");
                    self.encoder.sub = self.other_encoder();
                }
            }
            None => {}
        }
    }

    /// The encoder after the one that failed, and after the last one the first: some hardware
    /// encodes one picture at a time.
    fn other_encoder(&self) -> String {
        let all = &self.settings.video.encoders;
        let failed = all.iter().position(|element| *element == self.encoder.sub);
        let rest = failed.map_or(&all[..], |failed| &all[failed + 1..]);
        encoder::choose(rest).unwrap_or_else(|_| self.encoder.main.clone())
    }

    fn observe(&self, stream: Stream, fault: Option<String>) -> Observation {
        let live = matches!(self.lifecycle.main.phase(), Phase::Running { live: true, .. });
        let watchers = match stream {
            Stream::Main => Stream::ALL.iter().map(|stream| self.hubs[*stream].subscribers()).sum(),
            Stream::Sub if live && self.settings.video.sub.is_some() => self.hubs.sub.subscribers(),
            Stream::Sub => 0,
        };
        let names = match stream {
            Stream::Main => ["picture", "muxed picture"],
            Stream::Sub => ["smaller picture", "muxed smaller picture"],
        };
        let outputs = self.run.iter().flat_map(|(_, pulses)| {
            let pulse = &pulses[stream];
            // Without its microphone the picture goes on; a file without its sound is broken.
            let sound = self.settings.audio.as_ref();
            let sound = sound.filter(|_| stream == Stream::Main && !self.has_microphone());
            let sound = sound.map(|_| ("sound", pulse.sound.last()));
            names.into_iter().zip([pulse.picture.last(), pulse.chunk.last()]).chain(sound)
        });
        Observation { watchers, outputs: outputs.collect(), fault }
    }

    /// When there is something to do, should nothing happen until then.
    fn deadline(&self) -> Option<Instant> {
        let tick = self.run.is_some().then(|| Instant::now() + STATUS_INTERVAL);
        let deadlines = Stream::ALL.into_iter().flat_map(|stream| {
            let lifecycle = self.lifecycle[stream].deadline(&self.observe(stream, None));
            [lifecycle, self.key_frames[stream].deadline()]
        });
        deadlines.chain([tick, self.sound.deadline(), self.sound_deadline()]).flatten().min()
    }

    fn is_running(&self, stream: Stream) -> bool {
        matches!(self.lifecycle[stream].phase(), Phase::Running { .. })
    }

    /// Key frames and bit rates.
    fn take_wishes(&mut self, news: &News) {
        for stream in Stream::ALL {
            if !self.is_running(stream) {
                self.key_frames[stream].forget();
            } else if news.key_frame[stream] {
                self.key_frames[stream].want();
            }
            if let Some(kbps) = news.bitrate[stream] {
                self.kbps[stream] = kbps;
                if let Some((run, _)) = &self.run {
                    run.set_bitrate(stream, kbps);
                }
            }
        }
    }

    fn request_key_frames(&mut self) {
        let now = Instant::now();
        for stream in Stream::ALL {
            if let Some((run, _)) = &self.run
                && self.key_frames[stream].take(now)
            {
                run.request_key_frame(stream);
            }
        }
    }

    /// Starts a run; says what went wrong if it can't.
    fn start(&mut self) -> Option<String> {
        if self.hanging.take_if(|run| run.has_ended()).is_none() && self.hanging.is_some() {
            return Some("a device does not let go: its driver hangs; unplug it".to_owned());
        }
        self.runs += 1;
        let (news, number) = (self.news.clone(), self.runs);
        let failed = move |part, message| {
            news.tell(|news| {
                let fault = match part {
                    Part::Main => &mut news.fault.main,
                    Part::Sub => &mut news.fault.sub,
                    Part::Sound => &mut news.sound_fault,
                };
                *fault = Some((number, message));
            });
        };
        let outlet = |stream: Stream, encoded: Arc<AtomicU64>| {
            let news = self.news.clone();
            Outlet {
                hubs: self.hubs[stream].clone(),
                clock: self.clock.clone(),
                pulse: Arc::default(),
                encoded,
                came_alive: Arc::new(move || news.tell(|news| news.look = true)),
            }
        };
        let outlets = Each {
            main: outlet(Stream::Main, self.encoded.clone()),
            sub: outlet(Stream::Sub, Arc::default()),
        };
        let pulses = Each { main: outlets.main.pulse.clone(), sub: outlets.sub.pulse.clone() };
        let encoder = self.encoder.main.clone();
        let mut settings = self.settings.clone();
        if !self.sound.is_on() {
            Arc::make_mut(&mut settings).audio = None;
        }
        match Run::start(settings, encoder, self.kbps, outlets, failed) {
            Ok(run) => {
                self.run = Some((run, pulses));
                None
            }
            Err(error) => Some(format!("the pipeline's thread can't be started: {error}")),
        }
    }

    fn stop_run(&mut self) {
        // First, so that nobody who comes now begins with what is over; and again, since the run
        // went on until it stopped.
        self.reset_hubs();
        if let Some((run, _)) = self.run.take() {
            self.hanging = run.stop().or(self.hanging.take());
        }
        self.reset_hubs();
        self.lifecycle.sub = Lifecycle::new(self.settings.linger);
    }

    fn reset_hubs(&self) {
        for stream in Stream::ALL {
            self.hubs[stream].reset();
        }
    }

    /// State, and why if it failed.
    fn state(&self, stream: Stream) -> (State, Option<String>) {
        match self.lifecycle[stream].phase() {
            Phase::Idle => (State::Idle, None),
            Phase::Running { live: false, .. } => (State::Starting, None),
            Phase::Running { live: true, .. } => (State::Live, None),
            Phase::Failed { message, .. } => (State::Failed, Some(message.clone())),
        }
    }

    /// What a stream sends, as far as that is known in this run.
    fn stream(&self, stream: Stream) -> Option<StreamInfo> {
        let (_, pulses) = self.run.as_ref()?;
        let video = &self.settings.video;
        let encode = match stream {
            Stream::Main => &video.main,
            Stream::Sub => video.sub.as_ref()?,
        };
        Some(StreamInfo {
            width: encode.width,
            height: encode.height,
            video_codec: pulses[stream].codec()?,
            bitrate_kbps: self.kbps[stream],
            audio: self.settings.audio.is_some() && self.sound.is_on(),
        })
    }

    /// Tells the world what has changed; says in the log what a person wants to know.
    fn publish_status(&self) {
        let (state, message) = self.state(Stream::Main);
        let (sub_state, sub_message) = self.state(Stream::Sub);
        self.status.send_if_modified(|status| {
            let new = Status {
                state,
                message,
                encoder: status.encoder.clone(),
                stream: self.stream(Stream::Main).or_else(|| status.stream.clone()),
                sub: SubStatus {
                    state: sub_state,
                    message: sub_message,
                    stream: self.stream(Stream::Sub).or_else(|| status.sub.stream.clone()),
                },
                no_sound: self.sound.message().map(str::to_owned),
                frames_encoded: self.encoded.load(Ordering::Relaxed),
            };
            if new.state != status.state {
                match &new.message {
                    Some(message) => tracing::warn!("no picture: {message}"),
                    None => {
                        tracing::info!(state = ?new.state, encoder = %self.encoder.main, "camera");
                    }
                }
            }
            if new.sub.state != status.sub.state && new.sub.message.is_none() {
                tracing::info!(state = ?new.sub.state, encoder = %self.encoder.sub, "second encode");
            }
            let changed = new != *status;
            *status = new;
            changed
        });
    }
}
