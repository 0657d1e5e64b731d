//! One run of the pipeline: from devices to units.
//!
//! ```text
//!  picture ─▶ clock ─▶ tee ─┬─▶ main encode ─▶ access units, chunks
//!                           └─▶ sub encode, while it is wanted ─▶ access units, chunks
//!  sound ─▶ tee ─┬─▶ queue ─▶ voaacenc ─▶ tee ─▶ into the chunks of both
//!                └─▶ queue ─▶ opusenc ─▶ audio packets
//! ```
//!
//! | module | holds |
//! |---|---|
//! | [`source`] | the head of picture and sound: test, V4L2, ALSA |
//! | [`v4l2`] | which mode of a capture device to use |
//! | [`file`] | a file, played in a loop |
//! | [`encode`] | one encode of the picture: from raw pictures to access units and chunks |
//! | [`gate`] | which pictures are encoded: frame rate, and room in the bit rate |
//! | [`encoder`] | which H.264 encoder works here, and its settings |
//! | [`sink`] | the ends: from buffers to units |
//! | [`mp4`], [`h264`] | as much of the formats as has to be read |
//! | [`time`] | from the pipeline's time to the wall clock |
//! | [`elements`] | making and linking elements |

pub(crate) mod elements;
mod encode;
pub(crate) mod encoder;
mod file;
mod gate;
mod h264;
mod mp4;
pub(crate) mod sink;
pub(crate) mod source;
pub(crate) mod time;
mod v4l2;

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, mpsc},
    thread,
    time::{Duration, Instant},
};

use gstreamer as gst;
use gstreamer::prelude::*;

use crate::{
    config::{AudioInput, AudioSettings, EncodeSettings, Settings, VideoInput},
    error::Error,
    pipeline::{
        elements::{add_chain, filter, link_chain, make, queue, static_pad},
        encode::{Encode, NOT_NEGOTIATED, Plan},
        file::FilePlayer,
        sink::Outlet,
    },
    signal::Signal,
    stream::{Each, Stream},
};

/// What the thread of a run is told.
#[derive(Debug, Default, PartialEq)]
struct Orders {
    stop: bool,
    key_frame: Each<bool>,
    /// In kbit/s.
    bitrate: Each<Option<u32>>,
    sub: Option<SubOrder>,
    /// A file has come to its end.
    rewind: bool,
    fault: Each<Option<String>>,
    sound_fault: Option<String>,
}

/// What of a run has failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    /// The run as a whole.
    Main,
    /// Only the second encode: it was taken out, and the run goes on.
    Sub,
    /// The microphone, and the run with it.
    Sound,
}

/// Why a run has ended.
struct Fault {
    part: Part,
    message: String,
}

impl From<String> for Fault {
    fn from(message: String) -> Self {
        Self { part: Part::Main, message }
    }
}

impl Orders {
    /// An error if the microphone has failed.
    fn sound_fault(&self) -> Result<(), Fault> {
        self.sound_fault.clone().map_or(Ok(()), |message| Err(Fault { part: Part::Sound, message }))
    }
}

/// What is to happen to the second encode.
#[derive(Debug, PartialEq)]
enum SubOrder {
    /// With this encoder.
    Start(String),
    Stop,
}

/// A pipeline that runs, in a thread of its own: whatever a driver does to it, the camera's own
/// thread goes on.
pub(crate) struct Run {
    orders: Arc<Signal<Orders>>,
    thread: thread::JoinHandle<()>,
    /// Nothing is ever sent: the thread's end closes it.
    end: mpsc::Receiver<()>,
}

/// What the parts of a pipeline are, to GStreamer.
pub(crate) const BIN: &str = "bin";
/// Their names.
const MAIN: &str = "main";
const SUB: &str = "sub";

/// How long a driver may take to let go of its device before the camera goes on without it.
const TEAR_DOWN: Duration = Duration::from_secs(3);

impl Run {
    /// Builds the pipeline, with the main encode, and runs it, at bit rates in kbit/s. `failed` is
    /// called, in the run's thread, with what has failed and a sentence that says why.
    pub(crate) fn start(
        settings: Arc<Settings>,
        encoder: String,
        kbps: Each<u32>,
        outlets: Each<Outlet>,
        failed: impl Fn(Part, String) + Send + 'static,
    ) -> std::io::Result<Self> {
        let orders = Arc::new(Signal::default());
        let (alive, end) = mpsc::channel();
        let for_thread = orders.clone();
        let thread =
            thread::Builder::new().name("peercam-pipeline".to_owned()).spawn(move || {
                let _alive = alive;
                // The bindings panic when an element lacks a property: another version of GStreamer.
                let result = catch_unwind(AssertUnwindSafe(|| {
                    run(&settings, &encoder, kbps, outlets, &for_thread, &failed)
                }));
                match result {
                    Ok(Ok(())) => {}
                    Ok(Err(Fault { part, message })) => failed(part, message),
                    Err(_) => {
                        let message = "the pipeline can't be built with this GStreamer";
                        failed(Part::Main, message.to_owned());
                    }
                }
            })?;
        Ok(Self { orders, thread, end })
    }

