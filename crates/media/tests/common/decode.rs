//! Decoding what the camera made, with GStreamer: the other side of the wire.
#![allow(dead_code, clippy::unwrap_used, clippy::expect_used)]

use std::{
    sync::mpsc,
    time::{Duration, Instant},
};

use gstreamer as gst;
use gstreamer::prelude::*;
use gstreamer_app as gst_app;

/// A decoded picture's luma plane.
pub struct Picture {
    pub pts: Duration,
    pub luma: Vec<u8>,
    pub stride: usize,
    pub width: usize,
    pub height: usize,
}

/// A pipeline with one input and appsinks `video` and, perhaps, `audio`.
pub struct Decoder {
    pipeline: gst::Pipeline,
    input: gst_app::AppSrc,
    pub pictures: mpsc::Receiver<Picture>,
    /// Presentation time and length of decoded sound.
    pub sound: mpsc::Receiver<(Duration, Duration)>,
}

impl Decoder {
    /// Of an H.264 byte stream.
    pub fn h264() -> Self {
        Self::new(
            "appsrc name=input format=time caps=video/x-h264,stream-format=byte-stream,alignment=au \
             ! h264parse ! openh264dec ! videoconvert ! video/x-raw,format=I420 \
             ! appsink name=video sync=false",
        )
    }

    /// Of a fragmented MP4 file.
    pub fn mp4(sound: bool) -> Self {
        let video = "appsrc name=input format=bytes ! qtdemux name=file file.video_0 ! queue \
             ! h264parse ! openh264dec ! videoconvert ! video/x-raw,format=I420 \
             ! appsink name=video sync=false";
        let audio = "file.audio_0 ! queue ! aacparse ! faad ! audioconvert ! audio/x-raw,format=S16LE \
             ! appsink name=audio sync=false";
        if sound { Self::new(&format!("{video} {audio}")) } else { Self::new(video) }
    }

    fn new(description: &str) -> Self {
        gst::init().unwrap();
        let pipeline = gst::parse::launch(description).unwrap();
        let pipeline = pipeline.downcast::<gst::Pipeline>().unwrap();
        let input = pipeline.by_name("input").unwrap().downcast::<gst_app::AppSrc>().unwrap();
        let (send, pictures) = mpsc::channel();
        let video = pipeline.by_name("video").unwrap().downcast::<gst_app::AppSink>().unwrap();
        video.set_callbacks(
            gst_app::AppSinkCallbacks::builder()
                .new_sample(move |sink| {
                    let sample = sink.pull_sample().unwrap();
                    let info =
                        gstreamer_video::VideoInfo::from_caps(sample.caps().unwrap()).unwrap();
                    let buffer = sample.buffer().unwrap();
                    let map = buffer.map_readable().unwrap();
                    let _ = send.send(Picture {
                        pts: buffer.pts().unwrap().into(),
                        luma: map[..info.offset()[1]].to_vec(),
                        stride: info.stride()[0] as usize,
                        width: info.width() as usize,
                        height: info.height() as usize,
                    });
                    Ok(gst::FlowSuccess::Ok)
                })
                .build(),
        );
        let (send, sound) = mpsc::channel();
        if let Some(audio) = pipeline.by_name("audio") {
            audio.downcast::<gst_app::AppSink>().unwrap().set_callbacks(
                gst_app::AppSinkCallbacks::builder()
                    .new_sample(move |sink| {
                        let sample = sink.pull_sample().unwrap();
                        let buffer = sample.buffer().unwrap();
                        let pts = buffer.pts().unwrap();
                        let _ = send.send((pts.into(), buffer.duration().unwrap().into()));
                        Ok(gst::FlowSuccess::Ok)
                    })
                    .build(),
            );
        }
        pipeline.set_state(gst::State::Playing).unwrap();
        Self { pipeline, input, pictures, sound }
    }

    pub fn feed(&self, data: &[u8], pts: Option<Duration>) {
        let mut buffer = gst::Buffer::from_slice(data.to_vec());
        buffer.get_mut().unwrap().set_pts(pts.map(|pts| gst::ClockTime::try_from(pts).unwrap()));
        self.input.push_buffer(buffer).unwrap();
    }

    /// Everything was fed: what is still inside comes out.
    pub fn finish(&self) {
        self.input.end_of_stream().unwrap();
        let bus = self.pipeline.bus().unwrap();
        let deadline = Instant::now() + super::PATIENCE;
        let wanted = [gst::MessageType::Eos, gst::MessageType::Error];
        let message = bus.timed_pop_filtered(gst::ClockTime::from_seconds(20), &wanted);
        let message = message.expect("the decoder came to its end");
        assert!(Instant::now() < deadline);
        if let gst::MessageView::Error(error) = message.view() {
            panic!("the decoder: {} {:?}", error.error(), error.debug());
        }
    }
}

impl Drop for Decoder {
    fn drop(&mut self) {
        let _ = self.pipeline.set_state(gst::State::Null);
    }
}
