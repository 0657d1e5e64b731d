//! The hardware watchdog: a timer that resets the device unless it is fed
//! (kernel: `Documentation/watchdog/watchdog-api.rst`).
//!
//! It is fed with `write(2)`, which every driver understands, so that any file can stand in for it
//! in a test; the ioctls that such a file refuses (`ENOTTY`) only tell and set the timeout.
//! Whatever happens to this process, the device is closed without the magic `V` unless
//! [`Hardware::disarm`] ran to its end, and the timer goes on.

use std::{
    fs::{File, OpenOptions},
    io::{self, Write},
    os::{fd::AsRawFd, unix::fs::OpenOptionsExt},
    path::PathBuf,
    time::{Duration, Instant},
};

use nix::libc::{self, c_int};

use crate::{config::HardwareConfig, log, status::HardwareStatus};

/// A byte that feeds and means nothing else.
const FEED: &[u8] = b"\0";
/// Written just before the device is closed, it stops the timer.
const MAGIC_CLOSE: &[u8] = b"V";
/// How many feeds the timer gets in its timeout: two may be late.
const FEEDS_IN_TIMEOUT: u32 = 3;
/// A device that isn't there, or belongs to someone else, is tried again so often: its driver may
/// be loaded later.
const RETRY: Duration = Duration::from_secs(10);

/// The kernel's ioctls.
mod ioctl {
    use nix::libc::c_int;

    /// `struct watchdog_info`.
    #[repr(C)]
    #[derive(Default)]
    pub struct Info {
        pub options: u32,
        pub firmware_version: u32,
        pub identity: [u8; 32],
    }

    nix::ioctl_read!(get_support, b'W', 0, Info);
    nix::ioctl_read!(get_boot_status, b'W', 2, c_int);
    nix::ioctl_readwrite!(set_timeout, b'W', 6, c_int);
    nix::ioctl_read!(get_timeout, b'W', 7, c_int);
}

/// The hardware watchdog, or the wish for one.
#[derive(Debug)]
pub struct Hardware {
    path: PathBuf,
    timeout: Duration,
    device: Device,
    /// When it is next to be fed, or tried.
    due: Instant,
    /// Whether the last [`Hardware::serve`] forbade feeding.
    starved: bool,
}

#[derive(Debug)]
enum Device {
    Missing { complained: bool },
    Armed { file: File, identity: Option<String>, timeout: Duration, complained: bool },
}

impl Hardware {
    /// The device is opened, and so armed, with the first [`Hardware::serve`].
    pub fn new(config: HardwareConfig, now: Instant) -> Self {
        let HardwareConfig { device, timeout } = config;
        let device_state = Device::Missing { complained: false };
        Self { path: device, timeout, device: device_state, due: now, starved: false }
    }

