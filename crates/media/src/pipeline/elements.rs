//! Making elements, and naming the Debian package of one that is missing.

use gstreamer as gst;
use gstreamer::prelude::*;

use crate::error::Error;

/// The element and the Debian (trixie) package it comes in.
const PACKAGES: &[(&str, &str)] = &[
    ("alsasrc", "gstreamer1.0-alsa"),
    ("appsink", "gstreamer1.0-plugins-base"),
    ("audioconvert", "gstreamer1.0-plugins-base"),
    ("audiorate", "gstreamer1.0-plugins-base"),
    ("audioresample", "gstreamer1.0-plugins-base"),
    ("audiotestsrc", "gstreamer1.0-plugins-base"),
    ("capsfilter", "libgstreamer1.0-0"),
    ("clocksync", "libgstreamer1.0-0"),
    ("decodebin", "gstreamer1.0-plugins-base"),
    ("filesrc", "libgstreamer1.0-0"),
    ("h264parse", "gstreamer1.0-plugins-bad"),
    ("jpegdec", "gstreamer1.0-plugins-good"),
    ("openh264enc", "gstreamer1.0-plugins-bad"),
    ("opusenc", "gstreamer1.0-plugins-base"),
    ("queue", "libgstreamer1.0-0"),
    ("tee", "libgstreamer1.0-0"),
    ("v4l2h264enc", "gstreamer1.0-plugins-good"),
    ("v4l2src", "gstreamer1.0-plugins-good"),
    ("videoconvertscale", "gstreamer1.0-plugins-base"),
    ("videorate", "gstreamer1.0-plugins-base"),
    ("videotestsrc", "gstreamer1.0-plugins-base"),
    ("voaacenc", "gstreamer1.0-plugins-bad"),
    ("x264enc", "gstreamer1.0-plugins-ugly"),
];

/// The Debian package that brings an element.
pub(crate) fn package(element: &str) -> &'static str {
    PACKAGES
        .iter()
        .find(|(name, _)| *name == element)
        .map_or("that provides it (search: apt-cache search gstreamer1.0)", |(_, package)| package)
}

/// Whether GStreamer knows the element.
pub(crate) fn exists(element: &str) -> bool {
    gst::ElementFactory::find(element).is_some()
}

/// An error unless GStreamer knows the element.
pub(crate) fn require(element: &str, purpose: &str) -> Result<(), Error> {
    if exists(element) {
        return Ok(());
    }
    Err(Error::MissingElement {
        element: element.to_owned(),
        purpose: purpose.to_owned(),
        package: package(element).to_owned(),
    })
}

/// A new element, or a sentence that says which package to install.
pub(crate) fn make(element: &str) -> Result<gst::Element, String> {
    gst::ElementFactory::make(element).build().map_err(|error| {
        if exists(element) {
            format!("GStreamer's element {element:?} can't be made: {error}")
        } else {
            let package = package(element);
            format!("GStreamer has no element {element:?}: install the Debian package {package}")
        }
    })
}

/// A queue that keeps at most `buffers`, then makes its producer wait.
pub(crate) fn queue(buffers: u32) -> Result<gst::Element, String> {
    let queue = make("queue")?;
    queue.set_property("max-size-buffers", buffers);
    queue.set_property("max-size-bytes", 0u32);
    queue.set_property("max-size-time", 0u64);
    Ok(queue)
}

/// A filter that lets only `caps` pass.
pub(crate) fn filter(caps: &gst::Caps) -> Result<gst::Element, String> {
    let filter = make("capsfilter")?;
    filter.set_property("caps", caps);
    Ok(filter)
}

/// Adds the elements to a pipeline, or a part of one, and links each to the next.
pub(crate) fn add_chain(
    pipeline: &impl IsA<gst::Bin>,
    chain: &[&gst::Element],
) -> Result<(), String> {
    for element in chain {
        pipeline.add(*element).map_err(|error| error.to_string())?;
    }
    link_chain(chain)
}

/// Links each element to the next.
pub(crate) fn link_chain(chain: &[&gst::Element]) -> Result<(), String> {
    for pair in chain.windows(2) {
        pair[0]
            .link(pair[1])
            .map_err(|_| format!("{} can't be linked to {}", pair[0].name(), pair[1].name()))?;
    }
    Ok(())
}

/// A pad that every element of this kind has from the start.
pub(crate) fn static_pad(element: &gst::Element, name: &str) -> Result<gst::Pad, String> {
    element.static_pad(name).ok_or_else(|| format!("{} has no pad {name:?}", element.name()))
}
