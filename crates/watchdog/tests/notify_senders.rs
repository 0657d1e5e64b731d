//! Only a service's own processes are heard, and nobody's messages disturb the rest.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::{
    fs::Permissions,
    io::{IoSlice, Read, Write, pipe, stderr},
    os::{
        fd::AsRawFd,
        linux::net::SocketAddrExt,
        unix::{
            fs::PermissionsExt,
            net::{SocketAddr, UnixDatagram},
            process::CommandExt,
        },
    },
    process::Command,
    time::Instant,
};

use common::{Hardware, Watchdog, example, example_service, script};
use nix::sys::{
    signal::Signal,
    socket::{ControlMessage, MsgFlags, sendmsg},
};

/// The socket that the service was told of, from its first line.
fn socket_of(line: &str) -> SocketAddr {
    let name = line.split('"').nth(1).unwrap();
    match name.strip_prefix('@') {
        Some(name) => SocketAddr::from_abstract_name(name).unwrap(),
        None => SocketAddr::from_pathname(name).unwrap(),
    }
}

#[test]
fn a_message_of_another_process_is_ignored_and_said() {
    let config = example_service("agent", &["hang"]).replace("\"30s\"", "\"2s\"");
    let mut watchdog = Watchdog::start(&config);
    let socket = socket_of(&watchdog.prints("told of"));
    UnixDatagram::unbound().unwrap().send_to_addr(b"READY=1", &socket).unwrap();
    let own = std::process::id();
    watchdog.logs(&format!(
        "agent: ignored a notify message from process {own}, which does not belong to it"
    ));
    watchdog.logs("agent: not ready within 2s");
    watchdog.stop();
}

#[test]
fn one_service_cannot_speak_for_another() {
    let hung = example_service("hung", &["hang"]).replace("\"30s\"", "\"2s\"");
    let mut watchdog = Watchdog::start(&(hung + &example_service("chatty", &["ready", "beat"])));
    watchdog.logs("chatty: up");
    watchdog.logs("hung: not ready within 2s");
    watchdog.stop();
}

#[test]
fn a_child_of_a_service_may_speak_for_it() {
    let command = format!("{} ready beat & wait", example());
    let config = script("shell", &command) + "ready-timeout = \"30s\"\nheartbeat = \"2s\"\n";
    let mut watchdog = Watchdog::start(&config);
    watchdog.logs("shell: up after");
    watchdog.stop();
}

#[test]
fn a_flood_of_nonsense_costs_a_log_line_now_and_then_and_no_feed() {
    let hardware = Hardware::new();
    let service =
        example_service("agent", &["ready", "beats=1", "exit=7"]).replace("\"2s\"", "\"8s\"");
    let config = hardware.config() + &service;
    let mut watchdog = Watchdog::start(&config);
    let socket = socket_of(&watchdog.prints("told of"));
    watchdog.logs("agent: up");
    let begin = Instant::now();
    let flood = std::thread::spawn(move || {
        let sender = UnixDatagram::unbound().unwrap();
        let nonsense: [&[u8]; 4] = [b"", b"WATCHDOG=1\0", &[b'A'; 100_000], &[0xff; 4096]];
        // Until the watchdog ends, and its socket with it.
        for message in nonsense.into_iter().cycle() {
            match sender.send_to_addr(message, &socket) {
                Err(error) if error.kind() == std::io::ErrorKind::ConnectionRefused => return,
                _ => {}
            }
        }
    });
    watchdog.logs("ignored");
    hardware.drain();
    for _ in 0..5 {
        assert_eq!(hardware.next(), 0);
    }
    watchdog.logs("agent: exited with code 7");
    let lines = watchdog.times_logged("ignored");
    assert!(lines as u64 <= 1 + begin.elapsed().as_secs() / 10, "{lines} lines");
    watchdog.stop();
    flood.join().unwrap();
}

/// What any user of this machine may look into, with `runtime-dir` for it.
fn runtime() -> (tempfile::TempDir, String) {
    let folder = tempfile::tempdir().unwrap();
    std::fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).unwrap();
    let config = format!("runtime-dir = {:?}\n", folder.path().join("watchdog"));
    (folder, config)
}

