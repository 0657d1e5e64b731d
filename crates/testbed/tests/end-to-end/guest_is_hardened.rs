//! What somebody finds who gets at a camera, over the network or as one of its services: nothing that
//! he could use. Looked at in a guest that another test has booted, while it streams.

use std::ops::RangeInclusive;

use peercam_testbed::Guest;

/// The kernel's settings that a camera asks for.
const SYSCTL: &str = include_str!("../../../../rootfs-overlay/etc/sysctl.conf");

/// The programs that run as root.
const ROOT: [&str; 2] = ["/usr/bin/busybox", "/usr/bin/peercam-watchdog"];

/// Where answers come to the agent's questions for the addresses of viewers whose browsers only name
/// them (mDNS, RFC 6762): while there is a session.
const NAMES: (&str, u16) = ("udp", 5353);

/// The console of a board for development shows what its services print as well: what has got into
/// an answer of its shell isn't there the next time.
const LOOKS: usize = 5;

/// `ports` are those that the agent was given; one viewer is there.
pub async fn assert_hardened(guest: &mut Guest, ports: RangeInclusive<u16>) {
    let mut findings = Vec::new();
    for _ in 0..LOOKS {
        findings.clear();
        agent_has_rights(guest, &mut findings).await;
        others_are_root(guest, &mut findings).await;
        mounts_are_open(guest, &mut findings).await;
        kernel_is_open(guest, &mut findings).await;
        accounts_are_open(guest, &mut findings).await;
        let mut open = open_ports(guest).await;
        open.retain(|port| *port != NAMES);
        if open.is_empty() || !open.iter().all(|(_, port)| ports.contains(port)) {
            findings.push(format!("open ports, where {ports:?} should be: {open:?}"));
        }
        if findings.is_empty() {
            return;
        }
    }
    panic!("{findings:#?}");
}

/// Nobody watches: no port is open.
pub async fn assert_closed(guest: &mut Guest) {
    let mut open = Vec::new();
    for _ in 0..LOOKS {
        open = open_ports(guest).await;
        if open.is_empty() {
            return;
        }
    }
    panic!("nobody watches, and these are open: {open:?}");
}

async fn agent_has_rights(guest: &mut Guest, findings: &mut Vec<String>) {
    let status = "cat /proc/$(pidof peercam-agent)/status /proc/$(pidof peercam-agent)/limits";
    let status = guest.run(status).await.unwrap();
    for (key, wanted) in [
        ("Uid:", "900 900 900 900"),
        ("Gid:", "900 900 900 900"),
        ("Groups:", "29 44"),
        ("NoNewPrivs:", "1"),
        ("CapInh:", "0000000000000000"),
        ("CapPrm:", "0000000000000000"),
        ("CapEff:", "0000000000000000"),
        ("CapBnd:", "0000000000000000"),
        ("CapAmb:", "0000000000000000"),
        ("Max core file size", "0 0 bytes"),
    ] {
        let value = status.lines().find_map(|line| line.strip_prefix(key)).unwrap_or_default();
        let value = value.split_whitespace().collect::<Vec<_>>().join(" ");
        if value != wanted {
            findings.push(format!("the agent's {key} {value:?}, not {wanted:?}"));
        }
    }
}

/// Of the programs, only init with its scripts is, and who starts the services. (Processes of the
/// kernel have none.)
async fn others_are_root(guest: &mut Guest, findings: &mut Vec<String>) {
    let root = "for pid in /proc/[0-9]*; do \
                [ \"$(stat -c %u $pid)\" != 0 ] || readlink $pid/exe; done 2>/dev/null | sort -u";
    let root = guest.run(root).await.unwrap();
    if root.lines().collect::<Vec<_>>() != ROOT {
        findings.push(format!("these run as root: {root}"));
    }
}

