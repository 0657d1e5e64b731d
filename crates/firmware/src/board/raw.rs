//! A board file as it is written: kebab-case, every key optional, unknown keys refused.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use serde::de::value::SeqAccessDeserializer;
use serde::de::{Error, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use crate::size::Size;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct RawBoard {
    #[serde(default, deserialize_with = "parents")]
    pub inherits: Vec<String>,
    pub description: Option<String>,
    pub architecture: Option<Architecture>,
    pub target: Option<String>,
    pub consoles: Option<Vec<String>>,
    pub serial_shell: Option<bool>,
    #[serde(default)]
    pub respawn: Vec<String>,
    #[serde(default)]
    pub debian: RawDebian,
    #[serde(default)]
    pub files: BTreeMap<String, String>,
    #[serde(default)]
    pub gstreamer: RawGstreamer,
    #[serde(default)]
    pub kernel: RawKernel,
    #[serde(default)]
    pub image: RawImage,
    #[serde(default)]
    pub budgets: RawBudgets,
    pub qemu: Option<RawQemu>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct RawDebian {
    pub suite: Option<String>,
    #[serde(default)]
    pub packages: Vec<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct RawGstreamer {
    #[serde(default)]
    pub elements: Vec<String>,
    #[serde(default)]
    pub plugins: BTreeMap<String, RawPlugin>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct RawPlugin {
    pub package: Option<String>,
    #[serde(default)]
    pub elements: Vec<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct RawKernel {
    pub package: Option<String>,
    pub image_compression: Option<ImageCompression>,
    #[serde(default)]
    pub command_line: Vec<String>,
    #[serde(default)]
    pub modules: RawModules,
    #[serde(default)]
    pub module_options: BTreeMap<String, String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct RawModules {
    #[serde(default)]
    pub initramfs: Vec<String>,
    #[serde(default)]
    pub boot: Vec<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct RawImage {
    pub boot_size: Option<Size>,
    pub root_size: Option<Size>,
    pub data_size: Option<Size>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct RawBudgets {
    pub root: Option<Size>,
    pub total: Option<Size>,
    pub watchdog: Option<Size>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct RawQemu {
    pub machine: Option<String>,
    pub cpu: Option<String>,
    pub cpus: Option<u32>,
    pub memory: Option<Size>,
    pub firmware: Option<PathBuf>,
    pub watchdog: Option<String>,
}

/// A processor architecture, by Debian's name for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Architecture {
    /// 64-bit ARM.
    Arm64,
    /// 32-bit ARM, version 7 with hardware floating point.
    Armhf,
}

/// How the kernel lies on the boot partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ImageCompression {
    /// As Debian ships it: it unpacks itself.
    None,
    /// Compressed here, unpacked by U-Boot: quicker than relocating a raw image.
    Gzip,
}

/// `"base"`, or `["camera", "dev"]`.
fn parents<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    struct Names;

    impl<'de> Visitor<'de> for Names {
        type Value = Vec<String>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("the name of a board, or a list of such names")
        }

        fn visit_str<E: Error>(self, name: &str) -> Result<Self::Value, E> {
            Ok(vec![name.to_owned()])
        }

        fn visit_seq<A: SeqAccess<'de>>(self, names: A) -> Result<Self::Value, A::Error> {
            Vec::deserialize(SeqAccessDeserializer::new(names))
        }
    }

    deserializer.deserialize_any(Names)
}
