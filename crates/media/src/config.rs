//! The settings: first as a person writes them ([`Config`], TOML), then validated
//! (`Settings`, what the rest of this crate works with).

use std::{
    ops::RangeInclusive,
    path::{Path, PathBuf},
    time::Duration,
};

use serde::Deserialize;

/// Everything about picture and sound. Each table may be left out, and each key in it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
pub struct Config {
    /// `[video]`
    pub video: VideoConfig,
    /// `[audio]`
    pub audio: AudioConfig,
}

/// `[video]`: where the picture comes from and how it is encoded.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
pub struct VideoConfig {
    /// `test`, `v4l2` or `file`.
    pub source: VideoSource,
    /// Device of the source `v4l2`, or `auto`: the first that gives pictures.
    pub device: PathBuf,
    /// File of the source `file`: anything GStreamer decodes; played in a loop.
    pub file: Option<PathBuf>,
    /// Width of the encoded picture in pixels: even, 16 to 4096.
    pub width: u32,
    /// Height of the encoded picture in pixels: even, 16 to 4096.
    pub height: u32,
    /// Pictures in a second: 1 to 120.
    pub framerate: u32,
    /// Bit rate of the picture in kbit/s: 50 to 50000. Never exceeded.
    pub bitrate_kbps: u32,
    /// Lowest bit rate of the picture in kbit/s, for viewers whose network is slow: 50 to
    /// `bitrate_kbps`. Default: a quarter of it.
    pub min_bitrate_kbps: Option<u32>,
    /// Time between two key frames in ms: 250 to 20000. A viewer who comes in between asks for one.
    pub key_frame_interval_ms: u32,
    /// H.264 encoders (GStreamer elements) in order of preference; the first that works is used.
    pub encoders: Vec<String>,
    /// Whether to draw the clock into the picture; default: only into the test picture.
    pub clock: Option<bool>,
    /// How long encoding goes on after the last viewer left, in ms: 0 to 600000.
    pub linger_ms: u32,
    /// `[video.sub]`
    pub sub: SubConfig,
}

/// `[video.sub]`: a second, smaller encode of the same picture, for viewers whose network does not
/// carry the main one. Encoded only while somebody needs it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
pub struct SubConfig {
    /// Whether there is one.
    pub enabled: bool,
    /// Width in pixels: even, 16 to the main one's. Default: half of that.
    pub width: Option<u32>,
    /// Height in pixels: even, 16 to the main one's. Default: half of that.
    pub height: Option<u32>,
    /// Pictures in a second: 1 to the main one's. Default: that, and at most 15.
    pub framerate: Option<u32>,
    /// Bit rate in kbit/s: 50 to the main one's. Never exceeded. Default: a quarter of that.
    pub bitrate_kbps: Option<u32>,
    /// Lowest bit rate in kbit/s: 50 to `bitrate_kbps`. Default: a quarter of it.
    pub min_bitrate_kbps: Option<u32>,
}

impl Default for SubConfig {
    fn default() -> Self {
        Self {
            enabled: true,
            width: None,
            height: None,
            framerate: None,
            bitrate_kbps: None,
            min_bitrate_kbps: None,
        }
    }
}

/// Where the picture comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum VideoSource {
    /// A moving test picture.
    #[default]
    Test,
    /// A Video4Linux2 capture device.
    V4l2,
    /// A file, in a loop.
    File,
}

/// `[audio]`: where the sound comes from and how it is encoded.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
pub struct AudioConfig {
    /// `test`, `alsa`, `file` or `none`.
    pub source: AudioSource,
    /// ALSA device of the source `alsa`.
    pub device: String,
    /// File of the source `file`; default: the picture's file. Silence where it has no sound.
    pub file: Option<PathBuf>,
    /// Bit rate of the Opus stream in kbit/s: 6 to 510.
    pub opus_bitrate_kbps: u32,
    /// Bit rate of the AAC stream in kbit/s: 32 to 320.
    pub aac_bitrate_kbps: u32,
}

/// Where the sound comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AudioSource {
    /// A tick every second.
    #[default]
    Test,
    /// An ALSA capture device.
    Alsa,
    /// A file, in a loop.
    File,
    /// No sound at all.
    None,
}

impl Default for VideoConfig {
    fn default() -> Self {
        Self {
            source: VideoSource::default(),
            device: "/dev/video0".into(),
            file: None,
            width: 1280,
            height: 720,
            framerate: 30,
            bitrate_kbps: 2000,
            min_bitrate_kbps: None,
            key_frame_interval_ms: 2000,
            encoders: ["v4l2h264enc", "openh264enc", "x264enc"].map(str::to_owned).to_vec(),
            clock: None,
            linger_ms: 5000,
            sub: SubConfig::default(),
        }
    }
}

