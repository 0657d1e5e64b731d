//! The file as it is written, and the way from there to a checked [`super::Config`].

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use super::{ConsoleLines, EscalationConfig, HardwareConfig, LogConfig, ServiceConfig};
use crate::{
    escalation::Limits,
    fields::{Fields, FromToml, Mistake, cut, word},
    monitor::{self, Subject},
    service::{Policy, Restart},
};

/// What is wrong, and where: the section or service.
type Refusal = (String, String);

#[derive(Debug)]
pub(super) struct Config {
    hardware: Option<Hardware>,
    state_dir: Option<PathBuf>,
    pstore_dir: Option<PathBuf>,
    runtime_dir: Option<PathBuf>,
    log: Log,
    escalation: Option<Escalation>,
}

impl Config {
    const KEYS: [&str; 6] =
        ["hardware", "state-dir", "pstore-dir", "runtime-dir", "log", "escalation"];

    /// From the file without what stands there several times.
    pub(super) fn read(root: &DeTable<'_>) -> Result<Self, Mistake> {
        let fields = Fields::only(root, &Self::KEYS)?;
        Ok(Self {
            hardware: fields.section("hardware", Hardware::read)?,
            state_dir: fields.optional("state-dir")?,
            pstore_dir: fields.optional("pstore-dir")?,
            runtime_dir: fields.optional("runtime-dir")?,
            log: fields.section("log", Log::read)?.unwrap_or_default(),
            escalation: fields.section("escalation", Escalation::read)?,
        })
    }
}

/// In place of a device: the best one that there is.
const AUTO: &str = "auto";

#[derive(Debug)]
struct Hardware {
    device: PathBuf,
    timeout: Span,
    pretimeout: Option<Span>,
}

impl Hardware {
    fn read(section: &Spanned<DeValue<'_>>) -> Result<Self, Mistake> {
        let fields = Fields::of(section, &["device", "timeout", "pretimeout"])?;
        Ok(Self {
            device: fields.or("device", AUTO.into())?,
            timeout: fields.or("timeout", seconds(15))?,
            pretimeout: fields.optional("pretimeout")?,
        })
    }
}

#[derive(Debug)]
struct Log {
    console: ConsoleLines,
    size_kb: u64,
    kept_kb: u64,
    lines_in_10s: u32,
}

impl Default for Log {
    fn default() -> Self {
        Self { console: ConsoleLines::All, size_kb: 256, kept_kb: 128, lines_in_10s: 200 }
    }
}

impl Log {
    fn read(section: &Spanned<DeValue<'_>>) -> Result<Self, Mistake> {
        let keys = ["console", "size-kb", "kept-kb", "lines-in-10s"];
        let fields = Fields::of(section, &keys)?;
        let Self { console, size_kb, kept_kb, lines_in_10s } = Self::default();
        Ok(Self {
            console: fields.or("console", console)?,
            size_kb: fields.or("size-kb", size_kb)?,
            kept_kb: fields.or("kept-kb", kept_kb)?,
            lines_in_10s: fields.or("lines-in-10s", lines_in_10s)?,
        })
    }
}

impl FromToml for ConsoleLines {
    fn from_toml(value: &DeValue<'_>) -> Result<Self, String> {
        word(value, &[("all", Self::All), ("warnings", Self::Warnings), ("none", Self::None)])
    }
}

#[derive(Debug)]
struct Escalation {
    reboot_command: Vec<String>,
    failures_per_hour: u32,
    resets_per_day: u32,
    safe_mode_after: u32,
    stable_after: Span,
}

impl Escalation {
    const KEYS: [&str; 5] = [
        "reboot-command",
        "failures-per-hour",
        "resets-per-day",
        "safe-mode-after",
        "stable-after",
    ];

