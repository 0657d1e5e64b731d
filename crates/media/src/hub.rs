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
pub(crate) enum Kind {
    /// Decoding can begin here.
    Key,
    /// Needs what came before it, back to the key frame.
    Delta,
    /// Sound: needs nothing. Not cached, since a receiver that gets two seconds of sound at once
    /// plays it late, or the picture with it.
    Audio,
}

/// What a hub hands on.
pub(crate) trait Unit: Clone {
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
