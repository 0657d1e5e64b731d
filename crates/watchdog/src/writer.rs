//! Writes to storage from a thread of its own: storage that is slow, full or gone holds nothing up.

use std::{
    io,
    path::{Path, PathBuf},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

use crate::log;

/// Whoever waits for a write has something else to do so often.
const SETTLE_STEP: Duration = Duration::from_millis(250);

/// Puts a text where it belongs.
pub(crate) type Write = Box<dyn FnMut(&str) -> io::Result<()> + Send>;

/// Has texts written by a function, one after the other. A failure is said when it begins.
#[derive(Debug, Clone)]
pub(crate) struct Writer {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// To be written.
    next: Option<String>,
    /// It is being written now.
    busy: bool,
    /// What came of the last attempt, if it failed.
    failure: Option<String>,
}

impl State {
    fn is_pending(&self) -> bool {
        self.next.is_some() || self.busy
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Writer {
    /// Texts go where `write` puts them; `path` is only for what is said about it.
    ///
    /// # Errors
    ///
    /// When there is no thread for it.
    pub fn start(path: PathBuf, write: Write) -> io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let thread = shared.clone();
        spawn(move || work(&thread, &path, write))?;
        Ok(Self { shared })
    }

    /// Has this text written; one that waits for it still never is.
    pub fn write(&self, text: String) {
        self.shared.lock().next = Some(text);
        self.shared.changed.notify_all();
    }

    /// Has this text written behind what waits for it.
    pub fn add(&self, text: &str) {
        self.shared.lock().next.get_or_insert_default().push_str(text);
        self.shared.changed.notify_all();
    }

    /// Whether something waits for being written, or is.
    pub fn is_pending(&self) -> bool {
        self.shared.lock().is_pending()
    }

    /// Waits up to `patience` until everything is written, and does what is to be done `meanwhile`
    /// at once and every quarter of a second.
    ///
    /// # Errors
    ///
    /// Why it isn't, in words.
    pub fn settle(&self, patience: Duration, mut meanwhile: impl FnMut()) -> Result<(), String> {
        let deadline = Instant::now() + patience;
        loop {
            meanwhile();
            let step = deadline.saturating_duration_since(Instant::now()).min(SETTLE_STEP);
            let pending = |state: &mut State| state.is_pending();
            let waited = self.shared.changed.wait_timeout_while(self.shared.lock(), step, pending);
            let (state, waited) = waited.unwrap_or_else(PoisonError::into_inner);
            match &state.failure {
                _ if waited.timed_out() && Instant::now() < deadline => {}
                _ if waited.timed_out() => {
                    return Err(format!("the storage takes longer than {patience:?}"));
                }
                Some(failure) => return Err(failure.clone()),
                None => return Ok(()),
            }
        }
    }
}

/// A thread with a small stack.
///
/// # Errors
///
/// When the system gives none.
pub(crate) fn spawn(work: impl FnOnce() + Send + 'static) -> io::Result<()> {
    thread::Builder::new().stack_size(64 * 1024).spawn(work).map(drop)
}

/// Until the process ends.
fn work(shared: &Shared, path: &Path, mut write: Write) {
    let mut state = shared.lock();
    loop {
        let Some(text) = state.next.take() else {
            state = shared.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
            continue;
        };
        state.busy = true;
        drop(state);
        let failure = write(&text).err().map(|error| error.to_string());
        state = shared.lock();
        let news = failure.as_ref().filter(|_| state.failure.is_none()).cloned();
        (state.busy, state.failure) = (false, failure);
        shared.changed.notify_all();
        if let Some(failure) = news {
            // Without the lock: the log may want to be written here.
            drop(state);
            log::warn(format_args!("{}: not written: {failure}", path.display()));
            state = shared.lock();
        }
    }
}
