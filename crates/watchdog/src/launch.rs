//! From a service's configuration to its running process: looks users, groups and the program up
//! on this machine, and starts the process without any of the watchdog's rights.

use std::{
    ffi::OsStr,
    fs::{self, File},
    io::{self, PipeWriter},
    os::unix::{fs::PermissionsExt, process::CommandExt},
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use nix::{
    errno::Errno,
    sys::{
        prctl,
        resource::{Resource, rlim_t, setrlimit},
        signal::{SigSet, Signal},
    },
    unistd::{self, Gid, Group, Pid, Uid, User},
};

use crate::{config::ServiceConfig, notify::NotifySocket};

/// Where services find programs; they get a clean environment, the same on every start.
const SEARCH_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// A service that can be started, as far as this machine has what it names.
#[derive(Debug)]
pub struct Launch {
    service: ServiceConfig,
    /// Looked up with the first start, and kept: it is the same ever after.
    account: Option<Account>,
}

/// What a service is told about its supervisor.
#[derive(Debug, Clone, Copy)]
pub struct Told<'a> {
    /// Where it is heard (`NOTIFY_SOCKET`).
    pub notify_socket: &'a NotifySocket,
    /// Where it can read how things are (`PEERCAM_STATUS`), if that is told.
    pub status: Option<&'a Path>,
    /// Why it is to run in safe mode (`PEERCAM_SAFE_MODE`), if it is to.
    pub safe_mode: Option<&'a str>,
}

/// Who a service runs as.
#[derive(Debug, Clone)]
struct Account {
    user: User,
    groups: Vec<Gid>,
}

/// Why a service could not be started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StartError {
    /// What its configuration names isn't there, in a sentence: a reset would not change that.
    Misconfigured(String),
    /// In a sentence.
    Failed(String),
}

impl Launch {
    /// By this configuration.
    pub fn new(service: ServiceConfig) -> Self {
        Self { service, account: None }
    }

    /// Whether what the configuration names is on this machine.
    ///
    /// # Errors
    ///
    /// In a sentence, when the program, the user or a group isn't there.
    pub fn check(&self) -> Result<(), String> {
        let safe = self.service.safe_command.as_ref().map(|(program, _)| program);
        for program in [&self.service.program].into_iter().chain(safe) {
            check_program(program).map_err(|reason| format!("{}: {reason}", program.display()))?;
        }
        self.find_account().map(drop)
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.service.name
    }

    /// The memory that it may have, in bytes.
    pub fn memory(&self) -> Option<u64> {
        self.service.policy.memory
    }

    /// The processes and threads that it may have.
    pub fn tasks(&self) -> Option<u32> {
        self.service.tasks
    }

    /// Starts the process, the leader of a session and process group of its own. It dies with the
    /// watchdog (`PR_SET_PDEATHSIG`), can gain no rights (`PR_SET_NO_NEW_PRIVS`), and leaves no core
    /// dump, which would hold its keys. With a user of its own it has no capability, nor has anything
    /// that it starts. `door` is the one of its control group; what it prints goes to `output`.
    ///
    /// # Errors
    ///
    /// When it can't be started.
    pub fn start(
        &mut self,
        told: Told<'_>,
        door: Option<File>,
        output: PipeWriter,
    ) -> Result<Pid, StartError> {
        if self.account.is_none() {
            self.account = self.find_account().map_err(StartError::Misconfigured)?;
        }
        let failed = |error: io::Error| StartError::Failed(error.to_string());
        if let Some(Account { user, .. }) = &self.account {
            told.notify_socket.admit(user.uid).map_err(failed)?;
        }
        let mut command = self.command(told);
        let errors = output.try_clone().map_err(failed)?;
        command.stdout(output).stderr(errors);
        let watchdog = unistd::getpid();
        let account =
            self.account.clone().map(|Account { user, groups }| (user.uid, user.gid, groups));
        let open_files = self.service.open_files.map(rlim_t::from);
        let before_exec = move || {
            if let Some(limit) = open_files {
                setrlimit(Resource::RLIMIT_NOFILE, limit, limit)?;
            }
            setrlimit(Resource::RLIMIT_CORE, 0, 0)?;
            if let Some(door) = &door {
                unistd::write(door, b"0")?;
            }
            prepare(watchdog, account.as_ref())
        };
        // SAFETY: the closure runs in the forked child, where other threads may have held locks:
        // it does nothing but system calls on values it owns; no lock, no allocation (an
        // `io::Error` from an errno has none), nothing shared with the parent.
        unsafe { command.pre_exec(before_exec) };
        match command.spawn() {
            // `as` loses nothing: a pid is a positive i32.
            Ok(child) => Ok(Pid::from_raw(child.id() as i32)),
            Err(error) => {
                let reason = self.explain(command.get_program(), &error);
                Err(match error.raw_os_error().map(Errno::from_raw) {
                    Some(
                        Errno::ENOENT
                        | Errno::EACCES
                        | Errno::EPERM
                        | Errno::ENOEXEC
                        | Errno::ENOTDIR
                        | Errno::EISDIR
                        | Errno::ELOOP,
                    ) => StartError::Misconfigured(reason),
                    _ => StartError::Failed(reason),
                })
            }
        }
    }