#[test]
fn a_message_of_another_user_does_not_even_arrive() {
    if !nix::unistd::geteuid().is_root() {
        let _ = writeln!(stderr(), "not tested: only root can act as another user");
        return;
    }
    let (_folder, config) = runtime();
    let agent = script("agent", &format!("{} status=mine ready beat", copy_of_example(&_folder)));
    let config = config + &agent + "user = \"games\"\nready-timeout = \"30s\"\n";
    let mut watchdog = Watchdog::start(&config);
    let line = watchdog.prints("told of");
    watchdog.logs("agent: up");
    let name = line.split('"').nth(1).unwrap();
    let stranger = Command::new(copy_of_example(&_folder))
        .args(["status=forged", "trigger"])
        .env("NOTIFY_SOCKET", name)
        .uid(nix::unistd::User::from_name("nobody").unwrap().unwrap().uid.as_raw())
        .output()
        .unwrap();
    let said = String::from_utf8(stranger.stderr).unwrap();
    assert!(said.contains("Permission denied"), "{said}");
    watchdog.signal(Signal::SIGTERM);
    watchdog.logs("agent: stopped");
    for part in ["ignored", "asked to be restarted", "forged"] {
        assert_eq!(watchdog.times_logged(part), 0, "{part}");
    }
    assert_eq!(watchdog.ends().code(), Some(0));
}

/// Where every user may run it.
fn copy_of_example(folder: &tempfile::TempDir) -> String {
    let copy = folder.path().join("service");
    if !copy.exists() {
        std::fs::copy(example(), &copy).unwrap();
    }
    copy.to_str().unwrap().to_owned()
}

#[test]
fn a_service_that_floods_disturbs_no_other_and_is_said_once_in_a_while() {
    let hardware = Hardware::new();
    let (_folder, config) = runtime();
    let flood = example_service("flood", &["ready", "flood=100000", "hang"])
        .replace("heartbeat = \"2s\"", "");
    let beats = example_service("beats", &["ready", "beat"]);
    let fails = example_service("fails", &["ready", "beats=2", "exit=7"]);
    let mut watchdog = Watchdog::start(&(config + &hardware.config() + &flood + &beats + &fails));
    let begin = Instant::now();
    watchdog.logs("flood: a flood of notify messages");
    watchdog.logs("fails: exited with code 7");
    watchdog.starts("fails");
    hardware.drain();
    for _ in 0..5 {
        assert_eq!(hardware.next(), 0);
    }
    watchdog.prints("100000 messages sent");
    watchdog.logs("fails: exited with code 7");
    assert_eq!(watchdog.times_logged("beats: no heartbeat"), 0);
    assert_eq!(watchdog.times_logged("beats: started"), 1);
    let lines = watchdog.times_logged("flood: a flood");
    assert!(lines as u64 <= 1 + begin.elapsed().as_secs() / 10, "{lines} lines");
    watchdog.stop();
}

#[test]
fn descriptors_that_come_with_a_message_are_not_kept() {
    let (_folder, config) = runtime();
    let config = config + &example_service("agent", &["ready", "beats=1000000"]);
    let mut watchdog = Watchdog::start(&config);
    let socket = socket_of(&watchdog.prints("told of"));
    watchdog.logs("agent: up");
    let sender = UnixDatagram::unbound().unwrap();
    sender.connect_addr(&socket).unwrap();
    let (mut reader, writer) = pipe().unwrap();
    for _ in 0..100 {
        let descriptors = [writer.as_raw_fd(); 20];
        let text = [IoSlice::new(b"FDSTORE=1\nFDNAME=mine\nWATCHDOG=1")];
        let message = [ControlMessage::ScmRights(&descriptors)];
        sendmsg::<()>(sender.as_raw_fd(), &text, &message, MsgFlags::empty(), None).unwrap();
    }
    drop(writer);
    // Ends only when nobody has the other end any more.
    assert_eq!(reader.read(&mut [0]).unwrap(), 0);
    watchdog.logs("agent: ignored");
    watchdog.stop();
}

#[test]
fn a_second_watchdog_does_not_take_the_sockets_of_the_first() {
    let (_folder, config) = runtime();
    let config = config + &example_service("agent", &["ready", "beat"]);
    let mut first = Watchdog::start(&config);
    first.logs("agent: up");
    let mut second = Watchdog::start(&config);
    second.logs("is in use by another watchdog: stop that one");
    assert_eq!(second.ends().code(), Some(1));
    // Longer than its heartbeat, which still comes through.
    std::thread::sleep(std::time::Duration::from_secs(3));
    first.signal(Signal::SIGKILL);
    first.ends();
    assert_eq!(first.times_logged("no heartbeat"), 0);
    let mut third = Watchdog::start(&config);
    third.logs("agent: up");
    third.stop();
}