    /// Feeds when it is time to and `feed` allows it; at once when it is allowed again.
    pub fn serve(&mut self, now: Instant, feed: bool) {
        let again = feed && self.starved;
        self.starved = !feed;
        if !feed || (now < self.due && !again) {
            return;
        }
        if let Device::Missing { complained } = self.device {
            self.device = self.open(complained);
        }
        self.due = now
            + match &mut self.device {
                Device::Missing { .. } => RETRY,
                Device::Armed { file, timeout, complained, .. } => {
                    match file.write_all(FEED) {
                        Ok(()) => *complained = false,
                        Err(error) if !*complained => {
                            *complained = true;
                            log::error(format_args!("{}: not fed: {error}", self.path.display()));
                        }
                        Err(_) => {}
                    }
                    *timeout / FEEDS_IN_TIMEOUT
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

    /// How long after the last feed the device resets; None while there is no hardware watchdog.
    pub fn resets_after(&self) -> Option<Duration> {
        match self.device {
            Device::Armed { timeout, .. } => Some(timeout),
            Device::Missing { .. } => None,
        }
    }

    /// What the driver says about the last reset, in words; None where it says nothing, or doesn't
    /// know.
    pub fn last_reset(&self) -> Option<String> {
        let Device::Armed { file, .. } = &self.device else { return None };
        let mut flags = 0;
        // SAFETY: the descriptor is open, and the kernel writes one int behind a pointer to one
        // that outlives the call.
        unsafe { ioctl::get_boot_status(file.as_raw_fd(), &mut flags) }.ok()?;
        explain_flags(flags)
    }

    /// For [`crate::status`].
    pub fn status(&self) -> HardwareStatus {
        let (identity, timeout) = match &self.device {
            Device::Armed { identity, timeout, .. } => (identity.clone(), timeout.as_secs()),
            Device::Missing { .. } => (None, 0),
        };
        HardwareStatus {
            device: self.path.display().to_string(),
            identity: identity.unwrap_or_default(),
            timeout_seconds: timeout,
        }
    }

    /// Stops the timer and closes the device. A driver set to "no way out" goes on all the same.
    pub fn disarm(self) {
        let Device::Armed { mut file, .. } = self.device else { return };
        let path = self.path.display();
        match file.write_all(MAGIC_CLOSE) {
            Ok(()) => log::info(format_args!("{path}: disarmed")),
            Err(error) => log::error(format_args!("{path}: could not be disarmed: {error}")),
        }
    }

    fn open(&self, complained: bool) -> Device {
        let path = self.path.display();
        // Not blocking: nothing may keep this process from its work.
        match OpenOptions::new().write(true).custom_flags(libc::O_NONBLOCK).open(&self.path) {
            Ok(file) => {
                let timeout = set_timeout(&file, self.timeout);
                let identity = identity(&file);
                let name = identity.as_deref().unwrap_or("no watchdog driver");
                log::info(format_args!("{path}: armed ({name}), resets after {timeout:?}"));
                if timeout != self.timeout {
                    let wish = self.timeout;
                    log::warn(format_args!("{path}: timeout {timeout:?} instead of {wish:?}"));
                }
                Device::Armed { file, identity, timeout, complained: false }
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
}

/// `WDIOF_…` (kernel: `include/uapi/linux/watchdog.h`), as far as they tell of a reset.
fn explain_flags(flags: c_int) -> Option<String> {
    let words = [
        (0x01, "the processor was too hot"),
        (0x02, "the fan failed"),
        (0x04, "external relay 1"),
        (0x08, "external relay 2"),
        (0x10, "the power was bad"),
        (0x20, "the hardware watchdog was not fed"),
        (0x40, "the voltage was too high"),
    ];
    let said: Vec<_> =
        words.iter().filter(|(flag, _)| flags & flag != 0).map(|(_, word)| *word).collect();
    (!said.is_empty()).then(|| said.join(", "))
}

fn explain(error: &io::Error) -> String {
    match error.raw_os_error() {
        Some(libc::EBUSY) => "another program feeds it".to_owned(),
        Some(libc::ENOENT) => "there is none (is its driver loaded?)".to_owned(),
        _ => error.to_string(),
    }
}

/// The timeout that the driver grants, at least a second.
fn set_timeout(file: &File, wish: Duration) -> Duration {
    let mut seconds = c_int::try_from(wish.as_secs()).unwrap_or(c_int::MAX);
    // SAFETY: the descriptor is open, and the kernel reads and writes one int behind a pointer to
    // one that outlives the call.
    let set = unsafe { ioctl::set_timeout(file.as_raw_fd(), &mut seconds) };
    if set.is_err() {
        // A driver with a fixed timeout; or no driver, and the wish stands.
        // SAFETY: as above.
        let got = unsafe { ioctl::get_timeout(file.as_raw_fd(), &mut seconds) };
        if got.is_err() {
            return wish;
        }
    }
    Duration::from_secs(u64::try_from(seconds).unwrap_or(0).max(1))
}

/// What the driver calls itself.
fn identity(file: &File) -> Option<String> {
    let mut info = ioctl::Info::default();
    // SAFETY: the descriptor is open, and `Info` has the layout of `struct watchdog_info`, which
    // the kernel fills.
    unsafe { ioctl::get_support(file.as_raw_fd(), &mut info) }.ok()?;
    let end = info.identity.iter().position(|&byte| byte == 0).unwrap_or(info.identity.len());
    Some(String::from_utf8_lossy(&info.identity[..end]).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_that_tell_of_no_reset_are_none() {
        // Magic close, settable timeout and keep-alive are what a driver can, no reason.
        assert_eq!(explain_flags(0x8180), None);
        assert_eq!(explain_flags(0x20).unwrap(), "the hardware watchdog was not fed");
        assert_eq!(explain_flags(0x8131).unwrap().matches(", ").count(), 2);
    }
}
