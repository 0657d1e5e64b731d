//! The browser itself: a page is opened, looked at, and nothing of it stays.

use std::{fs, time::Duration};

use peercam_testbed::{Bed, Browser, stats::State, wait};

/// A page with an element that speaks like the player.
const PAGE: &str = "data:text/html,<peercam-player>hello</peercam-player><script>\
    let frames = 0; \
    document.querySelector('peercam-player').__defineGetter__('stats', () => ({\
        state: 'playing', message: 'x', transport: 'rtp', width: 1, height: 1, \
        video_codec: null, audio_codec: null, frames_decoded: frames, audio_decoded: frames++, \
        connect_ms: 1.5, first_frame_ms: null, latency_ms: {p50: 1, p95: null, last: 2}, \
        fps: 0, freeze_longest_ms: 0, bytes_received: 0, stream: null, path: null, \
        path_local: null, path_remote: null, path_protocol: null, restarts: 0, \
        reconnects: 0, verified: false}))</script>";

/// The processes whose command line names the folder.
fn processes_of(folder: &str) -> Vec<String> {
    let all = fs::read_dir("/proc").unwrap().flatten();
    all.filter_map(|entry| fs::read(entry.path().join("cmdline")).ok())
        .map(|line| String::from_utf8_lossy(&line).replace('\0', " "))
        .filter(|line| line.contains(folder))
        .collect()
}

#[tokio::test]
async fn a_browser_shows_a_page_and_leaves_no_process_behind() {
    let bed = Bed::new("browser").unwrap();
    let folder = bed.path().display().to_string();
    let browser = Browser::start(&bed).await.unwrap();
    browser.open(PAGE).await.unwrap();

    let stats = browser.wait_playing(Duration::from_secs(20)).await.unwrap();
    assert_eq!((stats.state, stats.connect_ms), (State::Playing, Some(1.5)));
    assert!(browser.text().await.unwrap().contains("hello"));
    let sum: u32 = browser.evaluate_async("return await Promise.resolve(20 + 22)").await.unwrap();
    assert_eq!(sum, 42);
    let picture = bed.file("page.png");
    browser.screenshot(&picture).await.unwrap();
    assert!(fs::read(&picture).unwrap().starts_with(b"\x89PNG"));

    assert!(!processes_of(&folder).is_empty(), "the browser should be found by its profile");
    // Not `stop`: as a test that panics, or a person with Ctrl-C, ends it.
    drop(browser);
    wait::until("the browser's processes to end", Duration::from_secs(10), async || {
        let left = processes_of(&folder);
        Ok(match left.is_empty() {
            true => wait::Look::Done(()),
            false => wait::Look::NotYet(format!("{left:#?}")),
        })
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn what_does_not_work_in_the_page_is_said() {
    let bed = Bed::new("browser").unwrap();
    let browser = Browser::start(&bed).await.unwrap();
    browser.open("data:text/html,nothing here").await.unwrap();
    let error = browser.stats().await.unwrap_err().to_string();
    assert!(error.contains("peercam-player"), "{error}");
    browser.stop().await.unwrap();
}
