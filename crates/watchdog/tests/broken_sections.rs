//! A mistake in one service harms only that one: a clear line, no reset, and the others run.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::{fs, os::unix::fs::symlink, time::Duration};

use common::{Hardware, Watchdog, check, run, script, service};

/// Services with mistakes in them, which part of the line names each, and the way out.
fn mistakes() -> Vec<(String, [&'static str; 2])> {
    vec![
        (script("bad", "true") + "hartbeat = \"1s\"\n", ["unknown field `hartbeat`", "heartbeat"]),
        (script("bad", "true") + "critical = 1\n", ["invalid type", "expected a boolean"]),
        ("[[service]]\nname = \"bad\"\n".to_owned(), ["missing field", "`command`"]),
        (service("bad", &[]), ["command is empty", "name a program"]),
        (script("bad", "true") + "after = [\"nobody\"]\n", ["after \"nobody\"", "is called that"]),
    ]
}

#[test]
fn a_mistake_in_a_service_leaves_out_that_one_and_nothing_else() {
    for (bad, said) in mistakes() {
        let hardware = Hardware::new();
        let folder = tempfile::tempdir().unwrap();
        let head = format!("runtime-dir = {:?}\n", folder.path()) + &hardware.config();
        let config = head + &bad + &script("good", "exec sleep 3600");
        let mut watchdog = Watchdog::start(&config);
        let line = watchdog.logs("service \"bad\" is left out");
        assert!(line.contains("watchdog.toml:"), "{line}");
        assert!(said.iter().all(|part| line.contains(part)), "{said:?} in {line}");
        watchdog.logs("good: up");
        assert_eq!(watchdog.times_logged("left out"), 1);
        assert_eq!(hardware.next(), 0);
        let path = watchdog.folder.path().join("watchdog.toml");
        let path = path.to_str().unwrap();
        let status = wait_for(path, "service good: up");
        assert!(status.contains("service bad: left-out, 1 failure in a row, can't be started: "));
        assert!(status.contains(said[0]), "{status}");
        // And the same with --check-config.
        let (code, checked) = run(&["--check-config", "--config", path]);
        assert_eq!((code, checked.lines().count()), (Some(2), 1), "{checked}");
        watchdog.stop();
    }
}

fn wait_for(config: &str, part: &str) -> String {
    for _ in 0..600 {
        let (_, said) = run(&["status", "--config", config]);
        if said.contains(part) {
            return said;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    unreachable!("no {part:?} in the status");
}

#[test]
fn a_critical_service_with_a_mistake_brings_no_reset() {
    let hardware = Hardware::new();
    let folder = tempfile::tempdir().unwrap();
    let mark = folder.path().join("rebooted");
    let config = format!("state-dir = {:?}\n", folder.path())
        + &hardware.config()
        + &format!("[escalation]\nreboot-command = [\"/usr/bin/touch\", {mark:?}]\n")
        + &script("bad", "true")
        + "critical = true\nbroken-after = \"100ms\"\nhartbeat = \"1s\"\n"
        + &service("missing", &["/no/such/program"])
        + "broken-after = \"100ms\"\nbroken-failures = 1\nrestart-delay-max = \"50ms\"\n"
        + &script("good", "exec sleep 3600");
    let mut watchdog = Watchdog::start(&config);
    watchdog.logs("service \"bad\" is left out");
    watchdog.logs("good: up");
    hardware.drain();
    for _ in 0..9 {
        assert_eq!(hardware.next(), 0);
    }
    assert!(!mark.exists());
    watchdog.stop();
    let record = fs::read_to_string(folder.path().join("record.toml")).unwrap();
    assert!(record.contains("[services.bad]") && record.contains("hartbeat"), "{record}");
}

#[test]
fn a_missing_program_is_said_once_and_started_when_it_is_there() {
    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().join("program");
    let missing = service("late", &[program.to_str().unwrap()])
        + "restart-delay-max = \"50ms\"\nbroken-after = \"200ms\"\nbroken-failures = 2\n";
    let mut watchdog = Watchdog::start(&(missing + &script("good", "sleep 1; exit 1")));
    let line = watchdog.logs("late: could not be started");
    for part in [program.to_str().unwrap(), "No such file", "correct its configuration"] {
        assert!(line.contains(part), "{part} in {line}");
    }
    watchdog.logs("good: exited with code 1");
    watchdog.logs("good: exited with code 1; failure 2");
    assert_eq!(watchdog.times_logged("late: "), 1);
    assert_eq!(watchdog.times_logged("stays broken"), 0);
    symlink("/bin/sleep", &program).unwrap();
    watchdog.logs("late: up");
    watchdog.stop();
}

#[test]
fn an_unknown_user_and_a_missing_folder_are_treated_like_a_missing_program() {
    let config = script("nobodys", "true")
        + "user = \"no-such-user\"\n"
        + &script("homeless", "true")
        + "working-directory = \"/no/such/folder\"\n"
        + &script("good", "exec sleep 3600");
    let mut watchdog = Watchdog::start(&config);
    watchdog.logs("nobodys: could not be started: there is no user \"no-such-user\"");
    watchdog.logs("homeless: could not be started: working-directory /no/such/folder");
    watchdog.logs("good: up");
    watchdog.stop();
}

#[test]
fn a_circle_is_named_in_one_line_and_the_others_start() {
    let after = |name: &str, other: &str| {
        script(name, "exec sleep 3600") + &format!("after = [{other:?}]\n")
    };
    let config = after("a", "b") + &after("b", "a") + &after("good", "a");
    let mut watchdog = Watchdog::start(&config);
    let line = watchdog.logs("left out");
    assert!(line.contains(r#""a" after "b" after "a": take one `after` away"#), "{line}");
    watchdog.logs("good: up");
    assert_eq!(watchdog.times_logged("left out"), 1);
    assert_eq!(watchdog.times_logged("a: started"), 0);
    watchdog.stop();
    let (code, said) = check(&config);
    assert_eq!((code, said.lines().count()), (Some(2), 1), "{said}");
}

#[test]
fn services_start_after_those_that_they_name() {
    let first = common::example_service("first", &["sleep=300", "ready", "beat"]);
    let config = script("second", "exec sleep 3600") + "after = [\"first\"]\n" + &first;
    let mut watchdog = Watchdog::start(&config);
    watchdog.starts("first");
    watchdog.logs("first: up");
    watchdog.starts("second");
    assert_eq!(watchdog.times_logged("second: started"), 1);
    watchdog.signal(nix::sys::signal::Signal::SIGTERM);
    watchdog.logs("second: stopped");
    watchdog.logs("first: stopped");
    assert_eq!(watchdog.ends().code(), Some(0));
}

#[test]
fn where_nothing_can_be_used_the_fallback_stands_in() {
    let whole = "[[service]\n".to_owned();
    let typo = "[hardwear]\n".to_owned() + &script("agent", "true");
    let service = script("agent", "true") + "hartbeat = \"1s\"\n";
    for (config, said) in [(whole, ":1: "), (typo, "hardwear"), (service, "hartbeat")] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("watchdog.toml");
        let runtime = format!("runtime-dir = {:?}\n", folder.path());
        fs::write(
            folder.path().join("watchdog.fallback.toml"),
            runtime + &script("plain", "exec sleep 3600"),
        )
        .unwrap();
        let mut watchdog = Watchdog::start_in(folder, &config);
        let line = watchdog.logs("watchdog.toml:");
        assert!(line.contains(said), "{line}");
        watchdog.logs("watchdog.toml: nothing of it can be used, but ");
        watchdog.logs("plain: up");
        let path = path.to_str().unwrap();
        let status = wait_for(path, "service plain: up");
        assert!(status.contains("left-out") && status.contains(said), "{status}");
        let (code, checked) = run(&["--check-config", "--config", path]);
        assert_eq!((code, checked.lines().count()), (Some(2), 1), "{checked}");
        watchdog.stop();
    }
}

#[test]
fn a_monitor_with_a_mistake_is_left_out_alone() {
    let monitors = "[[monitor]]\nwhat = \"moon\"\nwarning = 1\n[[monitor]]\nwhat = \"load\"\n\
                    warning = 1000\n";
    let mut watchdog = Watchdog::start(&(monitors.to_owned() + &script("good", "exec sleep 3600")));
    watchdog.logs("watchdog.toml:2: monitor \"moon\" is left out");
    watchdog.logs("good: up");
    watchdog.stop();
}
