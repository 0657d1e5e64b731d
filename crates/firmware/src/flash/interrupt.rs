//! Ctrl-C and other wishes to end, noticed where it is safe to stop.

use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};

use nix::sys::signal::{SigSet, Signal};

/// Whether somebody wishes an end. Cheap to ask and to copy.
#[derive(Debug, Clone, Default)]
pub struct Interrupt(Arc<AtomicI32>);

impl Interrupt {
    /// From now on SIGINT, SIGTERM and SIGHUP are kept for [`Interrupt::signal`]; the second
    /// one ends the program at once, for a disk that no longer answers. To be called before
    /// other threads are started, which would not know of it.
    ///
    /// # Errors
    /// When signals can't be held back, or no thread started.
    pub fn watch() -> std::io::Result<Self> {
        let mut signals = SigSet::empty();
        for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
            signals.add(signal);
        }
        signals.thread_block()?;
        let interrupt = Self::default();
        let noted = interrupt.clone();
        std::thread::Builder::new().name("signals".to_owned()).spawn(move || {
            while let Ok(signal) = signals.wait() {
                if noted.signal().is_some() {
                    std::process::exit(128 + signal as i32);
                }
                noted.raise(signal);
            }
        })?;
        Ok(interrupt)
    }

    /// The signal that came, if one did.
    #[must_use]
    pub fn signal(&self) -> Option<Signal> {
        Signal::try_from(self.0.load(Ordering::Relaxed)).ok()
    }

    /// Notes a signal.
    pub fn raise(&self, signal: Signal) {
        self.0.store(signal as i32, Ordering::Relaxed);
    }
}
