//! What a subscriber for RTP gets: decodable at once, cheap to decode, in order.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::time::Duration;

use common::{nal_units, silent, small, video};
use peercam_media::{AccessUnit, Camera, Error, Frame, State, Stream};

const SLICE: u8 = 1;
const IDR: u8 = 5;
const SPS: u8 = 7;
const PPS: u8 = 8;

fn types(unit: &AccessUnit) -> Vec<u8> {
    nal_units(&unit.data).iter().map(|nal| nal[0] & 0x1f).collect()
}

/// Reads Exp-Golomb codes (ITU-T H.264 §9.1) as far as the slice type.
fn slice_type(nal: &[u8]) -> u32 {
    let bits: Vec<u8> =
        nal[1..].iter().take(16).flat_map(|b| (0..8).rev().map(move |i| b >> i & 1)).collect();
    let mut at = 0;
    let mut ue = || {
        let zeros = bits[at..].iter().position(|bit| *bit == 1).unwrap();
        let value =
            bits[at + zeros..=at + 2 * zeros].iter().fold(0, |n, bit| n << 1 | u32::from(*bit));
        at += 2 * zeros + 1;
        value - 1
    };
    let _first_macroblock = ue();
    ue() % 5
}

/// Every encoder that this machine has is held to the same.
async fn check(encoder: &str) {
    let mut config = silent();
    config.video.encoders = vec![encoder.to_owned()];
    let camera = match Camera::start(config) {
        Ok(camera) => camera,
        Err(Error::NoEncoder { reasons }) => {
            // The two in software are installed wherever these tests run.
            assert!(encoder.starts_with("v4l2"), "{reasons:?}");
            return;
        }
        Err(error) => panic!("{error}"),
    };
    let mut frames = camera.subscribe_frames(Stream::Main);
    let mut last: Option<(Duration, std::time::SystemTime)> = None;
    let mut keys = 0;
    for number in 0..65 {
        let unit = video(&mut frames).await;
        let types = types(&unit);
        if unit.key {
            keys += 1;
            let idr = types.iter().position(|kind| *kind == IDR).expect("a key frame is an IDR");
            let sps = types.iter().position(|kind| *kind == SPS).expect("SPS before the IDR");
            let pps = types.iter().position(|kind| *kind == PPS).expect("PPS before the IDR");
            assert!(sps < pps && pps < idr, "{encoder}: {types:?}");
            let nals = nal_units(&unit.data);
            let (profile, constraints) = (nals[sps][1], nals[sps][2]);
            let constrained_baseline = profile == 66 && constraints & 0x40 != 0;
            assert!(constrained_baseline || profile == 77, "{encoder}: profile {profile}");
        } else {
            assert!(!types.contains(&IDR), "{encoder}: an IDR that is not marked as key");
        }
        assert!(unit.key || number > 0, "{encoder}: begins with a key frame");
        for nal in
            nal_units(&unit.data).iter().filter(|nal| [SLICE, IDR].contains(&(nal[0] & 0x1f)))
        {
            const P: u32 = 0;
            const I: u32 = 2;
            assert!([P, I].contains(&slice_type(nal)), "{encoder}: no B slices");
        }
        if let Some((pts, captured)) = last {
            assert!(unit.pts > pts, "{encoder}: presentation order is decoding order");
            assert!(unit.captured > captured);
        }
        last = Some((unit.pts, unit.captured));
    }
    assert!((2..=4).contains(&keys), "{encoder}: {keys} key frames in two seconds");
    camera.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn openh264_gives_what_every_browser_decodes() {
    check("openh264enc").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn x264_gives_what_every_browser_decodes() {
    check("x264enc").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hardware_encoder_gives_it_too_where_there_is_one() {
    check("v4l2h264enc").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sound_comes_in_opus_packets_without_gaps() {
    let camera = Camera::start(small()).unwrap();
    let mut frames = camera.subscribe_frames(Stream::Main);
    let mut packets = Vec::new();
    while packets.len() < 50 {
        let frame = common::soon("a packet", frames.recv()).await.unwrap();
        if let Frame::Audio(packet) = frame {
            packets.push(packet);
        }
    }
    for pair in packets.windows(2) {
        assert_eq!(pair[0].duration, Duration::from_millis(20));
        let gap = pair[1].pts.abs_diff(pair[0].pts + pair[0].duration);
        assert!(gap < Duration::from_millis(2), "{gap:?}");
        // Table of contents byte (RFC 6716 §3.1): stereo.
        assert_eq!(pair[0].data[0] & 0x04, 0x04);
    }
    camera.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn key_frames_on_request_are_merged() {
    let mut config = silent();
    config.video.key_frame_interval_ms = 20_000;
    let camera = Camera::start(config).unwrap();
    let mut frames = camera.subscribe_frames(Stream::Main);
    assert!(video(&mut frames).await.key);
    let mut keys = Vec::new();
    for _ in 0..45 {
        camera.request_key_frame(Stream::Main);
        let unit = video(&mut frames).await;
        if unit.key {
            keys.push(unit.pts);
        }
    }
    assert!((2..=4).contains(&keys.len()), "a key frame every 500 ms in 1.5 s: {keys:?}");
    for pair in keys.windows(2) {
        assert!(pair[1] - pair[0] > Duration::from_millis(300), "{keys:?}");
    }
    camera.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_status_says_what_is_sent() {
    let camera = Camera::start(small()).unwrap();
    assert_eq!(camera.status().borrow().state, State::Idle);
    let _frames = camera.subscribe_frames(Stream::Main);
    let status = common::state(&camera, State::Live).await;
    let stream = status.stream.unwrap();
    assert_eq!((stream.width, stream.height, stream.audio), (320, 180, true));
    assert!(stream.video_codec.starts_with("avc1.42c0"), "{}", stream.video_codec);
    assert!(status.encoder.is_some() && status.message.is_none());
    camera.stop();
}
