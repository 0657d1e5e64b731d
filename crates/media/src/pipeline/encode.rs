//! One encode of the picture: the encoder and its two ends, as a part that can be added to a
//! running pipeline and taken from it.
//!
//! ```text
//!  picture ─▶ queue ─▶ (scale) ─▶ encoder ─▶ tee ─┬─▶ h264parse ─▶ access units
//!                                                 └─▶ queue ─▶ h264parse ─▶ isofmp4mux ─▶ chunks
//!  AAC ─────▶ queue ───────────────────────────────────────────────────────▶ ┘
//! ```

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    time::Duration,
};

use gstreamer as gst;
use gstreamer::prelude::*;

use crate::{
    config::{EncodeSettings, VideoInput, VideoSettings},
    pipeline::{
        add_probe,
        elements::{add_chain, filter, link_chain, make, queue, static_pad},
        encoder,
        gate::{Budget, Pace},
        sink::{self, Outlet},
        source,
    },
};

/// Ten years: larger than any run, small enough to add to any time.
const FOR_EVER: gst::ClockTime = gst::ClockTime::from_seconds(10 * 365 * 86_400);
/// How GStreamer words a format that an element refuses.
pub(super) const NOT_NEGOTIATED: &str = "not-negotiated";
/// How long it may take until nothing flows into an encode that is being taken away.
const UNLINK: Duration = Duration::from_secs(2);

/// What an encode is made from.
pub(super) struct Plan<'a> {
    /// Name of the part in the pipeline.
    pub name: &'a str,
    /// The encoder's element.
    pub element: &'a str,
    pub video: &'a VideoSettings,
    pub encode: &'a EncodeSettings,
    /// Bit rate to begin with.
    pub kbps: u32,
    /// Whether sound goes into its chunks.
    pub sound: bool,
    pub outlet: Outlet,
}

