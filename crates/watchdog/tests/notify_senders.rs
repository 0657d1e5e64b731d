//! Only a service's own processes are heard, and nobody's messages disturb the rest.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::{
    os::{
        linux::net::SocketAddrExt,
        unix::net::{SocketAddr, UnixDatagram},
    },
    time::Instant,
};

use common::{Hardware, Watchdog, example, example_service, script};

/// The socket that the service was told of, from its first line.
fn socket_of(line: &str) -> SocketAddr {
    let name = line.split('"').nth(1).unwrap().strip_prefix('@').unwrap();
    SocketAddr::from_abstract_name(name).unwrap()
}

#[test]
fn a_message_of_another_process_is_ignored_and_said() {
    let config = example_service("agent", &["hang"]).replace("\"30s\"", "\"2s\"");
    let mut watchdog = Watchdog::start(&config);
    let socket = socket_of(&watchdog.prints("told of"));
    UnixDatagram::unbound().unwrap().send_to_addr(b"READY=1", &socket).unwrap();
    let own = std::process::id();
    watchdog
        .logs(&format!("ignored a notify message from process {own}, which belongs to no service"));
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
