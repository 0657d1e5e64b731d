//! The ladder of [`crate::escalation`] with its last rung: telling the device to reboot.

use std::{
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use nix::unistd::Pid;

use crate::{
    config::EscalationConfig,
    escalation::{Escalation, History},
    keeper::{self, Keeper},
    log,
};

/// A device that was told to reboot and didn't is told again, if no hardware resets it.
const REBOOT_PAUSE: Duration = Duration::from_secs(60);

/// The ladder, and its last rung.
#[derive(Debug)]
pub(crate) struct Ladder {
    pub escalation: Escalation,
    config: EscalationConfig,
    /// From [`Decision::Reboot`] on.
    pub reboot: Option<Reboot>,
}

/// The device is to be rebooted.
#[derive(Debug, Default)]
pub(crate) struct Reboot {
    /// When it is next told to; none before all services have ended.
    pub due: Option<Instant>,
    /// The program that tells it to.
    pub process: Option<Pid>,
}

impl Ladder {
    /// In safe mode, if the record asks for it: said in the log.
    pub fn new(config: EscalationConfig, keeper: &Keeper) -> Self {
        let record = keeper.record();
        let history = History {
            resets_in_a_row: record.resets_in_a_row,
            resets_today: record.resets_today(keeper::uptime()),
        };
        let escalation = Escalation::new(config.limits.clone(), history);
        if let Some(reason) = escalation.safe_mode() {
            log::error(format_args!("safe mode, after {reason}"));
        }
        Self { escalation, config, reboot: None }
    }

    /// Runs the program that reboots the device.
    pub fn tell_to_reboot(&mut self, now: Instant) {
        let program = &self.config.reboot_program;
        let mut command = Command::new(program);
        command.args(&self.config.reboot_arguments).stdin(Stdio::null());
        let reboot = self.reboot.get_or_insert_default();
        reboot.due = Some(now + REBOOT_PAUSE);
        match command.spawn() {
            // `as` loses nothing: a pid is a positive i32.
            Ok(child) => reboot.process = Some(Pid::from_raw(child.id() as i32)),
            Err(error) => log::error(format_args!("{}: {error}", program.display())),
        }
    }

    /// Whether the device was told to reboot: from then on the hardware is to see to it.
    pub fn has_told(&self) -> bool {
        self.reboot.as_ref().is_some_and(|reboot| reboot.due.is_some())
    }
}
