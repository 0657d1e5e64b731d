//! Which mode of a Video4Linux2 capture device to use.

use std::{
    fmt,
    path::{Path, PathBuf},
};

use gstreamer as gst;
use gstreamer::prelude::*;

use crate::{
    config::EncodeSettings,
    pipeline::elements::{exists, static_pad},
};

/// A mode of a device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mode {
    /// Fixed.
    pub caps: gst::Caps,
    /// Whether the device compresses its pictures (Motion JPEG).
    pub jpeg: bool,
    /// Pictures in a second: not always a whole number (30000/1001).
    pub framerate: gst::Fraction,
}

impl Mode {
    /// Pictures in a second, rounded.
    fn rate(&self) -> u32 {
        let rate = f64::from(self.framerate.numer()) / f64::from(self.framerate.denom().max(1));
        rate.round().max(1.0) as u32
    }

    /// Whether it gives more pictures than wanted.
    pub(super) fn is_faster_than(&self, framerate: u32) -> bool {
        self.rate() > framerate
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.caps.fmt(f)
    }
}

/// Opens the device, or else the first that gives pictures, and chooses the mode nearest to the
/// settings.
pub(super) fn open(
    source: &gst::Element,
    device: Option<&Path>,
    video: &EncodeSettings,
) -> Result<(PathBuf, Mode), String> {
    if let Some(device) = device {
        return open_one(source, device, video).map(|mode| (device.to_owned(), mode));
    }
    let mut problems = Vec::new();
    for device in devices() {
        match open_one(source, &device, video) {
            Ok(mode) => return Ok((device, mode)),
            Err(problem) => problems.push(problem),
        }
    }
    Err(match problems.as_slice() {
        [] => format!("there is no camera: {}", found()),
        [problem] => problem.clone(),
        _ => format!("no camera gives pictures that can be encoded; {}", found()),
    })
}

fn open_one(source: &gst::Element, device: &Path, video: &EncodeSettings) -> Result<Mode, String> {
    source.set_property("device", device.to_string_lossy().as_ref());
    if !device.exists() {
        return Err(format!(
            "there is no camera {}: {}; video.device names one",
            device.display(),
            found()
        ));
    }
    let opened = source.set_state(gst::State::Ready);
    let offered =
        opened.ok().and_then(|_| static_pad(source, "src").ok().map(|pad| pad.query_caps(None)));
    let mode = match offered {
        None => Err(format!("{} can't be opened as a camera: {}", device.display(), found())),
        Some(offered) => choose(&offered, video, exists("jpegdec"))
            .map_err(|reason| format!("the camera {}: {reason}", device.display())),
    };
    if mode.is_err() {
        // It never becomes part of the pipeline: nobody else will close it.
        let _ = source.set_state(gst::State::Null);
    }
    mode
}

/// The capture devices there are, for a hint.
pub(super) fn found() -> String {
    let names: Vec<_> = devices().iter().map(|path| path.display().to_string()).collect();
    if names.is_empty() {
        "this machine has no /dev/video*".to_owned()
    } else {
        format!("devices here: {}", names.join(", "))
    }
}

/// By their numbers. Codecs and the like are among them.
fn devices() -> Vec<PathBuf> {
    let entries = std::fs::read_dir("/dev").into_iter().flatten().flatten();
    let mut devices: Vec<_> = entries.filter_map(|entry| numbered(entry.path())).collect();
    devices.sort();
    devices.into_iter().map(|(_, path)| path).collect()
}

/// A node such as `/dev/video0`, with its number.
fn numbered(path: PathBuf) -> Option<(u32, PathBuf)> {
    let number = path.file_name()?.to_str()?.strip_prefix("video")?.parse().ok()?;
    Some((number, path))
}

