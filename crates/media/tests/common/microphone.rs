//! A microphone for machines that have none: it takes the place of GStreamer's element for ALSA,
//! and is plugged in while the file exists whose path is the name of its device. While "mute" is
//! written in the file, it gives nothing.
#![allow(dead_code, clippy::unwrap_used, clippy::expect_used)]

use std::{
    path::PathBuf,
    sync::{Mutex, Once, OnceLock},
};

use gstreamer as gst;
use gstreamer::{glib, prelude::*, subclass::prelude::*};

/// From here on, microphones of this process are files.
pub fn register() {
    // Once: a second registration frees the factory that elements of the first refer to.
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        gst::init().unwrap();
        let kind = Element::static_type();
        gst::Element::register(None, "alsasrc", gst::Rank::NONE, kind).unwrap();
    });
}

glib::wrapper! {
    pub struct Element(ObjectSubclass<Microphone>) @extends gst::Bin, gst::Element, gst::Object;
}

#[derive(Default)]
pub struct Microphone {
    device: Mutex<PathBuf>,
}

#[glib::object_subclass]
impl ObjectSubclass for Microphone {
    const NAME: &'static str = "PeercamTestMicrophone";
    type Type = Element;
    type ParentType = gst::Bin;
}

impl ObjectImpl for Microphone {
    fn properties() -> &'static [glib::ParamSpec] {
        static PROPERTIES: OnceLock<Vec<glib::ParamSpec>> = OnceLock::new();
        PROPERTIES.get_or_init(|| {
            vec![
                glib::ParamSpecString::builder("device").build(),
                glib::ParamSpecBoolean::builder("provide-clock").build(),
                glib::ParamSpecInt64::builder("latency-time").build(),
            ]
        })
    }

    fn set_property(&self, _: usize, value: &glib::Value, property: &glib::ParamSpec) {
        if property.name() == "device" {
            *self.device.lock().unwrap() = value.get::<String>().unwrap().into();
        }
    }

    fn constructed(&self) {
        self.parent_constructed();
        let bin = self.obj();
        let source = gst::ElementFactory::make("audiotestsrc")
            .property("is-live", true)
            .property("samplesperbuffer", 480i32)
            .build()
            .unwrap();
        bin.add(&source).unwrap();
        let target = source.static_pad("src").unwrap();
        let weak = bin.downgrade();
        target.add_probe(gst::PadProbeType::BUFFER, move |_, _| {
            let Some(bin) = weak.upgrade() else { return gst::PadProbeReturn::Ok };
            let path = bin.imp().device.lock().unwrap().clone();
            match std::fs::read_to_string(path) {
                Ok(text) if text == "mute" => gst::PadProbeReturn::Handled,
                Ok(_) => gst::PadProbeReturn::Ok,
                Err(_) => {
                    gst::element_error!(bin, gst::ResourceError::Read, ("unplugged"));
                    gst::PadProbeReturn::Handled
                }
            }
        });
        let pad = gst::GhostPad::builder_with_target(&target).unwrap().name("src").build();
        bin.add_pad(&pad).unwrap();
    }
}

impl GstObjectImpl for Microphone {}
impl BinImpl for Microphone {}

impl ElementImpl for Microphone {
    fn change_state(
        &self,
        transition: gst::StateChange,
    ) -> Result<gst::StateChangeSuccess, gst::StateChangeError> {
        if transition == gst::StateChange::NullToReady && !self.device.lock().unwrap().exists() {
            gst::element_imp_error!(self, gst::ResourceError::NotFound, ("no such device"));
            return Err(gst::StateChangeError);
        }
        self.parent_change_state(transition)
    }
}
