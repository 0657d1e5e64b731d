//! What a running server can be told from outside, and the phase of its life that it is in.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::watch;
use tracing::{info, warn};

use crate::config::Config;

/// From serving to the end; never back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Phase {
    /// Everybody may come.
    Serving,
    /// Nobody new comes in, and cameras are moving away.
    Draining,
    /// Whoever is still here is sent away.
    Ending,
}

/// Tells a running [`Server`](crate::Server) what to do. Cheap to clone; does nothing any more once
/// the server has ended.
#[derive(Debug, Clone)]
pub struct Control(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    phase: watch::Sender<Phase>,
    config: watch::Sender<Arc<Config>>,
    /// One reload after the other.
    reload: Mutex<()>,
}

impl Control {
    pub(crate) fn new(config: Config) -> Self {
        let phase = watch::Sender::new(Phase::Serving);
        let config = watch::Sender::new(Arc::new(config));
        Self(Arc::new(Inner { phase, config, reload: Mutex::default() }))
    }

    /// Ends the server in order: nobody new comes in, `/readyz` says so, cameras are told to move
    /// and given the time that the configuration says, then everybody is sent away.
    pub fn drain(&self) {
        self.advance(Phase::Draining);
    }

    /// Sends everybody away now. Ends the waiting of [`Control::drain`].
    pub fn end(&self) {
        self.advance(Phase::Ending);
    }

    /// Another configuration holds from now on, for what comes after; who is in stays. What can't
    /// change while the server runs stays as it is, and is named in the log.
    pub fn reload(&self, mut config: Config) {
        let _one_by_one = self.0.reload.lock().unwrap_or_else(PoisonError::into_inner);
        let former = self.config();
        let fixed = keep_fixed(&former, &mut config);
        if !fixed.is_empty() {
            warn!("a change of {} needs a restart: it stays as it was", fixed.join(", "));
        }
        // Sent even where nothing is different: what lies in other files may be.
        self.0.config.send_replace(Arc::new(config));
        info!("the configuration was read again");
    }

    /// What holds now.
    pub(crate) fn config(&self) -> Arc<Config> {
        self.0.config.borrow().clone()
    }

    /// Hears of each [`Control::reload`].
    pub(crate) fn configs(&self) -> watch::Receiver<Arc<Config>> {
        self.0.config.subscribe()
    }

    pub(crate) fn phase(&self) -> Phase {
        *self.0.phase.borrow()
    }

    pub(crate) fn advance(&self, phase: Phase) {
        self.0.phase.send_if_modified(|now| {
            let later = phase > *now;
            *now = phase.max(*now);
            later
        });
    }

    /// Done when the server is in this phase, or a later one.
    pub(crate) async fn reached(&self, phase: Phase) {
        let mut phases = self.0.phase.subscribe();
        // An error says that nobody can tell any more, and we can.
        _ = phases.wait_for(|now| *now >= phase).await;
    }
}

/// Undoes changes of what can't change while the server runs, and names them.
fn keep_fixed(former: &Config, config: &mut Config) -> Vec<&'static str> {
    let mut names = Vec::new();
    if config.listen != former.listen {
        names.push("listen");
        config.listen = former.listen;
    }
    if config.tls.is_some() != former.tls.is_some() {
        names.push("tls (from without it to with it, or back)");
        config.tls.clone_from(&former.tls);
    }
    if config.state_dir != former.state_dir {
        names.push("state-dir");
        config.state_dir.clone_from(&former.state_dir);
    }
    if config.cluster != former.cluster {
        names.push("cluster");
        config.cluster.clone_from(&former.cluster);
    }
    let place = |config: &Config| config.admin.as_ref().map(|admin| (admin.listen, admin.tls));
    if place(config) != place(former) {
        names.push("admin.listen and admin.tls");
        config.admin.clone_from(&former.admin);
    }
    if config.log_format != former.log_format {
        names.push("log.format");
        config.log_format = former.log_format;
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn phases_go_one_way() {
        let control = Control::new(Config::default());
        control.end();
        control.drain();
        assert_eq!(control.phase(), Phase::Ending);
    }

    #[test]
    fn what_cannot_change_stays_and_is_named_and_the_rest_changes() {
        let control = Control::new(Config::default());
        let listen = "127.0.0.1:1".parse().unwrap();
        let mut config = Config { listen, ..Config::default() };
        config.limits.rooms = 7;
        config.state_dir = Some("/elsewhere".into());
        assert_eq!(keep_fixed(&control.config(), &mut config.clone()), ["listen", "state-dir"]);
        control.reload(config);
        assert_eq!(control.config().listen, Config::default().listen);
        assert_eq!(control.config().limits.rooms, 7);
    }
}
