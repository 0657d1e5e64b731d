//! The camera: its pipeline runs while somebody watches.

use std::{ops::RangeInclusive, sync::Arc, thread};

use gstreamer as gst;
use tokio::sync::watch;

use crate::{
    config::{Config, EncodeSettings},
    error::Error,
    hub::{Hub, Subscription},
    pipeline::{self, encoder},
    signal::Signal,
    status::Status,
    stream::{Each, Stream},
    supervisor::{News, Supervisor},
    unit::{Chunk, Frame},
};

/// One picture, in up to two encodes. Opens its devices with the first subscriber and closes them
/// a little after the last one; survives devices that fail. Dropping it stops it.
///
/// The main encode runs while anybody subscribes to anything; the second one is added and taken
/// away while the pipeline runs, with its own subscribers.
pub struct Camera {
    hubs: Each<Hubs>,
    bitrates: Each<Option<RangeInclusive<u32>>>,
    status: Arc<watch::Sender<Status>>,
    news: Arc<Signal<News>>,
    supervisor: Option<thread::JoinHandle<()>>,
}

/// The hubs of one encode.
#[derive(Clone)]
pub(crate) struct Hubs {
    pub frames: Hub<Frame>,
    pub chunks: Hub<Chunk>,
}

impl Hubs {
    fn new(encode: &EncodeSettings, look: &(impl Fn() + Clone + Send + Sync + 'static)) -> Self {
        // An encoder that makes its groups a little longer still has them cached whole. Behind the
        // group, a subscriber's queue holds two seconds.
        let cached = encode.key_frame_interval as usize * 3 / 2 + 30;
        let queued = cached + 2 * encode.framerate as usize;
        Self {
            frames: Hub::new(cached, queued + 100, look.clone()),
            chunks: Hub::new(cached, queued, look.clone()),
        }
    }

    /// How many subscribe.
    pub(crate) fn subscribers(&self) -> usize {
        self.frames.subscribers() + self.chunks.subscribers()
    }

    /// Forgets what is cached.
    pub(crate) fn reset(&self) {
        self.frames.reset();
        self.chunks.reset();
    }

    fn close(&self) {
        self.frames.close();
        self.chunks.close();
    }
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
        let video = &settings.video;
        let bitrates = |encode: &EncodeSettings| encode.bitrate_kbps.clone();
        let bitrates =
            Each { main: Some(bitrates(&video.main)), sub: video.sub.as_ref().map(bitrates) };
        let hubs = Each {
            main: Hubs::new(&video.main, &look),
            sub: Hubs::new(video.sub.as_ref().unwrap_or(&video.main), &look),
        };
        if video.sub.is_none() {
            hubs.sub.close();
        }
        let status = Status { encoder: Some(encoder.clone()), ..Status::default() };
        let status = Arc::new(watch::Sender::new(status));
        let supervisor =
            Supervisor::new(settings, encoder, hubs.clone(), status.clone(), news.clone());
        let supervisor = thread::Builder::new()
            .name("peercam-camera".to_owned())
            .spawn(move || supervisor.run())
            .map_err(Error::Thread)?;
        Ok(Self { hubs, bitrates, status, news, supervisor: Some(supervisor) })
    }

    /// Access units and Opus packets, for RTP. Begins with the cached group of pictures; sound
    /// begins with what is heard now. Timestamps of both streams are on the same clock: who
    /// changes from one to the other goes on at a key frame. Ends at once if there is no such
    /// stream.
    pub fn subscribe_frames(&self, stream: Stream) -> Subscription<Frame> {
        self.hubs[stream].frames.subscribe()
    }

    /// CMAF chunks with H.264 and AAC. Begins with the cached group of pictures; timestamps as in
    /// [`subscribe_frames`](Self::subscribe_frames). Ends at once if there is no such stream.
    pub fn subscribe_chunks(&self, stream: Stream) -> Subscription<Chunk> {
        self.hubs[stream].chunks.subscribe()
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

    /// How many subscribe to anything.
    pub fn watchers(&self) -> usize {
        Stream::ALL.into_iter().map(|stream| self.hubs[stream].subscribers()).sum()
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

impl Drop for Camera {
    fn drop(&mut self) {
        for stream in Stream::ALL {
            self.hubs[stream].close();
        }
        self.news.tell(|news| news.stop = true);
        if self.supervisor.take().is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the camera's thread has panicked");
        }
    }
}
