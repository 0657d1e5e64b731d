//! `peercam-watchdog status`: how things are, and how they were when nobody can be asked.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::fs;

use common::{Watchdog, example_service, run, script, until};
use nix::sys::signal::Signal;

/// What `status` says for the configuration of a running watchdog, and its exit code.
fn status(watchdog: &Watchdog, options: &[&str]) -> (Option<i32>, String) {
    let config = watchdog.folder.path().join("watchdog.toml");
    run(&[&["status", "--config", config.to_str().unwrap()], options].concat())
}

fn folders(folder: &tempfile::TempDir) -> String {
    let path = |name| folder.path().join(name);
    format!("state-dir = {:?}\nruntime-dir = {:?}\n", path("state"), path("run"))
}

#[test]
fn services_are_shown_with_their_own_words_and_what_was_recorded() {
    let folder = tempfile::tempdir().unwrap();
    let config = folders(&folder)
        + "[hardware]\ndevice = \"/nonexistent/watchdog\"\n"
        + &example_service("agent", &["status=counting \"sheep\"", "ready", "beat"])
        + &script("crasher", "exit 3").replace("50ms", "1m")
        + "critical = false\nrestart-delay-max = \"1m\"\n";
    let watchdog = Watchdog::start(&config);
    let waits = |text: &str| text.contains("crasher: waiting, 1 failure in a row");
    until("both are shown", || {
        let (code, said) = status(&watchdog, &[]);
        code == Some(0) && said.contains("service agent: up for") && waits(&said)
    });
    let (_, said) = status(&watchdog, &[]);
    assert!(said.contains("waiting for nobody"), "{said}");
    assert!(said.contains("hardware /nonexistent/watchdog: there is none"), "{said}");
    assert!(said.contains("starts of the device: 1"), "{said}");
    assert!(said.contains("crasher failed once, last: exited with code 3"), "{said}");
    let (code, said) = status(&watchdog, &["--json"]);
    assert_eq!(code, Some(0));
    assert!(said.starts_with('{') && said.ends_with("}\n"), "{said}");
    assert!(said.contains(r#""name":"agent""#) && said.contains(r#""state":"up""#), "{said}");
    watchdog.stop();
}

#[test]
fn services_can_read_how_the_device_is() {
    let folder = tempfile::tempdir().unwrap();
    let agent = "sleep 0.1; until grep -q 'failures = 1' $PEERCAM_STATUS; do sleep 0.1; done; \
                 cat $PEERCAM_STATUS; exec sleep 60";
    let agent =
        format!("[ -e {0:?} ] || {{ touch {0:?}; exit 3; }}; {agent}", folder.path().join("once"));
    let record = "version = 1\nboots = 1\nboot-id = \"another\"\nuptime-seconds = 9000\n";
    fs::create_dir(folder.path().join("state")).unwrap();
    fs::write(folder.path().join("state/record.toml"), record).unwrap();
    let mut watchdog = Watchdog::start(&(folders(&folder) + &script("agent", &agent)));
    // What the agent reads (crates/agent/src/device.rs).
    for line in ["resetting = false", "[record]", "boots = 2", "resets-in-a-row = 1"] {
        watchdog.prints(line);
    }
    watchdog.prints("[record.services.agent]");
    watchdog.prints("failures = 1");
    for line in ["earlier-seconds = 9000", "[[record.resets]]", "kind = \"unknown\"", "reason = "] {
        until(line, || {
            let text = fs::read_to_string(folder.path().join("run/status.toml"));
            text.is_ok_and(|text| text.contains(line))
        });
    }
    watchdog.stop();
}

#[test]
fn what_a_watchdog_that_was_killed_had_told_is_not_forgotten() {
    let folder = tempfile::tempdir().unwrap();
    let crasher =
        script("crasher", "exit 3").replace("50ms", "1m") + "restart-delay-max = \"1m\"\n";
    let config = folders(&folder) + &crasher;
    let mut first = Watchdog::start(&config);
    first.logs("crasher: exited with code 3");
    let failed_once = "crasher failed once, last: exited with code 3";
    until("it is shown", || status(&first, &[]).1.contains(failed_once));
    // What can wait for a minute is not written yet.
    let file = folder.path().join("state/record.toml");
    until("the first record", || file.exists());
    let written = || fs::read_to_string(&file).unwrap();
    assert!(!written().contains("crasher"), "{}", written());
    first.signal(Signal::SIGKILL);
    first.ends();

    let steady = script("crasher", "exec sleep 60");
    let mut second = Watchdog::start(&(folders(&folder) + &steady));
    second.logs("crasher: up");
    until("it is remembered", || status(&second, &[]).1.contains(failed_once));
    second.signal(Signal::SIGTERM);
    second.ends();
    assert!(written().contains("exited with code 3"), "{}", written());
}

#[test]
fn without_a_watchdog_the_record_is_shown_and_it_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let config = folders(&folder) + &script("agent", "exec sleep 60");
    let mut watchdog = Watchdog::start(&config);
    watchdog.logs("agent: up");
    watchdog.signal(Signal::SIGTERM);
    watchdog.ends();
    let (code, said) = status(&watchdog, &[]);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("status.toml: the watchdog that wrote it runs no more"), "{said}");
    assert!(said.contains("starts of the device: 1"), "{said}");
    fs::remove_dir_all(folder.path().join("run")).unwrap();
    let (_, said) = status(&watchdog, &[]);
    assert!(said.contains("does the watchdog run?"), "{said}");
}

#[test]
fn what_goes_on_is_rewritten_when_it_changes_and_at_no_other_time() {
    let folder = tempfile::tempdir().unwrap();
    let config = folders(&folder) + &example_service("agent", &["ready", "beat"]);
    let mut watchdog = Watchdog::start(&config);
    watchdog.logs("agent: up");
    let file = folder.path().join("run/status.toml");
    until("it is shown", || fs::read_to_string(&file).is_ok_and(|it| it.contains("\"up\"")));
    // A draft takes its place each time: another file, with another inode.
    let number = || std::os::unix::fs::MetadataExt::ino(&fs::metadata(&file).unwrap());
    let before = (number(), fs::metadata(&file).unwrap().modified().unwrap());
    std::thread::sleep(std::time::Duration::from_secs(4));
    assert_eq!((number(), fs::metadata(&file).unwrap().modified().unwrap()), before);
    watchdog.stop();
}

#[test]
fn what_is_watched_is_told_of_and_shown() {
    let folder = tempfile::tempdir().unwrap();
    // Any file system has something in it, and any process a descriptor.
    let config = folders(&folder)
        + "[[monitor]]\nwhat = \"descriptors\"\nwarning = 1\ncritical = 100\n\
           [[monitor]]\nwhat = \"load\"\nwarning = 1000000000\n"
        + &script("agent", "ulimit -n 20; exec sleep 60");
    let mut watchdog = Watchdog::start(&config);
    watchdog.logs("agent: up");
    let line = watchdog.logs("descriptors: ");
    assert!(line.contains("%, warning from 1 % on"), "{line}");
    until("it is shown", || {
        let (_, said) = status(&watchdog, &[]);
        said.contains("%, warning\n") && said.contains("load: ")
    });
    watchdog.stop();
}