async fn mounts_are_open(guest: &mut Guest, findings: &mut Vec<String>) {
    let mounts = guest.run("cat /proc/mounts").await.unwrap();
    for folder in ["/", "/data", "/run", "/tmp", "/proc"] {
        if !mounts.contains(&format!(" {folder} ")) {
            findings.push(format!("{folder} is not mounted"));
        }
    }
    for line in mounts.lines() {
        let fields: Vec<_> = line.split(' ').collect();
        let options: Vec<_> = fields.get(3).map_or(Vec::new(), |field| field.split(',').collect());
        let wanted: &[&str] = match fields.get(1).copied().unwrap_or_default() {
            "/" => &["ro"],
            "/dev" | "/dev/pts" => &["nosuid", "noexec"],
            _ => &["nosuid", "nodev", "noexec"],
        };
        for option in wanted.iter().filter(|option| !options.contains(option)) {
            findings.push(format!("mounted without {option}: {line}"));
        }
    }
    guest.run("cp /usr/bin/busybox /data/true && chmod 755 /data/true").await.unwrap();
    let (code, said) = guest.try_run("/data/true").await.unwrap();
    guest.run("rm /data/true").await.unwrap();
    if code != 126 {
        findings.push(format!("a program on /data ends with {code}: {said}"));
    }
}

async fn kernel_is_open(guest: &mut Guest, findings: &mut Vec<String>) {
    let settings = SYSCTL.lines().filter_map(|line| line.split_once(" = "));
    // For the interface itself, what was the default when it came.
    let settings: Vec<_> =
        settings.map(|(key, value)| (key.replace(".default.", ".eth0."), value)).collect();
    let keys: Vec<_> = settings.iter().map(|(key, _)| key.as_str()).collect();
    // Its shell takes no long lines. The exit code is that of one that a kernel lacks.
    let look: Vec<_> = keys.chunks(8).map(|keys| format!("sysctl -e {}", keys.join(" "))).collect();
    let (_, found) = guest.try_run(&look.join("\n")).await.unwrap();
    let mut lacking = 0;
    for (key, wanted) in &settings {
        let prefix = format!("{key} = ");
        match found.lines().find_map(|line| line.strip_prefix(&prefix)) {
            Some(value) if value == *wanted => {}
            Some(value) => findings.push(format!("{key} is {value}, not {wanted}")),
            None => lacking += 1,
        }
    }
    // A kernel may lack some, as one for another architecture does.
    if lacking * 5 > settings.len() {
        findings.push(format!("{lacking} of the kernel's settings are not there: {found}"));
    }
}

async fn accounts_are_open(guest: &mut Guest, findings: &mut Vec<String>) {
    for (file, locked) in [("/etc/passwd", &["x"][..]), ("/etc/shadow", &["*", "!"])] {
        let accounts = guest.run(&format!("cat {file}")).await.unwrap();
        if !accounts.contains("root:") {
            findings.push(format!("{file} has no root: {accounts}"));
        }
        for line in accounts.lines() {
            let password = line.split(':').nth(1).unwrap_or_default();
            if !locked.contains(&password) {
                findings.push(format!("{file}: {line}"));
            }
        }
    }
}

/// Ports at which anybody is heard: those that listen on TCP, and on UDP those that have no peer.
async fn open_ports(guest: &mut Guest) -> Vec<(&'static str, u16)> {
    const LISTENING: &str = "0A";
    let port = |address: &str| {
        let (_, port) = address.rsplit_once(':')?;
        u16::from_str_radix(port, 16).ok()
    };
    let mut open = Vec::new();
    for table in ["tcp", "tcp6", "udp", "udp6"] {
        let sockets = guest.run(&format!("cat /proc/net/{table}")).await.unwrap();
        assert!(sockets.contains("local_address"), "{table}: {sockets}");
        for line in sockets.lines() {
            let fields: Vec<_> = line.split_whitespace().collect();
            let [_, local, remote, state, ..] = fields[..] else { continue };
            let (Some(local), Some(remote)) = (port(local), port(remote)) else { continue };
            let is_open = match table {
                "tcp" | "tcp6" => state == LISTENING,
                _ => remote == 0,
            };
            if is_open {
                open.push((table, local));
            }
        }
    }
    open
}
