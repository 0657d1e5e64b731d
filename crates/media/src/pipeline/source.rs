//! Where picture and sound come from: the heads of the pipeline.

use std::{
    path::Path,
    sync::Arc,
    time::{Duration, UNIX_EPOCH},
};

use gstreamer as gst;
use gstreamer::prelude::*;
use gstreamer_app as gst_app;
use gstreamer_video::prelude::*;

use crate::{
    clock,
    config::{AudioInput, EncodeSettings, Settings, VideoInput, VideoSettings},
    pipeline::{
        BIN, Orders, add_probe,
        elements::{add_chain, filter, make, queue},
        file::FilePlayer,
        time::MediaClock,
        v4l2,
    },
    signal::Signal,
};

/// Makes the heads of a pipeline. A file that gives both picture and sound is opened once.
pub(super) struct Heads<'a> {
    pipeline: &'a gst::Pipeline,
    clock: MediaClock,
    orders: Arc<Signal<Orders>>,
    files: Vec<FilePlayer>,
}

impl<'a> Heads<'a> {
    pub(super) fn new(
        pipeline: &'a gst::Pipeline,
        clock: MediaClock,
        orders: Arc<Signal<Orders>>,
    ) -> Self {
        Self { pipeline, clock, orders, files: Vec::new() }
    }

    /// Adds the picture's source; the element it ends with gives raw video of the size asked for.
    pub(super) fn picture(&mut self, video: &VideoSettings) -> Result<gst::Element, String> {
        match &video.input {
            VideoInput::Test => {
                let source = make("videotestsrc")?;
                source.set_property("is-live", true);
                source.set_property_from_str("pattern", "ball");
                source.set_property("foreground-color", 0xff6f_d8b8u32);
                source.set_property("background-color", 0xff20_3040u32);
                source.set_property_from_str("motion", "sweep");
                let raw = filter(&at_rate(&video.main, wanted_rate(&video.main)))?;
                add_chain(self.pipeline, &[&source, &raw])?;
                Ok(raw)
            }
            VideoInput::V4l2(device) => self.v4l2(video, device.as_deref()),
            VideoInput::File(path) => {
                let rate = make("videorate")?;
                // Timestamps begin late on the camera's clock; nothing is to be made up before.
                rate.set_property("skip-to-first", true);
                let scale = make("videoconvertscale")?;
                let raw = filter(&at_rate(&video.main, wanted_rate(&video.main)))?;
                // So much is decoded ahead that the start from the beginning is not seen.
                let ahead = queue(12)?;
                let pace = make("clocksync")?;
                add_chain(self.pipeline, &[&rate, &scale, &raw, &ahead, &pace])?;
                self.file(path)?.picture_to(&rate)?;
                Ok(pace)
            }
        }
    }

    /// Adds the sound's source; the element it ends with gives 48 kHz stereo.
    pub(super) fn sound(&mut self, input: &AudioInput) -> Result<gst::Element, String> {
        let convert = make("audioconvert")?;
        let resample = make("audioresample")?;
        let caps = gst::Caps::builder("audio/x-raw")
            .field("format", "S16LE")
            .field("layout", "interleaved")
            .field("rate", 48_000i32)
            .field("channels", 2i32)
            .build();
        let raw = filter(&caps)?;
        match input {
            AudioInput::Test => {
                let source = make("audiotestsrc")?;
                source.set_property("is-live", true);
                source.set_property_from_str("wave", "ticks");
                source.set_property("samplesperbuffer", 480i32);
                add_chain(self.pipeline, &[&source, &convert, &resample, &raw])?;
                Ok(raw)
            }
            AudioInput::Alsa(device) => {
                let source = microphone(device)?;
                add_chain(self.pipeline, &[&source, &convert, &resample, &raw])?;
                Ok(raw)
            }
            AudioInput::File(path) => {
                let rate = make("audiorate")?;
                rate.set_property("skip-to-first", true);
                let ahead = make("queue")?;
                ahead.set_property("max-size-buffers", 0u32);
                ahead.set_property("max-size-bytes", 0u32);
                ahead.set_property("max-size-time", 400_000_000u64);
                let pace = make("clocksync")?;
                add_chain(self.pipeline, &[&convert, &resample, &raw, &rate, &ahead, &pace])?;
                self.file(path)?.sound_to(&convert)?;
                Ok(pace)
            }
        }
    }

