//! One run of the pipeline: from devices to units.
//!
//! ```text
//!  picture ─▶ clock ─▶ queue ─▶ encoder ─▶ tee ─┬─▶ h264parse ─▶ access units
//!                                               └─▶ queue ─▶ h264parse ─▶ isofmp4mux ─▶ chunks
//!  sound ──▶ tee ─┬─▶ queue ─▶ voaacenc ──────────────────────────────▶ ┘
//!                 └─▶ queue ─▶ opusenc ─▶ audio packets
//! ```
//!
//! | module | holds |
//! |---|---|
//! | [`source`] | the head of picture and sound: test, V4L2, ALSA |
//! | [`v4l2`] | which mode of a capture device to use |
//! | [`file`] | a file, played in a loop |
//! | [`encoder`] | which H.264 encoder works here, and its settings |
//! | [`sink`] | the ends: from buffers to units |
//! | [`mp4`], [`h264`] | as much of the formats as has to be read |
//! | [`time`] | from the pipeline's time to the wall clock |
//! | [`elements`] | making and linking elements |

pub(crate) mod elements;
pub(crate) mod encoder;
mod file;
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
    config::{AudioInput, AudioSettings, Settings, VideoInput},
    error::Error,
    pipeline::{
        elements::{add_chain, filter, link_chain, make, queue, static_pad},
        file::FilePlayer,
        sink::Outlet,
    },
    signal::Signal,
};

/// What the thread of a run is told.
#[derive(Debug, Default, PartialEq)]
struct Orders {
    stop: bool,
    key_frame: bool,
    /// In kbit/s.
    bitrate: Option<u32>,
    /// A file has come to its end.
    rewind: bool,
    fault: Option<String>,
}

/// A pipeline that runs, in a thread of its own: whatever a driver does to it, the camera's own
/// thread goes on.
pub(crate) struct Run {
    orders: Arc<Signal<Orders>>,
    thread: thread::JoinHandle<()>,
    /// Nothing is ever sent: the thread's end closes it.
    end: mpsc::Receiver<()>,
}

/// Ten years: larger than any run, small enough to add to any time.
const FOR_EVER: gst::ClockTime = gst::ClockTime::from_seconds(10 * 365 * 86_400);

/// How long a driver may take to let go of its device before the camera goes on without it.
const TEAR_DOWN: Duration = Duration::from_secs(3);

impl Run {
    /// Builds the pipeline and runs it. `failed` is called, in the run's thread, when it fails:
    /// with a sentence that says what and why.
    pub(crate) fn start(
        settings: Arc<Settings>,
        encoder: String,
        kbps: u32,
        outlet: Outlet,
        failed: impl Fn(String) + Send + 'static,
    ) -> std::io::Result<Self> {
        let orders = Arc::new(Signal::default());
        let (alive, end) = mpsc::channel();
        let for_thread = orders.clone();
        let thread =
            thread::Builder::new().name("peercam-pipeline".to_owned()).spawn(move || {
                let _alive = alive;
                // The bindings panic when an element lacks a property: another version of GStreamer.
                let result = catch_unwind(AssertUnwindSafe(|| {
                    run(&settings, &encoder, kbps, outlet, &for_thread)
                }));
                match result {
                    Ok(Ok(())) => {}
                    Ok(Err(message)) => failed(message),
                    Err(_) => failed("the pipeline can't be built with this GStreamer".to_owned()),
                }
            })?;
        Ok(Self { orders, thread, end })
    }

    /// Asks the encoder for a key frame.
    pub(crate) fn request_key_frame(&self) {
        self.orders.tell(|orders| orders.key_frame = true);
    }

    /// Changes the bit rate of the picture, in kbit/s.
    pub(crate) fn set_bitrate(&self, kbps: u32) {
        self.orders.tell(|orders| orders.bitrate = Some(kbps));
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
    encoder: gst::Element,
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
    kbps: u32,
    outlet: Outlet,
    orders: &Arc<Signal<Orders>>,
) -> Result<(), String> {
    let clock = outlet.clock.clone();
    let pipeline = build(settings, encoder, kbps, outlet, orders)?;
    clock.drive(&pipeline.pipeline);
    watch_bus(&pipeline.pipeline, settings, encoder, orders);
    let started = pipeline.pipeline.set_state(gst::State::Playing);
    // What went wrong stands on the bus, in more words than the state change has.
    if started.is_err() {
        let told = orders.wait(Some(Instant::now() + Duration::from_millis(200)));
        return Err(told.fault.unwrap_or_else(|| "the pipeline can't be started".to_owned()));
    }
    loop {
        let told = orders.wait(None);
        if told.stop {
            return Ok(());
        }
        if let Some(fault) = told.fault {
            return Err(fault);
        }
        if told.rewind {
            pipeline.files.iter().try_for_each(FilePlayer::rewind)?;
        }
        if let Some(kbps) = told.bitrate {
            encoder::set_bitrate(&pipeline.encoder, encoder, kbps);
        }
        if told.key_frame {
            let event =
                gstreamer_video::UpstreamForceKeyUnitEvent::builder().all_headers(true).build();
            if !pipeline.encoder.send_event(event) {
                tracing::debug!("the encoder did not take the request for a key frame");
            }
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
                let factory = message
                    .src()
                    .and_then(|source| source.downcast_ref::<gst::Element>())
                    .and_then(gst::Element::factory)
                    .map(|factory| factory.name().to_string())
                    .unwrap_or_default();
                tracing::debug!(element = %factory, details = ?error.debug(), "pipeline error");
                // What an encoder refuses, the source reports.
                let refused = error.debug().is_some_and(|debug| debug.contains("not-negotiated"));
                let fault = if refused {
                    let video = &settings.video.main;
                    format!(
                        "{factory} and {encoder} can't agree on {}x{} at {} pictures a second: \
                         choose another video.width, video.height or video.framerate",
                        video.width, video.height, video.framerate
                    )
                } else {
                    source::explain(&settings, &factory, error.error().message())
                };
                // The first error is the cause; those after it are what follows from it.
                orders.tell(|orders| _ = orders.fault.get_or_insert(fault));
            }
            gst::MessageView::Warning(warning) => {
                tracing::debug!(details = ?warning.debug(), "pipeline warning: {}", warning.error());
            }
            _ => {}
        }
        gst::BusSyncReply::Drop
    });
}

