//! `peercam-watchdog test`: services are made to fail on purpose, and come back.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::{
    path::Path,
    process::{Child, Command, Stdio},
};

use common::{Watchdog, example, example_service, is_alive, pid_in, run, script, service, until};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tempfile::TempDir;

/// A watchdog that records, tells, and would climb its ladder with the first failure that counts.
fn begin(services: &str) -> (Watchdog, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    (Watchdog::start(&config_in(&folder, services)), folder)
}

fn config_in(folder: &TempDir, services: &str) -> String {
    let path = |name| folder.path().join(name);
    format!(
        "state-dir = {:?}\nruntime-dir = {:?}\n\
         [escalation]\nreboot-command = [\"/bin/true\"]\nfailures-per-hour = 1\n{services}",
        path("state"),
        path("run")
    )
}

/// The same after these resets in a row.
fn begin_after(resets: u32, services: &str) -> (Watchdog, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let path = |name| folder.path().join(name);
    std::fs::create_dir(path("state")).unwrap();
    let record = format!("version = 1\nboots = 9\nboot-id = \"\"\nresets-in-a-row = {resets}\n");
    std::fs::write(path("state").join("record.toml"), record).unwrap();
    (Watchdog::start(&config_in(&folder, services)), folder)
}

/// One that a single failure makes broken, with all three faults noticed.
fn agent() -> String {
    example_service("agent", &["ready", "beat"])
        + "progress-timeout = \"3s\"\nbroken-failures = 1\nstable-after = \"1s\"\n"
}

fn config(watchdog: &Watchdog) -> String {
    watchdog.folder.path().join("watchdog.toml").to_str().unwrap().to_owned()
}

fn test(watchdog: &Watchdog, options: &[&str]) -> (Option<i32>, String) {
    run(&[&["test", "--config", &config(watchdog)], options].concat())
}

fn status(watchdog: &Watchdog) -> String {
    run(&["status", "--config", &config(watchdog)]).1
}

/// Waits until `status` says that they are up: there is nothing to be drilled before.
fn up(watchdog: &Watchdog, names: &[&str]) {
    until("they are up", || {
        let said = status(watchdog);
        names.iter().all(|name| said.contains(&format!("service {name}: up")))
    });
}

/// The letter of its state (`proc_pid_stat(5)`).
fn state(process: Pid) -> Option<char> {
    let stat = std::fs::read_to_string(Path::new("/proc").join(process.to_string()).join("stat"));
    stat.ok()?.rsplit_once(") ")?.1.chars().next()
}

