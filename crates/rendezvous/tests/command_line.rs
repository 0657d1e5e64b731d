//! The program `peercam-rendezvous`, as a person or a service manager starts it.
#![allow(clippy::unwrap_used)]

mod support;

use std::{
    os::unix::fs::PermissionsExt,
    process::{Output, Stdio},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use peercam_protocol::signalling::{ErrorCode, ToCamera};
use support::*;
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, BufReader, Lines},
    net::TcpListener,
    process::{Child, ChildStderr, Command},
};

fn program(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_peercam-rendezvous"));
    command.args(arguments).env_remove("RUST_LOG").kill_on_drop(true);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

async fn run(arguments: &[&str]) -> (Option<i32>, String, String) {
    let Output { status, stdout, stderr } =
        soon("the program to end", program(arguments).output()).await.unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (status.code(), text(stdout), text(stderr))
}

/// The program, serving, and its log from then on.
async fn serving(arguments: &[&str]) -> (Child, String, Lines<BufReader<ChildStderr>>) {
    let mut child = program(arguments).spawn().unwrap();
    let mut log = BufReader::new(child.stderr.take().unwrap()).lines();
    loop {
        let line = soon("a line of the log", log.next_line()).await.unwrap().unwrap();
        if let Some((_, address)) = line.split_once("listening on http://") {
            return (child, address.to_owned(), log);
        }
    }
}

fn signal(child: &Child, signal: Signal) {
    kill(Pid::from_raw(child.id().unwrap().try_into().unwrap()), signal).unwrap();
}

#[tokio::test]
async fn help_teaches() {
    let (code, stdout, _) = run(&["--help"]).await;
    assert_eq!(code, Some(0));
    for words in [
        "--listen",
        "--config",
        "--check-config",
        "/r/ROOM",
        "/whep/ROOM",
        "Examples:",
        "Exit codes:",
        "RUST_LOG",
    ] {
        assert!(stdout.contains(words), "no {words} in:\n{stdout}");
    }
}

#[tokio::test]
async fn a_wrong_command_line_is_a_usage_error() {
    for (arguments, names) in [
        (["--listen", "8080"], "8080"),
        (["--listen", "localhost:99999"], "localhost:99999"),
        (["--lisen", "127.0.0.1:0"], "--listen"),
    ] {
        let (code, stdout, stderr) = run(&arguments).await;
        assert_eq!((code, stdout.as_str()), (Some(2), ""), "{arguments:?}");
        assert!(stderr.contains(names), "{arguments:?}: {stderr}");
    }
}

#[tokio::test]
async fn the_configuration_can_be_checked_without_serving() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("rendezvous.toml");
    let name = file.to_str().unwrap();

    std::fs::write(&file, "listen = \"127.0.0.1:0\"\n[limits]\nrooms = 3\n").unwrap();
    assert_eq!(
        run(&["--config", name, "--check-config"]).await,
        (Some(0), format!("{name}: ok\n"), String::new())
    );

    std::fs::write(&file, "listen = \"127.0.0.1:0\"\n[limits]\nroms = 3\n").unwrap();
    for arguments in [vec!["--config", name, "--check-config"], vec!["--config", name]] {
        let (code, stdout, stderr) = run(&arguments).await;
        assert_eq!((code, stdout.as_str()), (Some(2), ""), "{stderr}");
        let start = format!("peercam-rendezvous: {name}:3: ");
        assert!(stderr.starts_with(&start) && stderr.contains("`roms`"), "{stderr}");
        assert_eq!(stderr.lines().count(), 1, "{stderr}");
    }
}

