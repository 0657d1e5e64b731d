//! Telling a thread something without a queue: what is told is merged until the thread looks.

use std::{
    sync::{Condvar, Mutex, PoisonError},
    time::Instant,
};

/// News for one thread; the default of `T` is "nothing".
#[derive(Debug, Default)]
pub(crate) struct Signal<T> {
    news: Mutex<T>,
    told: Condvar,
}

impl<T: Default + PartialEq> Signal<T> {
    /// Adds to what the thread will see, and wakes it.
    pub(crate) fn tell(&self, add: impl FnOnce(&mut T)) {
        add(&mut self.news.lock().unwrap_or_else(PoisonError::into_inner));
        self.told.notify_one();
    }

    /// Takes the news as soon as there are some; nothing at the deadline.
    pub(crate) fn wait(&self, deadline: Option<Instant>) -> T {
        let mut news = self.news.lock().unwrap_or_else(PoisonError::into_inner);
        while *news == T::default() {
            news = match deadline {
                None => self.told.wait(news).unwrap_or_else(PoisonError::into_inner),
                Some(deadline) => {
                    let left = deadline.saturating_duration_since(Instant::now());
                    if left.is_zero() {
                        break;
                    }
                    self.told.wait_timeout(news, left).unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
        std::mem::take(&mut *news)
    }
}
