//! Control groups (`cgroups(7)`, version 2): one for each service, which holds whatever it starts,
//! however that tries to get away; it is limited, and ended, as one.
//!
//! They are made below the group that the watchdog itself is in, in a folder with its process id.
//! Where version 2 isn't mounted, or isn't the watchdog's to change, there are none.

use std::{
    fs::{self, File, OpenOptions},
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use crate::reaper;

/// Start of the folder's name; the process id of the watchdog follows.
const PREFIX: &str = "peercam-watchdog-";
/// How often, and in which steps, a folder is removed whose processes die just now.
const REMOVALS: u32 = 20;
const REMOVAL_STEP: Duration = Duration::from_millis(5);

/// The folder with the groups of this watchdog.
#[derive(Debug)]
pub struct Groups {
    folder: PathBuf,
}

/// What limits a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limit {
    /// Memory, in bytes; with it everything in the group is ended, and nothing is swapped out.
    Memory(u64),
    /// Processes and threads.
    Tasks(u32),
}

/// The group of one service.
#[derive(Debug)]
pub struct Group {
    folder: PathBuf,
    /// What had happened when it was last asked.
    events: MemoryEvents,
}

impl Groups {
    /// Makes the folder, and ends what an earlier watchdog left behind in its own.
    ///
    /// # Errors
    ///
    /// In words, when there can be no groups.
    pub fn create() -> Result<Self, String> {
        let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
        let mount = mount_point(&mounts).ok_or("no cgroup2 is mounted")?;
        let own = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        let own = own_group(&own).ok_or("/proc/self/cgroup names no group of version 2")?;
        let parent = Path::new(mount).join(own.trim_start_matches('/'));
        end_leftovers(&parent);
        let folder = parent.join(format!("{PREFIX}{}", std::process::id()));
        fs::create_dir(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
        for controller in ["+memory", "+pids"] {
            // Where one is missing its files are, and that is said when a limit is set.
            for group in [&parent, &folder] {
                let _ = fs::write(group.join("cgroup.subtree_control"), controller);
            }
        }
        Ok(Self { folder })
    }

    /// Makes the group of a service.
    ///
    /// # Errors
    ///
    /// In words, when it can't be made.
    pub fn add(&self, name: &str) -> Result<Group, String> {
        let folder = self.folder.join(name);
        fs::create_dir(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
        Ok(Group { folder, events: MemoryEvents::default() })
    }
}

impl Drop for Groups {
    fn drop(&mut self) {
        remove(&self.folder);
    }
}

impl Group {
    /// Limits what is in it.
    ///
    /// # Errors
    ///
    /// In words, where the kernel doesn't limit that.
    pub fn limit(&self, limit: Limit) -> Result<(), String> {
        let (file, value) = match limit {
            Limit::Memory(bytes) => ("memory.max", bytes.to_string()),
            Limit::Tasks(tasks) => ("pids.max", tasks.to_string()),
        };
        let path = self.folder.join(file);
        write(&path, &value).map_err(|error| format!("{}: {error}", path.display()))?;
        if let Limit::Memory(_) = limit {
            // Swap is where the limit would be passed in secret; there may be none in this kernel.
            let _ = write(&self.folder.join("memory.swap.max"), "0");
            let _ = write(&self.folder.join("memory.oom.group"), "1");
        }
        Ok(())
    }

    /// What a process writes `0` to, to be in this group.
    ///
    /// # Errors
    ///
    /// When it can't be opened.
    pub fn door(&self) -> io::Result<File> {
        OpenOptions::new().write(true).open(self.folder.join("cgroup.procs"))
    }

    /// Ends everything in it at one blow, whatever it does meanwhile.
    pub fn kill(&self) {
        // Older kernels have no such file; sessions and orphans are ended all the same.
        let _ = write(&self.folder.join("cgroup.kill"), "1");
    }

    /// Whether the kernel ended it because it was at its limit of memory, since this was last
    /// asked. Where the device as a whole had none left, it wasn't.
    pub fn has_run_out_of_memory(&mut self) -> bool {
        let events = fs::read_to_string(self.folder.join("memory.events")).unwrap_or_default();
        let events = MemoryEvents::parse(&events);
        let before = std::mem::replace(&mut self.events, events);
        events.at_limit > before.at_limit && events.ended > before.ended
    }
}

/// `memory.events`: `low 0`, …, `oom 1`, `oom_kill 1`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct MemoryEvents {
    /// How often there was no more to be had below the limit.
    at_limit: u64,
    /// How many processes were ended for want of memory, of the group or of the device.
    ended: u64,
}

impl MemoryEvents {
    fn parse(text: &str) -> Self {
        let count = |key| {
            let count = text.lines().find_map(|line| line.strip_prefix(key))?;
            count.parse().ok()
        };
        Self { at_limit: count("oom ").unwrap_or(0), ended: count("oom_kill ").unwrap_or(0) }
    }
}

/// An existing file only: what isn't there is not to be made, even where this is no cgroup2.
fn write(path: &Path, value: &str) -> io::Result<()> {
    io::Write::write_all(&mut OpenOptions::new().write(true).open(path)?, value.as_bytes())
}

/// Where version 2 is mounted (`/proc/mounts`, `proc_pid_mounts(5)`).
fn mount_point(mounts: &str) -> Option<&str> {
    mounts.lines().find_map(|line| {
        let mut fields = line.split(' ');
        let point = fields.nth(1)?;
        (fields.next()? == "cgroup2" && !point.contains('\\')).then_some(point)
    })
}

/// The group of this process (`/proc/self/cgroup`).
fn own_group(groups: &str) -> Option<&str> {
    groups.lines().find_map(|line| line.strip_prefix("0::"))
}

/// A watchdog that was killed could not end what had left its services' sessions.
fn end_leftovers(parent: &Path) {
    for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let pid = name.to_str().and_then(|name| name.strip_prefix(PREFIX)?.parse::<u32>().ok());
        if pid.is_some_and(|pid| pid == std::process::id() || !reaper::is_watchdog(pid)) {
            let _ = write(&entry.path().join("cgroup.kill"), "1");
            remove(&entry.path());
        }
    }
}

/// Removes a folder of groups, in which processes may be dying.
fn remove(folder: &Path) {
    for attempt in 0..REMOVALS {
        let groups = fs::read_dir(folder).into_iter().flatten().flatten();
        for group in groups.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())) {
            let _ = fs::remove_dir(group.path());
        }
        match fs::remove_dir(folder) {
            Err(error) if error.kind() != io::ErrorKind::NotFound && attempt + 1 < REMOVALS => {
                std::thread::sleep(REMOVAL_STEP);
            }
            _ => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_words_are_understood() {
        let mounts = "proc /proc proc rw 0 0\ncgroup /sys/fs/cgroup/cpu cgroup rw,cpu 0 0\n\
                      cgroup2 /a\\040b cgroup2 rw 0 0\nany /sys/fs/cgroup cgroup2 rw,nosuid 0 0\n";
        assert_eq!(mount_point(mounts), Some("/sys/fs/cgroup"));
        assert_eq!(mount_point("cgroup2 /x\n"), None);
        assert_eq!(own_group("4:memory:/x\n0::/system.slice\n"), Some("/system.slice"));
        assert_eq!(own_group("4:memory:/x\n"), None);
        let events = MemoryEvents::parse("low 0\nmax 9\noom 2\noom_kill 7\noom_group_kill 1\n");
        assert_eq!(events, MemoryEvents { at_limit: 2, ended: 7 });
        assert_eq!(MemoryEvents::parse(""), MemoryEvents::default());
    }
}
