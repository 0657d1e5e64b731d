//! What the kernel's driver of a hardware watchdog says and grants: ioctls (kernel:
//! `Documentation/watchdog/watchdog-api.rst`), and where the kernel has it sysfs (kernel:
//! `Documentation/ABI/testing/sysfs-class-watchdog`).

use std::{
    fs::{self, File},
    os::{
        fd::AsRawFd,
        unix::fs::{FileTypeExt, MetadataExt},
    },
    path::{Path, PathBuf},
    time::Duration,
};

use nix::{
    libc::c_int,
    sys::stat::{major, minor},
};

/// Every watchdog of this machine, a folder each.
pub(super) const CLASS: &str = "/sys/class/watchdog";
/// What the kernel's stand-in for a watchdog calls itself.
const SOFTDOG: &str = "Software Watchdog";
/// `/dev/watchdog`, which is the same as the first `/dev/watchdogN`.
const FIRST: (u64, u64) = (10, 130);
/// What is to become of the device at the pre-timeout: a panic, which leaves a trace.
const GOVERNOR: &str = "panic";

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
    nix::ioctl_readwrite!(set_pretimeout, b'W', 8, c_int);
    nix::ioctl_read!(get_pretimeout, b'W', 9, c_int);
}

/// `WDIOF_MAGICCLOSE`: the timer goes on when the device is closed without a `V`.
const MAGIC_CLOSE: u32 = 0x0100;

/// Who is behind a device.
#[derive(Debug)]
pub(super) struct Driver {
    /// What it calls itself.
    pub identity: String,
    options: u32,
    /// Its folder in sysfs.
    sysfs: Option<PathBuf>,
}

impl Driver {
    /// None where the file is no driver's.
    pub fn of(file: &File) -> Option<Self> {
        let mut info = ioctl::Info::default();
        // SAFETY: the descriptor is open, and `Info` has the layout of `struct watchdog_info`,
        // which the kernel fills.
        unsafe { ioctl::get_support(file.as_raw_fd(), &mut info) }.ok()?;
        let end = info.identity.iter().position(|&byte| byte == 0).unwrap_or(info.identity.len());
        let identity = String::from_utf8_lossy(&info.identity[..end]);
        Some(Self {
            identity: identity.replace(char::is_control, " "),
            options: info.options,
            sysfs: sysfs(file).filter(|folder| folder.join("identity").exists()),
        })
    }

    /// Whether closing the device without a `V` leaves the timer running.
    pub fn has_magic_close(&self) -> bool {
        self.options & MAGIC_CLOSE != 0
    }

    /// Whether nothing stops the timer once it runs; None where the kernel doesn't say.
    pub fn nowayout(&self) -> Option<bool> {
        Some(self.says("nowayout")? != "0")
    }

    /// Whether the timer runs; None where the kernel doesn't say.
    pub fn is_active(&self) -> Option<bool> {
        Some(self.says("state")? == "active")
    }

    /// Has a panic made at the pre-timeout.
    ///
    /// # Errors
    ///
    /// What happens then instead, as far as that is known.
    pub fn panic_at_pretimeout(&self) -> Result<(), String> {
        const FILE: &str = "pretimeout_governor";
        let set = self.sysfs.as_ref().map(|folder| fs::write(folder.join(FILE), GOVERNOR));
        match (set, self.says(FILE)) {
            (Some(Ok(())), _) => Ok(()),
            (_, Some(governor)) => Err(governor),
            (_, None) => Err("unknown".to_owned()),
        }
    }

    fn says(&self, what: &str) -> Option<String> {
        said(self.sysfs.as_ref()?, what)
    }
}

fn said(folder: &Path, what: &str) -> Option<String> {
    Some(fs::read_to_string(folder.join(what)).ok()?.trim().to_owned())
}

/// Where the kernel tells about the device behind an open file.
fn sysfs(file: &File) -> Option<PathBuf> {
    let metadata = file.metadata().ok()?;
    let number = metadata.file_type().is_char_device().then_some(metadata.rdev())?;
    Some(match (major(number), minor(number)) {
        FIRST => Path::new(CLASS).join("watchdog0"),
        (major, minor) => format!("/sys/dev/char/{major}:{minor}").into(),
    })
}

/// The device to use of those in `class`: one that runs already, since it resets unless it is fed;
/// else the first real one; else the kernel's stand-in. `/dev/watchdog` where the kernel names none.
pub(super) fn choose(class: &Path) -> PathBuf {
    let rank = |name: &String| {
        let says = |what| said(&class.join(name), what);
        let idle = says("state").as_deref() != Some("active");
        let soft = says("identity").as_deref() == Some(SOFTDOG);
        (idle, soft, name.len(), name.clone())
    };
    let entries = fs::read_dir(class).into_iter().flatten().flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    let best = names.filter(|name| name.starts_with("watchdog")).min_by_key(rank);
    Path::new("/dev").join(best.as_deref().unwrap_or("watchdog"))
}