#[tokio::test]
async fn the_files_that_it_names_are_checked_with_it() {
    let folder = tempfile::tempdir().unwrap();
    let [file, secret] = ["rendezvous.toml", "admin.secret"].map(|name| folder.path().join(name));
    let name = file.to_str().unwrap();
    let admin = format!(
        "listen = \"127.0.0.1:0\"\n[admin]\nlisten = \"127.0.0.1:0\"\nsecret-file = {secret:?}\n"
    );
    std::fs::write(&file, &admin).unwrap();
    let once = |arguments: &str, text: &str| {
        assert_eq!(text.matches(&*secret.display().to_string()).count(), 1, "{arguments}: {text}");
    };
    for (arguments, code) in
        [(vec!["--config", name, "--check-config"], 2), (vec!["--config", name], 1)]
    {
        let (found, _, stderr) = run(&arguments).await;
        assert_eq!(found, Some(code), "{stderr}");
        once("missing", &stderr);
        assert_eq!(stderr.matches("No such file").count(), 1, "{stderr}");
    }
    std::fs::write(&secret, "0123456789abcdef\n").unwrap();
    std::fs::set_permissions(&secret, std::fs::Permissions::from_mode(0o644)).unwrap();
    assert_eq!(run(&["--config", name, "--check-config"]).await.0, Some(0));
    let mut child = program(&["--config", name]).spawn().unwrap();
    let mut log = BufReader::new(child.stderr.take().unwrap()).lines();
    let line = soon("a warning", log.next_line()).await.unwrap().unwrap();
    assert!(line.contains("WARN") && line.contains("chmod 600"), "{line}");
    child.kill().await.unwrap();

    let tls = format!("[tls]\ncertificate = {secret:?}\nkey = {secret:?}\n");
    std::fs::write(&file, tls).unwrap();
    let (code, _, stderr) = run(&["--config", name, "--check-config"]).await;
    assert_eq!(code, Some(2));
    once("no certificate", &stderr);
}

#[tokio::test]
async fn so_are_those_of_a_cluster() {
    let folder = tempfile::tempdir().unwrap();
    let [file, other] = ["rendezvous.toml", "other"].map(|name| folder.path().join(name));
    let name = file.to_str().unwrap();
    for (lines, words) in [
        (format!("credentials-file = {other:?}"), "credentials-file"),
        (format!("ca-file = {other:?}"), "ca-file"),
        (format!("certificate-file = {other:?}\nkey-file = {other:?}"), "certificate-file"),
    ] {
        std::fs::write(&file, format!("[cluster]\nnats = \"nats://a\"\n{lines}\n")).unwrap();
        for text in [None, Some("garbage")] {
            _ = std::fs::remove_file(&other);
            if let Some(text) = text {
                std::fs::write(&other, text).unwrap();
            }
            let (code, _, stderr) = run(&["--config", name, "--check-config"]).await;
            assert_eq!(code, Some(2), "{stderr}");
            let what = format!("cluster: {words} = {other:?}: ");
            assert!(stderr.contains(&what), "{stderr}");
        }
    }
}

#[tokio::test]
async fn a_configuration_that_is_not_there_is_named() {
    let (code, _, stderr) = run(&["--config", "/nowhere/rendezvous.toml"]).await;
    assert_eq!(code, Some(2));
    assert!(stderr.contains("/nowhere/rendezvous.toml: No such file"), "{stderr}");
}

#[tokio::test]
async fn a_port_in_use_is_one_clear_line() {
    let other = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = other.local_addr().unwrap().to_string();
    let (code, stdout, stderr) = run(&["--listen", &address]).await;
    assert_eq!((code, stdout.as_str()), (Some(1), ""), "{stderr}");
    let last = stderr.lines().last().unwrap();
    assert!(
        last.starts_with(&format!("peercam-rendezvous: cannot listen on {address}:")),
        "{last}"
    );
    assert!(last.contains("choose another port with --listen"), "{last}");
}

#[tokio::test]
async fn the_command_line_goes_before_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("rendezvous.toml");
    std::fs::write(&file, "listen = \"192.0.2.1:1\"\n").unwrap();
    let arguments = ["--config", file.to_str().unwrap(), "--listen", "127.0.0.1:0"];
    let (_child, address, _log) = serving(&arguments).await;
    assert!(address.starts_with("127.0.0.1:"), "{address}");
}

#[tokio::test]
async fn both_signals_end_it_in_order_and_its_log_names_rooms_but_no_addresses() {
    for number in [Signal::SIGTERM, Signal::SIGINT] {
        let (mut child, address, mut log) = serving(&["--listen", "127.0.0.1:0"]).await;
        let uri = format!("ws://{address}/watch/front-door");
        let mut viewer: Viewer = Viewer::connect(&uri, &[]).await;
        viewer.hears().await;
        signal(&child, number);
        viewer.hears_error(ErrorCode::ShuttingDown).await;
        viewer.is_closed(1001).await;
        assert_eq!(soon("the end", child.wait()).await.unwrap().code(), Some(0));

        let mut lines = Vec::new();
        while let Some(line) = log.next_line().await.unwrap() {
            assert!(!line.contains("127.0.0.1"), "{line}");
            assert!(!line.contains('\u{1b}'), "colours in a file: {line}");
            lines.push(line);
        }
        for words in ["a viewer is here", "room=front-door", "shutting down"] {
            assert!(lines.iter().any(|line| line.contains(words)), "no {words:?} in {lines:?}");
        }
        let mut stdout = String::new();
        child.stdout.take().unwrap().read_to_string(&mut stdout).await.unwrap();
        assert_eq!(stdout, "", "standard output is for data");
    }
}

