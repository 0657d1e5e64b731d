//! The program as an init system or a person at a shell meets it.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::{
    os::unix::{fs::PermissionsExt, net::UnixDatagram},
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use peercam_agent::identity;
use support::{PATIENCE, ROOM, Rendezvous, Socket, Viewer, ViewerOptions, base};
use tempfile::TempDir;

fn agent() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_peercam-agent"));
    command.env_remove("NOTIFY_SOCKET").env_remove("RUST_LOG");
    command
}

/// Exit code, standard output and standard error.
fn run(command: &mut Command) -> (i32, String, String) {
    let output = command.output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

fn write(folder: &Path, name: &str, text: &str) -> String {
    let file = folder.join(name);
    std::fs::write(&file, text).unwrap();
    file.to_str().unwrap().to_owned()
}

/// A running agent; killed when dropped.
struct Running(std::process::Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Running {
    fn terminate(&self) {
        let pid = self.0.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
    }

    fn exit_code(&mut self) -> i32 {
        let begun = Instant::now();
        while begun.elapsed() < PATIENCE {
            if let Some(status) = self.0.try_wait().unwrap() {
                return status.code().unwrap();
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("the agent does not end");
    }
}

#[test]
fn help_teaches_and_the_example_is_a_configuration() {
    let (code, help, _) = run(agent().arg("--help"));
    assert_eq!(code, 0);
    for word in ["--config", "--check-config", "wss://", "RUST_LOG", "Exit codes", "SIGTERM"] {
        assert!(help.contains(word), "{word} is not in the help");
    }
    let folder = TempDir::new().unwrap();
    let (code, example, _) = run(agent().arg("--example-config"));
    assert_eq!(code, 0);
    let file = write(folder.path(), "example.toml", &example);
    let (code, _, said) = run(agent().args(["--check-config", "--config", &file]));
    assert_eq!((code, said.as_str()), (0, ""));
}

#[test]
fn start_scripts_are_told_what_is_for_the_device() {
    let folder = TempDir::new().unwrap();
    let below = write(folder.path(), "agent.toml", "[device]\nname = \"camera\"\n");
    let settings = "[device]\nipv4 = \"10.0.2.77/24\"\ngateways = [\"10.0.2.2\"]\n";
    let settings = write(folder.path(), "peercam.toml", settings);
    let (code, out, said) =
        run(agent().args(["--config", &below, "--config", &settings, "--device-settings"]));
    let lines = "name camera\nipv4 10.0.2.77/24\nipv6 auto\ngateway 10.0.2.2\n";
    assert_eq!((code, out.as_str(), said.as_str()), (0, lines, ""));
    let settings = write(folder.path(), "peercam.toml", "[device]\nipv4 = \"10.0.2.77\"\n");
    let (code, out, said) = run(agent().args(["--config", &settings, "--device-settings"]));
    assert_eq!((code, out.as_str()), (2, ""), "{said}");
    assert!(said.contains("peercam.toml: device.ipv4 = \"10.0.2.77\": write"), "{said}");
}

#[test]
fn safe_mode_fits_over_the_settings_of_any_camera() {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");
    let safe = format!("{root}/rootfs-overlay/etc/peercam/safe.toml");
    let folder = TempDir::new().unwrap();
    let large = "[video]\nsource = \"v4l2\"\nwidth = 1920\nheight = 1080\nframerate = 60\n\
                 bitrate-kbps = 8000\nmin-bitrate-kbps = 4000\n\
                 [video.sub]\nwidth = 1280\nheight = 720\nframerate = 30\nbitrate-kbps = 2000\n\
                 min-bitrate-kbps = 1000\n[audio]\nsource = \"alsa\"\n";
    let large = write(folder.path(), "large.toml", large);
    for settings in [large, format!("{root}/board/qemu/agent.toml")] {
        let (code, _, said) =
            run(agent().args(["--check-config", "--config", &settings, "--config", &safe]));
        assert_eq!((code, said.as_str()), (0, ""), "over {settings}");
    }
}

#[test]
fn a_wrong_configuration_is_refused_in_words_with_exit_code_2() {
    let folder = TempDir::new().unwrap();
    let good = write(folder.path(), "good.toml", "viewers = { max = 5 }\n");
    for (text, say) in [
        ("colour = 1", &["bad.toml", "line 1", "colour", "state-dir"][..]),
        ("\n[viewers]\nmost = 3", &["bad.toml", "line 3", "most", "max"]),
        ("viewers = { max = \"many\" }", &["bad.toml", "line 1", "string \"many\""]),
        ("access = { door = \"ajar\" }", &["bad.toml", "line 1", "ajar", "open", "token"]),
        ("access = { owner-keys = [\"me\"] }", &["access.owner-keys", "\"me\"", "43 characters"]),
        ("viewers = { max = 0 }", &["bad.toml", "viewers.max = 0", "1 to 1000"]),
        ("rendezvous = { urls = [\"http://x\"] }", &["bad.toml", "rendezvous.urls", "ws://"]),
        ("rendezvous = { urls = [\"ws://x\", \"ws://x\"] }", &["rendezvous.urls", "twice"]),
        ("rendezvous = { room = \"a/b\" }", &["bad.toml", "rendezvous.room", "'/'", "a-z"]),
        ("network = { udp-ports = \"9-1\" }", &["bad.toml", "network.udp-ports", "50000-50015"]),
        ("network = { advertise = [\"home\"] }", &["bad.toml", "network.advertise", "home"]),
        ("control = { socket = \"sock\" }", &["bad.toml", "control.socket", "absolute"]),
        ("state-dir = \"data\"", &["bad.toml", "state-dir", "absolute"]),
        ("video = { width = 1281 }", &["bad.toml", "video.width = 1281", "even"]),
        ("video = { source = \"webcam\" }", &["bad.toml", "line 1", "webcam", "v4l2"]),
        ("video = { source = \"file\" }", &["bad.toml", "video.source", "video.file"]),
        ("[viewers", &["bad.toml", "line 1"]),
    ] {
        let bad = write(folder.path(), "bad.toml", text);
        let (code, out, said) =
            run(agent().args(["--config", &good, "--config", &bad, "--check-config"]));
        assert_eq!((code, out.as_str()), (2, ""), "{text}: {said}");
        for word in say {
            assert!(said.contains(word), "{text}: {word:?} is not in {said:?}");
        }
        assert!(!said.contains("good.toml"), "{text}: blames the wrong file: {said}");
    }
    let missing = folder.path().join("missing.toml");
    let (code, _, said) = run(agent().arg("--config").arg(&missing));
    assert!(code == 2 && said.contains("missing.toml") && said.contains("No such file"), "{said}");
    let (code, ..) = run(agent().arg("--unheard-of"));
    assert_eq!(code, 2);
}

#[test]
fn an_error_says_each_thing_once() {
    let state = TempDir::new().unwrap();
    let text = format!("state-dir = {:?}\n[rendezvous]\nca = \"/nowhere.pem\"\n", state.path());
    let config = write(state.path(), "agent.toml", &text);
    let (code, _, said) = run(agent().args(["--config", &config]));
    assert_eq!(code, 1, "{said}");
    for words in ["rendezvous.ca: /nowhere.pem", "No such file", "give a file of PEM"] {
        assert_eq!(said.matches(words).count(), 1, "{words}: {said}");
    }
}

#[test]
fn a_damaged_identity_is_left_alone_and_the_program_says_so() {
    let state = TempDir::new().unwrap();
    let key = state.path().join(identity::FILE_NAME);
    std::fs::write(&key, "half a ke").unwrap();
    let config = write(state.path(), "agent.toml", &format!("state-dir = {:?}", state.path()));
    let (code, _, said) = run(agent().args(["--config", &config]));
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("identity.pem") && said.contains("damaged"), "{said}");
    assert_eq!(std::fs::read_to_string(&key).unwrap(), "half a ke");
}

#[test]
fn a_missing_element_is_named_with_its_package() {
    let state = TempDir::new().unwrap();
    let config = write(state.path(), "agent.toml", &format!("state-dir = {:?}", state.path()));
    // GStreamer without any plugin, and without the registry that remembers them.
    let (code, _, said) = run(agent()
        .args(["--config", &config])
        .env("GST_PLUGIN_SYSTEM_PATH_1_0", state.path())
        .env("GST_REGISTRY_1_0", state.path().join("registry")));
    assert!(code == 1 && said.contains("gstreamer1.0-"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn started_by_a_supervisor_it_is_ready_alive_and_ends_in_time() {
    let state = TempDir::new().unwrap();
    let rendezvous = Rendezvous::start().await;
    let config = write(state.path(), "agent.toml", &base(state.path(), rendezvous.address));
    let notify = state.path().join("notify");
    let supervisor = UnixDatagram::bind(&notify).unwrap();
    supervisor.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut running = Running(
        agent()
            .args(["--config", &config])
            .env("NOTIFY_SOCKET", &notify)
            .env("WATCHDOG_USEC", "400000")
            .env("PEERCAM_SAFE_MODE", "3 resets in a row")
            .stdout(Stdio::null())
            .spawn()
            .unwrap(),
    );
    let hear = |word: &str| {
        let mut buffer = [0; 4096];
        loop {
            let length = supervisor.recv(&mut buffer).expect(word);
            if String::from_utf8_lossy(&buffer[..length]).contains(word) {
                return;
            }
        }
    };
    hear("READY=1");
    hear(&format!("STATUS=hosting room {ROOM}"));
    hear(", safe mode (3 resets in a row), camera idle");
    (0..3).for_each(|_| hear("WATCHDOG=1\nX_PEERCAM_EXPECTED=0\nX_PEERCAM_PROGRESS=0"));

    let options = ViewerOptions::new(peercam_protocol::signalling::Transport::Rtp);
    let viewer = Viewer::join(rendezvous.address, ROOM, options).await;
    viewer.plays_on().await;
    hear("1 viewers");
    hear("X_PEERCAM_EXPECTED=1");
    hear(" fps");
    let begun = Instant::now();
    running.terminate();
    hear("STOPPING=1");
    assert_eq!(running.exit_code(), 0);
    assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
    viewer.until("bye", |all| all.byes == 1).await;

    let key = std::fs::metadata(state.path().join(identity::FILE_NAME)).unwrap();
    assert_eq!(key.permissions().mode() & 0o777, 0o600);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_named_room_it_has_its_own_and_keeps_it() {
    let state = TempDir::new().unwrap();
    let rendezvous = Rendezvous::start().await;
    let text = format!(
        "state-dir = {:?}\ncontrol = {{ enabled = false }}\n\
         rendezvous = {{ urls = [\"ws://{}\"] }}\naccess = {{ door = \"open\" }}",
        state.path(),
        rendezvous.address
    );
    let config = write(state.path(), "agent.toml", &text);
    let mut room: Option<String> = None;
    for _ in 0..2 {
        let mut running = Running(agent().args(["--config", &config]).spawn().unwrap());
        // The key is there before the room is: from it the room's name follows.
        let key = state.path().join(identity::FILE_NAME);
        let begun = Instant::now();
        while !key.exists() {
            assert!(begun.elapsed() < PATIENCE, "no identity");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let own = identity::Identity::load_or_create(state.path()).unwrap().room().to_string();
        let mut socket = Socket::watch(rendezvous.address, &own).await;
        tokio::time::timeout(PATIENCE, socket.until_online()).await.unwrap();
        assert_eq!(room.get_or_insert_with(|| own.clone()), &own);
        running.terminate();
        assert_eq!(running.exit_code(), 0);
    }
}

#[test]
fn without_a_rendezvous_it_stays_up_and_says_why_nobody_comes() {
    let state = TempDir::new().unwrap();
    let text = format!("state-dir = {:?}\ncontrol = {{ enabled = false }}", state.path());
    let config = write(state.path(), "agent.toml", &text);
    let notify = state.path().join("notify");
    let supervisor = UnixDatagram::bind(&notify).unwrap();
    supervisor.set_read_timeout(Some(PATIENCE)).unwrap();
    let log = std::fs::File::create(state.path().join("log")).unwrap();
    let mut running = Running(
        agent()
            .args(["--config", &config])
            .env("NOTIFY_SOCKET", &notify)
            .stderr(log)
            .spawn()
            .unwrap(),
    );
    let mut buffer = [0; 4096];
    let length = supervisor.recv(&mut buffer).unwrap();
    let said = String::from_utf8_lossy(&buffer[..length]).into_owned();
    assert!(said.contains("READY=1") && said.contains("no rendezvous"), "{said}");
    running.terminate();
    assert_eq!(running.exit_code(), 0);
    let log = std::fs::read_to_string(state.path().join("log")).unwrap();
    assert_eq!(log.matches("rendezvous.urls is empty").count(), 1, "{log}");
}
