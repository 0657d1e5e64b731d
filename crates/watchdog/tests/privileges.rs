//! A service has the rights of its user, and can gain no others.

mod common;

use std::io::{Write, stderr};

use common::{Watchdog, script};

const SELF: &str = "id -nu; echo groups $(id -nG); grep -E 'NoNewPrivs|SigBlk|^Cap' /proc/self/status; \
                    echo core $(ulimit -S -c) $(ulimit -H -c); \
                    env; echo in $(pwd) reads $(readlink /proc/self/fd/0); echo end; sleep 3600";

#[test]
fn a_service_runs_as_its_user_with_its_groups() {
    if !nix::unistd::geteuid().is_root() {
        // Past the test harness, which hides what passing tests print.
        let _ = writeln!(stderr(), "not tested: only root can start a service as another user");
        return;
    }
    let config = script("agent", SELF) + "user = \"nobody\"\ngroups = [\"video\", \"audio\"]\n";
    let mut watchdog = Watchdog::start(&config);
    watchdog.prints("nobody");
    let groups = watchdog.prints("groups ");
    let mut groups: Vec<&str> = groups.split(' ').skip(1).collect();
    groups.sort_unstable();
    assert_eq!(groups, ["audio", "nogroup", "video"], "and none of root's");
    for set in ["Inh", "Prm", "Eff", "Bnd", "Amb"] {
        watchdog.prints(&format!("Cap{set}: 0000000000000000"));
    }
    watchdog.prints("end");
    assert!(watchdog.has_printed("USER=nobody") && watchdog.has_printed("HOME=/"));
    watchdog.stop();
}

#[test]
fn a_service_gains_no_rights_and_inherits_nothing_but_what_it_is_given() {
    let config =
        script("agent", SELF) + "environment = { COLOUR = \"blue\" }\nheartbeat = \"4s\"\n";
    let mut watchdog = Watchdog::start(&config);
    watchdog.prints("SigBlk: 0000000000000000");
    watchdog.prints("NoNewPrivs: 1");
    watchdog.prints("core 0 0");
    watchdog.prints("end");
    for line in ["COLOUR=blue", "WATCHDOG_USEC=4000000", "in / reads /dev/null"] {
        assert!(watchdog.has_printed(line), "{line}");
    }
    assert!(!watchdog.has_printed("CARGO"), "the environment of the watchdog stays with it");
    watchdog.stop();
}
