//! What keeps services within their limits: their control groups, and where those can't limit
//! memory, a look at how much a service has.

use std::{
    fs::{self, File},
    time::{Duration, Instant},
};

use nix::unistd::Pid;

use crate::{
    cgroup::{Group, Groups, Limit},
    launch::Launch,
    log,
    supervisor::Index,
};

/// How often it is looked at how much memory a service has.
const LOOK_PAUSE: Duration = Duration::from_secs(2);

/// The limits of all services.
#[derive(Debug)]
pub(crate) struct Confines {
    members: Vec<Member>,
    /// When memory is next looked at.
    due: Instant,
    /// Last, since it is removed when the groups are empty.
    _groups: Option<Groups>,
}

#[derive(Debug)]
struct Member {
    group: Option<Group>,
    /// The memory that it may have, in bytes, where no group limits it.
    looked_at: Option<u64>,
}

impl Confines {
    /// For these services. What can't be limited as it should is said.
    pub fn new(launches: &[Launch], now: Instant) -> Self {
        let groups = Groups::create();
        let members = launches.iter().map(|launch| Member::new(launch, groups.as_ref()));
        let members = members.collect();
        Self { members, due: now, _groups: groups.ok() }
    }

    /// Through which the process of a service comes into its group, where it has one.
    pub fn door(&self, index: Index) -> Option<File> {
        let group = self.members[index].group.as_ref()?;
        group.door().inspect_err(|error| log::warn(format_args!("no control group: {error}"))).ok()
    }

    /// Ends everything that a service started.
    pub fn kill(&self, index: Index) {
        self.members[index].group.iter().for_each(Group::kill);
    }

    /// Whether a service that ended did so for want of memory.
    pub fn has_run_out_of_memory(&mut self, index: Index) -> bool {
        self.members[index].group.as_mut().is_some_and(Group::has_run_out_of_memory)
    }

    /// Services that have more memory than they may, if it is time to look.
    pub fn look(&mut self, now: Instant, running: &[Option<Pid>]) -> Vec<Index> {
        if self.deadline().is_none_or(|due| now < due) {
            return Vec::new();
        }
        self.due = now + LOOK_PAUSE;
        let over = |(index, member): (Index, &Member)| {
            let (limit, pid) = (member.looked_at?, running[index]?);
            (resident(pid)? > limit).then_some(index)
        };
        self.members.iter().enumerate().filter_map(over).collect()
    }

    /// When the next [`Confines::look`] is due.
    pub fn deadline(&self) -> Option<Instant> {
        self.members.iter().any(|member| member.looked_at.is_some()).then_some(self.due)
    }
}

impl Member {
    fn new(launch: &Launch, groups: Result<&Groups, &String>) -> Self {
        let group = groups.map_err(String::clone).and_then(|groups| groups.add(launch.name()));
        let limit = |limit: Limit| match &group {
            Ok(group) => group.limit(limit),
            Err(problem) => Err(problem.clone()),
        };
        let name = launch.name();
        let mut looked_at = None;
        if let Some(Err(problem)) = launch.memory().map(|bytes| limit(Limit::Memory(bytes))) {
            looked_at = launch.memory();
            log::warn(format_args!(
                "{name}: the kernel does not limit its memory ({problem}): what its main process \
                 has is looked at every {LOOK_PAUSE:?}"
            ));
        }
        if let Some(Err(problem)) = launch.tasks().map(|tasks| limit(Limit::Tasks(tasks))) {
            log::warn(format_args!("{name}: the kernel does not limit its tasks ({problem})"));
        }
        Self { group: group.ok(), looked_at }
    }
}

/// Memory that a process has, in bytes (`proc_pid_status(5)`).
fn resident(pid: Pid) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let size = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    size.trim().strip_suffix(" kB")?.parse::<u64>().ok()?.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_has_some_memory() {
        let own = resident(nix::unistd::getpid());
        assert!(own.is_some_and(|bytes| (100_000..1 << 32).contains(&bytes)), "{own:?}");
    }
}