    /// Asks an encoder for a key frame.
    pub(crate) fn request_key_frame(&self, stream: Stream) {
        self.orders.tell(|orders| orders.key_frame[stream] = true);
    }

    /// Changes the bit rate of an encode, in kbit/s.
    pub(crate) fn set_bitrate(&self, stream: Stream, kbps: u32) {
        self.orders.tell(|orders| orders.bitrate[stream] = Some(kbps));
    }

    /// Adds the second encode, with this encoder.
    pub(crate) fn start_sub(&self, encoder: &str) {
        self.orders.tell(|orders| orders.sub = Some(SubOrder::Start(encoder.to_owned())));
    }

    /// Takes the second encode out, if it is there.
    pub(crate) fn stop_sub(&self) {
        self.orders.tell(|orders| orders.sub = Some(SubOrder::Stop));
    }

    /// Stops the pipeline and waits for its thread. A thread that hangs in a driver is given
    /// back: no other run may start before it has ended.
    pub(crate) fn stop(self) -> Option<Self> {
        self.orders.tell(|orders| orders.stop = true);
        if self.end.recv_timeout(TEAR_DOWN) == Err(mpsc::RecvTimeoutError::Timeout) {
            tracing::warn!("a device does not let go: its driver hangs");
            return Some(self);
        }
        if self.thread.join().is_err() {
            tracing::error!("the pipeline's thread has panicked");
        }
        None
    }

    /// Whether the thread is gone.
    pub(crate) fn has_ended(&self) -> bool {
        self.thread.is_finished()
    }
}

/// Whether every element that the settings ask for is there.
pub(crate) fn require(settings: &Settings) -> Result<(), Error> {
    let require = elements::require;
    for element in ["appsink", "capsfilter", "queue", "tee"] {
        require(element, "by every pipeline")?;
    }
    require("h264parse", "to cut the encoder's stream into access units")?;
    let file: &[&str] = &["filesrc", "decodebin", "clocksync"];
    let video: (&[&str], &str) = match settings.video.input {
        VideoInput::Test => (&["videotestsrc"], "for video.source = \"test\""),
        VideoInput::V4l2(_) => {
            (&["v4l2src", "videoconvertscale", "videorate"], "for video.source = \"v4l2\"")
        }
        VideoInput::File(_) => {
            for element in file {
                require(element, "for video.source = \"file\"")?;
            }
            (&["videoconvertscale", "videorate"], "for video.source = \"file\"")
        }
    };
    video.0.iter().try_for_each(|element| require(element, video.1))?;
    if settings.video.sub.is_some() {
        require("videoconvertscale", "for the smaller picture of video.sub")?;
    }
    let Some(audio) = &settings.audio else { return Ok(()) };
    let source: (&[&str], &str) = match audio.input {
        AudioInput::Test => (&["audiotestsrc"], "for audio.source = \"test\""),
        AudioInput::Alsa(_) => (&["alsasrc"], "for audio.source = \"alsa\""),
        AudioInput::File(_) => {
            for element in file {
                require(element, "for audio.source = \"file\"")?;
            }
            (&["audiorate", "audiotestsrc"], "for audio.source = \"file\"")
        }
    };
    source.0.iter().try_for_each(|element| require(element, source.1))?;
    for element in ["audioconvert", "audioresample"] {
        require(element, "for sound")?;
    }
    require("opusenc", "for the sound of the rtp transport")?;
    require("voaacenc", "for the sound of the fmp4 transport")
}

/// A built pipeline; put back to NULL when it goes.
struct Pipeline {
    pipeline: gst::Pipeline,
    main: Encode,
    sub: Option<Encode>,
    /// Where another encode gets its picture and its sound from.
    picture: gst::Element,
    sound: Option<gst::Element>,
    files: Vec<FilePlayer>,
}

impl Drop for Pipeline {
    fn drop(&mut self) {
        if let Some(bus) = self.pipeline.bus() {
            bus.unset_sync_handler();
        }
        if self.pipeline.set_state(gst::State::Null).is_err() {
            tracing::warn!("the pipeline can't be stopped in order");
        }
    }
}