/// Out of what a device offers: first the frame rate, then the size, then raw before compressed.
fn choose(
    offered: &gst::CapsRef,
    video: &EncodeSettings,
    can_decode_jpeg: bool,
) -> Result<Mode, String> {
    let wanted = (video.width as i32, video.height as i32, video.framerate as i32);
    // Newer GStreamer lists each mode as a DMA buffer first (memory:DMABuf, format DMA_DRM), which
    // nothing behind the device takes here.
    let in_memory = offered
        .iter_with_features()
        .filter(|(_, features)| features.is_equal(&gst::CAPS_FEATURES_MEMORY_SYSTEM_MEMORY));
    let modes = in_memory.filter_map(|(structure, _)| nearest(structure, wanted));
    let best = modes
        .filter(|mode| can_decode_jpeg || !mode.jpeg)
        .min_by_key(|mode| distance(mode, wanted));
    best.ok_or_else(|| {
        let jpeg = offered.iter().any(|structure| structure.name() == "image/jpeg");
        if jpeg && !can_decode_jpeg {
            "it only gives Motion JPEG, and GStreamer has no element \"jpegdec\": install the \
             Debian package gstreamer1.0-plugins-good"
                .to_owned()
        } else {
            let offers: Vec<_> =
                offered.iter().map(|structure| structure.name().as_str()).collect();
            format!(
                "it gives no pictures that can be encoded, only [{}]: is it a capture device?",
                offers.join(", ")
            )
        }
    })
}

/// The mode nearest to what is wanted among those that one structure describes.
fn nearest(structure: &gst::StructureRef, wanted: (i32, i32, i32)) -> Option<Mode> {
    let jpeg = match structure.name().as_str() {
        "video/x-raw" => false,
        "image/jpeg" => true,
        _ => return None,
    };
    let mut mode = structure.to_owned();
    mode.fixate_field_nearest_int("width", wanted.0);
    mode.fixate_field_nearest_int("height", wanted.1);
    mode.fixate_field_nearest_fraction("framerate", gst::Fraction::new(wanted.2, 1));
    let mut caps = gst::Caps::new_empty();
    caps.get_mut()?.append_structure(mode);
    caps.fixate();
    let framerate = caps.structure(0)?.get::<gst::Fraction>("framerate").ok()?;
    Some(Mode { caps, jpeg, framerate })
}

/// Less is better.
fn distance(mode: &Mode, wanted: (i32, i32, i32)) -> (u32, i64, u32, bool) {
    let field = |name| mode.caps.structure(0).and_then(|mode| mode.get::<i32>(name).ok());
    let (width, height) = (field("width").unwrap_or(0), field("height").unwrap_or(0));
    let rate = wanted.2 as u32;
    let area = |width: i32, height: i32| i64::from(width) * i64::from(height);
    let missing = (wanted.0 - width).max(0) + (wanted.1 - height).max(0);
    // Making a picture larger costs detail, making it smaller only time: count it twice.
    let size = (area(width, height) - area(wanted.0, wanted.1)).abs()
        + i64::from(missing) * i64::from(wanted.0.max(wanted.1));
    (rate.saturating_sub(mode.rate()), size, mode.rate().abs_diff(rate), mode.jpeg)
}

#[cfg(test)]
mod tests {
    use std::str::FromStr;

    use super::*;
    use crate::config::Config;

    fn choice(offered: &str, width: u32, height: u32, framerate: u32) -> Result<String, String> {
        gst::init().unwrap();
        let mut video = Config::default().validate().unwrap().video.main;
        (video.width, video.height, video.framerate) = (width, height, framerate);
        choose(&gst::Caps::from_str(offered).unwrap(), &video, true).map(|mode| {
            let mode = mode.caps.structure(0).unwrap();
            let rate = mode.get::<gst::Fraction>("framerate").unwrap();
            let size = |name| mode.get::<i32>(name).unwrap();
            format!(
                "{} {}x{}@{}",
                mode.name(),
                size("width"),
                size("height"),
                rate.numer() / rate.denom()
            )
        })
    }

    const WEBCAM: &str = "video/x-raw, format=YUY2, width=640, height=480, framerate={30/1, 15/1}; \
        video/x-raw, format=YUY2, width=1280, height=720, framerate=10/1; \
        image/jpeg, width=640, height=480, framerate=30/1; \
        image/jpeg, width=1280, height=720, framerate=30/1; \
        image/jpeg, width=1920, height=1080, framerate=30/1; \
        video/x-h264, width=1920, height=1080, framerate=30/1";

