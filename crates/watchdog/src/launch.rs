//! From a service's configuration to its running process: looks users, groups and the program up
//! on this machine, and starts the process without any of the watchdog's rights.

use std::{
    fs,
    io::{self, PipeWriter},
    os::unix::{fs::PermissionsExt, process::CommandExt},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use nix::{
    sys::{
        prctl,
        signal::{SigSet, Signal},
    },
    unistd::{self, Gid, Group, Pid, Uid, User},
};

use crate::config::ServiceConfig;

/// Where services find programs; they get a clean environment, the same on every start.
const SEARCH_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// A service that can be started on this machine.
#[derive(Debug)]
pub struct Launch {
    service: ServiceConfig,
    account: Option<Account>,
}

/// What a service is told about its supervisor.
#[derive(Debug, Clone, Copy)]
pub struct Told<'a> {
    /// Where it is heard (`NOTIFY_SOCKET`).
    pub notify_socket: &'a str,
    /// Where it can read how things are (`PEERCAM_STATUS`), if that is told.
    pub status: Option<&'a Path>,
    /// Why it is to run in safe mode (`PEERCAM_SAFE_MODE`), if it is to.
    pub safe_mode: Option<&'a str>,
}

/// Who a service runs as.
#[derive(Debug)]
struct Account {
    user: User,
    groups: Vec<Gid>,
}

/// Why a service can't be started on this machine.
#[derive(Debug, thiserror::Error)]
pub enum LaunchError {
    /// No such user.
    #[error(
        "service {service:?}: there is no user {user:?} on this machine: add it to /etc/passwd"
    )]
    UnknownUser {
        /// The service.
        service: String,
        /// The user.
        user: String,
    },
    /// No such group.
    #[error(
        "service {service:?}: there is no group {group:?} on this machine: add it to /etc/group"
    )]
    UnknownGroup {
        /// The service.
        service: String,
        /// The group.
        group: String,
    },
    /// The program is missing, or no program.
    #[error("service {service:?}: {}: {reason}", program.display())]
    Program {
        /// The service.
        service: String,
        /// The path.
        program: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
}

impl Launch {
    /// Looks up on this machine what the configuration names.
    ///
    /// # Errors
    ///
    /// When the program, the user or a group isn't there.
    pub fn resolve(service: ServiceConfig) -> Result<Self, LaunchError> {
        let safe = service.safe_command.as_ref().map(|(program, _)| program);
        for program in [&service.program].into_iter().chain(safe) {
            check_program(program).map_err(|reason| LaunchError::Program {
                service: service.name.clone(),
                program: program.clone(),
                reason,
            })?;
        }
        let account = service.user.as_deref().map(|user| account(&service, user)).transpose()?;
        Ok(Self { service, account })
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.service.name
    }

    /// Starts the process, the leader of a session and process group of its own. It dies with the
    /// watchdog (`PR_SET_PDEATHSIG`), and can gain no rights (`PR_SET_NO_NEW_PRIVS`). What it
    /// prints goes to `output`.
    ///
    /// # Errors
    ///
    /// In a sentence, when it can't be started.
    pub fn start(&self, told: Told<'_>, output: PipeWriter) -> Result<Pid, String> {
        let mut command = self.command(told);
        let errors = output.try_clone().map_err(|error| error.to_string())?;
        command.stdout(output).stderr(errors);
        let watchdog = unistd::getpid();
        let account = self
            .account
            .as_ref()
            .map(|Account { user, groups }| (user.uid, user.gid, groups.clone()));
        let before_exec = move || prepare(watchdog, account.as_ref());
        // SAFETY: the closure runs in the forked child, where other threads may have held locks:
        // it does nothing but system calls on values it owns; no lock, no allocation (an
        // `io::Error` from an errno has none), nothing shared with the parent.
        unsafe { command.pre_exec(before_exec) };
        match command.spawn() {
            // `as` loses nothing: a pid is a positive i32.
            Ok(child) => Ok(Pid::from_raw(child.id() as i32)),
            Err(error) => Err(self.explain(&error)),
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
            .env("NOTIFY_SOCKET", told.notify_socket);
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
    fn explain(&self, error: &io::Error) -> String {
        let folder = &self.service.working_directory;
        if !folder.is_dir() {
            return format!("working-directory {}: there is no such folder", folder.display());
        }
        let program = self.service.program.display();
        match (&self.service.user, error.kind()) {
            (_, io::ErrorKind::NotFound) if self.service.program.exists() => {
                format!("{program}: its interpreter (program loader, or what #! names) is missing")
            }
            (Some(user), _) => format!("{program} as user {user:?}: {error}"),
            (None, _) => format!("{program}: {error}"),
        }
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

fn account(service: &ServiceConfig, user: &str) -> Result<Account, LaunchError> {
    let unknown_user =
        || LaunchError::UnknownUser { service: service.name.clone(), user: user.to_owned() };
    let unknown_group = |group: &String| LaunchError::UnknownGroup {
        service: service.name.clone(),
        group: group.clone(),
    };
    let user = User::from_name(user).ok().flatten().ok_or_else(unknown_user)?;
    let groups = service
        .groups
        .iter()
        .map(|group| match Group::from_name(group) {
            Ok(Some(found)) => Ok(found.gid),
            _ => Err(unknown_group(group)),
        })
        .collect::<Result<_, _>>()?;
    Ok(Account { user, groups })
}

/// What the child does between `fork(2)` and `execve(2)`. Order matters: groups before the user,
/// who may not change them; the death signal after the user, whose change clears it
/// (`PR_SET_PDEATHSIG(2const)`).
fn prepare(watchdog: Pid, account: Option<&(Uid, Gid, Vec<Gid>)>) -> io::Result<()> {
    // The watchdog blocks what it reads from its signalfd. (std unblocks it, and doesn't promise to.)
    SigSet::empty().thread_set_mask()?;
    unistd::setsid()?;
    if let Some((uid, gid, groups)) = account {
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