/// A test that is to be interrupted.
fn hang(watchdog: &Watchdog) -> Child {
    Command::new(env!("CARGO_BIN_EXE_peercam-watchdog"))
        .args(["test", "--config", &config(watchdog), "--only", "hang", "--yes"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

#[test]
fn services_come_back_from_every_fault_and_nothing_of_it_counts() {
    let (mut watchdog, _folder) = begin(&(agent() + &script("neighbour", "exec sleep 1000")));
    up(&watchdog, &["agent", "neighbour"]);
    let (code, said) = test(&watchdog, &["--yes"]);
    assert_eq!(code, Some(0), "{said}");
    for fault in ["kill", "hang", "starve"] {
        let line = said.lines().find(|line| line.starts_with(&format!("agent: {fault}: rec")));
        let line = line.unwrap_or_else(|| panic!("no {fault} in {said}"));
        for part in ["noticed after ", "ended after ", "up again after "] {
            assert!(line.contains(part), "{line}");
        }
    }
    assert!(said.contains("neighbour: kill: recovered"), "{said}");
    assert!(said.contains("neighbour: hang: skipped: it has no heartbeat"), "{said}");
    assert!(said.contains("neighbour: starve: skipped: it has no progress-timeout"), "{said}");
    let last = status(&watchdog);
    assert!(last.contains("agent drilled 3 times, last: starve: recovered"), "{last}");
    assert!(last.contains("neighbour drilled once, last: kill: recovered"), "{last}");
    assert!(!last.contains("failed"), "{last}");
    // Twice, though one failure would be too many.
    let (code, said) = test(&watchdog, &["--yes", "--json", "--service=agent", "--only", "kill"]);
    assert_eq!(code, Some(0), "{said}");
    let json = said.lines().find(|line| line.starts_with('{')).unwrap();
    assert!(json.contains(r#""all-came-back":true"#), "{json}");
    assert!(json.contains(r#""service":"agent""#) && json.contains(r#""up-ms":"#), "{json}");
    assert_eq!(json.matches("outcome").count(), 1, "{json}");
    watchdog.logs("agent: ended by SIGKILL, in a drill");
    watchdog.logs("agent: no heartbeat for 2s, in a drill");
    watchdog.logs("agent: alive, but none of the work that is due was done for 3s, in a drill");
    watchdog.logs("agent: drill kill: recovered");
    assert_eq!(watchdog.times_logged("restarting all services"), 0);
    assert_eq!(watchdog.times_logged("failure"), 0);
    watchdog.stop();
}

#[test]
fn a_service_that_does_not_come_back_is_told_of() {
    // It starts once.
    let folder = tempfile::tempdir().unwrap();
    let once = format!("mkdir {:?} && exec {:?} ready beat", folder.path().join("on"), example());
    let services = script("agent", &once)
        + "ready-timeout = \"2s\"\nheartbeat = \"2s\"\nbroken-after = \"3s\"\nstable-after = \"1s\"\n"
        + &script("neighbour", "exec sleep 1000");
    let (mut watchdog, _folder) = begin(&services);
    up(&watchdog, &["agent", "neighbour"]);
    let (code, said) = test(&watchdog, &["--yes"]);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("agent: kill: failed, noticed after"), "{said}");
    assert!(said.contains("exited with code 1") && !said.contains("up again"), "{said}");
    assert!(!said.contains("neighbour"), "nothing more is broken: {said}");
    // What it does then is real, and dealt with as that.
    watchdog.logs("exited with code 1; failure 1 in a row");
    watchdog.logs("restarting all services");
    watchdog.stop();
}

#[test]
fn an_interrupted_drill_leaves_no_stopped_process() {
    let (mut watchdog, _folder) = begin(&agent().replace("\"2s\"", "\"30s\""));
    let process = watchdog.starts("agent");
    up(&watchdog, &["agent"]);
    let mut test = hang(&watchdog);
    until("it is stopped", || state(process) == Some('T'));
    kill(Pid::from_raw(test.id().cast_signed()), Signal::SIGINT).unwrap();
    assert_eq!(test.wait().unwrap().code(), Some(1));
    until("it goes on", || state(process).is_some_and(|state| state != 'T'));
    watchdog.logs("agent: drill hang: stopped: ended on request");
    assert_eq!(watchdog.times_logged("killing"), 0);
    watchdog.stop();
}

#[test]
fn a_test_that_is_killed_leaves_no_stopped_process() {
    let (mut watchdog, _folder) = begin(&agent());
    let process = watchdog.starts("agent");
    up(&watchdog, &["agent"]);
    let mut test = hang(&watchdog);
    until("it is stopped", || state(process) == Some('T'));
    test.kill().unwrap();
    test.wait().unwrap();
    let line = watchdog.logs("agent: started as process ");
    watchdog.logs("agent: drill hang: recovered");
    assert!(!is_alive(process));
    assert_ne!(state(pid_in(&line)), Some('T'));
    watchdog.stop();
}

#[test]
fn there_is_no_drill_while_a_service_is_not_well() {
    let (watchdog, _folder) =
        begin(&(agent() + &script("crasher", "sleep 1; exit 2") + "critical = false\n"));
    until("it has failed", || status(&watchdog).contains("crasher failed"));
    up(&watchdog, &["agent"]);
    let (code, said) = test(&watchdog, &["--yes", "--service", "agent"]);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("agent: kill: refused: another service"), "{said}");
    watchdog.stop();
}

#[test]
fn there_is_no_drill_in_safe_mode() {
    let (watchdog, _folder) = begin_after(5, &agent());
    up(&watchdog, &["agent"]);
    let (code, said) = test(&watchdog, &["--yes"]);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("agent: kill: refused: services run in safe mode"), "{said}");
    watchdog.stop();
}

#[test]
fn there_is_no_drill_when_one_failure_more_would_be_too_many() {
    let agent = agent().replace("broken-failures = 1", "broken-failures = 10");
    let (mut watchdog, _folder) = begin(&agent);
    let process = watchdog.starts("agent");
    kill(process, Signal::SIGKILL).unwrap();
    watchdog.logs("agent: stable again");
    let (code, said) = test(&watchdog, &["--yes"]);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("agent: kill: refused: critical services failed too often"), "{said}");
    watchdog.stop();
}

#[test]
fn nothing_is_done_without_a_yes_or_for_a_service_that_is_not_there() {
    let (mut watchdog, _folder) = begin(&agent());
    up(&watchdog, &["agent"]);
    let mut command = Command::new(env!("CARGO_BIN_EXE_peercam-watchdog"));
    command.args(["test", "--config", &config(&watchdog)]).stdin(Stdio::null());
    let output = command.output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("say --yes"), "{said}");
    for (options, part) in [
        (&["--yes", "--service", "nobody"][..], "there is no service \"nobody\": there are agent"),
        (&["--yes", "--only", "kill,tickle"], "use kill, hang and starve"),
        (&["--tickle"], "\"--tickle\" is not known"),
        (&["--service"], "--service needs a value"),
    ] {
        let (code, said) = test(&watchdog, options);
        assert_eq!(code, Some(2), "{said}");
        assert!(said.contains(part), "{said}");
    }
    // A signal without a number is no request.
    watchdog.signal(Signal::SIGUSR2);
    watchdog.signal(Signal::SIGUSR1);
    let (code, said) = test(&watchdog, &["--yes", "--only", "kill"]);
    assert_eq!(code, Some(0), "{said}");
    watchdog.logs("agent: drill kill: recovered");
    assert_eq!(watchdog.times_logged("started as process"), 2);
    watchdog.stop();
}

#[test]
fn without_a_watchdog_or_a_place_to_hear_it_there_is_no_drill() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("watchdog.toml");
    let here = ["test", "--yes", "--config", path.to_str().unwrap()];
    std::fs::write(&path, service("agent", &["/bin/sleep", "9"])).unwrap();
    let (code, said) = run(&here);
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("without runtime-dir"), "{said}");
    let folder = format!("runtime-dir = {:?}\n", folder.path().join("run"));
    std::fs::write(&path, folder + &service("agent", &["/bin/sleep", "9"])).unwrap();
    let (code, said) = run(&here);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("does the watchdog run?"), "{said}");
}
