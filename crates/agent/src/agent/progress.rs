//! What the agent tells its supervisor about its work: pictures, and whether they are due.

use std::time::{Duration, Instant};

use peercam_heartbeat::Progress;
use peercam_media::{State, Status};
use tokio::sync::watch;

/// A camera that is watched begins to start in moments.
const WAKE_PATIENCE: Duration = Duration::from_secs(3);
/// The camera gives its first picture 10 s, and then says that it failed.
const START_PATIENCE: Duration = Duration::from_secs(15);
/// A camera that failed tries again at least every 30 s, and says how that went.
const RETRY_PATIENCE: Duration = Duration::from_secs(60);
/// Pictures a second are told over so long at least: the camera counts its pictures once a second.
const RATE_OVER: Duration = Duration::from_millis(2500);

/// Follows the camera from heartbeat to heartbeat.
#[derive(Debug)]
pub(super) struct Pictures {
    status: watch::Receiver<Status>,
    /// When the camera last said anything new about itself, or was last not watched.
    heard_at: Instant,
    /// When the pictures were last counted, and how many there were.
    counted: (Instant, u64),
    /// Pictures a second, between the last two times.
    rate: f64,
}

impl Pictures {
    pub(super) fn new(status: watch::Receiver<Status>, now: Instant) -> Self {
        let made = status.borrow().frames_encoded;
        Self { status, heard_at: now, counted: (now, made), rate: 0.0 }
    }

    /// For a heartbeat. `watchers` is how many take pictures from the camera.
    pub(super) fn progress(&mut self, now: Instant, watchers: usize) -> Progress {
        // An error says that the camera is gone for good, so it says nothing new.
        if self.status.has_changed().unwrap_or(false) || watchers == 0 {
            self.heard_at = now;
        }
        let status = self.status.borrow_and_update();
        let (before, made) = self.counted;
        let time = now.saturating_duration_since(before);
        if time >= RATE_OVER {
            self.rate = status.frames_encoded.saturating_sub(made) as f64 / time.as_secs_f64();
            self.counted = (now, status.frames_encoded);
        }
        let silence = now.saturating_duration_since(self.heard_at);
        let expected = watchers > 0 && is_due(status.state, silence);
        Progress { expected, done: status.frames_encoded }
    }

    /// For people, in a few words.
    pub(super) fn describe(&self) -> String {
        match self.status.borrow().state {
            State::Idle => "camera idle".to_owned(),
            State::Starting => "camera starting".to_owned(),
            State::Live => format!("{:.0} fps", self.rate),
            State::Failed => "camera failed".to_owned(),
        }
    }
}

/// Whether a camera that is watched, and has said nothing new for so long, ought to make pictures.
/// One that can't (its device is gone) says so, and takes care of that by itself; one that is
/// silent for longer than that takes hangs.
fn is_due(state: State, silence: Duration) -> bool {
    match state {
        State::Live => true,
        State::Idle => silence >= WAKE_PATIENCE,
        State::Starting => silence >= START_PATIENCE,
        State::Failed => silence >= RETRY_PATIENCE,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BEAT: Duration = Duration::from_secs(5);

    struct Story {
        camera: watch::Sender<Status>,
        pictures: Pictures,
        now: Instant,
    }

    impl Story {
        fn new() -> Self {
            let camera = watch::Sender::new(Status::default());
            let now = Instant::now();
            Self { pictures: Pictures::new(camera.subscribe(), now), camera, now }
        }

        fn says(&mut self, state: State, frames: u64) {
            self.camera.send_modify(|it| (it.state, it.frames_encoded) = (state, frames));
        }

        fn beat(&mut self, watchers: usize) -> Progress {
            self.now += BEAT;
            self.pictures.progress(self.now, watchers)
        }

        /// After how many heartbeats in which nothing happens pictures are due.
        fn silent_beats(&mut self) -> usize {
            (0..100).find(|_| self.beat(1).expected).unwrap()
        }
    }

    #[test]
    fn nobody_expects_pictures_that_nobody_watches() {
        let mut story = Story::new();
        for state in [State::Idle, State::Starting, State::Live, State::Failed] {
            story.says(state, 0);
            assert!((0..100).all(|_| !story.beat(0).expected), "{state:?}");
        }
    }

    #[test]
    fn a_live_camera_that_is_watched_is_to_make_pictures() {
        let mut story = Story::new();
        story.says(State::Live, 1);
        assert_eq!(story.beat(1), Progress { expected: true, done: 1 });
        story.says(State::Live, 151);
        assert_eq!(story.beat(2), Progress { expected: true, done: 151 });
        assert_eq!(story.pictures.describe(), "30 fps");
        assert_eq!(story.beat(2), Progress { expected: true, done: 151 });
        assert_eq!(story.pictures.describe(), "0 fps");
    }

    #[test]
    fn a_camera_that_fails_and_tries_again_is_no_hang_however_long() {
        let mut story = Story::new();
        for _ in 0..1000 {
            story.says(State::Failed, 0);
            assert!((0..6).all(|_| !story.beat(1).expected));
            story.says(State::Starting, 0);
            assert!((0..2).all(|_| !story.beat(1).expected));
        }
    }

    #[test]
    fn a_camera_that_says_nothing_any_more_hangs() {
        let mut story = Story::new();
        story.beat(0);
        assert_eq!(story.silent_beats(), 0, "watched for five seconds, and still idle");
        story.says(State::Starting, 0);
        assert_eq!(story.silent_beats(), 3);
        story.says(State::Failed, 0);
        assert_eq!(story.silent_beats(), 12);
    }

    #[test]
    fn a_viewer_who_comes_late_does_not_find_a_hang() {
        let mut story = Story::new();
        assert!((0..1000).all(|_| !story.beat(0).expected));
        story.says(State::Starting, 0);
        assert!(!story.beat(1).expected);
    }
}