    #[test]
    fn a_webcam_gives_raw_pictures_where_it_can_and_jpeg_where_it_must() {
        assert_eq!(choice(WEBCAM, 640, 480, 30).unwrap(), "video/x-raw 640x480@30");
        assert_eq!(choice(WEBCAM, 640, 480, 15).unwrap(), "video/x-raw 640x480@15");
        assert_eq!(choice(WEBCAM, 1280, 720, 10).unwrap(), "video/x-raw 1280x720@10");
        assert_eq!(choice(WEBCAM, 1280, 720, 30).unwrap(), "image/jpeg 1280x720@30");
        assert_eq!(choice(WEBCAM, 1920, 1080, 30).unwrap(), "image/jpeg 1920x1080@30");
    }

    #[test]
    fn a_mode_in_memory_is_chosen_though_dma_buffers_are_listed_first() {
        gst::init().unwrap();
        let video = Config::default().validate().unwrap().video.main;
        let offered = "video/x-raw(memory:DMABuf), format=DMA_DRM, drm-format=YUYV, width=640, \
            height=360, framerate=15/1; video/x-raw, format=YUY2, width=640, height=360, \
            framerate=15/1";
        let mode = choose(&gst::Caps::from_str(offered).unwrap(), &video, true).unwrap();
        assert_eq!(mode.caps.structure(0).unwrap().get::<&str>("format").unwrap(), "YUY2");
    }

    #[test]
    fn the_nearest_mode_is_chosen_when_none_fits() {
        assert_eq!(choice(WEBCAM, 1280, 720, 25).unwrap(), "image/jpeg 1280x720@30");
        assert_eq!(choice(WEBCAM, 2560, 1440, 30).unwrap(), "image/jpeg 1920x1080@30");
        assert_eq!(choice(WEBCAM, 320, 240, 60).unwrap(), "video/x-raw 640x480@30");
    }

    #[test]
    fn ranges_are_narrowed_to_what_is_wanted() {
        let scaler = "video/x-raw, format={NV12, I420}, width=[32, 1920], height=[32, 1080], \
            framerate=[1/1, 60/1]";
        assert_eq!(choice(scaler, 640, 360, 25).unwrap(), "video/x-raw 640x360@25");
        assert_eq!(choice(scaler, 4096, 2160, 120).unwrap(), "video/x-raw 1920x1080@60");
    }

    #[test]
    fn a_television_rate_counts_as_the_whole_number_beside_it() {
        let ntsc = "video/x-raw, format=YUY2, width=640, height=480, framerate=30000/1001; \
            video/x-raw, format=YUY2, width=640, height=480, framerate=15/1";
        assert_eq!(choice(ntsc, 640, 480, 30).unwrap(), "video/x-raw 640x480@29");
    }

    #[test]
    fn devices_are_tried_by_their_numbers() {
        let names = ["video10", "video2", "videodev", "video", "media0", "v4l-subdev1", "video0"];
        let nodes = names.into_iter().map(|name| Path::new("/dev").join(name));
        let mut nodes: Vec<_> = nodes.filter_map(numbered).collect();
        nodes.sort();
        let paths: Vec<_> = nodes.iter().map(|(_, path)| path.to_str().unwrap()).collect();
        assert_eq!(paths, ["/dev/video0", "/dev/video2", "/dev/video10"]);
    }

    #[test]
    fn a_device_without_pictures_says_what_it_has() {
        let message = choice("video/x-bayer, width=640, height=480", 640, 480, 30).unwrap_err();
        assert!(message.contains("video/x-bayer"), "{message}");
        assert!(choice("EMPTY", 640, 480, 30).is_err());
    }

    #[test]
    fn without_a_jpeg_decoder_raw_pictures_are_taken_or_the_package_is_named() {
        gst::init().unwrap();
        let video = Config::default().validate().unwrap().video.main;
        let webcam = gst::Caps::from_str(WEBCAM).unwrap();
        assert!(!choose(&webcam, &video, false).unwrap().jpeg);
        let jpeg = gst::Caps::from_str("image/jpeg, width=64, height=48, framerate=30/1").unwrap();
        let message = choose(&jpeg, &video, false).unwrap_err();
        assert!(message.contains("gstreamer1.0-plugins-good"), "{message}");
    }
}