/// A run from beginning to end, in its own thread.
fn run(
    settings: &Settings,
    encoder: &str,
    mut kbps: Each<u32>,
    outlets: Each<Outlet>,
    orders: &Arc<Signal<Orders>>,
    failed: &dyn Fn(Part, String),
) -> Result<(), Fault> {
    let mut pipeline = build(settings, encoder, kbps.main, &outlets, orders)?;
    outlets.main.clock.drive(&pipeline.pipeline);
    watch_bus(&pipeline.pipeline, settings, encoder, orders);
    let started = pipeline.pipeline.set_state(gst::State::Playing);
    // What went wrong stands on the bus, in more words than the state change has.
    if started.is_err() {
        let told = orders.wait(Some(Instant::now() + Duration::from_millis(200)));
        told.sound_fault()?;
        let message = told.fault.main;
        return Err(message.unwrap_or_else(|| "the pipeline can't be started".to_owned()).into());
    }
    loop {
        let told = orders.wait(None);
        if told.stop {
            return Ok(());
        }
        told.sound_fault()?;
        if let Some(fault) = told.fault.main {
            return Err(fault.into());
        }
        if told.rewind {
            pipeline.files.iter().try_for_each(FilePlayer::rewind)?;
        }
        for stream in Stream::ALL {
            if let Some(new) = told.bitrate[stream] {
                kbps[stream] = new;
                if let Some(encode) = pipeline.encode(stream) {
                    encode.set_bitrate(new);
                }
            }
        }
        if let Some(fault) = told.fault.sub {
            pipeline.stop_sub(&outlets.sub);
            failed(Part::Sub, fault);
        }
        match told.sub {
            Some(SubOrder::Start(encoder)) if pipeline.sub.is_none() => {
                if let Err(fault) = pipeline.start_sub(settings, &encoder, kbps.sub, &outlets.sub) {
                    // What is on the bus already says more.
                    orders.tell(|orders| _ = orders.fault.sub.get_or_insert(fault));
                }
            }
            Some(SubOrder::Stop) => pipeline.stop_sub(&outlets.sub),
            _ => {}
        }
        for stream in Stream::ALL.into_iter().filter(|stream| told.key_frame[*stream]) {
            if let Some(encode) = pipeline.encode(stream) {
                encode.request_key_frame();
            }
        }
    }
}

impl Pipeline {
    fn encode(&self, stream: Stream) -> Option<&Encode> {
        match stream {
            Stream::Main => Some(&self.main),
            Stream::Sub => self.sub.as_ref(),
        }
    }

    /// Adds the second encode while the pipeline runs.
    fn start_sub(
        &mut self,
        settings: &Settings,
        element: &str,
        kbps: u32,
        outlet: &Outlet,
    ) -> Result<(), String> {
        let video = &settings.video;
        let Some(encode) = &video.sub else { return Ok(()) };
        let sound = self.sound.is_some();
        let (name, outlet) = (SUB, outlet.clone());
        let plan = Plan { name, element, video, encode, kbps, sound, outlet };
        let sub = self.sub.insert(Encode::new(plan)?);
        sub.attach(&self.pipeline, &self.picture, self.sound.as_ref())?;
        // The muxer waits for its inputs according to how late they may be.
        if self.pipeline.recalculate_latency().is_err() {
            tracing::debug!("the pipeline's latency can't be told");
        }
        Ok(())
    }

    /// Takes the second encode out, if there is one, while the pipeline runs.
    fn stop_sub(&mut self, outlet: &Outlet) {
        if let Some(sub) = self.sub.take() {
            sub.detach(&self.pipeline);
            // Nobody who comes later begins with what is over.
            outlet.hubs.reset();
        }
    }
}

/// Errors become orders to end; everything else on the bus is dropped where it is posted.
fn watch_bus(
    pipeline: &gst::Pipeline,
    settings: &Settings,
    encoder: &str,
    orders: &Arc<Signal<Orders>>,
) {
    let Some(bus) = pipeline.bus() else { return };
    let (settings, encoder, orders) = (settings.clone(), encoder.to_owned(), orders.clone());
    bus.set_sync_handler(move |_, message| {
        match message.view() {
            gst::MessageView::Error(error) => {
                let source = message.src();
                let stream = source.map_or(Stream::Main, stream_of);
                let factory = source
                    .and_then(|source| source.downcast_ref::<gst::Element>())
                    .and_then(gst::Element::factory)
                    .map(|factory| factory.name().to_string())
                    .unwrap_or_default();
                tracing::debug!(element = %factory, details = ?error.debug(), "pipeline error");
                let refused = error.debug().is_some_and(|debug| debug.contains(NOT_NEGOTIATED));
                let fault = match (refused, stream, &settings.video.sub) {
                    (true, Stream::Sub, Some(sub)) => refusal(&factory, &encoder, "video.sub", sub),
                    (true, ..) => refusal(&factory, &encoder, "video", &settings.video.main),
                    (false, ..) => source::explain(&settings, &factory, error.error().message()),
                };
                // The first error is the cause; those after it are what follows from it.
                orders.tell(|orders| {
                    let faults = match factory.as_str() {
                        source::MICROPHONE => &mut orders.sound_fault,
                        _ => &mut orders.fault[stream],
                    };
                    _ = faults.get_or_insert(fault);
                });
            }
            gst::MessageView::Warning(warning) => {
                tracing::debug!(details = ?warning.debug(), "pipeline warning: {}", warning.error());
            }
            _ => {}
        }
        gst::BusSyncReply::Drop
    });
}

