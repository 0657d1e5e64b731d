//! A file, played in a loop: at its end it is opened again, so that anything GStreamer decodes
//! will do, whether it can seek or not.
//!
//! Timestamps are moved onto the camera's media clock where the decoded streams enter the
//! pipeline, and go on from round to round as if the file had no end. What is decoded ahead
//! (see [`super::source`]) hides the time it takes to open it again.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use gstreamer as gst;
use gstreamer::prelude::*;

use crate::{
    pipeline::{
        Orders, add_probe,
        elements::{add_chain, make, static_pad},
        time::MediaClock,
    },
    signal::Signal,
};

/// Further behind than this, a new round begins now: the time was lost in opening the file.
const MAX_LAG: Duration = Duration::from_millis(500);

/// The decoder of one file and the streams taken from it.
pub(super) struct FilePlayer {
    path: PathBuf,
    source: gst::Element,
    decoder: gst::Element,
    clock: MediaClock,
    orders: Arc<Signal<Orders>>,
    rounds: Arc<Mutex<Rounds>>,
    picture: Mutex<Option<gst::Pad>>,
    sound: Mutex<Option<gst::Pad>>,
}

/// Where in time the current round stands.
#[derive(Debug, Default)]
struct Rounds {
    /// Media time at which the round began; none before the very first buffer.
    offset: Option<Duration>,
    /// Where its longest stream ends so far, counted from its beginning.
    end: Duration,
    /// Streams that are linked, and how many of them have ended.
    streams: usize,
    ended: usize,
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl FilePlayer {
    pub(super) fn new(
        path: &Path,
        clock: MediaClock,
        orders: Arc<Signal<Orders>>,
    ) -> Result<Self, String> {
        let source = make("filesrc")?;
        // GStreamer takes file names as UTF-8.
        let location = path
            .to_str()
            .ok_or_else(|| format!("the file name {} is not UTF-8: rename it", path.display()))?;
        source.set_property("location", location);
        Ok(Self {
            path: path.to_owned(),
            source,
            decoder: make("decodebin")?,
            clock,
            orders,
            rounds: Arc::default(),
            picture: Mutex::default(),
            sound: Mutex::default(),
        })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Sends the decoded picture to an element of the pipeline.
    pub(super) fn picture_to(&self, entry: &gst::Element) -> Result<(), String> {
        *lock(&self.picture) = Some(self.enter(entry)?);
        Ok(())
    }

    /// Sends the decoded sound to an element of the pipeline.
    pub(super) fn sound_to(&self, entry: &gst::Element) -> Result<(), String> {
        *lock(&self.sound) = Some(self.enter(entry)?);
        Ok(())
    }

    /// Makes the streams that enter here one endless stream.
    fn enter(&self, entry: &gst::Element) -> Result<gst::Pad, String> {
        let rounds = self.rounds.clone();
        let (clock, orders) = (self.clock.clone(), self.orders.clone());
        let stream = Mutex::new(Stream::default());
        let mask = gst::PadProbeType::BUFFER | gst::PadProbeType::EVENT_DOWNSTREAM;
        add_probe(entry, "sink", mask, move |_, info| match &mut info.data {
            Some(gst::PadProbeData::Buffer(buffer)) => {
                lock(&stream).buffer(buffer.make_mut(), &mut lock(&rounds), &clock)
            }
            Some(gst::PadProbeData::Event(event)) => {
                lock(&stream).event(event, &mut lock(&rounds), &orders)
            }
            _ => gst::PadProbeReturn::Ok,
        })?;
        static_pad(entry, "sink")
    }

    /// Adds the decoder to the pipeline.
    pub(super) fn connect(&self, pipeline: &gst::Pipeline) -> Result<(), String> {
        add_chain(pipeline, &[&self.source, &self.decoder])?;
        let (picture, sound) = (lock(&self.picture).clone(), lock(&self.sound).clone());
        let rounds = self.rounds.clone();
        let entries = (picture.clone(), sound.clone());
        self.decoder.connect_pad_added(move |_, pad| {
            let caps = pad.current_caps().unwrap_or_else(|| pad.query_caps(None));
            let kind = caps.structure(0).map(|structure| structure.name().as_str());
            let entry = match kind {
                Some(kind) if kind.starts_with("video/x-raw") => &entries.0,
                Some(kind) if kind.starts_with("audio/x-raw") => &entries.1,
                _ => return,
            };
            if let Some(entry) = entry.as_ref().filter(|entry| !entry.is_linked())
                && pad.link(entry).is_ok()
            {
                lock(&rounds).streams += 1;
            }
        });
        let (orders, path) = (self.orders.clone(), self.path.display().to_string());
        let pipeline = pipeline.downgrade();
        self.decoder.connect_no_more_pads(move |_| {
            let missing =
                |entry: &Option<gst::Pad>| entry.as_ref().is_some_and(|entry| !entry.is_linked());
            let fault = if missing(&picture) {
                Some(format!("the file {path} holds no picture that can be decoded"))
            } else if let (true, Some(entry), Some(pipeline)) =
                (missing(&sound), &sound, pipeline.upgrade())
            {
                silence(&pipeline, entry).err()
            } else {
                None
            };
            if let Some(fault) = fault {
                orders.tell(|orders| _ = orders.fault.main.get_or_insert(fault));
            }
        });
        Ok(())
    }

    /// Opens the file again, if all its streams have ended.
    pub(super) fn rewind(&self) -> Result<(), String> {
        {
            let mut rounds = lock(&self.rounds);
            if rounds.ended < rounds.streams || rounds.streams == 0 {
                return Ok(());
            }
            if rounds.end.is_zero() {
                return Err(format!("the file {} holds nothing to play", self.path.display()));
            }
            let next = rounds.offset.unwrap_or_default() + rounds.end;
            let earliest = self.clock.now().saturating_sub(MAX_LAG);
            *rounds = Rounds { offset: Some(next.max(earliest)), ..Rounds::default() };
        }
        let elements = [&self.decoder, &self.source];
        let ready = |element: &&gst::Element| element.set_state(gst::State::Ready).is_ok();
        let playing = |element: &&gst::Element| element.sync_state_with_parent().is_ok();
        if elements.iter().all(ready) && elements.iter().all(playing) {
            Ok(())
        } else {
            Err(format!("the file {} can't be opened again", self.path.display()))
        }
    }
}

/// One stream on its way into the pipeline.
#[derive(Debug, Default)]
struct Stream {
    segment: Option<gst::FormattedSegment<gst::ClockTime>>,
    /// The pipeline has seen the beginning of the stream; the further rounds have none.
    begun: bool,
    segment_sent: bool,
}

impl Stream {
    fn buffer(
        &self,
        buffer: &mut gst::BufferRef,
        rounds: &mut Rounds,
        clock: &MediaClock,
    ) -> gst::PadProbeReturn {
        let running = self
            .segment
            .as_ref()
            .zip(buffer.pts())
            .and_then(|(segment, pts)| segment.to_running_time(pts));
        // Outside of what the file says is to be played. (Handled, not Drop, here and below: with
        // Drop, GStreamer releases again what the bindings have already released.)
        let Some(running) = running.map(Duration::from) else {
            return gst::PadProbeReturn::Handled;
        };
        let offset = *rounds.offset.get_or_insert_with(|| clock.now().saturating_sub(running));
        let duration = buffer.duration().map_or(Duration::ZERO, Duration::from);
        rounds.end = rounds.end.max(running + duration);
        buffer.set_pts(gst::ClockTime::try_from(offset + running).ok());
        buffer.set_dts(gst::ClockTime::NONE);
        gst::PadProbeReturn::Ok
    }

    fn event(
        &mut self,
        event: &mut gst::Event,
        rounds: &mut Rounds,
        orders: &Signal<Orders>,
    ) -> gst::PadProbeReturn {
        match event.view() {
            gst::EventView::StreamStart(_) if !self.begun => {
                self.begun = true;
                gst::PadProbeReturn::Ok
            }
            gst::EventView::Caps(_) => gst::PadProbeReturn::Ok,
            gst::EventView::Segment(segment) => {
                self.segment = segment.segment().downcast_ref().cloned();
                if self.segment_sent {
                    return gst::PadProbeReturn::Handled;
                }
                self.segment_sent = true;
                let whole = gst::FormattedSegment::<gst::ClockTime>::new();
                *event = gst::event::Segment::new(&whole);
                gst::PadProbeReturn::Ok
            }
            gst::EventView::Eos(_) => {
                rounds.ended += 1;
                if rounds.ended == rounds.streams {
                    orders.tell(|orders| orders.rewind = true);
                }
                gst::PadProbeReturn::Handled
            }
            _ => gst::PadProbeReturn::Handled,
        }
    }
}

/// Stands in for the sound that a file does not have. A live source gives running time as
/// timestamps, which is what the segment of [`Stream`] passes on.
fn silence(pipeline: &gst::Pipeline, entry: &gst::Pad) -> Result<(), String> {
    let source = make("audiotestsrc")?;
    source.set_property("is-live", true);
    source.set_property_from_str("wave", "silence");
    pipeline.add(&source).map_err(|error| error.to_string())?;
    static_pad(&source, "src")?.link(entry).map_err(|error| error.to_string())?;
    source.sync_state_with_parent().map_err(|error| error.to_string())
}
