//! Hardware encoders for machines that have none: elements with the names and the property of
//! V4L2's, around a software encoder, and with troubles of their own.
#![allow(dead_code, clippy::unwrap_used, clippy::expect_used)]

use std::sync::{
    Mutex, Once, OnceLock,
    atomic::{AtomicBool, AtomicU32, Ordering},
};

use gstreamer as gst;
use gstreamer::{glib, prelude::*, subclass::prelude::*};

/// Encodes one picture at a time: a second one is refused when it is to start.
pub const ONE_AT_A_TIME: &str = "v4l2video71h264enc";
/// Fails with the tenth picture, if that is narrower than 300 pixels.
pub const NO_SMALL_PICTURES: &str = "v4l2video72h264enc";

/// Makes the elements known.
pub fn register() {
    // Once: a second registration frees the factory that elements of the first refer to.
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        gst::init().unwrap();
        for (name, kind) in [(ONE_AT_A_TIME, one::element()), (NO_SMALL_PICTURES, small::element())]
        {
            gst::Element::register(None, name, gst::Rank::NONE, kind).unwrap();
        }
    });
}

static BUSY: AtomicBool = AtomicBool::new(false);

// Two types, since what an element is called is known of its type only.
macro_rules! hardware { ($module:ident, $type:literal, $name:ident) => { mod $module {
    use super::*;

    pub fn element() -> glib::Type {
        Element::static_type()
    }

    glib::wrapper! {
        pub struct Element(ObjectSubclass<Hardware>) @extends gst::Bin, gst::Element, gst::Object;
    }

    pub struct Hardware {
        encoder: gst::Element,
        controls: Mutex<Option<gst::Structure>>,
        streams: AtomicBool,
        pictures: AtomicU32,
    }

    impl Default for Hardware {
        fn default() -> Self {
            Self {
                encoder: gst::ElementFactory::make("openh264enc").build().unwrap(),
                controls: Mutex::default(),
                streams: AtomicBool::default(),
                pictures: AtomicU32::default(),
            }
        }
    }

    #[glib::object_subclass]
    impl ObjectSubclass for Hardware {
        const NAME: &'static str = $type;
        type Type = Element;
        type ParentType = gst::Bin;
    }

    impl ObjectImpl for Hardware {
        fn properties() -> &'static [glib::ParamSpec] {
            static PROPERTIES: OnceLock<Vec<glib::ParamSpec>> = OnceLock::new();
            PROPERTIES.get_or_init(|| {
                vec![glib::ParamSpecBoxed::builder::<gst::Structure>("extra-controls").build()]
            })
        }

        fn set_property(&self, _: usize, value: &glib::Value, _: &glib::ParamSpec) {
            let controls = value.get::<Option<gst::Structure>>().unwrap();
            let bits = controls.as_ref().and_then(|c| c.get::<i32>("video_bitrate").ok());
            if let Some(bits) = bits {
                self.encoder.set_property("bitrate", bits as u32);
            }
            *self.controls.lock().unwrap() = controls;
        }

        fn property(&self, _: usize, _: &glib::ParamSpec) -> glib::Value {
            self.controls.lock().unwrap().to_value()
        }

        fn constructed(&self) {
            self.parent_constructed();
            let bin = self.obj();
            self.encoder.set_property_from_str("rate-control", "bitrate");
            bin.add(&self.encoder).unwrap();
            let entry = self.encoder.static_pad("sink").unwrap();
            let weak = bin.downgrade();
            entry.add_probe(gst::PadProbeType::BUFFER, move |pad, _| {
                let Some(bin) = weak.upgrade() else { return gst::PadProbeReturn::Ok };
                let imp = bin.imp();
                let caps = pad.current_caps().unwrap();
                let width = caps.structure(0).unwrap().get::<i32>("width").unwrap();
                let number = imp.pictures.fetch_add(1, Ordering::Relaxed);
                if $name == NO_SMALL_PICTURES && width < 300 && number >= 10 {
                    gst::element_error!(bin, gst::ResourceError::Failed, ("no small pictures"));
                }
                gst::PadProbeReturn::Ok
            });
            for name in ["sink", "src"] {
                let target = self.encoder.static_pad(name).unwrap();
                let pad = gst::GhostPad::builder_with_target(&target).unwrap().name(name).build();
                bin.add_pad(&pad).unwrap();
            }
        }
    }

    impl GstObjectImpl for Hardware {}
    impl BinImpl for Hardware {}

    impl ElementImpl for Hardware {
        fn change_state(
            &self,
            transition: gst::StateChange,
        ) -> Result<gst::StateChangeSuccess, gst::StateChangeError> {
            if transition == gst::StateChange::ReadyToPaused && $name == ONE_AT_A_TIME {
                if BUSY.swap(true, Ordering::SeqCst) {
                    gst::element_imp_error!(self, gst::ResourceError::Busy, ("one at a time"));
                    return Err(gst::StateChangeError);
                }
                self.streams.store(true, Ordering::SeqCst);
            }
            let result = self.parent_change_state(transition);
            if transition == gst::StateChange::PausedToReady
                && self.streams.swap(false, Ordering::SeqCst)
            {
                BUSY.store(false, Ordering::SeqCst);
            }
            result
        }
    }
}}}

hardware!(one, "PeercamTestOneAtATime", ONE_AT_A_TIME);
hardware!(small, "PeercamTestNoSmallPictures", NO_SMALL_PICTURES);
