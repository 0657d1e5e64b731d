//! One producer, many subscribers.
//!
//! The hub keeps the current group of pictures, so that a late subscriber begins with a key frame
//! at once. Every queue is bounded: a subscriber who falls behind loses everything up to the next
//! key frame, and disturbs nobody else.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::Notify;

use crate::unit::{Chunk, Frame};

/// What part a unit plays in decoding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Decoding can begin here.
    Key,
    /// Needs what came before it, back to the key frame.
    Delta,
    /// Sound: needs nothing. Not cached, since a receiver that gets two seconds of sound at once
    /// plays it late, or the picture with it.
    Audio,
}

/// What a hub hands on.
pub trait Unit: Clone {
    /// What part it plays.
    fn kind(&self) -> Kind;
}

impl Unit for Frame {
    fn kind(&self) -> Kind {
        match self {
            Self::Video(unit) if unit.key => Kind::Key,
            Self::Video(_) => Kind::Delta,
            Self::Audio(_) => Kind::Audio,
        }
    }
}

impl Unit for Chunk {
    fn kind(&self) -> Kind {
        if self.key { Kind::Key } else { Kind::Delta }
    }
}

/// Called, without any lock held, when a subscriber came or went.
type OnChange = Arc<dyn Fn() + Send + Sync>;

/// One producer, many subscribers. Cheap to clone.
pub(crate) struct Hub<T> {
    inner: Arc<Inner<T>>,
}

struct Inner<T> {
    state: Mutex<HubState<T>>,
    on_change: OnChange,
    /// Most units in the cached group of pictures.
    cached: usize,
    /// Most units that wait for one subscriber.
    queued: usize,
}

struct HubState<T> {
    /// Begins with a key frame, or is empty.
    group: VecDeque<T>,
    subscribers: Vec<Arc<Mailbox<T>>>,
    closed: bool,
}

/// What waits for one subscriber.
struct Mailbox<T> {
    queue: Mutex<Queue<T>>,
    ready: Notify,
}

struct Queue<T> {
    units: VecDeque<T>,
    /// Units were lost (or none was there yet): nothing can be decoded until a key frame comes.
    needs_key: bool,
    closed: bool,
}

/// A subscriber's end. Dropping it unsubscribes.
pub struct Subscription<T> {
    hub: Arc<Inner<T>>,
    mailbox: Arc<Mailbox<T>>,
}

/// Nobody panics while holding one of these locks; if someone did, the data are still whole.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<T> Clone for Hub<T> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone() }
    }
}

impl<T: Unit> Hub<T> {
    /// A hub that caches a group of pictures of up to `cached` units, and keeps up to `queued`
    /// units for each subscriber (at least `cached`, so that the group fits).
    pub(crate) fn new(
        cached: usize,
        queued: usize,
        on_change: impl Fn() + Send + Sync + 'static,
    ) -> Self {
        let state = HubState { group: VecDeque::new(), subscribers: Vec::new(), closed: false };
        Self {
            inner: Arc::new(Inner {
                state: Mutex::new(state),
                on_change: Arc::new(on_change),
                cached,
                queued: queued.max(cached),
            }),
        }
    }

    /// A new subscriber, whose queue begins with the cached group of pictures.
    pub(crate) fn subscribe(&self) -> Subscription<T> {
        let mut state = lock(&self.inner.state);
        let queue = Queue {
            needs_key: state.group.is_empty(),
            units: state.group.clone(),
            closed: state.closed,
        };
        let mailbox = Arc::new(Mailbox { queue: Mutex::new(queue), ready: Notify::new() });
        state.subscribers.push(mailbox.clone());
        drop(state);
        (self.inner.on_change)();
        Subscription { hub: self.inner.clone(), mailbox }
    }

    /// Hands a unit to every subscriber. Never waits for one.
    pub(crate) fn publish(&self, unit: &T) {
        let mut state = lock(&self.inner.state);
        match unit.kind() {
            Kind::Key => {
                state.group.clear();
                state.group.push_back(unit.clone());
            }
            Kind::Delta if state.group.is_empty() => {}
            // Longer than an encoder was asked to make it: without its tail the cache is useless.
            Kind::Delta if state.group.len() >= self.inner.cached => state.group.clear(),
            Kind::Delta => state.group.push_back(unit.clone()),
            Kind::Audio => {}
        }
        for mailbox in &state.subscribers {
            mailbox.put(unit, self.inner.queued);
        }
    }

    /// Forgets the cached group of pictures: the pipeline that made it is gone.
    pub(crate) fn reset(&self) {
        lock(&self.inner.state).group.clear();
    }

    /// How many subscribe.
    pub(crate) fn subscribers(&self) -> usize {
        lock(&self.inner.state).subscribers.len()
    }

    /// Ends every subscription, now and to come, once it has read what waits for it.
    pub(crate) fn close(&self) {
        let mut state = lock(&self.inner.state);
        state.closed = true;
        state.group.clear();
        for mailbox in &state.subscribers {
            lock(&mailbox.queue).closed = true;
            mailbox.ready.notify_one();
        }
    }
}