    fn command(&self, told: Told<'_>) -> Command {
        let service = &self.service;
        let normal = (&service.program, &service.arguments);
        let safe = service.safe_command.as_ref().map(|(program, arguments)| (program, arguments));
        let (program, arguments) = safe.filter(|_| told.safe_mode.is_some()).unwrap_or(normal);
        let mut command = Command::new(program);
        command
            .args(arguments)
            .current_dir(&service.working_directory)
            .stdin(Stdio::null())
            .env_clear()
            .env("PATH", SEARCH_PATH)
            .env("NOTIFY_SOCKET", told.notify_socket.name());
        if let Some(Account { user, .. }) = &self.account {
            command.env("USER", &user.name).env("LOGNAME", &user.name).env("HOME", &user.dir);
        }
        if let Some(usec) = service.policy.heartbeat.as_ref().map(Duration::as_micros) {
            command.env("WATCHDOG_USEC", usec.to_string());
        }
        command.envs(&service.environment);
        if let Some(file) = told.status {
            command.env("PEERCAM_STATUS", file);
        }
        if let Some(reason) = told.safe_mode {
            command.env("PEERCAM_SAFE_MODE", reason);
        }
        command
    }

    /// `execve(2)` says "No such file" of three different files.
    fn explain(&self, program: &OsStr, error: &io::Error) -> String {
        let folder = &self.service.working_directory;
        if !folder.is_dir() {
            return format!("working-directory {}: there is no such folder", folder.display());
        }
        let exists = Path::new(program).exists();
        let program = program.display();
        match (&self.service.user, error.kind()) {
            (_, io::ErrorKind::NotFound) if exists => {
                format!("{program}: its interpreter (program loader, or what #! names) is missing")
            }
            (Some(user), _) if exists => format!("{program} as user {user:?}: {error}"),
            _ => format!("{program}: {error}"),
        }
    }

    /// Who it runs as; None: as the watchdog does.
    fn find_account(&self) -> Result<Option<Account>, String> {
        let Some(name) = &self.service.user else { return Ok(None) };
        let user = User::from_name(name).ok().flatten().ok_or_else(|| {
            format!("there is no user {name:?} on this machine: add it to /etc/passwd")
        })?;
        let group = |name: &String| match Group::from_name(name) {
            Ok(Some(found)) => Ok(found.gid),
            _ => Err(format!("there is no group {name:?} on this machine: add it to /etc/group")),
        };
        let groups = self.service.groups.iter().map(group).collect::<Result<_, _>>()?;
        Ok(Some(Account { user, groups }))
    }
}

/// Whether this is a program on this machine.
///
/// # Errors
///
/// When it isn't, in words.
pub fn check_program(program: &Path) -> Result<(), String> {
    let metadata = fs::metadata(program).map_err(|error| error.to_string())?;
    if !metadata.is_file() || metadata.permissions().mode() & 0o111 == 0 {
        return Err("not an executable file".to_owned());
    }
    Ok(())
}

/// What the child does between `fork(2)` and `execve(2)`. Order matters: capabilities and groups
/// before the user, who may not change them; the death signal after the user, whose change clears it
/// (`PR_SET_PDEATHSIG(2const)`).
fn prepare(watchdog: Pid, account: Option<&(Uid, Gid, Vec<Gid>)>) -> io::Result<()> {
    // The watchdog blocks what it reads from its signalfd. (std unblocks it, and doesn't promise to.)
    SigSet::empty().thread_set_mask()?;
    unistd::setsid()?;
    if let Some((uid, gid, groups)) = account {
        empty_bounding_set()?;
        unistd::setgroups(groups)?;
        unistd::setresgid(*gid, *gid, *gid)?;
        unistd::setresuid(*uid, *uid, *uid)?;
    }
    prctl::set_no_new_privs()?;
    prctl::set_pdeathsig(Signal::SIGKILL)?;
    // The watchdog may have died before the line above.
    if unistd::getppid() != watchdog {
        return Err(io::Error::from_raw_os_error(nix::libc::ESRCH));
    }
    Ok(())
}

/// Takes away every capability that a program could be given when it is started
/// (`capabilities(7)`); those that the process has go when it becomes another user.
fn empty_bounding_set() -> io::Result<()> {
    // More than a kernel can know: it has 64 bits for them.
    for capability in 0..64 {
        // SAFETY: reads nothing but the number.
        let result = unsafe {
            nix::libc::prctl(nix::libc::PR_CAPBSET_DROP, capability as nix::libc::c_ulong, 0, 0, 0)
        };
        match Errno::result(result) {
            Ok(_) => {}
            // The first that this kernel doesn't know.
            Err(Errno::EINVAL) => break,
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}