    fn read(section: &Spanned<DeValue<'_>>) -> Result<Self, Mistake> {
        let fields = Fields::of(section, &Self::KEYS)?;
        Ok(Self {
            reboot_command: fields.required("reboot-command")?,
            failures_per_hour: fields.or("failures-per-hour", 30)?,
            resets_per_day: fields.or("resets-per-day", 4)?,
            safe_mode_after: fields.or("safe-mode-after", 3)?,
            stable_after: fields.or("stable-after", seconds(10 * 60))?,
        })
    }
}

#[derive(Debug)]
pub(super) struct Monitor {
    what: Subject,
    warning: Option<u64>,
    critical: Option<u64>,
    escalate: bool,
    hold: Span,
}

impl Monitor {
    pub(super) fn read(section: &Spanned<DeValue<'_>>) -> Result<Self, Mistake> {
        let keys = ["what", "warning", "critical", "escalate", "hold"];
        let fields = Fields::of(section, &keys)?;
        Ok(Self {
            what: fields.required("what")?,
            warning: fields.optional("warning")?,
            critical: fields.optional("critical")?,
            escalate: fields.or_default("escalate")?,
            hold: fields.or("hold", seconds(60))?,
        })
    }
}

impl FromToml for Subject {
    fn from_toml(value: &DeValue<'_>) -> Result<Self, String> {
        let names = Self::ALL.map(|subject| (subject.name(), subject));
        word(value, &names)
    }
}

#[derive(Debug)]
pub(super) struct Service {
    name: String,
    command: Vec<String>,
    safe_command: Option<Vec<String>>,
    user: Option<String>,
    groups: Vec<String>,
    environment: BTreeMap<String, String>,
    working_directory: PathBuf,
    critical: bool,
    after: Vec<String>,
    memory: Option<Size>,
    open_files: Option<u32>,
    tasks: Option<u32>,
    ready_timeout: Option<Span>,
    heartbeat: Option<Span>,
    progress_timeout: Option<Span>,
    stop_timeout: Span,
    restart: Restart,
    restart_delay: Span,
    restart_delay_max: Span,
    stable_after: Span,
    broken_after: Span,
    broken_failures: u32,
    no_reset_exit_codes: Vec<i32>,
}

impl Service {
    const KEYS: [&str; 23] = [
        "name",
        "command",
        "safe-command",
        "user",
        "groups",
        "environment",
        "working-directory",
        "critical",
        "after",
        "memory",
        "open-files",
        "tasks",
        "ready-timeout",
        "heartbeat",
        "progress-timeout",
        "stop-timeout",
        "restart",
        "restart-delay",
        "restart-delay-max",
        "stable-after",
        "broken-after",
        "broken-failures",
        "no-reset-exit-codes",
    ];

    // Why these defaults: `rootfs-overlay/etc/peercam/watchdog.toml`.
    pub(super) fn read(section: &Spanned<DeValue<'_>>) -> Result<Self, Mistake> {
        let fields = Fields::of(section, &Self::KEYS)?;
        Ok(Self {
            name: fields.required("name")?,
            command: fields.required("command")?,
            safe_command: fields.optional("safe-command")?,
            user: fields.optional("user")?,
            groups: fields.or_default("groups")?,
            environment: fields.or_default("environment")?,
            working_directory: fields.or("working-directory", "/".into())?,
            critical: fields.or("critical", true)?,
            after: fields.or_default("after")?,
            memory: fields.optional("memory")?,
            open_files: fields.optional("open-files")?,
            tasks: fields.optional("tasks")?,
            ready_timeout: fields.optional("ready-timeout")?,
            heartbeat: fields.optional("heartbeat")?,
            progress_timeout: fields.optional("progress-timeout")?,
            stop_timeout: fields.or("stop-timeout", seconds(5))?,
            restart: fields.or("restart", Restart::Always)?,
            restart_delay: fields.or("restart-delay", Span(Duration::from_millis(500)))?,
            restart_delay_max: fields.or("restart-delay-max", seconds(10))?,
            stable_after: fields.or("stable-after", seconds(10))?,
            broken_after: fields.or("broken-after", seconds(60))?,
            broken_failures: fields.or("broken-failures", 10)?,
            no_reset_exit_codes: fields.or_default("no-reset-exit-codes")?,
        })
    }
}

