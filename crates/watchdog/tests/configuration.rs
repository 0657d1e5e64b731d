//! A configuration with a fault in it: one line that names the thing and the way out, exit code 2.

mod common;

use common::{check, run, script};
use peercam_watchdog::config::Config;

/// The fault is found, and its one line holds all `parts`.
fn refused(config: &str, parts: &[&str]) {
    let (code, said) = check(config);
    assert_eq!(code, Some(2), "{said}");
    assert_eq!(said.trim_end().lines().count(), 1, "{said}");
    for part in parts {
        assert!(said.contains(part), "{part:?} is not in {said}");
    }
}

#[test]
fn the_installed_configuration_is_valid() {
    let file =
        concat!(env!("CARGO_MANIFEST_DIR"), "/../../rootfs-overlay/etc/peercam/watchdog.toml");
    let config = Config::read(file.as_ref()).unwrap();
    let agent = &config.services[0];
    assert_eq!((agent.name.as_str(), agent.user.as_deref()), ("agent", Some("peercam")));
    assert!(agent.critical);
    // Where /data is a tmpfs, a file is in the way of the record, or resets would have no bound.
    let data = concat!(env!("CARGO_MANIFEST_DIR"), "/../../rootfs-overlay/etc/init.d/data");
    let state_dir = config.state_dir.unwrap();
    let blocks = format!("    touch {}\n", state_dir.display());
    assert!(std::fs::read_to_string(data).unwrap().contains(&blocks), "{blocks}");
    let hardware = config.hardware.unwrap();
    let time = hardware.timeout - hardware.pretimeout.unwrap();
    assert!(agent.policy.stable_after < time, "or it can't recover in time");
    // Every default that the comments name is what a file without the key gets.
    let bare = Config::parse("[[service]]\nname = \"a\"\ncommand = [\"/a\"]", "bare").unwrap();
    let bare = &bare.services[0];
    let (said, real) = (&agent.policy, &bare.policy);
    assert_eq!(said.restart_delay, real.restart_delay);
    assert_eq!(said.restart_delay_max, real.restart_delay_max);
    assert_eq!(said.stable_after, real.stable_after);
    assert_eq!(said.broken_after, real.broken_after);
    assert_eq!(said.broken_failures, real.broken_failures);
    assert_eq!(said.restart, real.restart);
    assert_eq!(agent.working_directory, bare.working_directory);
    let escalation = config.escalation.unwrap();
    let bare = "state-dir = \"/a\"\n[escalation]\nreboot-command = [\"/a\"]\n\
                [[service]]\nname = \"a\"\ncommand = [\"/a\"]";
    assert_eq!(escalation.limits, Config::parse(bare, "bare").unwrap().escalation.unwrap().limits);
    let safe = agent.safe_command.as_ref().unwrap();
    assert_eq!(safe.0, agent.program);
    assert_eq!(safe.1[..4], agent.arguments[..]);
}

#[test]
fn the_installed_fallback_is_the_camera_in_safe_mode() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../rootfs-overlay/etc/peercam/");
    let path = std::path::Path::new(folder).join("watchdog.toml");
    let own = Config::read(&path).unwrap();
    let fallback = Config::read(&Config::fallback(&path)).unwrap();
    assert_eq!((&own.refusals, &fallback.refusals), (&vec![], &vec![]));
    let [agent] = &fallback.services[..] else { unreachable!("{:?}", fallback.services) };
    let normal = &own.services[0];
    let command = (agent.program.clone(), agent.arguments.clone());
    assert_eq!(Some(&command), normal.safe_command.as_ref());
    assert_eq!((&agent.user, &agent.groups), (&normal.user, &normal.groups));
    assert_eq!(agent.environment, normal.environment);
    let folders = |config: &Config| (config.state_dir.clone(), config.runtime_dir.clone());
    assert_eq!(folders(&own), folders(&fallback));
    assert_eq!((own.hardware, own.escalation), (fallback.hardware, fallback.escalation));
}

