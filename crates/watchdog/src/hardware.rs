//! The hardware watchdog: a timer that resets the device unless it is fed
//! (kernel: `Documentation/watchdog/watchdog-api.rst`).
//!
//! It is fed with `write(2)`, which every driver understands, so that any file can stand in for it
//! in a test; the ioctls that such a file refuses (`ENOTTY`) only tell what the driver is, and set
//! its times (`driver`). Whatever happens to this process, the device is closed without the magic
//! `V` unless [`Hardware::disarm`] ran to its end, and the timer goes on, if its driver knows it.

mod driver;

use std::{
    fs::{File, OpenOptions},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use nix::libc;

use crate::{config::HardwareConfig, log, status::HardwareStatus};
use driver::Driver;

/// A byte that feeds and means nothing else.
const FEED: &[u8] = b"\0";
/// Written just before the device is closed, it stops the timer.
const MAGIC_CLOSE: &[u8] = b"V";
/// How many feeds the timer gets in its time: two may be late.
const FEEDS_IN_TIME: u32 = 3;
/// A timer that waits less than this leaves a busy device, or one that reboots, too little room.
const ROOM: Duration = Duration::from_secs(5);
/// A device that isn't there, or belongs to someone else, is tried again so often: its driver may
/// be loaded later.
const RETRY: Duration = Duration::from_secs(10);

/// The hardware watchdog, or the wish for one.
#[derive(Debug)]
pub struct Hardware {
    config: HardwareConfig,
    /// As it is named in the configuration, or was found last.
    path: PathBuf,
    device: Device,
    /// When it is next to be fed, or tried.
    due: Instant,
    /// Whether the last [`Hardware::serve`] forbade feeding.
    starved: bool,
}

#[derive(Debug)]
enum Device {
    Missing { complained: bool },
    Armed(Armed),
}

#[derive(Debug)]
struct Armed {
    file: File,
    /// None where the file is no driver's.
    driver: Option<Driver>,
    /// How long after the last feed the device resets.
    timeout: Duration,
    /// How long before that the kernel panics; zero: it doesn't.
    pretimeout: Duration,
    /// Whether nothing stops it; None where the kernel doesn't say.
    nowayout: Option<bool>,
    /// What the driver says about the last reset.
    boot_status: Option<String>,
    /// Whether it was said that it can't be fed.
    complained: bool,
}

impl Hardware {
    /// The device is opened, and so armed, with the first [`Hardware::serve`].
    pub fn new(config: HardwareConfig, now: Instant) -> Self {
        let path = config.device.clone().unwrap_or_else(|| "/dev/watchdog".into());
        let device = Device::Missing { complained: false };
        Self { config, path, device, due: now, starved: false }
    }

    /// Feeds when it is time to and `feed` allows it; at once when it is allowed again.
    pub fn serve(&mut self, now: Instant, feed: bool) {
        let again = feed && self.starved;
        self.starved = !feed;
        if !feed || (now < self.due && !again) {
            return;
        }
        if let Device::Missing { complained } = self.device {
            if self.config.device.is_none() {
                self.path = driver::choose(Path::new(driver::CLASS));
            }
            self.device = self.open(complained);
        }
        self.due = now
            + match &mut self.device {
                Device::Missing { .. } => RETRY,
                Device::Armed(armed) => {
                    match armed.file.write_all(FEED) {
                        Ok(()) => armed.complained = false,
                        Err(error) if !armed.complained => {
                            armed.complained = true;
                            log::error(format_args!("{}: not fed: {error}", self.path.display()));
                        }
                        Err(_) => {}
                    }
                    armed.pause()
                }
            };
    }

    /// Feeds now, whether it is time to or not.
    pub fn feed_now(&mut self, now: Instant) {
        self.due = now;
        self.serve(now, true);
    }

    /// When the next [`Hardware::serve`] is due, if time alone makes it so.
    pub fn deadline(&self) -> Option<Instant> {
        (!self.starved).then_some(self.due)
    }

    fn armed(&self) -> Option<&Armed> {
        match &self.device {
            Device::Armed(armed) => Some(armed),
            Device::Missing { .. } => None,
        }
    }

    /// How long after the last feed the device resets; None while there is no hardware watchdog.
    pub fn resets_after(&self) -> Option<Duration> {
        self.armed().map(|armed| armed.timeout)
    }

    /// What the driver says about the last reset, in words; None where it says nothing, or doesn't
    /// know.
    pub fn last_reset(&self) -> Option<String> {
        self.armed()?.boot_status.clone()
    }

    /// For [`crate::status`].
    pub fn status(&self) -> HardwareStatus {
        let device = self.path.display().to_string();
        let Some(armed) = self.armed() else {
            return HardwareStatus { device, ..HardwareStatus::default() };
        };
        let driver = armed.driver.as_ref();
        HardwareStatus {
            device,
            identity: driver.map(|driver| driver.identity.clone()).unwrap_or_default(),
            timeout_seconds: armed.timeout.as_secs(),
            pretimeout_seconds: armed.pretimeout.as_secs(),
            nowayout: armed.nowayout,
            boot_status: armed.boot_status.clone().unwrap_or_default(),
        }
    }

    /// Stops the timer and closes the device. Whether it really stopped is said: a driver set to
    /// "no way out" goes on.
    pub fn disarm(self) {
        let Device::Armed(Armed { mut file, driver, timeout, .. }) = self.device else { return };
        let path = self.path.display();
        let written = file.write_all(MAGIC_CLOSE);
        // Asked again: it can have been set since.
        let bound = driver.as_ref().and_then(Driver::nowayout) == Some(true);
        drop(file);
        match (written, driver.as_ref().and_then(Driver::is_active)) {
            (Err(error), _) => {
                log::error(format_args!("{path}: could not be disarmed: {error}"));
            }
            (Ok(()), Some(true)) => {
                let why = if bound { "no way out" } else { "its driver goes on" };
                log::warn(format_args!(
                    "{path}: {why}: it resets the device in {timeout:?} unless it is fed again"
                ));
            }
            (Ok(()), _) => log::info(format_args!("{path}: disarmed")),
        }
    }

    fn open(&self, complained: bool) -> Device {
        let path = self.path.display();
        // Not blocking: nothing may keep this process from its work.
        match OpenOptions::new().write(true).custom_flags(libc::O_NONBLOCK).open(&self.path) {
            Ok(file) => {
                let driver = Driver::of(&file);
                let timeout = driver::set_timeout(&file, self.config.timeout);
                let name = driver.as_ref().map_or("no watchdog driver", |it| &it.identity);
                log::info(format_args!("{path}: armed ({name}), resets after {timeout:?}"));
                if let Some(remark) = remark(self.config.timeout, timeout) {
                    log::warn(format_args!("{path}: {remark}"));
                }
                if driver.as_ref().is_some_and(|it| !it.has_magic_close()) {
                    log::warn(format_args!(
                        "{path}: its driver stops the timer should the watchdog die"
                    ));
                }
                let pretimeout = self.set_pretimeout(&file, driver.as_ref(), timeout);
                let nowayout = driver.as_ref().and_then(Driver::nowayout);
                let boot_status = driver::boot_status(&file);
                Device::Armed(Armed {
                    file,
                    driver,
                    timeout,
                    pretimeout,
                    nowayout,
                    boot_status,
                    complained: false,
                })
            }
            Err(error) => {
                if !complained {
                    log::warn(format_args!(
                        "{path}: {}: going on without a hardware watchdog, and trying again",
                        explain(&error)
                    ));
                }
                Device::Missing { complained: true }
            }
        }
    }

    /// The pre-timeout that there is now, zero for none; with a line where it isn't what is wished.
    fn set_pretimeout(&self, file: &File, driver: Option<&Driver>, timeout: Duration) -> Duration {
        let Some(wish) = self.config.pretimeout else {
            // One that somebody else has set would cut the time short.
            driver::set_pretimeout(file, Duration::ZERO);
            return Duration::ZERO;
        };
        let path = self.path.display();
        let granted = driver.filter(|_| wish < timeout).and_then(|driver| {
            let granted = driver::set_pretimeout(file, wish)?;
            if let Err(governor) = driver.panic_at_pretimeout() {
                log::warn(format_args!(
                    "{path}: {governor}, and no panic, follows at the pre-timeout (is the kernel \
                     module pretimeout_panic loaded?)"
                ));
            }
            Some(granted)
        });
        match granted {
            Some(granted) => log::info(format_args!(
                "{path}: pre-timeout {granted:?} before the reset, {wish:?} wished"
            )),
            None if driver.is_some() && wish >= timeout => log::warn(format_args!(
                "{path}: pre-timeout {wish:?} does not fit in {timeout:?}: going on without"
            )),
            None => log::warn(format_args!("{path}: it has no pre-timeout: going on without")),
        }
        granted.unwrap_or_default()
    }
}

impl Armed {
    /// From one feed to the next.
    fn pause(&self) -> Duration {
        self.timeout.saturating_sub(self.pretimeout) / FEEDS_IN_TIME
    }
}

/// What follows from it that the driver grants another timeout than is wished.
fn remark(wish: Duration, granted: Duration) -> Option<String> {
    let follows = match granted {
        _ if granted == wish => return None,
        _ if granted > wish => "what hangs is reset that much later",
        _ if granted < ROOM => "a busy device may be reset for nothing, and a reboot be cut off",
        _ => "it is fed that much more often",
    };
    Some(format!("timeout {granted:?} granted, {wish:?} wished: {follows}"))
}

fn explain(error: &io::Error) -> String {
    match error.raw_os_error() {
        Some(libc::EBUSY) => "another program feeds it".to_owned(),
        Some(libc::ENOENT) => "there is none (is its driver loaded?)".to_owned(),
        _ => error.to_string(),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    #[test]
    fn another_timeout_than_the_wished_one_is_explained() {
        let remark =
            |wish, granted| remark(Duration::from_secs(wish), Duration::from_secs(granted));
        assert_eq!(remark(15, 15), None);
        assert_eq!(
            remark(15, 60).unwrap(),
            "timeout 60s granted, 15s wished: what hangs is reset that much later"
        );
        assert_eq!(
            remark(60, 15).unwrap(),
            "timeout 15s granted, 60s wished: it is fed that much more often"
        );
        assert!(remark(15, 2).unwrap().ends_with("reset for nothing, and a reboot be cut off"));
    }
}
