//! The H.264 encoder: which one works here, and how to set it for lowest latency.

use gstreamer as gst;
use gstreamer::prelude::*;

use crate::{
    config::EncodeSettings,
    error::Error,
    pipeline::elements::{self, exists, package},
};

/// Whether the settings of an encoder of this name are known here. V4L2 names a second encoder
/// device's element after the device (`v4l2video11h264enc`).
pub(crate) fn is_known(element: &str) -> bool {
    matches!(element, "openh264enc" | "x264enc") || is_v4l2(element)
}

fn is_v4l2(element: &str) -> bool {
    element.starts_with("v4l2") && element.ends_with("h264enc")
}

/// The first of the preferred encoders that is there and can be opened: an element of V4L2 may be
/// in the registry while its device is gone or busy.
pub(crate) fn choose(preferred: &[String]) -> Result<String, Error> {
    if preferred.iter().any(|element| is_v4l2(element)) {
        // A registry that was made on another machine (an image's) knows no hardware encoder: the
        // plugin looks for this machine's when it is loaded. Where it is missing, the probe says so.
        let _ = gst::Plugin::load_by_name("video4linux2");
    }
    let mut reasons = Vec::new();
    for element in preferred {
        match probe(element) {
            Ok(()) => {
                tracing::info!(encoder = %element, passed_over = ?reasons, "H.264 encoder chosen");
                return Ok(element.clone());
            }
            Err(reason) => reasons.push(reason),
        }
    }
    Err(Error::NoEncoder { reasons })
}

fn probe(element: &str) -> Result<(), String> {
    if !exists(element) {
        return Err(if is_v4l2(element) {
            format!(
                "{element}: no hardware encoder (GStreamer offers it only where the kernel has a \
                 V4L2 encoder device; package {})",
                package("v4l2h264enc")
            )
        } else {
            format!("{element}: not installed (package {})", package(element))
        });
    }
    let encoder = elements::make(element)?;
    let ready = encoder.set_state(gst::State::Ready);
    // Back to NULL whatever happened: an element must not be dropped in another state.
    let _ = encoder.set_state(gst::State::Null);
    ready.map(drop).map_err(|_| format!("{element}: its device can't be opened"))
}

/// A new encoder, which begins at `kbps`, and the caps to ask of it.
pub(crate) fn make(
    element: &str,
    video: &EncodeSettings,
    kbps: u32,
) -> Result<(gst::Element, gst::Caps), String> {
    let encoder = elements::make(element)?;
    let caps = gst::Caps::builder("video/x-h264")
        .field("stream-format", "byte-stream")
        .field("alignment", "au");
    let caps = match element {
        "x264enc" => {
            // zerolatency: no look-ahead, no B-frames, threads within a frame instead of across.
            encoder.set_property_from_str("tune", "zerolatency");
            encoder.set_property_from_str("speed-preset", "ultrafast");
            encoder.set_property("bframes", 0u32);
            encoder.set_property("b-adapt", false);
            encoder.set_property("bitrate", kbps);
            // A key frame may take what half a second is worth, so that it is not spread thin.
            encoder.set_property("vbv-buf-capacity", 500u32);
            encoder.set_property("key-int-max", video.key_frame_interval);
            encoder.set_property("option-string", "scenecut=0");
            caps.field("profile", "constrained-baseline").build()
        }
        "openh264enc" => {
            encoder.set_property_from_str("complexity", "low");
            encoder.set_property_from_str("rate-control", "bitrate");
            encoder.set_property_from_str("usage-type", "camera");
            // With the element's 0 for the finest, the library takes 12 to 42 in place of the
            // whole range, and a busy picture several times its bit rate.
            encoder.set_property("qp-min", 12u32);
            encoder.set_property("qp-max", 51u32);
            encoder.set_property("bitrate", kbps * 1000);
            encoder.set_property("gop-size", video.key_frame_interval);
            encoder.set_property("scene-change-detection", false);
            // Left to choose a level, it changes to another one with the first change of bit rate.
            caps.field("profile", "constrained-baseline").field("level", level(video)).build()
        }
        _ => {
            let controls = gst::Structure::builder("controls")
                .field("video_bitrate", bits(kbps))
                .field("video_gop_size", video.key_frame_interval as i32)
                .field("h264_i_frame_period", video.key_frame_interval as i32)
                .field("video_b_frames", 0i32)
                .field("repeat_sequence_header", 1i32)
                .build();
            encoder.set_property("extra-controls", controls);
            // Drivers offer different ones; several (bcm2835) refuse to start without a level.
            let profiles = gst::List::new(["constrained-baseline", "baseline", "main"]);
            caps.field("profile", profiles).field("level", level(video)).build()
        }
    };
    Ok((encoder, caps))
}