#[test]
fn an_escalation_without_sense_is_named() {
    let with = |keys: &str| {
        let head = "state-dir = \"/nonexistent\"\n[escalation]\n";
        head.to_owned() + keys + "\n" + &script("agent", "true")
    };
    refused(&with(""), &["missing field `reboot-command`"]);
    refused(&with("reboot-command = []"), &["[escalation]: reboot-command is empty"]);
    refused(&with("reboot-command = [\"reboot\"]"), &["\"reboot\"", "absolute path"]);
    refused(&with("reboot-command = [\"/no/reboot\"]"), &["/no/reboot: No such file"]);
    let limit = |limit: &str| with(&format!("reboot-command = [\"/bin/true\"]\n{limit}"));
    refused(&limit("resets-per-day = 13"), &["resets-per-day 13: use 0 to 12"]);
    refused(&limit("safe-mode-after = 0"), &["safe-mode-after 0: use 1 to 1000"]);
    refused(&limit("failures-per-hour = 0"), &["failures-per-hour 0"]);
    let homeless = limit("").replace("state-dir = \"/nonexistent\"\n", "");
    refused(&homeless, &["[escalation]", "needs state-dir"]);
    refused(&limit("").replace("/nonexistent", "relative"), &["state-dir", "absolute path"]);
    let config = script("agent", "true") + "safe-command = [\"/no/safe\"]\n";
    refused(&config, &["service \"agent\": /no/safe: No such file"]);
}

#[test]
fn a_good_configuration_is_called_so() {
    let (code, said) = check(&script("agent", "true"));
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("watchdog.toml: good on this machine"));
}

#[test]
fn a_typo_is_named_with_its_line() {
    let config = script("agent", "true") + "hartbeat = \"10s\"\n";
    refused(
        &config,
        &[
            "watchdog.toml:6: ",
            "service \"agent\" is left out: unknown field `hartbeat`",
            "`heartbeat`",
        ],
    );
    refused("[hardwear]\n", &[":1: ", "`hardwear`", "`hardware`"]);
}

#[test]
fn a_wrong_type_is_named_with_its_line() {
    let config = script("agent", "true") + "critical = \"yes\"\n";
    refused(&config, &[":6: ", "\"yes\"", "expected a boolean"]);
    refused("[[service]]\nname = 7\n", &[":2: ", "`7`", "expected a string"]);
    refused("[[service]\n", &["watchdog.toml:1: "]);
    refused("[service]\nname = \"agent\"\n", &["watchdog.toml:1: write [[service]]"]);
    refused("service = [7]\n", &["watchdog.toml:1: ", "(no name)", "`7`", "expected a table"]);
}

#[test]
fn a_duration_without_sense_is_named() {
    for bad in ["10", "s", "-1s", "0s", "1.5s", "25h", "99999999999999999999s", "10 s", "١s"] {
        let config = script("agent", "true") + &format!("heartbeat = {bad:?}\n");
        refused(&config, &[":6: ", "is no duration: write 500ms, 15s, 2m or 1h"]);
    }
}

#[test]
fn a_missing_program_is_named() {
    let config = common::service("agent", &["/usr/bin/no-such-agent"]);
    refused(&config, &["service \"agent\": /usr/bin/no-such-agent: No such file"]);
    let config = common::service("agent", &["/etc/passwd"]);
    refused(&config, &["/etc/passwd: not an executable file"]);
}

#[test]
fn an_unknown_user_or_group_is_named() {
    let config = script("agent", "true") + "user = \"no-such-user\"\n";
    refused(&config, &["service \"agent\"", "no user \"no-such-user\""]);
    let config = script("agent", "true") + "user = \"root\"\ngroups = [\"no-such-group\"]\n";
    refused(&config, &["service \"agent\"", "no group \"no-such-group\""]);
}

