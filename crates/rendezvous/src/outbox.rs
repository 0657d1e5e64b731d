//! What waits to be written to one connection.
//!
//! Anyone may put a message into an [`Outbox`], without waiting; only the connection's own task
//! takes them out. It is bounded in bytes: when a peer reads so slowly that the bound is
//! reached, *that* peer is disconnected, and whoever wrote to it goes on at full speed. An idle
//! outbox owns no memory beyond itself.

use std::{
    collections::VecDeque,
    sync::{Mutex, MutexGuard, PoisonError},
    task::{Context, Waker},
};

use peercam_protocol::signalling::{Error, ErrorCode};
use tokio_tungstenite::tungstenite::Utf8Bytes;

/// The queue of one connection, and what else its task has to be told.
#[derive(Debug)]
pub(crate) struct Outbox {
    /// Most bytes that may wait.
    limit: usize,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    queue: VecDeque<Utf8Bytes>,
    bytes: usize,
    /// Why the connection ends. Once set, nothing more is taken in.
    closing: Option<Error>,
    waker: Option<Waker>,
}

impl Outbox {
    /// An empty one in which at most `limit` bytes may wait.
    pub(crate) fn new(limit: usize) -> Self {
        Self { limit, state: Mutex::default() }
    }

    /// Adds a message. Never waits: if the peer has fallen behind by more than the limit, its
    /// connection is told to close, and what waits for it is thrown away.
    pub(crate) fn push(&self, text: Utf8Bytes) {
        let mut state = self.lock();
        if state.closing.is_some() {
            return;
        }
        state.bytes += text.len();
        state.queue.push_back(text);
        if state.bytes > self.limit {
            state.queue = VecDeque::new();
            state.bytes = 0;
            state.closing = Some(Error::new(
                ErrorCode::Full,
                format!(
                    "you read too slowly: more than {} bytes were waiting for you; connect again",
                    self.limit
                ),
            ));
        }
        wake(state);
    }

    /// Ends the connection: what waits is still sent, then `error`. The first one to say so wins.
    pub(crate) fn close(&self, error: Error) {
        let mut state = self.lock();
        state.closing.get_or_insert(error);
        wake(state);
    }

    /// Why the connection has to end, once what waits is sent. The task is woken when there is a
    /// new message or a reason to close.
    pub(crate) fn poll_closing(&self, cx: &Context<'_>) -> Option<Error> {
        let mut state = self.lock();
        match &mut state.waker {
            Some(waker) => waker.clone_from(cx.waker()),
            none => *none = Some(cx.waker().clone()),
        }
        state.closing.clone()
    }

    /// The next message to write.
    pub(crate) fn pop(&self) -> Option<Utf8Bytes> {
        let mut state = self.lock();
        let text = state.queue.pop_front()?;
        state.bytes -= text.len();
        Some(text)
    }

    /// A panic elsewhere leaves no half-done change behind: every one here is complete before
    /// anything could panic.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Wakes the connection's task, after the lock is let go, so that it need not wait for it.
fn wake(mut state: MutexGuard<'_, State>) {
    let waker = state.waker.take();
    drop(state);
    if let Some(waker) = waker {
        waker.wake();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn closing(outbox: &Outbox) -> Option<Error> {
        outbox.poll_closing(&Context::from_waker(Waker::noop()))
    }

    fn drain(outbox: &Outbox) -> Vec<String> {
        std::iter::from_fn(|| outbox.pop()).map(|text| text.to_string()).collect()
    }

    #[test]
    fn messages_come_out_in_the_order_they_went_in() {
        let outbox = Outbox::new(100);
        outbox.push("a".into());
        outbox.push("b".into());
        assert_eq!(closing(&outbox), None);
        assert_eq!(drain(&outbox), ["a", "b"]);
    }

    #[test]
    fn one_byte_too_many_ends_the_connection_and_frees_the_queue() {
        let outbox = Outbox::new(4);
        outbox.push("1234".into());
        assert_eq!(closing(&outbox), None);
        outbox.push("5".into());
        let Some(error) = closing(&outbox) else { panic!("not closed") };
        assert_eq!(error.code, ErrorCode::Full);
        assert!(error.message.contains("4 bytes"), "{error}");
        assert!(drain(&outbox).is_empty());
    }

    #[test]
    fn what_was_read_makes_room_again() {
        let outbox = Outbox::new(4);
        for _ in 0..100 {
            outbox.push("1234".into());
            assert_eq!(drain(&outbox), ["1234"]);
        }
        assert_eq!(closing(&outbox), None);
    }

    #[test]
    fn after_the_close_nothing_is_taken_in_and_the_first_reason_stays() {
        let outbox = Outbox::new(100);
        outbox.push("last".into());
        outbox.close(Error::new(ErrorCode::ShuttingDown, "first"));
        outbox.close(Error::new(ErrorCode::Full, "second"));
        outbox.push("late".into());
        assert_eq!(drain(&outbox), ["last"]);
        let Some(error) = closing(&outbox) else { panic!("not closed") };
        assert_eq!(error.message, "first");
    }
}
