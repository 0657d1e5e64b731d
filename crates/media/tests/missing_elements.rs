//! Elements that are not installed. One test, in a process of its own: it takes them out of
//! GStreamer's registry.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use common::{silent, small};
use gstreamer as gst;
use peercam_media::{AudioSource, Camera, Config, Error, VideoSource};

fn with(change: impl FnOnce(&mut Config)) -> Config {
    let mut config = small();
    change(&mut config);
    config
}

#[test]
fn each_is_named_with_its_debian_package() {
    gst::init().unwrap();
    let alsa = with(|config| config.audio.source = AudioSource::Alsa);
    let v4l2 = with(|config| config.video.source = VideoSource::V4l2);
    let file = with(|config| {
        config.video.source = VideoSource::File;
        config.video.file = Some("/clip.mkv".into());
    });
    // From the most particular to what everything needs.
    for (element, package, config) in [
        ("alsasrc", "gstreamer1.0-alsa", alsa),
        ("v4l2src", "gstreamer1.0-plugins-good", v4l2),
        ("decodebin", "gstreamer1.0-plugins-base", file),
        ("voaacenc", "gstreamer1.0-plugins-bad", small()),
        ("opusenc", "gstreamer1.0-plugins-base", small()),
        (
            "x264enc",
            "gstreamer1.0-plugins-ugly",
            with(|c| c.video.encoders = vec!["x264enc".into()]),
        ),
        ("openh264enc", "gstreamer1.0-plugins-bad", silent()),
        ("h264parse", "gstreamer1.0-plugins-bad", silent()),
    ] {
        let registry = gst::Registry::get();
        let factory = gst::ElementFactory::find(element).expect("it is installed here");
        registry.remove_feature(&factory);
        let mut config = config;
        if element == "x264enc" {
            config.audio.source = AudioSource::None;
        }
        let error = Camera::start(config).err().unwrap();
        let message = error.to_string();
        assert!(message.contains(element) && message.contains(package), "{message}");
        match error {
            Error::MissingElement { element: missing, .. } => assert_eq!(missing, element),
            Error::NoEncoder { .. } => {
                assert!(element.ends_with("h264enc") || element == "x264enc")
            }
            other => panic!("{other}"),
        }
    }
}
