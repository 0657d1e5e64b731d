//! What a person sees while something takes long: the step, how far it is, how long it took.
//!
//! Everything goes to standard error. On a terminal the current step's line is rewritten;
//! elsewhere a step writes one line when it begins and one when it is done.

use std::io::{IsTerminal, Write};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The reporter; one for a command.
#[derive(Debug, Clone)]
pub struct Progress {
    style: Style,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Style {
    Silent,
    Lines,
    Terminal,
}

/// A step under way. Dropped without [`Step::done`], it counts as failed.
#[derive(Debug)]
pub struct Step {
    name: String,
    started: Instant,
    style: Style,
    detail: Arc<Shared>,
    ticker: Option<std::thread::JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    detail: String,
    ended: bool,
}

impl Progress {
    /// Lines on standard error, rewritten in place where that is a terminal.
    #[must_use]
    pub fn to_stderr() -> Self {
        let terminal = std::io::stderr().is_terminal();
        Self { style: if terminal { Style::Terminal } else { Style::Lines } }
    }

    /// Nothing at all, for tests and libraries.
    #[must_use]
    pub fn silent() -> Self {
        Self { style: Style::Silent }
    }

    /// Begins a step.
    #[must_use]
    pub fn step(&self, name: &str) -> Step {
        let started = Instant::now();
        let detail = Arc::<Shared>::default();
        let ticker = match self.style {
            Style::Silent => None,
            Style::Lines => {
                eprintln!("  {name} …");
                None
            }
            Style::Terminal => {
                let (name, shared) = (name.to_owned(), Arc::clone(&detail));
                Some(std::thread::spawn(move || redraw(&name, started, &shared)))
            }
        };
        Step { name: name.to_owned(), started, style: self.style, detail, ticker }
    }

    /// Begins a step during which another program writes to standard error itself.
    #[must_use]
    pub fn quiet_step(&self, name: &str) -> Step {
        Step {
            name: name.to_owned(),
            started: Instant::now(),
            style: self.style,
            detail: Arc::default(),
            ticker: None,
        }
    }

    /// Says that a step had nothing to do.
    pub fn fresh(&self, name: &str) {
        match self.style {
            Style::Silent => {}
            Style::Lines | Style::Terminal => eprintln!("  {name}: unchanged"),
        }
    }

    /// A line that stays.
    pub fn note(&self, text: &str) {
        match self.style {
            Style::Silent => {}
            Style::Lines => eprintln!("  {text}"),
            Style::Terminal => eprintln!("\r\x1b[K  {text}"),
        }
    }
}

impl Step {
    /// Says how far it is: `12 of 38 packages`.
    pub fn detail(&self, text: &str) {
        let mut state = self.detail.state.lock().unwrap_or_else(PoisonError::into_inner);
        text.clone_into(&mut state.detail);
        self.detail.changed.notify_all();
    }

    /// Ends it well; `result` is a few words on what came out.
    pub fn done(mut self, result: &str) {
        self.end();
        if self.style != Style::Silent {
            let separator = if result.is_empty() { "" } else { ": " };
            eprintln!("  {}{separator}{result} ({})", self.name, seconds(self.started.elapsed()));
        }
    }

    fn end(&mut self) {
        {
            let mut state = self.detail.state.lock().unwrap_or_else(PoisonError::into_inner);
            state.ended = true;
            self.detail.changed.notify_all();
        }
        if let Some(ticker) = self.ticker.take() {
            // The thread only draws; it can't fail in a way that matters here.
            let _ = ticker.join();
            eprint!("\r\x1b[K");
        }
    }
}

impl Drop for Step {
    fn drop(&mut self) {
        let ended = self.detail.state.lock().unwrap_or_else(PoisonError::into_inner).ended;
        if !ended {
            self.end();
            if self.style != Style::Silent {
                eprintln!("  {}: failed ({})", self.name, seconds(self.started.elapsed()));
            }
        }
    }
}

fn redraw(name: &str, started: Instant, shared: &Shared) {
    let mut state = shared.state.lock().unwrap_or_else(PoisonError::into_inner);
    while !state.ended {
        let separator = if state.detail.is_empty() { "" } else { ": " };
        eprint!("\r\x1b[K  {name}{separator}{} ({})", state.detail, seconds(started.elapsed()));
        let _ = std::io::stderr().flush();
        state = shared
            .changed
            .wait_timeout(state, Duration::from_millis(500))
            .unwrap_or_else(PoisonError::into_inner)
            .0;
    }
}

fn seconds(elapsed: Duration) -> String {
    let total = elapsed.as_secs();
    if total >= 60 {
        format!("{} min {} s", total / 60, total % 60)
    } else {
        format!("{:.1} s", elapsed.as_secs_f64())
    }
}
