//! What a person may write, and what he is told when it is wrong.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::path::Path;

use peercam_media::{AudioSource, Camera, Config, Error, VideoSource};

fn parse(text: &str) -> Result<Config, String> {
    toml::from_str(text).map_err(|error| error.to_string())
}

#[test]
fn every_key_has_a_name_and_a_place() {
    let config = parse(
        r#"
        [video]
        source = "v4l2"
        device = "/dev/video2"
        file = "/srv/clip.mkv"
        width = 640
        height = 480
        framerate = 15
        bitrate-kbps = 800
        min-bitrate-kbps = 150
        key-frame-interval-ms = 4000
        encoders = ["x264enc"]
        clock = true
        linger-ms = 0

        [video.sub]
        enabled = true
        width = 320
        height = 240
        framerate = 5
        bitrate-kbps = 200
        min-bitrate-kbps = 60

        [audio]
        source = "alsa"
        device = "hw:1,0"
        file = "/srv/sound.ogg"
        opus-bitrate-kbps = 32
        aac-bitrate-kbps = 64
        "#,
    )
    .unwrap();
    assert_eq!(config.video.source, VideoSource::V4l2);
    assert_eq!(config.video.device, Path::new("/dev/video2"));
    assert_eq!(config.video.file.as_deref(), Some(Path::new("/srv/clip.mkv")));
    assert_eq!((config.video.width, config.video.height, config.video.framerate), (640, 480, 15));
    assert_eq!((config.video.bitrate_kbps, config.video.key_frame_interval_ms), (800, 4000));
    assert_eq!(config.video.min_bitrate_kbps, Some(150));
    assert_eq!(config.video.encoders, ["x264enc"]);
    assert_eq!((config.video.clock, config.video.linger_ms), (Some(true), 0));
    let sub = &config.video.sub;
    assert!(sub.enabled);
    assert_eq!((sub.width, sub.height, sub.framerate), (Some(320), Some(240), Some(5)));
    assert_eq!((sub.bitrate_kbps, sub.min_bitrate_kbps), (Some(200), Some(60)));
    assert_eq!((config.audio.source, config.audio.device.as_str()), (AudioSource::Alsa, "hw:1,0"));
    assert_eq!(config.audio.file.as_deref(), Some(Path::new("/srv/sound.ogg")));
    assert_eq!((config.audio.opus_bitrate_kbps, config.audio.aac_bitrate_kbps), (32, 64));
    config.check().unwrap();
}

#[test]
fn nothing_at_all_is_a_test_picture_with_sound() {
    let config = parse("").unwrap();
    assert_eq!(config, Config::default());
    config.check().unwrap();
}

#[test]
fn unknown_keys_and_wrong_types_are_named() {
    for (text, named) in [
        ("[video]\nwidht = 640", "widht"),
        ("[vidoe]\nwidth = 640", "vidoe"),
        ("[video]\nwidth = \"wide\"", "width"),
        ("[video]\nwidth = -2", "width"),
        ("[video]\nsource = \"usb\"", "usb"),
        ("[audio]\nsource = \"pulse\"", "pulse"),
        ("[video]\nencoders = \"x264enc\"", "encoders"),
    ] {
        let message = parse(text).unwrap_err();
        assert!(message.contains(named), "{text}: {message}");
        assert!(message.contains("line 2") || message.contains("line 1"), "{message}");
    }
}

#[test]
fn values_out_of_range_are_named_with_the_range() {
    for (text, key, value, allowed) in [
        ("[video]\nwidth = 641", "video.width", "641", "even"),
        ("[video]\nwidth = 14", "video.width", "14", "16"),
        ("[video]\nheight = 4098", "video.height", "4098", "4096"),
        ("[video]\nframerate = 0", "video.framerate", "0", "1 to 120"),
        ("[video]\nframerate = 121", "video.framerate", "121", "1 to 120"),
        ("[video]\nbitrate-kbps = 49", "video.bitrate-kbps", "49", "50 to 50000"),
        ("[video]\nbitrate-kbps = 4294967295", "video.bitrate-kbps", "4294967295", "50000"),
        ("[video]\nmin-bitrate-kbps = 49", "video.min-bitrate-kbps", "49", "50 to 2000"),
        ("[video]\nmin-bitrate-kbps = 2001", "video.min-bitrate-kbps", "2001", "50 to 2000"),
        ("[video.sub]\nwidth = 1282", "video.sub.width", "1282", "even number from 16 to 1280"),
        ("[video.sub]\nheight = 15", "video.sub.height", "15", "even"),
        ("[video.sub]\nframerate = 31", "video.sub.framerate", "31", "1 to 30"),
        ("[video.sub]\nbitrate-kbps = 2001", "video.sub.bitrate-kbps", "2001", "50 to 2000"),
        ("[video.sub]\nmin-bitrate-kbps = 501", "video.sub.min-bitrate-kbps", "501", "50 to 500"),
        ("[video]\nkey-frame-interval-ms = 249", "video.key-frame-interval-ms", "249", "250"),
        ("[video]\nlinger-ms = 600001", "video.linger-ms", "600001", "600000"),
        ("[video]\nencoders = []", "video.encoders", "[]", "at least one"),
        ("[video]\nencoders = [\"h265enc\"]", "video.encoders", "h265enc", "openh264enc"),
        ("[video]\nsource = \"file\"", "video.source", "file", "video.file"),
        ("[video]\nsource = \"v4l2\"\ndevice = \"\"", "video.device", "\"\"", "/dev/video0"),
        ("[video]\nwidth = 64\nclock = true", "video.clock", "true", "160"),
        ("[audio]\nopus-bitrate-kbps = 5", "audio.opus-bitrate-kbps", "5", "6 to 510"),
        ("[audio]\naac-bitrate-kbps = 321", "audio.aac-bitrate-kbps", "321", "32 to 320"),
        ("[audio]\nsource = \"file\"", "audio.source", "file", "audio.file"),
        ("[audio]\nsource = \"alsa\"\ndevice = \"\"", "audio.device", "\"\"", "default"),
    ] {
        let config = parse(text).unwrap();
        let error = config.check().unwrap_err();
        assert_eq!(error.key, key, "{text}");
        let message = error.to_string();
        assert!(message.contains(value) && message.contains(allowed), "{text}: {message}");
        // The camera says the same.
        let refused = Camera::start(config).err().unwrap();
        assert!(matches!(refused, Error::Config(refusal) if refusal == error));
    }
}

#[test]
fn the_ends_of_the_ranges_are_allowed() {
    for text in [
        "[video]\nwidth = 16\nheight = 16\nframerate = 1\nbitrate-kbps = 50",
        "[video]\nwidth = 4096\nheight = 4096\nframerate = 120\nbitrate-kbps = 50000",
        "[video]\nbitrate-kbps = 50\nmin-bitrate-kbps = 50",
        "[video.sub]\nwidth = 1280\nheight = 720\nframerate = 30\nbitrate-kbps = 2000",
        // What does not matter is not looked at.
        "[video.sub]\nenabled = false\nwidth = 7",
        "[video]\nkey-frame-interval-ms = 250\nlinger-ms = 0",
        "[video]\nkey-frame-interval-ms = 20000\nlinger-ms = 600000",
        "[audio]\nopus-bitrate-kbps = 6\naac-bitrate-kbps = 32",
        "[audio]\nopus-bitrate-kbps = 510\naac-bitrate-kbps = 320",
        "[audio]\nsource = \"none\"",
        "[video]\nfile = \"/clip.mkv\"\n[audio]\nsource = \"file\"",
    ] {
        parse(text).unwrap().check().unwrap();
    }
}