impl<T: Unit> Mailbox<T> {
    fn put(&self, unit: &T, limit: usize) {
        let mut queue = lock(&self.queue);
        match unit.kind() {
            Kind::Key => queue.needs_key = false,
            Kind::Delta if queue.needs_key => return,
            Kind::Delta | Kind::Audio => {}
        }
        if queue.units.len() >= limit {
            queue.make_room();
        }
        // Making room may have taken away what a picture refers to.
        if unit.kind() == Kind::Delta && queue.needs_key {
            return;
        }
        queue.units.push_back(unit.clone());
        drop(queue);
        self.ready.notify_one();
    }
}

impl<T: Unit> Queue<T> {
    /// Drops from the front up to the next key frame behind it; everything, if there is none.
    fn make_room(&mut self) {
        let next = self.units.iter().skip(1).position(|unit| unit.kind() == Kind::Key);
        match next {
            Some(index) => drop(self.units.drain(..=index)),
            None => {
                self.units.clear();
                self.needs_key = true;
            }
        }
    }
}

impl<T> Subscription<T> {
    /// The next unit; `None` once the camera has stopped. The first picture is a key frame, and so
    /// is the first one after a gap. Cancel safe.
    pub async fn recv(&mut self) -> Option<T> {
        loop {
            {
                let mut queue = lock(&self.mailbox.queue);
                if let Some(unit) = queue.units.pop_front() {
                    return Some(unit);
                }
                if queue.closed {
                    return None;
                }
            }
            self.mailbox.ready.notified().await;
        }
    }
}

impl<T> Drop for Subscription<T> {
    fn drop(&mut self) {
        lock(&self.hub.state).subscribers.retain(|other| !Arc::ptr_eq(other, &self.mailbox));
        (self.hub.on_change)();
    }
}

#[cfg(test)]
mod tests {
    use std::{
        future::Future,
        pin::pin,
        sync::atomic::{AtomicUsize, Ordering},
        task::{Context, Poll, Waker},
    };

    use super::*;

    /// A unit with nothing in it but its place.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    struct Part(Kind, u32);

    impl Unit for Part {
        fn kind(&self) -> Kind {
            self.0
        }
    }

    fn key(number: u32) -> Part {
        Part(Kind::Key, number)
    }

    fn delta(number: u32) -> Part {
        Part(Kind::Delta, number)
    }

    fn audio(number: u32) -> Part {
        Part(Kind::Audio, number)
    }

    fn hub(cached: usize, queued: usize) -> Hub<Part> {
        Hub::new(cached, queued, || {})
    }

    fn publish(hub: &Hub<Part>, parts: impl IntoIterator<Item = Part>) {
        parts.into_iter().for_each(|part| hub.publish(&part));
    }

    /// What can be read without waiting.
    fn read(subscription: &mut Subscription<Part>) -> Vec<Part> {
        let mut parts = Vec::new();
        while let Poll::Ready(Some(part)) = poll(subscription) {
            parts.push(part);
        }
        parts
    }

    fn poll(subscription: &mut Subscription<Part>) -> Poll<Option<Part>> {
        pin!(subscription.recv()).poll(&mut Context::from_waker(Waker::noop()))
    }

    #[test]
    fn everybody_gets_everything_in_order() {
        let hub = hub(10, 10);
        let mut all = [hub.subscribe(), hub.subscribe(), hub.subscribe()];
        let parts = [key(0), audio(1), delta(2), delta(3), key(4), audio(5)];
        publish(&hub, parts);
        for subscription in &mut all {
            assert_eq!(read(subscription), parts);
        }
    }

    #[test]
    fn pictures_begin_with_a_key_frame_and_sound_at_once() {
        let hub = hub(10, 10);
        let mut early = hub.subscribe();
        publish(&hub, [delta(0), audio(1), delta(2), key(3), delta(4)]);
        assert_eq!(read(&mut early), [audio(1), key(3), delta(4)]);
    }

    #[test]
    fn a_late_subscriber_gets_the_group_of_pictures_without_old_sound() {
        let hub = hub(10, 10);
        publish(&hub, [key(0), delta(1), key(2), audio(3), delta(4)]);
        let mut late = hub.subscribe();
        publish(&hub, [audio(5), delta(6)]);
        assert_eq!(read(&mut late), [key(2), delta(4), audio(5), delta(6)]);
    }

    #[test]
    fn a_group_that_is_too_long_is_not_cached_in_part() {
        let hub = hub(3, 100);
        publish(&hub, [key(0), delta(1), delta(2), delta(3), delta(4)]);
        let mut late = hub.subscribe();
        publish(&hub, [delta(5), key(6), delta(7)]);
        assert_eq!(read(&mut late), [key(6), delta(7)]);
    }

