//! What services print: collected, bounded, shown by `peercam-watchdog log`, and some of it kept
//! across resets.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::{
    fs,
    io::{BufRead, BufReader, Read},
    path::Path,
    process::{Command, Stdio},
};

use common::{Watchdog, check, run, script, until};
use nix::sys::signal::Signal;
use tempfile::TempDir;

/// The folders of a watchdog, which may be started in them more than once.
struct Device {
    folder: TempDir,
    config: String,
}

impl Device {
    fn new(config: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = |name| folder.path().join(name);
        let folders = format!("state-dir = {:?}\nruntime-dir = {:?}\n", path("state"), path("run"));
        let device = Self { config: folders + config, folder };
        fs::write(device.path("watchdog.toml"), &device.config).unwrap();
        device
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.folder.path().join(name)
    }

    fn start(&self) -> Watchdog {
        Watchdog::start(&self.config)
    }

    fn arguments<'a>(&self, verb: &'a str, options: &[&'a str]) -> Vec<String> {
        let config = self.path("watchdog.toml").display().to_string();
        let own = [verb, "--config", &config];
        own.iter().chain(options).map(|&argument| argument.to_owned()).collect()
    }

    /// What a verb says; it has to succeed.
    fn says(&self, verb: &str, options: &[&str]) -> String {
        let arguments = self.arguments(verb, options);
        let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
        let (code, said) = run(&arguments);
        assert_eq!(code, Some(0), "{said}");
        said
    }

    fn logs(&self, options: &[&str]) -> String {
        self.says("log", options)
    }

    fn until_logged(&self, part: &str) {
        until(part, || self.path("run/log").exists() && self.logs(&[]).contains(part));
    }
}

