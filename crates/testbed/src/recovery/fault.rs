//! What goes wrong, and what is to bring the camera back.

use std::fmt;

/// What the agent says when its pipeline failed, and is to be built again.
pub(super) const PIPELINE_FAILED: &str = "no picture:";

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

/// What is done to a guest.
#[derive(Debug, Clone, Copy)]
pub enum Deed {
    /// A command line in its root shell, until it has ended.
    Shell(&'static str),
    /// A command to QEMU (QMP), and its arguments, a JSON object.
    Machine(&'static str, &'static str),
    /// The body of a JavaScript function in the page.
    Page(&'static str),
}

/// A fault of a guest.
#[derive(Debug, Clone, Copy)]
pub struct Fault {
    /// What it is.
    pub name: &'static str,
    /// What makes it, one after the other. Where a fault lasts, the last one ends it: from then on
    /// the camera is to come back.
    pub deeds: &'static [Deed],
    /// How often all of that is done.
    pub rounds: u32,
    /// What is to cure it.
    pub cure: Cure,
    /// What is said about it on the console by who notices it; none where nobody is to.
    pub noticed_by: Option<&'static str>,
    /// What the record says about the agent's failure afterwards, where it is one.
    pub recorded: Option<&'static str>,
}

/// What most faults have in common.
const NONE: Fault = Fault {
    name: "nothing",
    deeds: &[],
    rounds: 1,
    cure: Cure::Nothing,
    noticed_by: None,
    recorded: None,
};

/// The agent is killed.
pub const KILLED: Fault = Fault {
    name: "agent killed",
    deeds: &[Deed::Shell("kill -KILL $(pidof peercam-agent)")],
    cure: Cure::Restart,
    noticed_by: Some("agent: ended by SIGKILL"),
    recorded: Some("ended by SIGKILL"),
    ..NONE
};

/// The agent is stopped.
pub const STOPPED: Fault = Fault {
    name: "agent stopped (SIGSTOP)",
    deeds: &[Deed::Shell("kill -STOP $(pidof peercam-agent)")],
    cure: Cure::Restart,
    noticed_by: Some("agent: no heartbeat for"),
    recorded: Some("no heartbeat for"),
    ..NONE
};

/// All threads of the agent but those that speak for it hang, as in a driver.
///
/// The kernel's freezer stops single threads, and lets them be killed. Each is stopped while it
/// sleeps: one that computes may hold a lock (that of memory, say) without which those that speak
/// are mute, and that would be another fault. So it is only made when the agent then says that it
/// makes no pictures; else the threads are let go, and stopped once more.
pub const DEADLOCKED: Fault = Fault {
    name: "agent deadlocked while alive",
    deeds: &[Deed::Shell(
        r#"
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
    for second in 1 2 3 4 5 6 7 8 9 10 11 12; do
        sleep 1
        [ "$(pidof peercam-agent)" = $agent ] || break
        said | grep -q ' 0 fps' && exit
    done
    echo 0 >$hung/cgroup.freeze
done
false
"#,
    )],
    cure: Cure::Restart,
    noticed_by: Some("agent: alive, but none of the work that is due was done"),
    recorded: Some("alive, but none of the work that is due was done"),
    ..NONE
};

/// The agent aborts again and again. (A segmentation fault GStreamer traps while it loads plugins.)
pub const CRASH_LOOP: Fault = Fault {
    name: "agent crashes for 6 s",
    deeds: &[Deed::Shell(
        "end=$(($(date +%s) + 6)); while [ $(date +%s) -lt $end ]; do \
         kill -ABRT $(pidof peercam-agent) 2>/dev/null; usleep 100000; done; true",
    )],
    cure: Cure::Restart,
    noticed_by: Some("agent: ended by SIGABRT"),
    recorded: Some("ended by SIGABRT"),
    ..NONE
};

/// The camera is unplugged for a while.
pub const DEVICE_GONE: Fault = Fault {
    name: "camera unplugged for a while",
    deeds: &[
        Deed::Shell("echo vivid.0 >/sys/bus/platform/drivers/vivid/unbind"),
        // The agent closes it, and it is gone; else it would come back by another name.
        Deed::Shell(
            "for second in $(seq 20); do [ -e /dev/video0 ] || break; sleep 1; done; sleep 5; \
             ! [ -e /dev/video0 ]",
        ),
        Deed::Shell("echo vivid.0 >/sys/bus/platform/drivers/vivid/bind"),
    ],
    cure: Cure::Agent,
    noticed_by: Some(PIPELINE_FAILED),
    ..NONE
};

/// Something that belongs to the agent takes all the memory that the service may have.
pub const MEMORY: Fault = Fault {
    name: "agent's memory used up",
    deeds: &[Deed::Shell(
        "group=/sys/fs/cgroup/$(cut -d: -f3 /proc/$(pidof peercam-agent)/cgroup); \
         (echo 0 >$group/cgroup.procs; exec dd if=/dev/zero of=/dev/null bs=256M count=1); true",
    )],
    cure: Cure::Restart,
    noticed_by: Some("agent: memory limit 256 MiB reached"),
    recorded: Some("memory limit 256 MiB reached"),
    ..NONE
};

/// Storage is full, and the agent is killed.
pub const DATA_FULL: Fault = Fault {
    name: "/data full, agent killed",
    deeds: &[Deed::Shell(
        "dd if=/dev/zero of=/data/full bs=1M 2>/dev/null; sync; kill -KILL $(pidof peercam-agent)",
    )],
    ..KILLED
};

/// Storage has room again after [`DATA_FULL`].
pub const DATA_FREED: Fault =
    Fault { name: "/data freed", deeds: &[Deed::Shell("rm /data/full")], ..NONE };

/// What the watchdog says of a clock that was set.
const CLOCK_SET: Option<&str> = Some("the clock was set by");

/// The clock is set forward by years.
pub const CLOCK_FORWARD: Fault = Fault {
    name: "clock 15 years ahead",
    deeds: &[Deed::Shell("date -s @$(($(date +%s) + 473364000))")],
    noticed_by: CLOCK_SET,
    ..NONE
};

/// The clock is set back by years.
pub const CLOCK_BACK: Fault = Fault {
    name: "clock 30 years back",
    deeds: &[Deed::Shell("date -s @$(($(date +%s) - 946728000))")],
    noticed_by: CLOCK_SET,
    ..NONE
};

/// The clock is set to where it was before [`CLOCK_FORWARD`] and [`CLOCK_BACK`].
pub const CLOCK_RIGHT: Fault = Fault { name: "clock set right", noticed_by: None, ..CLOCK_FORWARD };

/// A debugger looks at the agent for a while.
pub const DEBUGGER: Fault = Fault {
    name: "agent held for 3 s, as by a debugger",
    deeds: &[Deed::Shell(
        "agent=$(pidof peercam-agent); kill -STOP $agent; sleep 3; kill -CONT $agent",
    )],
    ..NONE
};

/// A debugger looks at the watchdog for a while.
pub const WATCHDOG_DEBUGGER: Fault = Fault {
    name: "watchdog held for 6 s, as by a debugger",
    deeds: &[Deed::Shell(
        "watchdog=$(pidof peercam-watchdog); kill -STOP $watchdog; sleep 6; kill -CONT $watchdog",
    )],
    ..NONE
};

/// Others want all processors.
pub const BUSY: Fault = Fault {
    name: "all processors at 100 % for 10 s by neighbours",
    deeds: &[Deed::Shell(
        "for one in 1 2 3 4; do timeout 10 sh -c 'while :; do :; done' & done; wait",
    )],
    ..NONE
};

/// Storage is slow, and written to all the time.
pub const SLOW_STORAGE: Fault = Fault {
    name: "storage at 20 kB/s for 10 s",
    deeds: &[
        Deed::Machine("block_set_io_throttle", STORAGE_SLOW),
        Deed::Shell("dd if=/dev/zero of=/data/slow bs=64k count=3 conv=fsync 2>/dev/null"),
        Deed::Machine("block_set_io_throttle", STORAGE_FAST),
        Deed::Shell("rm /data/slow"),
    ],
    ..NONE
};

/// Bytes a second; without limits on operations.
const STORAGE_SLOW: &str =
    r#"{"device":"disk","bps":20000,"bps_rd":0,"bps_wr":0,"iops":0,"iops_rd":0,"iops_wr":0}"#;
const STORAGE_FAST: &str =
    r#"{"device":"disk","bps":0,"bps_rd":0,"bps_wr":0,"iops":0,"iops_rd":0,"iops_wr":0}"#;

const LINK_DOWN: Deed = Deed::Machine("set_link", r#"{"name":"net","up":false}"#);
const LINK_UP: Deed = Deed::Machine("set_link", r#"{"name":"net","up":true}"#);

/// The network is gone.
pub const NO_NETWORK: Fault = Fault {
    name: "no network for 10 s",
    deeds: &[LINK_DOWN, Deed::Shell("sleep 10"), LINK_UP],
    ..NONE
};

/// The network passes packets on in heaps, and now and then none for a while.
pub const WEAK_NETWORK: Fault = Fault {
    name: "network slow and with gaps",
    deeds: &[
        Deed::Machine(
            "object-add",
            r#"{"qom-type":"filter-buffer","id":"weak","netdev":"net","interval":300000}"#,
        ),
        Deed::Shell("sleep 8"),
        LINK_DOWN,
        Deed::Shell("sleep 2"),
        LINK_UP,
        Deed::Shell("sleep 8"),
        Deed::Machine("object-del", r#"{"id":"weak"}"#),
    ],
    rounds: 2,
    ..NONE
};

/// [`WEAK_NETWORK`] for ten minutes.
pub const WEAK_FOR_LONG: Fault =
    Fault { name: "network slow and with gaps for 10 minutes", rounds: 34, ..WEAK_NETWORK };

/// Viewers come and go in numbers.
pub const VIEWER_STORM: Fault = Fault {
    name: "viewers come and go for 10 s",
    deeds: &[
        Deed::Page(
            "const player = document.querySelector('peercam-player');
             window.peercamStorm = setInterval(() => {
                 const others = document.querySelectorAll('.storm');
                 if (others.length >= 5) others.forEach((other) => other.remove());
                 const other = player.cloneNode();
                 other.className = 'storm';
                 player.after(other);
             }, 700);",
        ),
        Deed::Shell("sleep 10"),
        Deed::Page(
            "clearInterval(window.peercamStorm);
             document.querySelectorAll('.storm').forEach((other) => other.remove());",
        ),
    ],
    ..NONE
};

/// The watchdog is killed.
pub const WATCHDOG_KILLED: Fault = Fault {
    name: "watchdog killed",
    deeds: &[Deed::Shell("kill -KILL $(pidof peercam-watchdog)")],
    cure: Cure::Init,
    noticed_by: Some(": armed ("),
    ..NONE
};

/// The watchdog is stopped, and so the hardware is not fed.
pub const WATCHDOG_STOPPED: Fault = Fault {
    name: "watchdog stopped (SIGSTOP)",
    deeds: &[Deed::Shell("kill -STOP $(pidof peercam-watchdog)")],
    cure: Cure::Reset,
    ..NONE
};

/// The kernel panics.
pub const PANIC: Fault = Fault {
    name: "kernel panic",
    deeds: &[Deed::Shell("echo 1 >/proc/sys/kernel/sysrq; echo c >/proc/sysrq-trigger")],
    cure: Cure::Reset,
    ..NONE
};