    #[test]
    fn after_a_reset_a_late_subscriber_waits_for_the_new_key_frame() {
        let hub = hub(10, 10);
        publish(&hub, [key(0), delta(1)]);
        hub.reset();
        let mut late = hub.subscribe();
        publish(&hub, [delta(2), key(3)]);
        assert_eq!(read(&mut late), [key(3)]);
    }

    #[test]
    fn a_slow_reader_is_dropped_to_the_next_key_frame() {
        let hub = hub(4, 4);
        let mut slow = hub.subscribe();
        let mut quick = hub.subscribe();
        for part in [key(0), delta(1), delta(2), delta(3), delta(4), delta(5)] {
            hub.publish(&part);
            assert_eq!(read(&mut quick), [part]);
        }
        // Nothing of a group with a hole in it, and then the next one from its beginning.
        assert_eq!(read(&mut slow), []);
        publish(&hub, [delta(6), key(7), delta(8)]);
        assert_eq!(read(&mut slow), [key(7), delta(8)]);
    }

    #[test]
    fn a_slow_reader_keeps_the_newest_group_that_waits_for_him() {
        let hub = hub(4, 4);
        let mut slow = hub.subscribe();
        publish(&hub, [key(0), delta(1), key(2), delta(3), delta(4)]);
        assert_eq!(read(&mut slow), [key(2), delta(3), delta(4)]);
    }

    #[test]
    fn no_queue_grows_past_its_limit_whatever_comes() {
        let hub = hub(8, 8);
        let slow = hub.subscribe();
        // A sequence without a period that the limits could hide in.
        let mut seed = 7u32;
        let mut last_key = 0;
        for number in 0..20_000 {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let part = match seed >> 24 {
                0..20 => key(number),
                20..140 => audio(number),
                _ => delta(number),
            };
            if part.kind() == Kind::Key {
                last_key = number;
            }
            hub.publish(&part);
            let queue = lock(&slow.mailbox.queue);
            assert!(queue.units.len() <= 8);
            // What waits can be decoded: no delta before a key, and none without its own key.
            let pictures = queue.units.iter().filter(|part| part.kind() != Kind::Audio);
            let pictures: Vec<_> = pictures.collect();
            assert!(pictures.first().is_none_or(|first| first.kind() == Kind::Key));
            let newest_key = pictures.iter().rev().find(|part| part.kind() == Kind::Key);
            assert!(newest_key.is_none_or(|key| key.1 == last_key));
            assert!(lock(&hub.inner.state).group.len() <= 8);
        }
    }

    #[test]
    fn sound_alone_is_bounded_too() {
        let hub = hub(4, 4);
        let mut slow = hub.subscribe();
        publish(&hub, (0..10).map(audio));
        let heard = read(&mut slow);
        assert!(heard.len() <= 4);
        assert_eq!(heard.last(), Some(&audio(9)));
    }

    #[test]
    fn who_leaves_is_forgotten_and_coming_and_going_is_told() {
        let changes = Arc::new(AtomicUsize::new(0));
        let told = changes.clone();
        let hub = Hub::<Part>::new(4, 4, move || _ = told.fetch_add(1, Ordering::Relaxed));
        let (first, second) = (hub.subscribe(), hub.subscribe());
        assert_eq!((hub.subscribers(), changes.load(Ordering::Relaxed)), (2, 2));
        drop(first);
        assert_eq!((hub.subscribers(), changes.load(Ordering::Relaxed)), (1, 3));
        drop(second);
        assert_eq!((hub.subscribers(), changes.load(Ordering::Relaxed)), (0, 4));
        publish(&hub, [key(0)]);
    }

    #[test]
    fn after_the_end_what_waits_is_read_and_then_nothing() {
        let hub = hub(4, 4);
        let mut early = hub.subscribe();
        publish(&hub, [key(0), delta(1)]);
        hub.close();
        assert_eq!(read(&mut early), [key(0), delta(1)]);
        assert_eq!(poll(&mut early), Poll::Ready(None));
        assert_eq!(poll(&mut early), Poll::Ready(None));
        assert_eq!(poll(&mut hub.subscribe()), Poll::Ready(None));
    }

    #[tokio::test]
    async fn a_waiting_reader_is_woken_by_a_unit_and_by_the_end() {
        let hub = hub(4, 4);
        let mut subscription = hub.subscribe();
        let reader = tokio::spawn(async move {
            let first = subscription.recv().await;
            (first, subscription.recv().await)
        });
        tokio::task::yield_now().await;
        hub.publish(&key(0));
        tokio::task::yield_now().await;
        hub.close();
        assert_eq!(reader.await.unwrap(), (Some(key(0)), None));
    }

    #[tokio::test]
    async fn a_reader_that_gives_up_waiting_loses_nothing() {
        let hub = hub(4, 4);
        let mut subscription = hub.subscribe();
        assert!(poll(&mut subscription).is_pending());
        hub.publish(&key(0));
        assert_eq!(subscription.recv().await, Some(key(0)));
    }
}
