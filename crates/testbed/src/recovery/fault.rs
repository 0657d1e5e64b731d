//! What goes wrong, and what is to bring the camera back.

use std::fmt;

/// What brought a camera back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Cure {
    /// Nothing had to.
    Nothing,
    /// The agent itself, which built its pipeline again or connected again.
    Agent,
    /// The watchdog, which started the agent again.
    Restart,
    /// The watchdog, which started all services again.
    RestartAll,
    /// Init, which started the watchdog again.
    Init,
    /// A reset of the device.
    Reset,
}

impl fmt::Display for Cure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Nothing => "nothing",
            Self::Agent => "the agent itself",
            Self::Restart => "the agent restarted",
            Self::RestartAll => "all services restarted",
            Self::Init => "the watchdog restarted by init",
            Self::Reset => "a reset",
        })
    }
}

/// A fault of a guest.
#[derive(Debug, Clone, Copy)]
pub struct Fault {
    /// What it is.
    pub name: &'static str,
    /// The command line in the guest's root shell that makes it.
    pub command: &'static str,
    /// What is to cure it.
    pub cure: Cure,
    /// What is said about it on the console by who notices it; none where nobody is to.
    pub noticed_by: Option<&'static str>,
    /// What the record says about the agent's failure afterwards, where it is one.
    pub recorded: Option<&'static str>,
}

/// The agent is killed.
pub const KILLED: Fault = Fault {
    name: "agent killed",
    command: "kill -KILL $(pidof peercam-agent)",
    cure: Cure::Restart,
    noticed_by: Some("agent: ended by SIGKILL"),
    recorded: Some("ended by SIGKILL"),
};

/// The agent is stopped.
pub const STOPPED: Fault = Fault {
    name: "agent stopped (SIGSTOP)",
    command: "kill -STOP $(pidof peercam-agent)",
    cure: Cure::Restart,
    noticed_by: Some("agent: no heartbeat for"),
    recorded: Some("no heartbeat for"),
};

/// All threads of the agent but those that speak for it hang, as in a driver.
///
/// The kernel's freezer stops single threads, and lets them be killed. Each is stopped while it
/// sleeps: one that computes may hold a lock (that of memory, say) without which those that speak
/// are mute, and that would be another fault. So it is only made when what the agent says of
/// itself, pictures a second, goes on changing; else the threads are let go, and stopped once more.
pub const DEADLOCKED: Fault = Fault {
    name: "agent deadlocked while alive",
    command: r#"
said() { grep '^status = .* fps' /run/peercam-watchdog/status.toml; }
sleeps() { read -r stat <$1/stat; case $stat in *') S '*) ;; *) false ;; esac; }
for try in 1 2 3; do
    until agent=$(pidof peercam-agent) && said | grep -q ' [1-9][0-9]* fps'; do sleep 1; done
    hung=/sys/fs/cgroup/$(cut -d: -f3 /proc/$agent/cgroup)/hung$try
    mkdir -p $hung
    echo threaded >$hung/cgroup.type
    echo 1 >$hung/cgroup.freeze
    for thread in /proc/$agent/task/*; do
        case $(cat $thread/comm) in peercam-agent | tokio-*) continue ;; esac
        for wait in 1 2 3 4 5 6 7 8 9; do sleeps $thread && break; usleep 9999; done
        echo ${thread##*/} >$hung/cgroup.threads
    done
    sleep 2
    before=$(said)
    for second in 1 2 3 4 5 6 7; do
        sleep 1
        [ "$(pidof peercam-agent)" = $agent ] || break
        [ "$(said)" = "$before" ] || exit 0
    done
    echo 0 >$hung/cgroup.freeze
done
false
"#,
    cure: Cure::Restart,
    noticed_by: Some("agent: alive, but none of the work that is due was done"),
    recorded: Some("alive, but none of the work that is due was done"),
};

/// The watchdog is killed.
pub const WATCHDOG_KILLED: Fault = Fault {
    name: "watchdog killed",
    command: "kill -KILL $(pidof peercam-watchdog)",
    cure: Cure::Init,
    noticed_by: Some(": armed ("),
    recorded: None,
};

/// The watchdog is stopped, and so the hardware is not fed.
pub const WATCHDOG_STOPPED: Fault = Fault {
    name: "watchdog stopped (SIGSTOP)",
    command: "kill -STOP $(pidof peercam-watchdog)",
    cure: Cure::Reset,
    noticed_by: None,
    recorded: None,
};

/// The kernel panics.
pub const PANIC: Fault = Fault {
    name: "kernel panic",
    command: "echo 1 >/proc/sys/kernel/sysrq; echo c >/proc/sysrq-trigger",
    cure: Cure::Reset,
    noticed_by: None,
    recorded: None,
};