/// The timeout that the driver grants, at least a second; `wish` where there is no driver.
pub(super) fn set_timeout(file: &File, wish: Duration) -> Duration {
    let mut seconds = whole_seconds(wish);
    // SAFETY: the descriptor is open, and the kernel reads and writes one int behind a pointer to
    // one that outlives the call.
    let set = unsafe { ioctl::set_timeout(file.as_raw_fd(), &mut seconds) };
    if set.is_err() {
        // A driver with a fixed timeout, or one that can't keep this one.
        // SAFETY: as above.
        let got = unsafe { ioctl::get_timeout(file.as_raw_fd(), &mut seconds) };
        if got.is_err() {
            return wish;
        }
    }
    duration(seconds).max(Duration::from_secs(1))
}

/// The pre-timeout that the driver grants; None where it has none. Kernels make up for drivers
/// without one (`CONFIG_WATCHDOG_HRTIMER_PRETIMEOUT`), so that `WDIOF_PRETIMEOUT` says too little.
pub(super) fn set_pretimeout(file: &File, wish: Duration) -> Option<Duration> {
    let mut seconds = whole_seconds(wish);
    // SAFETY: as in `set_timeout`, for both.
    unsafe { ioctl::set_pretimeout(file.as_raw_fd(), &mut seconds) }.ok()?;
    // SAFETY: see above.
    unsafe { ioctl::get_pretimeout(file.as_raw_fd(), &mut seconds) }.ok()?;
    Some(duration(seconds)).filter(|granted| !granted.is_zero())
}

fn whole_seconds(duration: Duration) -> c_int {
    c_int::try_from(duration.as_secs()).unwrap_or(c_int::MAX)
}

fn duration(seconds: c_int) -> Duration {
    Duration::from_secs(u64::try_from(seconds).unwrap_or(0))
}

/// What the driver says about the last reset, in words; None where it says nothing, or doesn't
/// know.
pub(super) fn boot_status(file: &File) -> Option<String> {
    let mut flags = 0;
    // SAFETY: as in `set_timeout`.
    unsafe { ioctl::get_boot_status(file.as_raw_fd(), &mut flags) }.ok()?;
    explain_flags(flags)
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

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    #[test]
    fn flags_that_tell_of_no_reset_are_none() {
        // Magic close, settable timeout and keep-alive are what a driver can, no reason.
        assert_eq!(explain_flags(0x8180), None);
        assert_eq!(explain_flags(0x20).unwrap(), "the hardware watchdog was not fed");
        assert_eq!(explain_flags(0x8131).unwrap().matches(", ").count(), 2);
    }

    #[test]
    fn what_the_kernel_does_not_say_is_not_made_up() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().to_owned();
        let driver = Driver { identity: String::new(), options: 0, sysfs: Some(path.clone()) };
        assert_eq!((driver.nowayout(), driver.is_active()), (None, None));
        fs::write(path.join("nowayout"), "1\n").unwrap();
        fs::write(path.join("state"), "inactive\n").unwrap();
        assert_eq!((driver.nowayout(), driver.is_active()), (Some(true), Some(false)));
        fs::write(path.join("pretimeout_governor"), "noop\n").unwrap();
        assert_eq!(driver.panic_at_pretimeout(), Ok(()));
        assert_eq!(driver.says("pretimeout_governor").unwrap(), GOVERNOR);
        let elsewhere = Driver { sysfs: None, ..driver };
        assert_eq!(elsewhere.panic_at_pretimeout(), Err("unknown".to_owned()));
    }

    #[test]
    fn a_real_watchdog_comes_before_the_stand_in_and_a_running_one_before_both() {
        let class = tempfile::tempdir().unwrap();
        let chosen = || choose(class.path()).to_str().unwrap().to_owned();
        assert_eq!(chosen(), "/dev/watchdog");
        assert_eq!(choose(&class.path().join("no-sysfs")), Path::new("/dev/watchdog"));
        let add = |name: &str, identity: &str, state: &str| {
            let folder = class.path().join(name);
            fs::create_dir_all(&folder).unwrap();
            fs::write(folder.join("identity"), format!("{identity}\n")).unwrap();
            fs::write(folder.join("state"), format!("{state}\n")).unwrap();
        };
        add("watchdog0", SOFTDOG, "inactive");
        assert_eq!(chosen(), "/dev/watchdog0");
        add("watchdog10", "i6300ESB timer", "inactive");
        assert_eq!(chosen(), "/dev/watchdog10");
        add("watchdog2", "another", "inactive");
        assert_eq!(chosen(), "/dev/watchdog2");
        add("watchdog0", SOFTDOG, "active");
        assert_eq!(chosen(), "/dev/watchdog0", "unfed it would reset the device");
    }
}
