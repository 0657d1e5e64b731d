//! The ends of the pipeline: from GStreamer's buffers to units in the hubs.
//!
//! Data is copied out of the buffers, a few kilobytes a frame: a hardware encoder has a handful
//! of buffers, and stops when the hub keeps them in its group of pictures.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use gstreamer as gst;
use gstreamer_app as gst_app;

use crate::{
    camera::Hubs,
    pipeline::{h264, mp4, time::MediaClock},
    stream::{Each, Stream},
    unit::{AccessUnit, AudioPacket, Chunk, Frame, Init},
};

/// Where an encode puts what it makes.
#[derive(Clone)]
pub(crate) struct Outlet {
    pub hubs: Hubs,
    pub clock: MediaClock,
    pub pulse: Arc<Pulse>,
    /// Access units, over all runs.
    pub encoded: Arc<AtomicU64>,
    /// Called when an output gives something for the first time.
    pub came_alive: Arc<dyn Fn() + Send + Sync>,
}

/// Signs of life of one encode, and of the sound.
#[derive(Debug, Default)]
pub(crate) struct Pulse {
    pub picture: Beat,
    pub sound: Beat,
    pub chunk: Beat,
    codec: Mutex<Option<String>>,
}

impl Pulse {
    /// RFC 6381 codecs string of the picture, known from the first key frame on.
    pub(crate) fn codec(&self) -> Option<String> {
        self.codec.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// As if nothing had come yet.
    pub(crate) fn clear(&self) {
        for beat in [&self.picture, &self.sound, &self.chunk] {
            *beat.0.lock().unwrap_or_else(PoisonError::into_inner) = None;
        }
        *self.codec.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

/// When an output last gave something.
#[derive(Debug, Default)]
pub(crate) struct Beat(Mutex<Option<Instant>>);

impl Beat {
    pub(crate) fn last(&self) -> Option<Instant> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Outlet {
    /// Notes a sign of life.
    fn beat(&self, beat: &Beat) {
        let mut last = beat.0.lock().unwrap_or_else(PoisonError::into_inner);
        let first = last.replace(Instant::now()).is_none();
        drop(last);
        if first {
            (self.came_alive)();
        }
    }
}

/// How much sound one Opus packet holds.
pub(crate) const OPUS_FRAME: Duration = Duration::from_millis(20);

/// The end of the RTP branch of the picture.
pub(crate) fn access_units(outlet: Outlet) -> gst_app::AppSink {
    sink(false, move |sample| {
        let (Some(buffer), Some(pts)) = (sample.buffer(), running_time(sample)) else { return };
        let Some(data) = copy(buffer) else { return };
        let key = !buffer.flags().contains(gst::BufferFlags::DELTA_UNIT);
        if key && let Some(codec) = h264::codec(&data) {
            let mut known = outlet.pulse.codec.lock().unwrap_or_else(PoisonError::into_inner);
            known.get_or_insert(codec);
        }
        outlet.encoded.fetch_add(1, Ordering::Relaxed);
        let captured = outlet.clock.wall(pts);
        outlet.hubs.frames.publish(&Frame::Video(Arc::new(AccessUnit {
            data,
            key,
            pts,
            captured,
        })));
        outlet.beat(&outlet.pulse.picture);
    })
}

/// The end of the RTP branch of the sound: it goes with either picture.
pub(crate) fn audio_packets(outlets: Each<Outlet>) -> gst_app::AppSink {
    sink(false, move |sample| {
        let (Some(buffer), Some(pts)) = (sample.buffer(), running_time(sample)) else { return };
        let Some(data) = copy(buffer) else { return };
        // The encoder's look-ahead is cut off the first packet in GStreamer's timestamps, but not
        // in what a decoder makes of it.
        let duration = OPUS_FRAME;
        let end = pts + buffer.duration().map_or(duration, Duration::from);
        let pts = end.saturating_sub(duration);
        let captured = outlets.main.clock.wall(pts);
        let packet = Frame::Audio(Arc::new(AudioPacket { data, pts, duration, captured }));
        for stream in Stream::ALL {
            outlets[stream].hubs.frames.publish(&packet);
        }
        outlets.main.beat(&outlets.main.pulse.sound);
    })
}

/// The end of the muxer.
pub(crate) fn chunks(outlet: Outlet) -> gst_app::AppSink {
    let current = Mutex::new(None);
    sink(true, move |sample| {
        let Some(data) = copy_all(sample) else { return };
        let mut current = current.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(chunk) = chunk(&mut current, data, &outlet.clock) {
            outlet.hubs.chunks.publish(&chunk);
            outlet.beat(&outlet.pulse.chunk);
        }
    })
}

/// The file that is being written.
struct Track {
    init: Arc<Init>,
    video: mp4::Track,
    /// Of the last picture.
    pts: Duration,
}

/// One buffer list of the muxer: the first begins with the initialisation segment.
fn chunk(current: &mut Option<Track>, data: Bytes, clock: &MediaClock) -> Option<Chunk> {
    let (init, data) = mp4::split_init(data);
    if !init.is_empty() {
        let tracks = mp4::tracks(&init)?;
        let video_codec = tracks.video.codec.clone();
        let audio_codec = tracks.audio.map(|track| track.codec);
        let init = Arc::new(Init { data: init, video_codec, audio_codec });
        *current = Some(Track { init, video: tracks.video, pts: Duration::ZERO });
    }
    let track = current.as_mut()?;
    if data.is_empty() {
        return None;
    }
    let sample = mp4::first_sample(&data, track.video.id);
    if let Some(sample) = sample {
        track.pts = ticks(sample.pts, track.video.timescale);
    }
    Some(Chunk {
        init: track.init.clone(),
        data,
        key: sample.is_some_and(|sample| sample.sync),
        pts: track.pts,
        // The muxer writes running time.
        captured: clock.wall(track.pts),
    })
}

fn ticks(count: u64, timescale: u32) -> Duration {
    let scale = u64::from(timescale);
    let nanos = count % scale * 1_000_000_000 / scale;
    Duration::from_secs(count / scale) + Duration::from_nanos(nanos)
}

/// An appsink that hands over each sample at once. A panic in `take` is caught by the bindings and
/// becomes an error of the pipeline.
fn sink(lists: bool, take: impl Fn(&gst::SampleRef) + Send + 'static) -> gst_app::AppSink {
    let callbacks = gst_app::AppSinkCallbacks::builder()
        .new_sample(move |sink| {
            let sample = sink.pull_sample().map_err(|_| gst::FlowError::Eos)?;
            take(&sample);
            Ok(gst::FlowSuccess::Ok)
        })
        .build();
    // Not synchronised, and no part of the pipeline's preroll: what comes goes on.
    gst_app::AppSink::builder()
        .sync(false)
        .async_(false)
        .enable_last_sample(false)
        .buffer_list(lists)
        .max_buffers(4)
        .callbacks(callbacks)
        .build()
}

/// When a sample is to be presented, on the pipeline's clock.
fn running_time(sample: &gst::SampleRef) -> Option<Duration> {
    let segment = sample.segment()?.downcast_ref::<gst::ClockTime>()?;
    segment.to_running_time(sample.buffer()?.pts()?).map(Duration::from)
}

fn copy(buffer: &gst::BufferRef) -> Option<Bytes> {
    buffer.map_readable().ok().map(|map| Bytes::copy_from_slice(&map))
}

/// All buffers of a sample, one behind the other.
fn copy_all(sample: &gst::SampleRef) -> Option<Bytes> {
    let Some(list) = sample.buffer_list() else { return sample.buffer().and_then(copy) };
    let size = list.iter().map(gst::BufferRef::size).sum();
    let mut data = Vec::with_capacity(size);
    for buffer in list.iter() {
        data.extend_from_slice(&buffer.map_readable().ok()?);
    }
    Some(data.into())
}