#[test]
fn values_that_cannot_be_meant_are_named() {
    let agent = || script("agent", "true");
    refused("", &["[[service]]: there is none"]);
    refused(&(agent() + &agent()), &["watchdog.toml:7: service \"agent\"", "twice"]);
    refused(&(agent() + "after = [\"nobody\"]"), &["watchdog.toml:2: ", "after \"nobody\""]);
    refused(&(agent() + "open-files = 15"), &["open-files", "less than 16"]);
    refused(&(agent() + "tasks = 0"), &["tasks 0"]);
    for size in ["200", "0MiB", "200MB", "1.5GiB", "-1KiB", "99999999999GiB", "200 MiB"] {
        let said = [":6: ", "is no amount of memory: write 512KiB, 200MiB or 1GiB"];
        refused(&(agent() + &format!("memory = {size:?}")), &said);
    }
    refused(&script("Agent 1", "true"), &["a-z, 0-9 and '-'"]);
    refused(&common::service("agent", &[]), &["command is empty"]);
    refused(&common::service("agent", &["sh"]), &["\"sh\"", "absolute path"]);
    refused(&(agent() + "groups = [\"video\"]"), &["groups without user"]);
    refused(&(agent() + "restart-delay-max = \"1ms\""), &["50ms is longer than restart-delay-max"]);
    refused(&(agent() + "ready-timeout = \"60s\""), &["60s is not below broken-after 60s"]);
    refused(&(agent() + "broken-failures = 0"), &["broken-failures 0"]);
    refused(&(agent() + "working-directory = \"data\""), &["working-directory", "absolute"]);
    refused(&(agent() + "environment = { NOTIFY_SOCKET = \"/x\" }"), &["NOTIFY_SOCKET"]);
    refused(&(agent() + "environment = { \"A=B\" = \"\" }"), &["\"A=B\""]);
    let hardware = |text: &str| format!("[hardware]\n{text}\n{}", agent());
    refused(&hardware("timeout = \"1500ms\""), &["[hardware]", "1.5s", "whole seconds"]);
    refused(&hardware("device = \"watchdog\""), &["[hardware]", "\"watchdog\"", "absolute"]);
    refused(&hardware("pretimeout = \"1500ms\""), &["pretimeout 1.5s", "whole seconds"]);
    refused(&hardware("pretimeout = \"15s\""), &["pretimeout 15s is not below timeout 15s"]);
}

#[test]
fn a_missing_file_or_argument_is_named() {
    let (code, said) = run(&["--config", "/nonexistent.toml"]);
    assert_eq!(code, Some(2));
    assert!(said.contains("/nonexistent.toml: No such file"), "{said}");
    for arguments in [&[][..], &["--config"], &["--confg=x"], &["stat"], &["--json"]] {
        let (code, said) = run(arguments);
        assert_eq!(code, Some(2));
        assert!(said.contains("see peercam-watchdog --help"), "{said}");
    }
    assert_eq!(run(&["--help"]).0, Some(0));
}

#[test]
fn what_is_no_file_of_a_sensible_size_is_refused_at_once() {
    let (code, said) = run(&["--config", "/dev/zero", "--check-config"]);
    assert_eq!(code, Some(2));
    assert!(said.contains("/dev/zero: it has more than 1048576 bytes"), "{said}");
    let folder = tempfile::tempdir().unwrap();
    let fifo = folder.path().join("fifo.toml");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRUSR).unwrap();
    let (code, said) = run(&["--config", fifo.to_str().unwrap(), "--check-config"]);
    assert_eq!(code, Some(2));
    assert!(said.contains("[[service]]: there is none"), "{said}");
}

#[test]
fn a_monitor_without_sense_is_named() {
    let with = |keys: &str| format!("[[monitor]]\n{keys}\n") + &script("agent", "true");
    refused(&with("what = \"moon\"\nwarning = 1"), &[":2: ", "`moon`", "`memory-pressure`"]);
    refused(&with("what = \"load\""), &["monitor \"load\" is left out: give it a limit"]);
    refused(&with("what = \"load\"\nwarning = 0"), &["a limit of 0"]);
    refused(&with("what = \"load\"\nwarning = 2\ncritical = 1"), &["2 is above critical 1"]);
    refused(
        &with("what = \"data-space\"\nwarning = 80"),
        &["\"data-space\" is left out: needs state-dir"],
    );
    let escalate = with("what = \"load\"\ncritical = 80\nescalate = true");
    refused(&escalate, &["escalate needs a critical limit, and [escalation]"]);
    let twice = "what = \"load\"\nwarning = 1\n[[monitor]]\nwhat = \"load\"\nwarning = 1";
    refused(&with(twice), &[":4: monitor \"load\" is left out: stands there twice"]);
}