#[test]
fn lines_of_services_and_watchdog_are_shown_in_the_order_in_which_they_came() {
    let other = script("other", "echo mine; exec sleep 60");
    let device = Device::new(&(script("agent", "echo one; echo two >&2; exec sleep 60") + &other));
    let watchdog = device.start();
    for part in ["agent: one", "agent: two", "other: mine"] {
        device.until_logged(part);
    }
    let said = device.logs(&["--service", "agent"]);
    let places = ["agent: started as process", "] agent: one\n", "] agent: two\n"];
    let places = places.map(|part| said.find(part).unwrap());
    assert!(places.is_sorted(), "{said}");
    assert!(!said.contains("other"), "{said}");
    let said = device.logs(&["--json"]);
    for line in said.lines() {
        assert!(line.starts_with("{\"seconds\":") && line.ends_with("\"}"), "{line}");
    }
    assert!(said.contains(r#","service":"other","text":"mine"}"#), "{said}");
    assert!(said.contains(r#","level":"info","text":"agent: started as process "#), "{said}");
    watchdog.stop();
}

#[test]
fn the_log_is_followed_through_a_change_of_files() {
    // Three times what the two files hold.
    let lines = "n=0; while [ $n -lt 1000 ]; do n=$((n+1)); printf '%090d\\n' $n; done";
    let device = Device::new(
        &("[log]\nsize-kb = 32\nlines-in-10s = 100000\n".to_owned()
            + &script("agent", &format!("echo begin; read line < go; {lines}; exec sleep 60"))
            + "working-directory = \"FOLDER\"\n"),
    );
    let config = device.config.replace("FOLDER", device.folder.path().to_str().unwrap());
    fs::write(device.path("watchdog.toml"), &config).unwrap();
    nix::unistd::mkfifo(&device.path("go"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    let watchdog = Watchdog::start(&config);
    device.until_logged("agent: begin");
    let mut follower = Command::new(env!("CARGO_BIN_EXE_peercam-watchdog"))
        .args(device.arguments("log", &["--follow", "--service", "agent"]))
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut shown = BufReader::new(follower.stdout.take().unwrap()).lines().map(Result::unwrap);
    assert!(shown.by_ref().any(|line| line.ends_with("agent: begin")));
    fs::write(device.path("go"), "go\n").unwrap();
    assert!(shown.by_ref().any(|line| line.ends_with(&format!("{:090}", 1000))));
    drop(shown);
    watchdog.stop();
    follower.kill().unwrap();
    follower.wait().unwrap();
    let size = |name| fs::metadata(device.path(name)).unwrap().len();
    assert!(size("run/log") + size("run/log.old") <= 32 * 1024);
}

#[test]
fn whatever_a_service_prints_is_harmless_and_whole() {
    let binary = r"printf '\033[2J\000\377\n\tx\n'; printf 'no end'; exit 3";
    let device = Device::new(
        &script("agent", binary)
            .replace("50ms", "1m")
            .replace("restart-delay", "restart-delay-max = \"1m\"\nrestart-delay"),
    );
    let mut watchdog = device.start();
    watchdog.logs("agent: exited with code 3");
    let said = device.logs(&[]);
    let shown = "agent: \u{fffd}[2J\u{fffd}\u{fffd}\n";
    assert!(said.contains(shown) && said.contains("agent:  x\n"), "{said}");
    // Its end came after its last words, though they had none.
    let places = ["agent: no end\n", "agent: exited with code 3"].map(|it| said.find(it).unwrap());
    assert!(places.is_sorted(), "{said}");
    until("status has its last words", || device.says("status", &[]).contains("| no end\n"));
    let said = device.says("status", &[]);
    assert!(said.contains("  | \u{fffd}[2J\u{fffd}\u{fffd}\n"), "{said}");
    let json = device.says("status", &["--json"]);
    assert!(json.contains(r#"" x","no end"]"#), "{json}");
    watchdog.stop();
}

#[test]
fn a_flood_is_cut_short_and_holds_nobody_up() {
    // 10 MB of lines, then 10 MB without one.
    let flood = "yes 0123456789012345678 | head -c 10000000; head -c 10000000 /dev/zero; \
                 echo; echo last words; exit 5";
    let device = Device::new(
        &("[log]\nlines-in-10s = 50\n".to_owned()
            + &script("flood", flood).replace("50ms", "1h")
            + "critical = false\nrestart-delay-max = \"1h\"\n"
            + &common::example_service("agent", &["ready", "beat"])),
    );
    let mut watchdog = device.start();
    watchdog.logs("flood: exited with code 5");
    let said = device.logs(&[]);
    assert!(said.contains(" lines left out\n"), "{said}");
    let lines = said.lines().filter(|line| line.contains("] flood: 0123")).count();
    // A slow machine may take several windows of 10 s.
    assert!((50..5000).contains(&lines), "{lines}");
    assert!(said.contains("] flood: last words\n"), "{said}");
    assert!(!said.contains("no heartbeat"), "{said}");
    until("status has its last words", || device.says("status", &[]).contains("| last words\n"));
    watchdog.stop();
}

#[test]
fn a_watchdog_that_dies_leaves_the_log_and_the_next_one_goes_on() {
    let device = Device::new(&script("agent", "echo here is $$; exec sleep 60"));
    let mut watchdog = device.start();
    watchdog.prints("here is");
    watchdog.signal(Signal::SIGKILL);
    watchdog.ends();
    let before = device.logs(&[]);
    assert!(before.contains("agent: here is "), "{before}");
    // It died in the middle of a line.
    let log = device.path("run/log");
    fs::write(&log, before.clone() + "[    1.000] ag").unwrap();
    let mut watchdog = device.start();
    watchdog.prints("here is");
    until("it is shown", || device.logs(&[]).matches("here is").count() == 2);
    assert!(device.logs(&[]).starts_with(&(before + "[    1.000] ag\n[")));
    watchdog.stop();
}

#[test]
fn what_was_said_before_a_failure_outlives_the_tmpfs() {
    let crash = "echo about to fall; exit 3";
    let device = Device::new(
        &(script("agent", crash).replace("50ms", "1h") + "restart-delay-max = \"1h\"\n"),
    );
    let mut watchdog = device.start();
    watchdog.logs("exited with code 3");
    let kept = || fs::read_to_string(device.path("state/log")).unwrap_or_default();
    until("it is kept", || kept().contains("agent: exited with code 3"));
    watchdog.signal(Signal::SIGKILL);
    watchdog.ends();
    // As with a reset.
    fs::remove_dir_all(device.path("run")).unwrap();
    let said = device.logs(&["--persistent"]);
    let places = ["agent: about to fall", "agent: exited with code 3"];
    assert!(places.map(|part| said.find(part).unwrap()).is_sorted(), "{said}");
    let arguments = device.arguments("log", &[]);
    let (code, said) = run(&arguments.iter().map(String::as_str).collect::<Vec<_>>());
    assert!(code == Some(1) && said.contains("no log"), "{said}");
}

#[test]
fn a_reset_leaves_the_lines_before_it() {
    // The record says which reset was meant; the log, what led to it.
    let folder = tempfile::tempdir().unwrap();
    let reboot = folder.path().join("rebooted");
    let device = Device::new(
        &(format!(
            "[escalation]\nreboot-command = [\"/bin/cp\", \"-r\", \"STATE\", {reboot:?}]\n\
             failures-per-hour = 1\n"
        ) + &script("quiet", "echo saw it coming; exec sleep 60")
            + &script("agent", "sleep 0.1; echo falls; exit 3")
            + "broken-failures = 1\n"),
    );
    let config = device.config.replace("STATE", device.path("state").to_str().unwrap());
    let mut watchdog = Watchdog::start(&config);
    watchdog.logs(": rebooting");
    // What lies on storage when the device is told to reboot.
    let copy = reboot.join("log");
    let said = || fs::read_to_string(&copy).unwrap_or_default();
    until("it is told to reboot", || said().contains(": rebooting\n"));
    let said = said();
    assert!(said.contains("] quiet: saw it coming\n"), "{said}");
    assert!(said.contains("] agent: falls\n"), "{said}");
    watchdog.stop();
}

/// A program that can't be had in vain.
fn storage_is_refused(device: &Device, words: &str) {
    let mut watchdog = device.start();
    watchdog.logs(words);
    watchdog.logs("exited with code 3");
    watchdog.starts("agent");
    assert!(device.logs(&[]).contains("agent: falls\n"));
    watchdog.stop();
}

#[test]
fn storage_that_is_missing_disturbs_nothing() {
    let device = Device::new(&script("agent", "sleep 0.1; echo falls; exit 3"));
    fs::write(device.path("state"), "a file in the way").unwrap();
    storage_is_refused(&device, "record.toml can't be read");
}

#[test]
fn storage_that_is_full_disturbs_nothing() {
    let device = Device::new(&script("agent", "sleep 0.1; echo falls; exit 3"));
    let state = device.path("state");
    fs::create_dir(&state).unwrap();
    let mount = |arguments: &[&str]| {
        let output = Command::new("mount").args(arguments).arg(&state).output();
        output.is_ok_and(|output| output.status.success())
    };
    if !mount(&["-t", "tmpfs", "-o", "size=16k", "none"]) {
        eprintln!("skipped: only root can mount a small file system");
        return;
    }
    let unmount = Unmount(&state);
    fs::write(state.join("ballast"), vec![0; 64 * 1024]).unwrap_err();
    storage_is_refused(&device, "not written: No space left");
    // And when there is room again, it is used.
    fs::remove_file(state.join("ballast")).unwrap();
    let mut watchdog = device.start();
    watchdog.starts("agent");
    watchdog.stop();
    assert!(device.logs(&["--persistent"]).contains("stopping\n"));
    drop(unmount);
}

struct Unmount<'a>(&'a Path);

impl Drop for Unmount<'_> {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.0).status();
    }
}

#[test]
fn the_console_shows_what_it_is_told_to() {
    let service = script("agent", "sleep 0.1; echo falls; exit 3");
    let device = Device::new(&("[log]\nconsole = \"warnings\"\n".to_owned() + &service));
    let mut watchdog = device.start();
    watchdog.logs("exited with code 3");
    watchdog.logs("exited with code 3");
    assert_eq!(watchdog.times_logged("started as process"), 0);
    device.until_logged("agent: falls");
    watchdog.signal(Signal::SIGTERM);
    watchdog.ends();
    assert!(!watchdog.has_printed("falls"));
    // The command line has the last word.
    let mut child = Command::new(env!("CARGO_BIN_EXE_peercam-watchdog"))
        .args(["--console=none", "--config", device.path("watchdog.toml").to_str().unwrap()])
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    until("it began anew", || device.logs(&[]).matches("agent: falls").count() > 4);
    let child_pid = nix::unistd::Pid::from_raw(child.id() as i32);
    nix::sys::signal::kill(child_pid, Signal::SIGTERM).unwrap();
    child.wait().unwrap();
    let mut text = String::new();
    child.stderr.take().unwrap().read_to_string(&mut text).unwrap();
    assert_eq!(text, "");
}

#[test]
fn a_console_that_takes_nothing_holds_nobody_up() {
    // Nobody reads these pipes, and they are full soon.
    let device = Device::new(
        &("[log]\nlines-in-10s = 100000\n".to_owned()
            + &script("flood", "yes 01234567890123456789 | head -c 1000000; exec sleep 60")
            + &common::example_service("agent", &["ready", "beats=8", "exit=7"])),
    );
    let mut child = Command::new(env!("CARGO_BIN_EXE_peercam-watchdog"))
        .args(["--config", device.path("watchdog.toml").to_str().unwrap()])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    device.until_logged("agent: exited with code 7");
    let said = device.logs(&[]);
    assert!(!said.contains("no heartbeat"), "{said}");
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn the_command_line_explains_itself() {
    let said = |arguments: &[&str]| {
        let (code, said) = run(arguments);
        assert_eq!(code, Some(2), "{said}");
        said
    };
    assert!(said(&["status", "--follow"]).contains("go with log"));
    assert!(said(&["log", "--follow", "--persistent"]).contains("two things"));
    assert!(said(&["log", "--service"]).contains("the name of a service"));
    assert!(said(&["log", "--console", "all"]).contains("two things"));
    assert!(said(&["--console", "loud"]).contains("all, warnings or none"));
    assert!(said(&["log", "--json=yes"]).contains("is not known"));
    let (_, help) = run(&["--help"]);
    assert!(help.contains("log [--follow] [--service NAME] [--persistent]"), "{help}");
    for (key, value, hint) in [
        ("size-kb", "31", "use 32 to 16384"),
        ("kept-kb", "100000", "use 32 to 16384"),
        ("lines-in-10s", "0", "use 1 to 100000"),
        ("console", "\"loud\"", "loud"),
    ] {
        let (code, said) =
            check(&(format!("[log]\n{key} = {value}\n") + &script("agent", "exit 0")));
        assert!(code == Some(2) && said.contains(hint), "{said}");
    }
}