fn build(
    settings: &Settings,
    encoder: &str,
    kbps: u32,
    outlet: Outlet,
    orders: &Arc<Signal<Orders>>,
) -> Result<Pipeline, String> {
    let pipeline = gst::Pipeline::new();
    let mut heads = source::Heads::new(&pipeline, outlet.clock.clone(), orders.clone());
    let picture = heads.picture(&settings.video)?;
    let sound = settings.audio.as_ref().map(|audio| heads.sound(&audio.input)).transpose()?;
    let files = heads.connect_files()?;

    if settings.video.clock {
        source::draw_clock(&picture, outlet.clock.clone())?;
    }
    // When the encoder is too slow, pictures are lost here, before they are encoded, instead of
    // coming later and later. A file may come in bursts, and nobody sees that it is late.
    let raw = queue(match settings.video.input {
        VideoInput::File(_) => settings.video.main.framerate.div_ceil(2),
        VideoInput::Test | VideoInput::V4l2(_) => 2,
    })?;
    raw.set_property_from_str("leaky", "downstream");
    let (encoder, caps) = encoder::make(encoder, &settings.video.main, kbps)?;
    let encoded = filter(&caps)?;
    let split = make("tee")?;
    add_chain(&pipeline, &[&raw, &encoder, &encoded, &split])?;
    link_chain(&[&picture, &raw])?;

    let units = h264_branch("byte-stream", "au")?;
    let unit_sink = sink::access_units(outlet.clone());
    add_chain(&pipeline, &[&units[0], &units[1], unit_sink.upcast_ref()])?;
    link_chain(&[&split, &units[0]])?;

    let mux = gst::ElementFactory::make("isofmp4mux")
        .build()
        .map_err(|error| format!("isofmp4mux, which is built in, can't be made: {error}"))?;
    // The muxer knows a picture's end when the next one comes, and cuts at the first picture that
    // is later than chunk-duration: anything well below a frame gives one picture a chunk, as soon
    // as possible. A fragment never ends: at each end the muxer holds sound back until the next
    // key frame. For a player the difference is a number in a box it doesn't look at.
    let frame = gst::ClockTime::SECOND / u64::from(settings.video.main.framerate);
    mux.set_property("fragment-duration", FOR_EVER);
    mux.set_property("chunk-duration", frame / 8);
    // Key frames come when the encoder or a viewer wants one.
    mux.set_property("send-force-keyunit", false);
    // An edit list would shift the track's time away from running time.
    mux.set_property_from_str("write-edts-mode", "never");
    let chunk_sink = sink::chunks(outlet.clone());
    add_chain(&pipeline, &[&mux, chunk_sink.upcast_ref()])?;

    // Two seconds and more: full only if the muxer hangs, which counts as a stall.
    let before_mux = queue(4 * settings.video.main.framerate.max(15))?;
    let samples = h264_branch("avc", "au")?;
    add_chain(&pipeline, &[&before_mux, &samples[0], &samples[1]])?;
    link_chain(&[&split, &before_mux])?;
    link_chain(&[&samples[1], &mux])?;

    if let (Some(audio), Some(sound)) = (&settings.audio, sound) {
        encode_sound(&pipeline, audio, &sound, &mux, outlet)?;
    }
    Ok(Pipeline { pipeline, encoder, files })
}

/// A parser that repeats the parameter sets before each key frame, and the format it is to make.
fn h264_branch(stream_format: &str, alignment: &str) -> Result<[gst::Element; 2], String> {
    let parse = make("h264parse")?;
    parse.set_property("config-interval", -1i32);
    let caps = gst::Caps::builder("video/x-h264")
        .field("stream-format", stream_format)
        .field("alignment", alignment)
        .build();
    Ok([parse, filter(&caps)?])
}

fn encode_sound(
    pipeline: &gst::Pipeline,
    audio: &AudioSettings,
    sound: &gst::Element,
    mux: &gst::Element,
    outlet: Outlet,
) -> Result<(), String> {
    let split = make("tee")?;
    add_chain(pipeline, &[&split])?;
    link_chain(&[sound, &split])?;

    let before_opus = queue(100)?;
    let opus = make("opusenc")?;
    opus.set_property("bitrate", audio.opus_bitrate_kbps as i32 * 1000);
    opus.set_property_from_str("frame-size", &sink::OPUS_FRAME.as_millis().to_string());
    // Half of what it can do: hardly heard, and a third of the time on a small board.
    opus.set_property("complexity", 5i32);
    let packet_sink = sink::audio_packets(outlet);
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
    add_chain(pipeline, &[&before_aac, &aac, &encoded])?;
    link_chain(&[&split, &before_aac])?;
    link_chain(&[&encoded, mux])
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
