//! When pictures came in the page, by the page's own clock.

use std::time::Duration;

use serde::Deserialize;

use crate::{
    Browser,
    error::Result,
    wait::{self, Look},
};

/// Pictures that come after so many others come for good.
const FOR_GOOD: u64 = 10;

/// Counts the pictures that the player decoded, and notes every longer time without one.
const WATCH: &str = "
    const seen = window.peercamPictures = { count: 0, last: performance.now(), gaps: [] };
    let before = 0;
    setInterval(() => {
        const { frames_decoded: frames } = document.querySelector('peercam-player').stats;
        const now = performance.now();
        if (frames > before) {
            if (now - seen.last > 1000) seen.gaps.push({ from: seen.last, to: now, count: seen.count });
            seen.last = now;
            seen.count += frames - before;
        }
        // The player's count begins again with a new connection.
        before = frames;
    }, 25);";

/// What the page has seen, times in ms.
#[derive(Debug, Clone, Deserialize)]
pub struct Pictures {
    /// The moment.
    pub now: f64,
    /// Pictures so far.
    pub count: u64,
    /// When the last one came.
    last: f64,
    /// The times longer than a second without one, but for one that lasts.
    gaps: Vec<Gap>,
}

/// A time without a picture.
#[derive(Debug, Clone, Copy, Deserialize)]
struct Gap {
    from: f64,
    to: f64,
    /// Pictures before it.
    count: u64,
}

/// Begins to look at the pictures of the page that is open.
pub async fn watch(browser: &Browser) -> Result<()> {
    browser.evaluate(WATCH).await
}

impl Pictures {
    /// Looks.
    pub async fn look(browser: &Browser) -> Result<Self> {
        browser.evaluate("return { now: performance.now(), ...peercamPictures }").await
    }

    /// Waits until pictures come again since this look, for `time` at most, and says since when, as
    /// [`Self::back_at`] does.
    ///
    /// # Errors
    ///
    /// When they don't, or the browser is gone.
    pub async fn resumed(&self, browser: &Browser, time: Duration) -> Result<Option<f64>> {
        wait::until("pictures in the page", time, async || {
            let pictures = Self::look(browser).await?;
            Ok(if pictures.flow(self.now, self.count) {
                Look::Done(pictures.back_at(self.now))
            } else {
                Look::NotYet(format!("{pictures:?}"))
            })
        })
        .await
    }

    /// The first gap that ended after `begin` (the page's clock).
    fn gap(&self, begin: f64) -> Option<&Gap> {
        self.gaps.iter().find(|gap| gap.to > begin)
    }

    /// Whether pictures come, and enough of them have: since the first gap that ended after
    /// `begin`, or, if there was none, since there were `count`.
    pub fn flow(&self, begin: f64, count: u64) -> bool {
        let before = self.gap(begin).map_or(count, |gap| gap.count);
        self.now - self.last < 1000.0 && self.count >= before + FOR_GOOD
    }

    /// When, by the page's clock, the first gap was over that ended after `begin`; none where
    /// pictures came all the time.
    pub fn back_at(&self, begin: f64) -> Option<f64> {
        self.gap(begin).map(|gap| gap.to)
    }

    /// The longest gap that ended after `begin`, in seconds.
    pub fn longest_gap(&self, begin: f64) -> f64 {
        let gaps = self.gaps.iter().filter(|gap| gap.to > begin);
        gaps.map(|gap| (gap.to - gap.from) / 1000.0).fold(0.0, f64::max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gap_counts_from_the_fault_to_the_next_picture() {
        let gaps = vec![
            Gap { from: 1000.0, to: 2500.0, count: 20 },
            Gap { from: 9000.0, to: 12_000.0, count: 100 },
        ];
        let pictures = Pictures { now: 13_500.0, last: 13_490.0, count: 110, gaps };
        assert_eq!(pictures.back_at(9200.0), Some(12_000.0));
        assert_eq!(pictures.back_at(12_500.0), None);
        assert!((pictures.longest_gap(0.0) - 3.0).abs() < 1e-9);
        assert!(pictures.flow(9200.0, 99));
        assert!(!pictures.flow(12_500.0, 101), "nine pictures since");
        assert!(!Pictures { count: 109, ..pictures.clone() }.flow(9200.0, 99));
        assert!(!Pictures { now: 15_000.0, ..pictures }.flow(9200.0, 99));
    }
}
