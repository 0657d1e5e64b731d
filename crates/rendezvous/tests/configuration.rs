//! The configuration file: what it may say, and what it is told otherwise.
#![allow(clippy::unwrap_used)]

use std::{collections::BTreeSet, time::Duration};

use peercam_rendezvous::Config;

const EXAMPLE: &str = include_str!("../rendezvous.example.toml");

#[test]
fn the_example_says_what_holds_without_it() {
    assert_eq!(Config::from_toml(EXAMPLE, "example").unwrap(), Config::default());
}

#[test]
fn the_example_shows_every_key() {
    // What an unknown key is told: the names of all known ones.
    let known = |text: &str| -> BTreeSet<String> {
        let error = Config::from_toml(text, "f").unwrap_err().to_string();
        let (_, names) = error.split_once("expected ").unwrap();
        names.split('`').skip(1).step_by(2).map(str::to_owned).collect()
    };
    let mut missing = Vec::new();
    let tables = ["tls", "admin", "metrics", "log", "rooms", "limits", "liveness", "cluster"];
    let tables = tables.into_iter().map(|name| format!("[{name}]\n?"));
    let lists = ["ice-servers", "webhooks"].into_iter().map(|name| format!("[[{name}]]\n?"));
    for text in ["?".to_owned()].into_iter().chain(tables).chain(lists) {
        let keys = known(&text.replace('?', "nothing = 1"));
        assert!(!keys.is_empty());
        missing.extend(keys.into_iter().filter(|key| {
            let shown = |line: &str| {
                let line = line.trim_start_matches("# ");
                line.starts_with(&format!("{key} = ")) || line.contains(&format!("[{key}]"))
            };
            !EXAMPLE.lines().any(shown)
        }));
    }
    assert!(missing.is_empty(), "not in rendezvous.example.toml: {missing:?}");
}

#[test]
fn the_commented_out_part_of_the_example_is_right_too() {
    let text: String = EXAMPLE
        .lines()
        .skip_while(|line| *line != "# [[ice-servers]]")
        .take_while(|line| line.starts_with('#'))
        .map(|line| line.trim_start_matches('#').trim_start_matches(' ').to_owned() + "\n")
        .filter(|line| line.starts_with('[') || line.contains(" = "))
        .collect();
    let secret = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(&secret, "north\n").unwrap();
    let text = text.replace("/etc/peercam/turn-secret", secret.path().to_str().unwrap());
    let config = Config::from_toml(&text, "example").unwrap();
    assert_eq!(config.ice_servers.len(), 2);
    assert_eq!(config.ice_servers[1].credential.as_deref(), Some("change me"));
    assert_eq!(config.turn_servers.len(), 1);
    assert_eq!(config.turn_servers[0].ttl, Duration::from_secs(12 * 3600));
}

#[test]
fn the_cluster_of_the_example_is_right_too() {
    let text: String = EXAMPLE
        .lines()
        .skip_while(|line| *line != "# [cluster]")
        .map(|line| line.trim_start_matches("# ").to_owned() + "\n")
        .filter(|line| line.starts_with('[') || line.contains(" = "))
        .collect();
    let cluster = Config::from_toml(&text, "example").unwrap().cluster.unwrap();
    assert_eq!(cluster.servers.len(), 2);
    assert_eq!((cluster.name.as_str(), cluster.node.as_str()), ("peercam", "rendezvous-1"));
}

#[test]
fn a_cluster_that_cannot_be_is_refused_without_its_passwords() {
    for (text, words) in [
        ("nats = []", "nats is empty"),
        ("nats = \"http://user:secret@host\"", "nats://HOST:PORT"),
        ("nats = [\"nats://host\", \"nats://user:secret@\"]", "URL 2"),
        ("nats = [\"nats://user:secret@a\", \"nats://b\"]", "different users"),
        ("nats = \"nats://secret@a\"\ncredentials-file = \"f\"", "one of them"),
        ("nats = \"nats://host\"\nname = \"a.b\"", "name = \"a.b\""),
        ("nats = \"nats://host\"\nreplicas = 6", "use 1 to 5"),
        ("nats = \"nats://host\"\nremote-viewers = 0", "1 or more"),
        ("nats = \"nats://host\"\nkey-file = \"k\"", "belong together"),
    ] {
        let error = Config::from_toml(&format!("[cluster]\n{text}"), "f").unwrap_err().to_string();
        assert!(error.starts_with("f:1: ") && error.contains(words), "{text}: {error}");
        assert!(!error.contains("secret"), "{error}");
    }
}

