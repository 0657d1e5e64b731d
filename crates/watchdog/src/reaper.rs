//! Processes that ended, and that are to end: nothing that a service started outlives it.
//!
//! A service is a process group and a session. What leaves both (a daemon by double fork) becomes
//! a child of the watchdog, which is the subreaper (`PR_SET_CHILD_SUBREAPER(2const)`) of them all,
//! and is found by that.

use std::{fmt::Display, fs, str::SplitAsciiWhitespace};

use nix::{
    errno::Errno,
    sys::{
        signal::{Signal, kill, killpg},
        wait::{Id, WaitPidFlag, WaitStatus, waitid, waitpid},
    },
    unistd::{Pid, getpid},
};

use crate::service::Exit;

/// What there is to know about the watchdog's children.
#[derive(Debug, PartialEq, Eq)]
pub enum Children {
    /// This one ended. It stays a zombie, and its id its own, until [`reap`].
    Ended(Pid, Exit),
    /// There are some, and none has ended.
    Alive,
    /// There are none.
    None,
}

/// Looks for a child that ended, without waiting.
pub fn look() -> Children {
    let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
    loop {
        return match waitid(Id::All, flags) {
            Ok(WaitStatus::Exited(pid, code)) => Children::Ended(pid, Exit::Code(code)),
            Ok(WaitStatus::Signaled(pid, signal, _)) => {
                Children::Ended(pid, Exit::Signal(signal as i32))
            }
            Ok(_) => Children::Alive,
            Err(Errno::EINTR) => continue,
            // ECHILD, the only other one that these arguments can bring.
            Err(_) => Children::None,
        };
    }
}

/// Lets go of a zombie.
pub fn reap(pid: Pid) {
    // It has ended and is ours: this neither waits nor fails.
    let _ = waitpid(pid, Some(WaitPidFlag::WNOHANG));
}

/// Asks everything in the process group of `main` to end; what is stopped is woken up for it.
pub fn terminate_group(main: Pid) {
    // Errors say that nothing is left to be asked.
    let _ = killpg(main, Signal::SIGTERM);
    let _ = killpg(main, Signal::SIGCONT);
}

/// Ends everything in the process group of `main`, which must not have been [`reap`]ed: its id
/// could belong to another group otherwise.
pub fn kill_group(main: Pid) {
    let _ = killpg(main, Signal::SIGKILL);
}

/// Stops everything in the process group of `main`, or lets it go on.
pub fn suspend_group(main: Pid, suspend: bool) {
    let _ = killpg(main, if suspend { Signal::SIGSTOP } else { Signal::SIGCONT });
}

/// Ends children of the watchdog that belong to none of the running services, given by their main
/// processes. What they leave behind becomes a child in turn: call it again when they ended.
pub fn kill_strays(running: &[Pid]) {
    let own = getpid();
    for process in processes().filter(|process| process.parent == own) {
        if !running.contains(&process.pid) && !running.contains(&process.session) {
            let _ = kill(process.pid, Signal::SIGKILL);
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
struct Process {
    pid: Pid,
    parent: Pid,
    session: Pid,
}

fn processes() -> impl Iterator<Item = Process> {
    fs::read_dir("/proc").into_iter().flatten().filter_map(|entry| {
        let entry = entry.ok()?;
        entry.file_name().to_str()?.parse::<i32>().ok()?;
        parse_stat(&fs::read_to_string(entry.path().join("stat")).ok()?)
    })
}

/// `/proc/<pid>/stat`, `proc_pid_stat(5)`: `pid (name) state parent group session …`; the name may
/// hold anything, brackets and blanks included.
fn parse_stat(stat: &str) -> Option<Process> {
    let (pid, rest) = stat.split_once(" (")?;
    let (_name, rest) = rest.rsplit_once(") ")?;
    let id = |fields: &mut SplitAsciiWhitespace<'_>, skip| {
        Some(Pid::from_raw(fields.nth(skip)?.parse().ok()?))
    };
    let mut fields = rest.split_ascii_whitespace();
    Some(Process {
        pid: Pid::from_raw(pid.parse().ok()?),
        parent: id(&mut fields, 1)?,
        session: id(&mut fields, 1)?,
    })
}

/// Whether a process runs this program (`proc_pid_comm(5)`): its id may have become another's.
pub(crate) fn is_watchdog(pid: impl Display) -> bool {
    let program = |pid: &dyn Display| fs::read_to_string(format!("/proc/{pid}/comm")).ok();
    program(&pid) == program(&"self")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_name_cannot_forge_its_parent() {
        let process = parse_stat("12 (a) S 1 1 (x) R 5 6 7 0 -1 4194560").unwrap();
        let pid = Pid::from_raw;
        assert_eq!(process, Process { pid: pid(12), parent: pid(5), session: pid(7) });
        for nonsense in ["", "1", "1 (", "1 (a) R", "1 (a) R x y z", "(a) R 1 2 3"] {
            assert_eq!(parse_stat(nonsense), None);
        }
    }

    #[test]
    fn this_process_is_found_with_its_parent_and_session() {
        let own = processes().find(|process| process.pid == getpid()).unwrap();
        assert_eq!(own.parent, nix::unistd::getppid());
        assert_eq!(Ok(own.session), nix::unistd::getsid(None));
    }
}