/// Waits for a line of the log with these words.
async fn says(log: &mut Lines<BufReader<ChildStderr>>, words: &str) -> String {
    loop {
        let line = soon(words, log.next_line()).await.unwrap();
        let line = line.unwrap_or_else(|| panic!("ended without saying {words:?}"));
        if line.contains(words) {
            return line;
        }
    }
}

#[tokio::test]
async fn a_second_signal_ends_it_at_once() {
    let (mut child, address, mut log) = serving(&["--listen", "127.0.0.1:0"]).await;
    let uri = format!("ws://{address}/host/front-door");
    let mut camera: Camera = Camera::connect(&uri, &[]).await;
    let ToCamera::Challenge { nonce } = camera.hears().await else { panic!("no challenge") };
    camera.says(Identity::of("front-door").prove(&address, "front-door", &nonce)).await;
    assert!(matches!(camera.hears().await, ToCamera::Hosting { .. }));
    signal(&child, Signal::SIGTERM);
    assert!(matches!(camera.hears().await, ToCamera::Move { .. }));
    signal(&child, Signal::SIGINT);
    says(&mut log, "ending now").await;
    assert!(matches!(camera.hears().await, ToCamera::Error { .. }));
    camera.is_closed(1001).await;
    assert_eq!(soon("the end", child.wait()).await.unwrap().code(), Some(0));
}

#[tokio::test]
async fn a_changed_configuration_is_taken_and_a_broken_one_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("rendezvous.toml");
    let name = file.to_str().unwrap();
    std::fs::write(&file, "[limits]\nrooms = 3\n").unwrap();
    let (child, address, mut log) = serving(&["--config", name, "--listen", "127.0.0.1:0"]).await;

    // By itself when the file changes, and when told.
    std::fs::write(&file, "listen = \"127.0.0.1:1\"\n[metrics]\npublic = true\n").unwrap();
    says(&mut log, "was read again").await;
    std::fs::write(&file, "[limits]\nroms = 3\n").unwrap();
    let line = says(&mut log, "stays").await;
    assert!(line.contains(&format!("{name}:2: ")), "{line}");
    std::fs::write(&file, "[log]\nformat = \"json\"\n").unwrap();
    signal(&child, Signal::SIGHUP);
    let line = says(&mut log, "needs a restart").await;
    assert!(line.contains("log.format") && !line.contains("listen"), "{line}");

    // Still there.
    let mut viewer: Viewer = Viewer::connect(&format!("ws://{address}/watch/a"), &[]).await;
    viewer.hears().await;
}

#[tokio::test]
async fn the_log_can_be_json_and_holds_no_addresses() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("rendezvous.toml");
    std::fs::write(&file, "[log]\nformat = \"json\"\n").unwrap();
    let arguments = ["--config", file.to_str().unwrap(), "--listen", "127.0.0.1:0"];
    let mut child = program(&arguments).spawn().unwrap();
    let mut log = BufReader::new(child.stderr.take().unwrap()).lines();
    let line = says(&mut log, "listening on").await;
    let json: serde_json::Value = serde_json::from_str(&line).unwrap();
    let address = json["message"].as_str().unwrap().split_once("http://").unwrap().1.to_owned();
    let mut viewer: Viewer =
        Viewer::connect(&format!("ws://{address}/watch/front-door"), &[]).await;
    viewer.hears().await;
    let line = says(&mut log, "a viewer is here").await;
    let json: serde_json::Value = serde_json::from_str(&line).unwrap();
    assert_eq!((&json["room"], &json["level"]), (&"front-door".into(), &"INFO".into()));
    assert!(!line.contains("127.0.0.1"), "{line}");
}