/// Changes the bit rate of an encoder that runs. Each of them takes it from the next picture on.
pub(crate) fn set_bitrate(encoder: &gst::Element, element: &str, kbps: u32) {
    match element {
        "x264enc" => encoder.set_property("bitrate", kbps),
        "openh264enc" => encoder.set_property("bitrate", kbps * 1000),
        _ => {
            // While the device is open, the element passes them on at once. Only the one that
            // changes: drivers refuse others (the length of a group) while they stream.
            let controls =
                gst::Structure::builder("controls").field("video_bitrate", bits(kbps)).build();
            encoder.set_property("extra-controls", controls);
        }
    }
}

/// As a V4L2 control has it: in bit/s, signed.
fn bits(kbps: u32) -> i32 {
    i32::try_from(kbps * 1000).unwrap_or(i32::MAX)
}

/// The lowest level (ITU-T H.264 table A-1) that holds this picture size, rate and bit rate.
fn level(video: &EncodeSettings) -> &'static str {
    // (level, macroblocks in a second, macroblocks in a frame, kbit/s)
    const LEVELS: [(&str, u32, u32, u32); 10] = [
        ("2", 11_880, 396, 2_000),
        ("2.1", 19_800, 792, 4_000),
        ("3", 40_500, 1_620, 10_000),
        ("3.1", 108_000, 3_600, 14_000),
        ("3.2", 216_000, 5_120, 20_000),
        ("4", 245_760, 8_192, 20_000),
        ("4.2", 522_240, 8_704, 50_000),
        ("5", 589_824, 22_080, 135_000),
        ("5.1", 983_040, 36_864, 240_000),
        ("5.2", 2_073_600, 36_864, 240_000),
    ];
    let frame = video.width.div_ceil(16) * video.height.div_ceil(16);
    LEVELS
        .iter()
        .find(|(_, per_second, per_frame, kbps)| {
            frame * video.framerate <= *per_second
                && frame <= *per_frame
                && *video.bitrate_kbps.end() <= *kbps
        })
        .map_or("5.2", |(level, ..)| level)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    #[test]
    fn the_level_holds_the_picture() {
        let mut video = Config::default().validate().unwrap().video.main;
        let mut of = |width, height, framerate, kbps| {
            (video.width, video.height) = (width, height);
            (video.framerate, video.bitrate_kbps) = (framerate, kbps..=kbps);
            level(&video)
        };
        assert_eq!(of(320, 240, 30, 500), "2");
        assert_eq!(of(640, 360, 30, 1000), "3");
        assert_eq!(of(1280, 720, 30, 2000), "3.1");
        assert_eq!(of(1280, 720, 30, 15_000), "3.2");
        assert_eq!(of(1920, 1080, 30, 4000), "4");
        assert_eq!(of(1920, 1080, 60, 8000), "4.2");
        assert_eq!(of(3840, 2160, 30, 20_000), "5.1");
        assert_eq!(of(4096, 4096, 120, 50_000), "5.2");
    }

    #[test]
    fn hardware_encoders_of_every_name_are_known_and_decoders_are_not() {
        for element in ["v4l2h264enc", "v4l2video11h264enc", "openh264enc", "x264enc"] {
            assert!(is_known(element), "{element}");
        }
        for element in ["", "v4l2h264dec", "h264enc", "avenc_h264", "x265enc", "fakesink"] {
            assert!(!is_known(element), "{element}");
        }
    }

    #[test]
    fn the_first_encoder_that_works_is_chosen_and_reasons_are_given_when_none_does() {
        gst::init().unwrap();
        let names =
            |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        assert_eq!(choose(&names(&["v4l2video99h264enc", "x264enc"])).unwrap(), "x264enc");
        assert_eq!(choose(&names(&["openh264enc", "x264enc"])).unwrap(), "openh264enc");
        let error = choose(&names(&["v4l2video99h264enc", "v4l2video98h264enc"])).unwrap_err();
        let Error::NoEncoder { reasons } = error else { panic!("{error}") };
        assert!(reasons[0].contains("video99") && reasons[1].contains("video98"), "{reasons:?}");
    }
}