/// One encode, as a part of a pipeline. Its errors end at its entries: what feeds it goes on.
pub(super) struct Encode {
    bin: gst::Bin,
    element: String,
    encoder: gst::Element,
    budget: Arc<Mutex<Budget>>,
    /// The pads of tees that feed it.
    feeds: Vec<(gst::Element, gst::Pad)>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Encode {
    pub(super) fn new(plan: Plan) -> Result<Self, String> {
        let Plan { name, element, video, encode, kbps, sound, outlet } = plan;
        let bin = gst::Bin::with_name(name);

        // When the encoder is too slow, pictures are lost here, before they are encoded, instead
        // of coming later and later. A file may come in bursts, and nobody sees that it is late.
        let raw = queue(match video.input {
            VideoInput::File(_) => encode.framerate.div_ceil(2),
            VideoInput::Test | VideoInput::V4l2(_) => 2,
        })?;
        raw.set_property_from_str("leaky", "downstream");
        let (encoder, caps) = encoder::make(element, encode, kbps)?;
        let encoded = filter(&caps)?;
        let split = make("tee")?;
        let mut chain = vec![raw.clone()];
        if (encode.width, encode.height) != (video.main.width, video.main.height) {
            chain.push(make("videoconvertscale")?);
            let scaled = filter(&source::raw_video(encode).build())?;
            if video.clock && crate::clock::fits(encode.width, encode.height) {
                // Over the one that was scaled down with the picture: its cells need not be a
                // whole number of pixels any more.
                source::draw_clock(&scaled, outlet.clock.clone())?;
            }
            chain.push(scaled);
        }
        chain.extend([encoder.clone(), encoded, split.clone()]);
        add_chain(&bin, &chain.iter().collect::<Vec<_>>())?;
        let budget = Arc::new(Mutex::new(Budget::new(kbps)));
        choose_pictures(&raw, &encoder, encode.framerate, &budget)?;

        let units = h264_branch("byte-stream", "au")?;
        let unit_sink = sink::access_units(outlet.clone());
        add_chain(&bin, &[&units[0], &units[1], unit_sink.upcast_ref()])?;
        link_chain(&[&split, &units[0]])?;

        let mux = muxer(encode.framerate)?;
        let chunk_sink = sink::chunks(outlet);
        add_chain(&bin, &[&mux, chunk_sink.upcast_ref()])?;

        // Two seconds and more: full only if the muxer hangs, which counts as a stall.
        let before_mux = queue(4 * encode.framerate.max(15))?;
        let samples = h264_branch("avc", "au")?;
        add_chain(&bin, &[&before_mux, &samples[0], &samples[1]])?;
        link_chain(&[&split, &before_mux])?;
        link_chain(&[&samples[1], &mux])?;

        let entry = |name, element: &gst::Element| entry(&bin, name, element);
        entry("picture", &raw)?;
        if sound {
            let aac = queue(100)?;
            aac.set_property_from_str("leaky", "downstream");
            add_chain(&bin, &[&aac])?;
            link_chain(&[&aac, &mux])?;
            entry("sound", &aac)?;
        }
        Ok(Self { bin, element: element.to_owned(), encoder, budget, feeds: Vec::new() })
    }

    /// Adds it to the pipeline, which may run, and feeds it from the tees.
    pub(super) fn attach(
        &mut self,
        pipeline: &gst::Pipeline,
        picture: &gst::Element,
        sound: Option<&gst::Element>,
    ) -> Result<(), String> {
        pipeline.add(&self.bin).map_err(|error| error.to_string())?;
        // First: a tee gives up when one of its ends is not ready.
        self.bin.sync_state_with_parent().map_err(|_| "it can't be started".to_owned())?;
        for (name, tee) in [("picture", Some(picture)), ("sound", sound)] {
            let (Some(tee), Some(entry)) = (tee, self.bin.static_pad(name)) else { continue };
            let feed = tee.request_pad_simple("src_%u").ok_or("a tee has no pad to give")?;
            self.feeds.push((tee.clone(), feed.clone()));
            // Upstream need not choose its formats again: what comes is taken as it is.
            let check = gst::PadLinkCheck::DEFAULT | gst::PadLinkCheck::NO_RECONFIGURE;
            feed.link_full(&entry, check).map_err(|error| format!("its {name}: {error}"))?;
        }
        Ok(())
    }

    /// Takes it from the pipeline, which may go on.
    pub(super) fn detach(mut self, pipeline: &gst::Pipeline) {
        let (done, unlinked) = mpsc::channel();
        for (_, feed) in &self.feeds {
            let done = done.clone();
            // Between two buffers, in whatever thread that is.
            feed.add_probe(gst::PadProbeType::IDLE, move |feed, _| {
                if let Some(entry) = feed.peer() {
                    _ = feed.unlink(&entry);
                }
                _ = done.send(());
                gst::PadProbeReturn::Remove
            });
        }
        for _ in &self.feeds {
            if unlinked.recv_timeout(UNLINK).is_err() {
                tracing::warn!("an encode that is not needed any more is still being fed");
            }
        }
        for (tee, feed) in self.feeds.drain(..) {
            tee.release_request_pad(&feed);
        }
        if self.bin.set_state(gst::State::Null).is_err() || pipeline.remove(&self.bin).is_err() {
            tracing::warn!("an encode can't be stopped in order");
        }
    }

    /// Asks the encoder for a key frame.
    pub(super) fn request_key_frame(&self) {
        let event = gstreamer_video::UpstreamForceKeyUnitEvent::builder().all_headers(true).build();
        if !self.encoder.send_event(event) {
            tracing::debug!("the encoder did not take the request for a key frame");
        }
    }

    /// Changes the bit rate, in kbit/s.
    pub(super) fn set_bitrate(&self, kbps: u32) {
        encoder::set_bitrate(&self.encoder, &self.element, kbps);
        lock(&self.budget).set(kbps);
    }
}

/// An entry of the part. What fails behind it is an error of the part, reported once; the tee in
/// front of it must not hear of it, since it would fail as a whole.
fn entry(bin: &gst::Bin, name: &str, queue: &gst::Element) -> Result<(), String> {
    let failed = AtomicBool::new(false);
    let pad = gst::GhostPad::builder_with_target(&static_pad(queue, "sink")?)
        .map_err(|error| error.to_string())?
        .name(name)
        .chain_function(move |pad, parent, buffer| {
            let part = parent.and_then(|parent| parent.downcast_ref::<gst::Bin>());
            match gst::ProxyPad::chain_default(pad, parent, buffer) {
                Ok(_) | Err(gst::FlowError::Flushing | gst::FlowError::Eos) => {}
                Err(error) if !failed.swap(true, Ordering::Relaxed) => {
                    if let Some(part) = part {
                        let reason = match error {
                            gst::FlowError::NotNegotiated => NOT_NEGOTIATED,
                            _ => "an element does not go on",
                        };
                        gst::element_error!(part, gst::StreamError::Failed, ["{reason}"]);
                    }
                }
                Err(_) => {}
            }
            Ok(gst::FlowSuccess::Ok)
        })
        .event_function(|pad, parent, event| {
            _ = gst::Pad::event_default(pad, parent, event);
            true
        })
        .build();
    bin.add_pad(&pad).map_err(|error| error.to_string())
}

/// Leaves out pictures that come faster than wanted, and those that the bit rate has no room for.
fn choose_pictures(
    raw: &gst::Element,
    encoder: &gst::Element,
    framerate: u32,
    budget: &Arc<Mutex<Budget>>,
) -> Result<(), String> {
    let pace = Mutex::new(None);
    let for_raw = budget.clone();
    let mask = gst::PadProbeType::BUFFER | gst::PadProbeType::EVENT_DOWNSTREAM;
    add_probe(raw, "sink", mask, move |_, info| {
        match &mut info.data {
            Some(gst::PadProbeData::Buffer(buffer)) => {
                let Some(pts) = buffer.pts().map(Duration::from) else {
                    return gst::PadProbeReturn::Ok;
                };
                let wanted = lock(&pace).as_mut().is_none_or(|pace: &mut Pace| pace.admits(pts));
                if !wanted || !lock(&for_raw).admits(pts) {
                    // (Not Drop: see `file`.)
                    return gst::PadProbeReturn::Handled;
                }
            }
            Some(gst::PadProbeData::Event(event)) => {
                // The encoder spreads its bits over the rate that the caps name.
                if let Some(slower) = slowed_down(event, framerate) {
                    *event = slower;
                    *lock(&pace) = Some(Pace::new(framerate));
                }
            }
            _ => {}
        }
        gst::PadProbeReturn::Ok
    })?;
    let budget = budget.clone();
    add_probe(encoder, "src", gst::PadProbeType::BUFFER, move |_, info| {
        if let Some(buffer) = info.buffer() {
            lock(&budget).spend(buffer.size());
        }
        gst::PadProbeReturn::Ok
    })
}

/// A caps event with a lower rate, if it names a higher one than that.
fn slowed_down(event: &gst::Event, framerate: u32) -> Option<gst::Event> {
    let gst::EventView::Caps(caps) = event.view() else { return None };
    let wanted = gst::Fraction::new(framerate as i32, 1);
    let rate = caps.caps().structure(0)?.get::<gst::Fraction>("framerate").ok()?;
    (rate > wanted).then(|| {
        let mut caps = caps.caps_owned();
        caps.make_mut().set("framerate", wanted);
        gst::event::Caps::new(&caps)
    })
}

fn muxer(framerate: u32) -> Result<gst::Element, String> {
    let mux = gst::ElementFactory::make("isofmp4mux")
        .build()
        .map_err(|error| format!("isofmp4mux, which is built in, can't be made: {error}"))?;
    // The muxer knows a picture's end when the next one comes, and cuts at the first picture that
    // is later than chunk-duration: anything well below a frame gives one picture a chunk, as soon
    // as possible. A fragment never ends: at each end the muxer holds sound back until the next
    // key frame. For a player the difference is a number in a box it doesn't look at.
    let frame = gst::ClockTime::SECOND / u64::from(framerate);
    mux.set_property("fragment-duration", FOR_EVER);
    mux.set_property("chunk-duration", frame / 8);
    // Key frames come when the encoder or a viewer wants one.
    mux.set_property("send-force-keyunit", false);
    // An edit list would shift the track's time away from running time.
    mux.set_property_from_str("write-edts-mode", "never");
    Ok(mux)
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
