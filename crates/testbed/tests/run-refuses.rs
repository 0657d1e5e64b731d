//! What `scripts/run` can't do is said in one line, before anything is started.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::{net::TcpListener, process::Command};

/// Exit code, and what stands on standard error; standard output must be empty.
fn run(arguments: &[&str]) -> (Option<i32>, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_peercam-run")).args(arguments).output().unwrap();
    assert!(output.stdout.is_empty(), "standard output is for the link");
    (output.status.code(), String::from_utf8(output.stderr).unwrap())
}

#[test]
fn an_unknown_board_is_named_beside_those_there_are() {
    let (code, error) = run(&["--board", "toaster"]);
    assert_eq!(code, Some(2), "{error}");
    assert!(error.contains("\"toaster\"") && error.contains("qemu-aarch64"), "{error}");
    assert_eq!(error.lines().count(), 1, "{error}");
}

#[test]
fn an_unknown_transport_is_named_beside_those_there_are() {
    let (code, error) = run(&["--check", "--transport", "pigeon"]);
    assert_eq!(code, Some(2), "{error}");
    assert!(error.contains("pigeon") && error.contains("rtp or fmp4"), "{error}");
}

#[test]
fn an_address_that_is_taken_is_named() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let (code, error) = run(&["--board", "host", "--listen", &address]);
    assert_eq!(code, Some(1), "{error}");
    assert!(error.contains(&address) && error.contains("--listen"), "{error}");
}