/// Which encode an element belongs to. All that both need belongs to the main one.
fn stream_of(source: &gst::Object) -> Stream {
    let mut parents = std::iter::successors(Some(source.clone()), gst::Object::parent);
    if parents.any(|object| object.name() == SUB) { Stream::Sub } else { Stream::Main }
}

fn refusal(factory: &str, encoder: &str, table: &str, encode: &EncodeSettings) -> String {
    let EncodeSettings { width, height, framerate, .. } = encode;
    // What an encode refuses, the part of the pipeline that holds it reports.
    let who = match factory {
        BIN | "" => encoder.to_owned(),
        _ => format!("{factory} and {encoder}"),
    };
    format!(
        "{who} can't do {width}x{height} at {framerate} pictures a second: choose another \
         {table}.width, {table}.height or {table}.framerate"
    )
}

fn build(
    settings: &Settings,
    element: &str,
    kbps: u32,
    outlets: &Each<Outlet>,
    orders: &Arc<Signal<Orders>>,
) -> Result<Pipeline, String> {
    let pipeline = gst::Pipeline::new();
    let video = &settings.video;
    let clock = &outlets.main.clock;
    let mut heads = source::Heads::new(&pipeline, clock.clone(), orders.clone());
    let head = heads.picture(video)?;
    let sound = settings.audio.as_ref().map(|audio| heads.sound(&audio.input)).transpose()?;
    let files = heads.connect_files()?;

    if video.clock {
        source::draw_clock(&head, clock.clone())?;
    }
    let picture = make("tee")?;
    add_chain(&pipeline, &[&picture])?;
    link_chain(&[&head, &picture])?;
    let sound = match (&settings.audio, sound) {
        (Some(audio), Some(sound)) => {
            Some(encode_sound(&pipeline, audio, &sound, outlets.clone())?)
        }
        _ => None,
    };

    let (encode, outlet) = (&video.main, outlets.main.clone());
    let (name, sounds) = (MAIN, sound.is_some());
    let plan = Plan { name, element, video, encode, kbps, sound: sounds, outlet };
    let mut main = Encode::new(plan)?;
    main.attach(&pipeline, &picture, sound.as_ref())?;
    Ok(Pipeline { pipeline, main, sub: None, picture, sound, files })
}

/// Encodes the sound: Opus goes out, AAC comes out of the tee that is returned.
fn encode_sound(
    pipeline: &gst::Pipeline,
    audio: &AudioSettings,
    sound: &gst::Element,
    outlets: Each<Outlet>,
) -> Result<gst::Element, String> {
    let split = make("tee")?;
    add_chain(pipeline, &[&split])?;
    link_chain(&[sound, &split])?;

    let before_opus = queue(100)?;
    let opus = make("opusenc")?;
    opus.set_property("bitrate", audio.opus_bitrate_kbps as i32 * 1000);
    opus.set_property_from_str("frame-size", &sink::OPUS_FRAME.as_millis().to_string());
    // Half of what it can do: hardly heard, and a third of the time on a small board.
    opus.set_property("complexity", 5i32);
    let packet_sink = sink::audio_packets(outlets);
    add_chain(pipeline, &[&before_opus, &opus, packet_sink.upcast_ref()])?;
    link_chain(&[&split, &before_opus])?;

    let before_aac = queue(100)?;
    let aac = make("voaacenc")?;
    aac.set_property("bitrate", audio.aac_bitrate_kbps as i32 * 1000);
    let caps = gst::Caps::builder("audio/mpeg")
        .field("mpegversion", 4i32)
        .field("stream-format", "raw")
        .build();
    let encoded = filter(&caps)?;
    let ready = make("tee")?;
    add_chain(pipeline, &[&before_aac, &aac, &encoded, &ready])?;
    link_chain(&[&split, &before_aac])?;
    Ok(ready)
}

/// Attaches a probe that must not panic: a panic cannot cross GStreamer's C code.
fn add_probe(
    element: &gst::Element,
    pad: &str,
    mask: gst::PadProbeType,
    probe: impl Fn(&gst::Pad, &mut gst::PadProbeInfo) -> gst::PadProbeReturn + Send + Sync + 'static,
) -> Result<(), String> {
    static_pad(element, pad)?
        .add_probe(mask, probe)
        .map(drop)
        .ok_or_else(|| format!("{} takes no probe", element.name()))
}
