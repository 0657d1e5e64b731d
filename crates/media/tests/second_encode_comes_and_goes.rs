//! The second encode is added to the running pipeline and taken from it, again and again: the main
//! one does not notice, and nothing stays behind. Alone in its process, whose threads and memory
//! are counted.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::time::{Duration, Instant};

use common::{chunk, small, status, video};
use peercam_media::{Camera, Frame, State, Stream};

/// How often it comes and goes between two looks at the footprint.
const ROUNDS: u32 = 50;
/// Looks after which a footprint that still grows is a leak: one grows each time, the allocator's
/// arenas (one for a thread, or nearly) only until there are enough of them.
const LOOKS: u32 = 6;
/// What the memory may differ between two looks, in kB.
const TOLERANCE: u64 = 3_000;

/// Threads of this process, and its resident memory in kB.
fn footprint() -> (usize, u64) {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let field = |name: &str| {
        let line = status.lines().find(|line| line.starts_with(name)).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap()
    };
    (field("Threads:") as usize, field("VmRSS:"))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_main_encode_does_not_notice_it_coming_and_going() {
    let mut config = small();
    config.video.linger_ms = 0;
    let camera = Camera::start(config).unwrap();
    let mut main = camera.subscribe_frames(Stream::Main);
    let mut main_chunks = camera.subscribe_chunks(Stream::Main);
    let mut gap = tokio::spawn(async move {
        // Longest gap between two pictures, two packets of sound, and two chunks.
        let mut longest = [Duration::ZERO; 3];
        let mut last: [Option<Duration>; 3] = [None; 3];
        loop {
            let (kind, pts) = tokio::select! {
                frame = main.recv() => match frame {
                    Some(Frame::Video(unit)) => (0, unit.pts),
                    Some(Frame::Audio(packet)) => (1, packet.pts),
                    None => return longest,
                },
                chunk = main_chunks.recv() => match chunk {
                    Some(chunk) => (2, chunk.pts),
                    None => return longest,
                },
            };
            if let Some(last) = last[kind].replace(pts) {
                assert!(pts > last);
                longest[kind] = longest[kind].max(pts - last);
            }
        }
    });

    let (mut before, mut after) = (footprint(), footprint());
    let mut last = Duration::ZERO;
    for round in 1..=LOOKS * ROUNDS {
        if round % 2 == 0 {
            let mut frames = camera.subscribe_frames(Stream::Sub);
            let unit = video(&mut frames).await;
            assert!(unit.key && unit.pts > last);
            last = unit.pts;
        } else {
            let mut chunks = camera.subscribe_chunks(Stream::Sub);
            let piece = chunk(&mut chunks).await;
            // The chunk of a picture comes a little later than the access unit, and its track
            // counts milliseconds.
            let not_older = piece.pts + Duration::from_millis(1) > last;
            assert!(piece.key && not_older, "{:?} {last:?}", piece.pts);
            last = piece.pts;
        }
        status(&camera, |status| status.sub.state == State::Idle).await;
        if round % ROUNDS == 0 {
            (before, after) = (after, footprint());
            // All that is made once was made before the first look.
            if round > ROUNDS && after.1 < before.1 + TOLERANCE {
                break;
            }
        }
    }
    assert!(after.1 < before.1 + TOLERANCE, "kB: {} before, {} after", before.1, after.1);
    // The last one's threads may still be on their way out.
    let deadline = Instant::now() + common::PATIENCE;
    while footprint().0 > before.0 && Instant::now() < deadline {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let threads = footprint().0;
    assert!(threads <= before.0, "threads: {} before, {threads} after", before.0);
    assert_eq!(camera.status().borrow().state, State::Live);
    camera.stop();
    let [picture, sound, chunk] = (&mut gap).await.unwrap();
    // A rebuilt pipeline would take longer than that; a busy machine may lose some pictures.
    assert!(picture < Duration::from_millis(250), "{picture:?} without a picture");
    assert!(sound < Duration::from_millis(25), "{sound:?} without sound");
    assert!(chunk < Duration::from_millis(250), "{chunk:?} without a chunk");
}