    /// Adds the files that were asked for.
    pub(super) fn connect_files(self) -> Result<Vec<FilePlayer>, String> {
        self.files.iter().try_for_each(|file| file.connect(self.pipeline))?;
        Ok(self.files)
    }

    fn file(&mut self, path: &Path) -> Result<&FilePlayer, String> {
        let index = match self.files.iter().position(|file| file.path() == path) {
            Some(index) => index,
            None => {
                let file = FilePlayer::new(path, self.clock.clone(), self.orders.clone())?;
                self.files.push(file);
                self.files.len() - 1
            }
        };
        Ok(&self.files[index])
    }

    fn v4l2(&self, video: &VideoSettings, device: Option<&Path>) -> Result<gst::Element, String> {
        let source = make("v4l2src")?;
        let (device, mode) = v4l2::open(&source, device, &video.main)?;
        tracing::info!(device = %device.display(), mode = %mode, "capture mode");
        let captured = filter(&mode.caps)?;
        let scale = make("videoconvertscale")?;
        let mut chain = vec![source, captured];
        if mode.jpeg {
            chain.push(make("jpegdec")?);
        }
        // A device that is slower than asked for is taken as it is: made-up pictures help nobody.
        let rate = if mode.is_faster_than(video.main.framerate) {
            let drop = make("videorate")?;
            drop.set_property("drop-only", true);
            chain.push(drop);
            wanted_rate(&video.main)
        } else {
            mode.framerate
        };
        let raw = filter(&at_rate(&video.main, rate))?;
        chain.push(scale);
        chain.push(raw.clone());
        add_chain(self.pipeline, &chain.iter().collect::<Vec<_>>())?;
        Ok(raw)
    }
}

fn wanted_rate(video: &EncodeSettings) -> gst::Fraction {
    gst::Fraction::new(video.framerate as i32, 1)
}

/// What goes to the clock and to the encoder: planar luma first, in one of the two formats of which
/// every encoder takes at least one. At any rate.
pub(super) fn raw_video(video: &EncodeSettings) -> gst::caps::Builder<gst::caps::NoFeature> {
    gst::Caps::builder("video/x-raw")
        .field("format", gst::List::new(["I420", "NV12"]))
        .field("width", video.width as i32)
        .field("height", video.height as i32)
        .field("pixel-aspect-ratio", gst::Fraction::new(1, 1))
}

fn at_rate(video: &EncodeSettings, framerate: gst::Fraction) -> gst::Caps {
    raw_video(video).field("framerate", framerate).build()
}

/// Draws the time of capture into every picture that leaves `picture`.
pub(super) fn draw_clock(picture: &gst::Element, media: MediaClock) -> Result<(), String> {
    let mask = gst::PadProbeType::BUFFER;
    add_probe(picture, "src", mask, move |pad, info| {
        let caps = pad.current_caps();
        let picture = caps.and_then(|caps| gstreamer_video::VideoInfo::from_caps(&caps).ok());
        if let (Some(picture), Some(buffer)) = (picture, info.buffer_mut()) {
            draw_time(buffer.make_mut(), &picture, &media);
        }
        gst::PadProbeReturn::Ok
    })
}

/// The probe sits behind a live source or a `clocksync`: both give running time as timestamps.
fn draw_time(
    buffer: &mut gst::BufferRef,
    picture: &gstreamer_video::VideoInfo,
    media: &MediaClock,
) {
    let Some(pts) = buffer.pts() else { return };
    let captured = media.wall(pts.into()).duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    let Ok(mut frame) = gstreamer_video::VideoFrameRef::from_buffer_ref_writable(buffer, picture)
    else {
        return;
    };
    let stride = usize::try_from(frame.plane_stride()[0]).unwrap_or(0);
    let (width, height) = (frame.width() as usize, frame.height() as usize);
    if let Ok(luma) = frame.plane_data_mut(0) {
        clock::draw(luma, stride, width, height, captured.as_millis() as u64);
    }
}