#[test]
fn whoever_nats_takes_the_node_for_is_shown_nowhere() {
    for url in ["nats://secret:secret%40@host:4", "tls://secret@host:4"] {
        let config = Config::from_toml(&format!("[cluster]\nnats = {url:?}"), "f").unwrap();
        let shown = format!("{:?}", config.cluster);
        assert!(shown.contains("hidden") && !shown.contains("secret"), "{shown}");
    }
}

#[test]
fn what_is_said_is_done_and_the_rest_stays() {
    let text = "listen = \"[::1]:9\"\ntrusted-proxies = [\"127.0.0.1\"]\n\
                [limits]\nrooms = 7\n[liveness]\nping-seconds = 1\ndead-seconds = 2\n";
    let config = Config::from_toml(text, "f").unwrap();
    assert_eq!(config.listen, "[::1]:9".parse().unwrap());
    assert_eq!(config.trusted_proxies.len(), 1);
    assert_eq!(config.limits.rooms, 7);
    assert_eq!(config.limits.viewers_per_room, Config::default().limits.viewers_per_room);
    assert_eq!(config.liveness.ping_every, Duration::from_secs(1));
    assert_eq!(config.liveness.dead_after, Duration::from_secs(2));
}

#[test]
fn every_mistake_is_one_line_that_names_place_thing_and_way_out() {
    for (text, line, names) in [
        ("\n\nlimit = 3", 3, "`limit`"),
        ("listen = \"::1\"\nlisten = 3", 2, "duplicate key"),
        ("\nlisten = \"8080\"", 2, "ADDRESS:PORT"),
        ("listen = 8080", 1, "string"),
        ("trusted-proxies = [\n  \"127.0.0.1\",\n  \"proxy\",\n]", 3, "\"proxy\" is no IP address"),
        ("[limits]\nrooms = \"many\"", 2, "usize"),
        ("[limits]\nrooms = -1", 2, "-1"),
        ("[limits]\nroom = 1", 2, "`room`"),
        ("\n[limits]\nrooms = 0", 2, "rooms = 0"),
        ("[limits]\nmessage-bytes = 100000", 1, "1024 to 65536"),
        ("[limits]\nviewer-queue-bytes = 70000", 1, "use 131072 or more"),
        ("[liveness]\nping-seconds = 30", 1, "dead-seconds = 30"),
        ("[liveness]\nping-seconds = 0", 1, "1 or more"),
        ("[[ice-servers]]\nurls = []", 1, "urls is empty"),
        ("[[ice-servers]]\nurls = [\"http://x\"]", 1, "\"http://x\""),
        ("[[ice-servers]]\nurls = [\"turn:x:3478\"]", 1, "username and credential"),
        ("[[ice-servers]]\nurls = [\"turn:x\"]\nsecret-file = \"s\"", 1, "an absolute path"),
        (
            "[[ice-servers]]\nurls = [\"turn:x\"]\nsecret-file = \"/no/such\"",
            1,
            "/no/such: No such",
        ),
        (
            "[[ice-servers]]\nurls = [\"turn:x\"]\nsecret-file = \"/dev/null\"",
            1,
            "static-auth-secret",
        ),
        (
            "[[ice-servers]]\nurls = [\"turn:x\"]\nsecret-file = \"/s\"\nusername = \"u\"",
            1,
            "leave username",
        ),
        (
            "[[ice-servers]]\nurls = [\"turn:x\"]\nsecret-file = \"/s\"\nttl-seconds = 5",
            1,
            "60 to 604800",
        ),
        ("[[ice-servers]]\nurls = [\"stun:x\"]\nttl-seconds = 60", 1, "there is none"),
        ("state-dir = \"here\"", 1, "an absolute path"),
        ("public-names = [\"https://cam.example\"]", 1, "HOST:PORT"),
        ("[rooms]\nallow-keys = [\"x\"]", 2, "a public key is 43 characters"),
        ("[rooms]\nallow-rooms = [\"A\"]", 2, "'A'"),
        ("[[ice-servers]]\nurl = \"stun:x\"", 2, "`url`"),
        ("listen = ", 1, "f:1"),
    ] {
        let error = Config::from_toml(text, "f").unwrap_err().to_string();
        assert!(error.starts_with(&format!("f:{line}: ")), "{text:?}: {error}");
        assert!(error.contains(names), "{text:?}: {error}");
        assert!(!error.contains('\n'), "{error}");
    }
}

#[test]
fn a_credential_is_not_repeated_in_an_error() {
    let text = "[[ice-servers]]\nurls = [\"http://x\"]\nusername = \"u\"\ncredential = \"hunter2\"";
    let error = Config::from_toml(text, "f").unwrap_err().to_string();
    assert!(!error.contains("hunter2"), "{error}");
}