impl FromToml for Restart {
    fn from_toml(value: &DeValue<'_>) -> Result<Self, String> {
        word(value, &[("always", Self::Always), ("on-failure", Self::OnFailure)])
    }
}

/// A duration as people write it: `500ms`, `15s`, `2m`; above zero, at most a day.
#[derive(Debug, Clone, Copy)]
struct Span(Duration);

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

impl FromToml for Span {
    fn from_toml(value: &DeValue<'_>) -> Result<Self, String> {
        let text = String::from_toml(value)?;
        let units = [("ms", 1), ("s", 1000), ("m", 60 * 1000), ("h", 60 * 60 * 1000)];
        amount(&text, &units)
            .map(Duration::from_millis)
            .filter(|span| !span.is_zero() && *span <= DAY)
            .map(Self)
            .ok_or_else(|| {
                let text = cut(&text);
                format!("{text:?} is no duration: write 500ms, 15s, 2m or 1h, up to a day")
            })
    }
}

/// An amount of memory as people write it: `200MiB`; above zero, at most a tebibyte.
#[derive(Debug, Clone, Copy)]
struct Size(u64);

impl FromToml for Size {
    fn from_toml(value: &DeValue<'_>) -> Result<Self, String> {
        let text = String::from_toml(value)?;
        amount(&text, &[("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30)])
            .filter(|size| (1..=1 << 40).contains(size))
            .map(Self)
            .ok_or_else(|| {
                let text = cut(&text);
                format!("{text:?} is no amount of memory: write 512KiB, 200MiB or 1GiB")
            })
    }
}

/// A whole number with a unit behind it; None where it is none, or too large.
fn amount(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let (_, size) = units.iter().find(|(name, _)| *name == unit)?;
    number.parse::<u64>().ok()?.checked_mul(*size)
}

fn seconds(seconds: u64) -> Span {
    Span(Duration::from_secs(seconds))
}

impl Config {
    /// What stands in no list; the lists are empty.
    pub(super) fn check(self) -> Result<super::Config, Refusal> {
        let hardware = self.hardware.map(Hardware::check).transpose()?;
        for (key, folder) in [
            ("state-dir", &self.state_dir),
            ("pstore-dir", &self.pstore_dir),
            ("runtime-dir", &self.runtime_dir),
        ] {
            if let Some(folder) = folder.as_ref().filter(|folder| !folder.is_absolute()) {
                let message = format!("{:?}: use an absolute path", folder.display());
                return Err((key.into(), message));
            }
        }
        let log = self.log.check().map_err(|message| ("[log]".to_owned(), message))?;
        let escalation = match self.escalation.map(Escalation::check).transpose() {
            Ok(escalation) => escalation,
            Err(message) => return Err(("[escalation]".into(), message)),
        };
        if escalation.is_some() && self.state_dir.is_none() {
            let message = "needs state-dir: without a record of resets they could go on for ever";
            return Err(("[escalation]".into(), message.into()));
        }
        let Self { state_dir, pstore_dir, runtime_dir, .. } = self;
        let (monitors, services, refusals) = (Vec::new(), Vec::new(), Vec::new());
        Ok(super::Config {
            hardware,
            state_dir,
            pstore_dir,
            runtime_dir,
            log,
            escalation,
            monitors,
            services,
            refusals,
        })
    }
}

impl Hardware {
    fn check(self) -> Result<HardwareConfig, Refusal> {
        let refuse = |message| Err(("[hardware]".to_owned(), message));
        let Self { device, timeout: Span(timeout), pretimeout } = self;
        let pretimeout = pretimeout.map(|span| span.0);
        for (key, time) in [("timeout", Some(timeout)), ("pretimeout", pretimeout)] {
            if let Some(time) = time.filter(|time| time.subsec_millis() != 0) {
                return refuse(format!("{key} {time:?}: the kernel takes whole seconds"));
            }
        }
        if let Some(pretimeout) = pretimeout.filter(|it| *it >= timeout) {
            return refuse(format!("pretimeout {pretimeout:?} is not below timeout {timeout:?}"));
        }
        let device = Some(device).filter(|device| device.as_os_str() != AUTO);
        if let Some(device) = device.as_ref().filter(|device| !device.is_absolute()) {
            return refuse(format!(
                "device {:?}: use an absolute path, or \"{AUTO}\"",
                device.display()
            ));
        }
        Ok(HardwareConfig { device, timeout, pretimeout })
    }
}

impl Log {
    fn check(self) -> Result<LogConfig, String> {
        let Self { console, size_kb, kept_kb, lines_in_10s: lines } = self;
        for (key, value) in [("size-kb", size_kb), ("kept-kb", kept_kb)] {
            if value != 0 && !(32..=16 * 1024).contains(&value) {
                return Err(format!("{key} {value}: use 32 to 16384, or 0 for none"));
            }
        }
        if !(1..=100_000).contains(&lines) {
            return Err(format!("lines-in-10s {lines}: use 1 to 100000"));
        }
        Ok(LogConfig { console, size: size_kb * 1024, kept: kept_kb * 1024, lines })
    }
}

impl Escalation {
    fn check(self) -> Result<EscalationConfig, String> {
        let (reboot_program, reboot_arguments) =
            check_command("reboot-command", self.reboot_command)?;
        for (key, value) in [
            ("failures-per-hour", self.failures_per_hour),
            ("safe-mode-after", self.safe_mode_after),
        ] {
            if !(1..=1000).contains(&value) {
                return Err(format!("{key} {value}: use 1 to 1000"));
            }
        }
        // As many are remembered one by one.
        if self.resets_per_day > 12 {
            return Err(format!("resets-per-day {}: use 0 to 12", self.resets_per_day));
        }
        let limits = Limits {
            failures_per_hour: self.failures_per_hour,
            resets_per_day: self.resets_per_day,
            safe_mode_after: self.safe_mode_after,
            stable_after: self.stable_after.0,
        };
        Ok(EscalationConfig { reboot_program, reboot_arguments, limits })
    }
}

impl Monitor {
    pub(super) fn check(
        self,
        has_folder: bool,
        has_escalation: bool,
    ) -> Result<monitor::Limits, String> {
        let Self { what: subject, warning, critical, escalate, hold: Span(hold) } = self;
        let limits = match (warning, critical) {
            (None, None) => return Err("give it a limit: warning, critical or both".into()),
            (Some(0), _) | (_, Some(0)) => return Err("a limit of 0: use 1 or more".into()),
            (warning, critical) => (warning.or(critical), critical.unwrap_or(u64::MAX)),
        };
        let (warning, critical) = (limits.0.unwrap_or(limits.1), limits.1);
        if warning > critical {
            return Err(format!("warning {warning} is above critical {critical}"));
        }
        if matches!(subject, Subject::DataSpace | Subject::DataInodes) && !has_folder {
            return Err("needs state-dir, which says which file system is meant".into());
        }
        if escalate && (critical == u64::MAX || !has_escalation) {
            return Err("escalate needs a critical limit, and [escalation]".into());
        }
        if escalate && subject == Subject::ClockJump {
            return Err("escalate: a clock that was set is nothing that a reset would cure".into());
        }
        Ok(monitor::Limits { subject, warning, critical, escalate, hold })
    }
}

impl Service {
    pub(super) fn check(self) -> Result<ServiceConfig, String> {
        check_name(&self.name)?;
        let (program, arguments) = check_command("command", self.command)?;
        let safe_command =
            self.safe_command.map(|command| check_command("safe-command", command)).transpose()?;
        if !self.working_directory.is_absolute() {
            let folder = self.working_directory.display();
            return Err(format!("working-directory {folder:?}: use an absolute path"));
        }
        check_environment(&self.environment)?;
        if self.user.is_none() && !self.groups.is_empty() {
            return Err("groups without user: name the user who is to be in them".into());
        }
        if self.restart_delay.0 > self.restart_delay_max.0 {
            return Err(format!(
                "restart-delay {:?} is longer than restart-delay-max {:?}",
                self.restart_delay.0, self.restart_delay_max.0
            ));
        }
        if let Some(Span(ready)) = self.ready_timeout.filter(|ready| ready.0 >= self.broken_after.0)
        {
            return Err(format!(
                "ready-timeout {ready:?} is not below broken-after {:?}: one slow start would \
                 reset the device",
                self.broken_after.0
            ));
        }
        if self.broken_failures == 0 {
            return Err("broken-failures 0: use at least 1".into());
        }
        if self.open_files.is_some_and(|files| files < 16) {
            return Err("open-files: no program gets by with less than 16".into());
        }
        if self.tasks == Some(0) {
            return Err("tasks 0: use at least 1".into());
        }
        Ok(ServiceConfig {
            name: self.name,
            program,
            arguments,
            safe_command,
            user: self.user,
            groups: self.groups,
            environment: self.environment,
            working_directory: self.working_directory,
            critical: self.critical,
            after: self.after,
            open_files: self.open_files,
            tasks: self.tasks,
            policy: Policy {
                memory: self.memory.map(|size| size.0),
                ready_timeout: self.ready_timeout.map(|span| span.0),
                heartbeat: self.heartbeat.map(|span| span.0),
                progress_timeout: self.progress_timeout.map(|span| span.0),
                stop_timeout: self.stop_timeout.0,
                restart: self.restart,
                restart_delay: self.restart_delay.0,
                restart_delay_max: self.restart_delay_max.0,
                stable_after: self.stable_after.0,
                broken_after: self.broken_after.0,
                broken_failures: self.broken_failures,
                no_reset_exit_codes: self.no_reset_exit_codes,
            },
        })
    }
}

/// A program by its absolute path, and its arguments.
fn check_command(key: &str, command: Vec<String>) -> Result<(PathBuf, Vec<String>), String> {
    let mut command = command.into_iter();
    let program = command.next().ok_or_else(|| format!("{key} is empty: name a program"))?;
    let program = PathBuf::from(program);
    if !program.is_absolute() {
        let program = program.display();
        return Err(format!("{key} {program:?}: name the program by its absolute path"));
    }
    let arguments: Vec<String> = command.collect();
    if arguments.iter().any(|argument| argument.contains('\0')) {
        return Err(format!("{key} holds a NUL character: no program can be given one"));
    }
    Ok((program, arguments))
}

/// Names stand in log lines, and later in file names.
fn check_name(name: &str) -> Result<(), String> {
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if name.is_empty() || name.len() > 32 || !name.chars().all(allowed) {
        return Err("use 1 to 32 of a-z, 0-9 and '-' for a name".into());
    }
    Ok(())
}

/// Variables that say how to reach the watchdog, without which a service could not be heard, and
/// in which mode it is.
const OWN_VARIABLES: [&str; 5] =
    ["NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "PEERCAM_STATUS", "PEERCAM_SAFE_MODE"];

fn check_environment(environment: &BTreeMap<String, String>) -> Result<(), String> {
    for (name, value) in environment {
        if name.is_empty() || name.contains(['=', '\0']) || value.contains('\0') {
            return Err(format!("environment {name:?}: this can't be set"));
        }
        if OWN_VARIABLES.contains(&name.as_str()) {
            return Err(format!("environment {name:?}: the watchdog sets this itself"));
        }
    }
    Ok(())
}