/// What an error of an element means to the person who wrote the settings.
pub(super) fn explain(settings: &Settings, factory: &str, message: &str) -> String {
    let message = message.trim_end_matches('.');
    let subject = match (factory, &settings.video.input, settings.audio.as_ref()) {
        ("v4l2src", VideoInput::V4l2(device), _) => {
            let device =
                device.as_ref().map_or_else(String::new, |it| format!(" {}", it.display()));
            return format!("the camera{device}: {message} ({})", v4l2::found());
        }
        (MICROPHONE, _, Some(audio)) => match &audio.input {
            AudioInput::Alsa(device) => {
                return format!(
                    "the sound device {device:?}: {message} ({}; audio.device names one, \
                     audio.source = \"none\" does without)",
                    sound_cards()
                );
            }
            _ => factory.to_owned(),
        },
        ("filesrc" | "decodebin" | "typefind", VideoInput::File(file), _) => {
            format!("the file {}", file.display())
        }
        ("filesrc" | "decodebin" | "typefind", _, Some(audio)) => match &audio.input {
            AudioInput::File(file) => format!("the file {}", file.display()),
            _ => factory.to_owned(),
        },
        ("" | BIN, ..) => "the pipeline".to_owned(),
        _ => factory.to_owned(),
    };
    format!("{subject}: {message}")
}

/// The element that listens to a microphone.
pub(super) const MICROPHONE: &str = "alsasrc";

fn microphone(device: &str) -> Result<gst::Element, String> {
    let source = make(MICROPHONE)?;
    source.set_property("device", device);
    source.set_property("provide-clock", false);
    source.set_property("latency-time", 10_000i64);
    Ok(source)
}

/// Whether the microphone gives sound. Opens its device, which nobody else may hold, and takes up
/// to a few seconds; longer if its driver hangs.
pub(crate) fn listen(settings: &Settings) -> Result<(), String> {
    const PATIENCE: gst::ClockTime = gst::ClockTime::from_seconds(3);
    let Some(AudioInput::Alsa(device)) = settings.audio.as_ref().map(|audio| &audio.input) else {
        return Ok(());
    };
    let pipeline = gst::Pipeline::new();
    let sink = gst_app::AppSink::builder().sync(false).drop(true).max_buffers(1).build();
    add_chain(&pipeline, &[&microphone(device)?, sink.upcast_ref()])?;
    let played = pipeline.set_state(gst::State::Playing);
    let heard = played.is_ok() && sink.try_pull_sample(PATIENCE).is_some();
    let error = pipeline.bus().and_then(|bus| bus.pop_filtered(&[gst::MessageType::Error]));
    _ = pipeline.set_state(gst::State::Null);
    if heard {
        return Ok(());
    }
    let message = match error.as_ref().map(|message| message.view()) {
        Some(gst::MessageView::Error(error)) => error.error().message().to_owned(),
        _ => "it gives no sound".to_owned(),
    };
    Err(explain(settings, MICROPHONE, &message))
}

/// The sound cards the kernel knows, for a hint.
fn sound_cards() -> String {
    let cards = std::fs::read_to_string("/proc/asound/cards").unwrap_or_default();
    // " 0 [Loopback       ]: Loopback - Loopback"
    let names: Vec<_> = cards
        .lines()
        .filter_map(|line| line.split_once('[')?.1.split_once(']'))
        .map(|(name, _)| format!("hw:{}", name.trim()))
        .collect();
    if names.is_empty() {
        "this machine has no sound card".to_owned()
    } else {
        format!("sound cards here: {}", names.join(", "))
    }
}