impl Default for AudioConfig {
    fn default() -> Self {
        Self {
            source: AudioSource::default(),
            device: "default".into(),
            file: None,
            opus_bitrate_kbps: 64,
            aac_bitrate_kbps: 96,
        }
    }
}

/// A setting that can't be used: which key, which value, and what is allowed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{key} = {value}: {allowed}")]
pub struct ConfigError {
    /// `video.width`
    pub key: &'static str,
    /// As it would stand in TOML.
    pub value: String,
    /// What is allowed instead.
    pub allowed: String,
}

/// Validated settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Settings {
    pub video: VideoSettings,
    pub audio: Option<AudioSettings>,
    pub linger: Duration,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct VideoSettings {
    pub input: VideoInput,
    pub main: EncodeSettings,
    pub sub: Option<EncodeSettings>,
    pub encoders: Vec<String>,
    pub clock: bool,
}

/// One encode of the picture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct EncodeSettings {
    pub width: u32,
    pub height: u32,
    pub framerate: u32,
    /// Lowest and highest bit rate in kbit/s.
    pub bitrate_kbps: RangeInclusive<u32>,
    /// Frames between two key frames, at least 1.
    pub key_frame_interval: u32,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum VideoInput {
    Test,
    /// A device; or the first that gives pictures.
    V4l2(Option<PathBuf>),
    File(PathBuf),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct AudioSettings {
    pub input: AudioInput,
    pub opus_bitrate_kbps: u32,
    pub aac_bitrate_kbps: u32,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum AudioInput {
    Test,
    Alsa(String),
    File(PathBuf),
}

impl Config {
    /// Whether every value is allowed and the values fit together. Touches no device and no file.
    pub fn check(&self) -> Result<(), ConfigError> {
        self.validate().map(drop)
    }

    /// From what was written to what can be built.
    pub(crate) fn validate(&self) -> Result<Settings, ConfigError> {
        let Self { video, audio } = self;
        Ok(Settings {
            video: video.validate()?,
            audio: audio.validate(video)?,
            linger: Duration::from_millis(
                number("video.linger-ms", video.linger_ms, 0, 600_000)?.into(),
            ),
        })
    }
}

impl VideoConfig {
    fn validate(&self) -> Result<VideoSettings, ConfigError> {
        let input = match self.source {
            VideoSource::Test => VideoInput::Test,
            VideoSource::V4l2 if self.device.as_os_str().is_empty() => {
                return Err(error(
                    "video.device",
                    "\"\"",
                    "name a device, such as /dev/video0, or \"auto\"",
                ));
            }
            VideoSource::V4l2 if self.device == Path::new("auto") => VideoInput::V4l2(None),
            VideoSource::V4l2 => VideoInput::V4l2(Some(self.device.clone())),
            VideoSource::File => match &self.file {
                Some(file) if !file.as_os_str().is_empty() => VideoInput::File(file.clone()),
                _ => {
                    let allowed = "needs video.file, the path of the file to play";
                    return Err(error("video.source", "\"file\"", allowed));
                }
            },
        };
        let width = even("video.width", self.width)?;
        let height = even("video.height", self.height)?;
        let framerate = number("video.framerate", self.framerate, 1, 120)?;
        let bitrate_kbps = bitrates(
            ("video.bitrate-kbps", self.bitrate_kbps, 50_000),
            ("video.min-bitrate-kbps", self.min_bitrate_kbps),
        )?;
        let interval =
            number("video.key-frame-interval-ms", self.key_frame_interval_ms, 250, 20_000)?;
        if self.encoders.is_empty() {
            let allowed = "name at least one H.264 encoder, such as \"openh264enc\"";
            return Err(error("video.encoders", "[]", allowed));
        }
        for encoder in &self.encoders {
            if !crate::pipeline::encoder::is_known(encoder) {
                let allowed = "allowed are \"v4l2h264enc\", \"openh264enc\" and \"x264enc\"";
                return Err(error("video.encoders", &format!("[{encoder:?}]"), allowed));
            }
        }
        let clock_fits = crate::clock::fits(width, height);
        if self.clock == Some(true) && !clock_fits {
            let allowed = format!(
                "the clock needs a picture of at least {}x{} pixels, not {width}x{height}",
                crate::clock::MIN_WIDTH,
                crate::clock::MIN_HEIGHT
            );
            return Err(error("video.clock", "true", &allowed));
        }
        let main = EncodeSettings {
            width,
            height,
            framerate,
            bitrate_kbps,
            key_frame_interval: (interval * framerate / 1000).max(1),
        };
        Ok(VideoSettings {
            clock: self.clock.unwrap_or(input == VideoInput::Test) && clock_fits,
            input,
            sub: self.sub.validate(&main, interval)?,
            main,
            encoders: self.encoders.clone(),
        })
    }
}

impl SubConfig {
    /// `interval`: time between two key frames in ms.
    fn validate(
        &self,
        main: &EncodeSettings,
        interval: u32,
    ) -> Result<Option<EncodeSettings>, ConfigError> {
        if !self.enabled {
            return Ok(None);
        }
        let half = |size: u32| (size / 4 * 2).max(16);
        let width = self.width.unwrap_or_else(|| half(main.width));
        let height = self.height.unwrap_or_else(|| half(main.height));
        let framerate = self.framerate.unwrap_or(main.framerate.min(15));
        let framerate = number("video.sub.framerate", framerate, 1, main.framerate)?;
        let highest = *main.bitrate_kbps.end();
        let bitrate = self.bitrate_kbps.unwrap_or((highest / 4).max(MIN_KBPS));
        Ok(Some(EncodeSettings {
            width: even_up_to("video.sub.width", width, main.width)?,
            height: even_up_to("video.sub.height", height, main.height)?,
            framerate,
            bitrate_kbps: bitrates(
                ("video.sub.bitrate-kbps", bitrate, highest),
                ("video.sub.min-bitrate-kbps", self.min_bitrate_kbps),
            )?,
            key_frame_interval: (interval * framerate / 1000).max(1),
        }))
    }
}

impl AudioConfig {
    fn validate(&self, video: &VideoConfig) -> Result<Option<AudioSettings>, ConfigError> {
        let opus = number("audio.opus-bitrate-kbps", self.opus_bitrate_kbps, 6, 510)?;
        let aac = number("audio.aac-bitrate-kbps", self.aac_bitrate_kbps, 32, 320)?;
        let input = match self.source {
            AudioSource::None => return Ok(None),
            AudioSource::Test => AudioInput::Test,
            AudioSource::Alsa if self.device.is_empty() => {
                let allowed = "name an ALSA device, such as \"default\" or \"hw:0\"";
                return Err(error("audio.device", "\"\"", allowed));
            }
            AudioSource::Alsa => AudioInput::Alsa(self.device.clone()),
            AudioSource::File => match self.file.as_ref().or(video.file.as_ref()) {
                Some(file) if !file.as_os_str().is_empty() => AudioInput::File(file.clone()),
                _ => {
                    let allowed = "needs audio.file or video.file, the path of the file to play";
                    return Err(error("audio.source", "\"file\"", allowed));
                }
            },
        };
        Ok(Some(AudioSettings { input, opus_bitrate_kbps: opus, aac_bitrate_kbps: aac }))
    }
}

/// Below this, nothing can be made out any more.
const MIN_KBPS: u32 = 50;

fn error(key: &'static str, value: &str, allowed: &str) -> ConfigError {
    ConfigError { key, value: value.to_owned(), allowed: allowed.to_owned() }
}

fn number(key: &'static str, value: u32, min: u32, max: u32) -> Result<u32, ConfigError> {
    if (min..=max).contains(&value) {
        Ok(value)
    } else {
        Err(error(key, &value.to_string(), &format!("allowed is {min} to {max}")))
    }
}

/// The bit rates of an encode, as a range: from its highest one, which may not exceed a limit, and
/// the lowest one.
fn bitrates(
    (key, highest, limit): (&'static str, u32, u32),
    (lowest_key, lowest): (&'static str, Option<u32>),
) -> Result<RangeInclusive<u32>, ConfigError> {
    let highest = number(key, highest, MIN_KBPS, limit)?;
    let lowest = lowest.unwrap_or((highest / 4).max(MIN_KBPS));
    Ok(number(lowest_key, lowest, MIN_KBPS, highest)?..=highest)
}

fn even(key: &'static str, value: u32) -> Result<u32, ConfigError> {
    even_up_to(key, value, 4096)
}

/// 4:2:0 chroma has one sample for two pixels each way.
fn even_up_to(key: &'static str, value: u32, limit: u32) -> Result<u32, ConfigError> {
    if (16..=limit).contains(&value) && value.is_multiple_of(2) {
        Ok(value)
    } else {
        let allowed = format!("allowed is an even number from 16 to {limit}");
        Err(error(key, &value.to_string(), &allowed))
    }
}
