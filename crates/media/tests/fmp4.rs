//! What a subscriber for Media Source Extensions gets: a file that plays from where he came in.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::{sync::Arc, time::Duration};

use common::{chunk, decode::Decoder, silent, small};
use peercam_media::{Camera, Chunk, Config, Stream};

async fn record(config: Config, chunks: usize) -> Vec<Chunk> {
    let camera = Camera::start(config).unwrap();
    let mut subscription = camera.subscribe_chunks(Stream::Main);
    let mut recorded = Vec::new();
    while recorded.len() < chunks {
        recorded.push(chunk(&mut subscription).await);
    }
    camera.stop();
    recorded
}

fn play(chunks: &[Chunk], sound: bool) -> Decoder {
    let decoder = Decoder::mp4(sound);
    decoder.feed(&chunks[0].init.data, None);
    for chunk in chunks {
        decoder.feed(&chunk.data, None);
    }
    decoder.finish();
    decoder
}

#[tokio::test(flavor = "multi_thread")]
async fn picture_and_sound_play_and_every_chunk_is_one_picture() {
    let chunks = record(small(), 90).await;
    let init = &chunks[0].init;
    assert!(init.video_codec.starts_with("avc1.42c0"), "{}", init.video_codec);
    assert_eq!(init.audio_codec.as_deref(), Some("mp4a.40.2"));
    assert!(chunks.iter().all(|chunk| Arc::ptr_eq(&chunk.init, init)));
    assert!(chunks[0].key);

    let decoder = play(&chunks, true);
    let pictures: Vec<_> = decoder.pictures.try_iter().map(|picture| picture.pts).collect();
    let times: Vec<_> = chunks.iter().map(|chunk| chunk.pts).collect();
    assert_eq!(pictures.len(), chunks.len());
    for (picture, chunk) in pictures.iter().zip(&times) {
        let off = picture.abs_diff(*chunk);
        assert!(off < Duration::from_millis(1), "shown at {picture:?}, said to be {chunk:?}");
    }

    let sound: Vec<_> = decoder.sound.try_iter().collect();
    let heard: Duration = sound.iter().map(|(_, length)| *length).sum();
    let seen = times[times.len() - 1] - times[0];
    assert!(heard.abs_diff(seen) < Duration::from_millis(150), "{heard:?} of {seen:?}");
    // The sound comes along with the picture, not some time later.
    let with_sound = |chunk: &Chunk| chunk.data.windows(4).filter(|b| *b == b"traf").count() == 2;
    assert!(chunks.windows(5).all(|window| window.iter().any(with_sound)));
    for pair in sound.windows(2) {
        let gap = (pair[0].0 + pair[0].1).abs_diff(pair[1].0);
        assert!(gap < Duration::from_millis(2), "a gap of {gap:?} in the sound");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn playing_begins_at_any_key_frame() {
    let chunks = record(silent(), 75).await;
    let keys: Vec<_> = (0..chunks.len()).filter(|index| chunks[*index].key).collect();
    assert!(keys.len() >= 2, "{keys:?}");
    let from = &chunks[keys[1]..];
    let decoder = play(from, false);
    let pictures: Vec<_> = decoder.pictures.try_iter().collect();
    assert_eq!(pictures.len(), from.len());
    assert!(pictures[0].pts.abs_diff(from[0].pts) < Duration::from_millis(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_requested_key_frame_is_a_place_to_begin_too() {
    let mut config = small();
    config.video.key_frame_interval_ms = 20_000;
    let camera = Camera::start(config).unwrap();
    let mut subscription = camera.subscribe_chunks(Stream::Main);
    let mut recorded = Vec::new();
    let mut key = None;
    while recorded.len() < 60 {
        if recorded.len() == 20 {
            camera.request_key_frame(Stream::Main);
        }
        recorded.push(chunk(&mut subscription).await);
        if recorded.len() > 20 && recorded.last().unwrap().key {
            key.get_or_insert(recorded.len() - 1);
        }
    }
    camera.stop();
    let from = &recorded[key.expect("a key frame came")..];
    let decoder = play(from, true);
    assert_eq!(decoder.pictures.try_iter().count(), from.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn capture_time_runs_with_media_time() {
    let chunks = record(small(), 60).await;
    let first = &chunks[0];
    for chunk in &chunks[1..] {
        let media = chunk.pts - first.pts;
        let wall = chunk.captured.duration_since(first.captured).unwrap();
        assert!(media.abs_diff(wall) < Duration::from_millis(3), "{media:?} {wall:?}");
    }
}
