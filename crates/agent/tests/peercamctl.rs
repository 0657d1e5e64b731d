//! A person at the camera's shell: the agent and `peercamctl` as programs, and a rendezvous.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::{
    collections::BTreeSet,
    io::{BufRead, BufReader, Write},
    net::SocketAddr,
    os::unix::{
        fs::PermissionsExt,
        net::{UnixDatagram, UnixStream},
    },
    path::Path,
    process::{Command, Stdio},
    time::{SystemTime, UNIX_EPOCH},
};

use peercam_protocol::{
    Action, Claims, PublicKey, RoomId, SecretKey, ShareLink, Token, TokenError,
    signalling::Transport,
};
use serde_json::Value;
use support::{
    Camera, ROOM, Rendezvous, Viewer, ViewerOptions, base,
    camera::{arrives, run},
};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

fn start(rendezvous: SocketAddr, room: &str) -> String {
    format!("startWebRTC ersIP={} ersPort={} roomID={room}", rendezvous.ip(), rendezvous.port())
}

#[tokio::test(flavor = "multi_thread")]
async fn status_tells_where_the_camera_waits_and_who_watches() {
    let rendezvous = Rendezvous::start().await;
    let camera = Camera::start(rendezvous.address).await;
    let options = ViewerOptions::new(Transport::Fmp4);
    let viewer = Viewer::join(rendezvous.address, ROOM, options).await;
    viewer.plays_on().await;
    let page = format!("http://{}/r/{ROOM}", rendezvous.address);
    let (code, out, said) = camera.ctl("status");
    assert_eq!((code, said.as_str()), (0, ""));
    for words in ["hosting for", &page, "viewers: 1 of at most 20", "fmp4 for"] {
        assert!(out.contains(words), "{words:?} is not in {out}");
    }
    let status = camera.json("status");
    assert_eq!(status["data"]["hosts"][0]["page"], page);
    assert_eq!(status["data"]["viewers"][0]["transport"], "fmp4");
    assert_eq!(status["data"]["key"].as_str().unwrap().len(), 43);
}

#[tokio::test(flavor = "multi_thread")]
async fn rooms_are_added_kept_and_removed_while_the_camera_streams() {
    let (one, other) = (Rendezvous::start().await, Rendezvous::start().await);
    let mut camera = Camera::start(one.address).await;
    let viewer = Viewer::join(one.address, ROOM, ViewerOptions::new(Transport::Rtp)).await;
    viewer.plays_on().await;

    // A second room on the same server, and one on another.
    let answer = camera.json(&start(one.address, "garden"));
    assert_eq!(answer["description"], "Started WebRTC Negotiation Service");
    assert_eq!(
        (&answer["data"]["configId"], &answer["data"]["roomid"]),
        (&1.into(), &"garden".into())
    );
    camera.json(&start(other.address, "garden"));
    camera.json(&format!("{} keepAlive=0", start(other.address, "passing")));
    for (address, room) in
        [(one.address, "garden"), (other.address, "garden"), (other.address, "passing")]
    {
        arrives(address, room).await;
    }
    let guest = Viewer::join(other.address, "garden", ViewerOptions::new(Transport::Rtp)).await;
    guest.plays_on().await;
    viewer.plays_on().await;

    // A room on a server is served once.
    let (code, out, said) = camera.ctl(&format!("{} --json", start(other.address, "garden")));
    assert_eq!(code, 1);
    assert!(out.contains("\"FAIL\"") && said.contains("already (configId 2)"), "{out} {said}");
    let (code, _, said) = camera.ctl(&start(one.address, ROOM));
    assert!(code == 1 && said.contains("configId 0"), "{said}");

    let rooms = |list: &Value| -> Vec<(u64, String, bool)> {
        let rooms = list["data"]["webrtc"].as_array().unwrap().iter();
        rooms
            .map(|it| {
                let room = it["roomid"].as_str().unwrap().to_owned();
                (it["configId"].as_u64().unwrap(), room, it["keepAlive"].as_bool().unwrap())
            })
            .collect()
    };
    let list = camera.json("listConfig");
    assert_eq!(list["data"]["webrtc"][2]["status"]["current"]["description"], "Connected");
    let expected =
        [(0, ROOM, true), (1, "garden", true), (2, "garden", true), (3, "passing", false)];
    let expected = expected.map(|(id, room, kept)| (id, room.to_owned(), kept));
    assert_eq!(rooms(&list), expected);

    // A power failure: what was to be kept is back by itself.
    camera.kill();
    camera.begin();
    for (address, room) in [(one.address, ROOM), (one.address, "garden"), (other.address, "garden")]
    {
        arrives(address, room).await;
    }
    assert_eq!(rooms(&camera.json("listConfig")), expected[..3]);

    // Leaving a room is bye for who watches there, and for nobody else.
    let viewer = Viewer::join(one.address, ROOM, ViewerOptions::new(Transport::Rtp)).await;
    let guest = Viewer::join(other.address, "garden", ViewerOptions::new(Transport::Rtp)).await;
    viewer.plays_on().await;
    guest.plays_on().await;
    let answer = camera.json("removeConfig id=2 removeHlsHdsFiles=1");
    assert!(answer["description"].as_str().unwrap().starts_with("Configuration terminated"));
    guest.until("bye", |all| all.byes == 1).await;
    viewer.plays_on().await;
    assert_eq!(rooms(&camera.json("listConfig")), expected[..2]);
    let answer = camera.json("stopwebrtc configId=all");
    assert_eq!(answer["data"].as_array().unwrap().len(), 1);
    assert_eq!(rooms(&camera.json("listConfig")), expected[..1]);
    viewer.plays_on().await;

    // And it stays so.
    camera.end();
    assert!(!camera.socket().exists());
    camera.begin();
    arrives(one.address, ROOM).await;
    assert_eq!(rooms(&camera.json("listConfig")), expected[..1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_room_that_is_not_kept_alive_is_left_with_its_connection() {
    let (one, other) = (Rendezvous::start().await, Rendezvous::start().await);
    let camera = Camera::start(one.address).await;
    camera.json(&format!("{} keepAlive=0", start(other.address, "passing")));
    arrives(other.address, "passing").await;
    other.stop().await;
    let left = |camera: &Camera| {
        camera.json("listConfig")["data"]["webrtc"].as_array().unwrap().len() == 1
    };
    camera.until(left, "end of the room");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_away_is_explained_and_tried_on() {
    let rendezvous = Rendezvous::start().await;
    let camera = Camera::start(rendezvous.address).await;
    let other = Rendezvous::start().await;
    let address = other.stop().await;
    // SUCCESS, as there, says that it is on its way.
    camera.json(&start(address, "garden"));
    let explained = |camera: &Camera| {
        let list = camera.json("listConfig");
        list["data"]["webrtc"][1]["trouble"].as_str().is_some_and(|it| it.contains("refused"))
    };
    camera.until(explained, "reason");
    let (_, out, _) = camera.ctl("status");
    assert!(out.contains("connecting for") && out.contains("refused"), "{out}");
    let _other = Rendezvous::start_at(address).await;
    arrives(address, "garden").await;
    assert_eq!(camera.json("listConfig")["data"]["webrtc"][1].get("trouble"), None);
}

/// A gateway in front of a server, which lets in who shows its token (RFC 6750 §2.1).
async fn gateway(server: SocketAddr, token: &'static str) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((camera, _)) = listener.accept().await {
            tokio::spawn(pass(camera, server, token));
        }
    });
    address
}

async fn pass(mut camera: TcpStream, server: SocketAddr, token: &str) -> std::io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(camera.read_u8().await?);
    }
    let shows = |line: &str| {
        let (name, value) = line.split_once(": ")?;
        name.eq_ignore_ascii_case("authorization").then(|| value.to_owned())
    };
    let shown = String::from_utf8_lossy(&head).lines().find_map(shows);
    if shown != Some(format!("Bearer {token}")) {
        let refusal = "HTTP/1.1 401 Unauthorized\r\nContent-Length: 15\r\n\r\n\x1b[2Jno stranger";
        return camera.write_all(refusal.as_bytes()).await;
    }
    let mut server = TcpStream::connect(server).await?;
    server.write_all(&head).await?;
    tokio::io::copy_bidirectional(&mut camera, &mut server).await.map(drop)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_is_shown_its_token_and_nobody_else_sees_it() {
    const TOKEN: &str = "kR4-the.gateway~s+word/9==";
    let (own, other) = (Rendezvous::start().await, Rendezvous::start().await);
    let mut camera = Camera::start(own.address).await;
    let gateway = gateway(other.address, TOKEN).await;
    let room = |camera: &Camera| -> Value {
        let list = camera.json("listConfig");
        let mut rooms = list["data"]["webrtc"].as_array().unwrap().iter();
        rooms.find(|it| it["roomid"] == "garden").unwrap().clone()
    };

    // Without the token, and with a wrong one, the camera is told what is the matter.
    for wrong in ["", " token=another"] {
        camera.json(&format!("{}{wrong}", start(gateway, "garden")));
        let explained = |camera: &Camera| {
            let trouble = room(camera)["trouble"].as_str().unwrap_or_default().to_owned();
            assert!(!trouble.contains('\x1b'), "{trouble:?}");
            trouble.contains("401") && trouble.contains("token") && trouble.contains("no stranger")
        };
        camera.until(explained, "reason");
        let id = room(&camera)["configId"].clone();
        camera.json(&format!("removeConfig id={id}"));
    }

    let hosted = |camera: &Camera| room(camera)["status"]["current"]["description"] == "Connected";
    camera.json(&format!("{} token={TOKEN}", start(gateway, "garden")));
    camera.until(hosted, "room behind the gateway");
    arrives(other.address, "garden").await;

    // What outlives a power failure has the token too, for its owner's eyes only.
    camera.kill();
    let before = std::fs::read_to_string(camera.log()).unwrap();
    let kept = camera.state.path().join("hosts.json");
    assert!(std::fs::read_to_string(&kept).unwrap().contains(TOKEN));
    assert_eq!(std::fs::metadata(&kept).unwrap().permissions().mode() & 0o777, 0o600);
    camera.begin();
    camera.until(hosted, "room behind the gateway, after a power failure");
    assert_eq!(room(&camera)["token"], "(hidden)");
    for arguments in ["listConfig", "listConfig --json", "status", "status --json"] {
        let (_, out, said) = camera.ctl(arguments);
        assert!(out.contains("garden") && !out.contains(TOKEN) && !said.contains(TOKEN), "{out}");
    }
    for log in [before, std::fs::read_to_string(camera.log()).unwrap()] {
        assert!(log.contains("garden") && !log.contains(TOKEN), "{log}");
    }

    // What can't stand in a header is refused at once.
    let (code, _, said) = camera.ctl(&format!("{} token=\u{e4}", start(gateway, "attic")));
    assert!(code == 1 && said.contains("token"), "{said}");
}

/// Where nobody reads, and where nothing can be written, it ends in order.
#[test]
fn output_that_goes_nowhere_is_no_crash() {
    let folder = TempDir::new().unwrap();
    let make = |name: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_peercamctl"));
        command.current_dir(folder.path()).args(["owner-key", "new", name]);
        command
    };
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut command = make("a.pem");
    let status = command.stdout(writer.try_clone().unwrap()).stderr(writer).status().unwrap();
    assert_eq!(status.code(), Some(0));
    let full = || std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let output = make("b.pem").stdout(full()).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.code() == Some(1) && said.contains("standard output"), "{said}");
    assert_eq!(make("b.pem").stderr(full()).status().unwrap().code(), Some(1));
}

#[test]
fn what_can_not_be_done_has_words_and_an_exit_code() {
    let folder = TempDir::new().unwrap();
    let ctl = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_peercamctl"));
        run(command.arg("--socket").arg(folder.path().join("none.sock")).args(arguments))
    };
    let (code, out, said) = ctl(&["status"]);
    assert_eq!((code, out.as_str()), (3, ""));
    assert!(said.contains("none.sock") && said.contains("--socket"), "{said}");
    for wrong in [&["startWebRTC", "room"][..], &["startWebRTC", "a=1", "a=2"], &["dance"], &[]] {
        assert_eq!(ctl(wrong).0, 2, "{wrong:?}");
    }
    let (code, help, _) = ctl(&["--help"]);
    assert_eq!(code, 0);
    for words in ["startWebRTC", "Exit codes", "Examples", "--json"] {
        assert!(help.contains(words), "{words} is not in the help");
    }
    for verb in [
        "status",
        "startWebRTC",
        "STOPWEBRTC",
        "listconfig",
        "removeConfig",
        "share",
        "revoke",
        "shares",
        "owner-key",
    ] {
        let (code, help, _) = ctl(&[verb, "--help"]);
        assert!(code == 0 && help.contains("Usage: peercamctl"), "{verb}: {help}");
    }
}

#[test]
fn a_second_agent_does_not_take_the_socket_away() {
    let config = |state: &Path| {
        format!("state-dir = {state:?}\ncontrol = {{ socket = {:?} }}", state.join("control.sock"))
    };
    let camera = Camera::start_with(config);
    let other = TempDir::new().unwrap();
    let second = other.path().join("agent.toml");
    let text =
        format!("state-dir = {:?}\ncontrol = {{ socket = {:?} }}", other.path(), camera.socket());
    std::fs::write(&second, text).unwrap();
    let mut process = Command::new(env!("CARGO_BIN_EXE_peercam-agent"))
        .arg("--config")
        .arg(&second)
        .env_remove("RUST_LOG")
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(process.stderr.take().unwrap()).lines();
    let said = lines.find_map(|line| line.ok().filter(|line| line.contains("control socket")));
    process.kill().unwrap();
    process.wait().unwrap();
    let said = said.expect("a warning");
    assert!(
        said.contains("an agent that runs already") && said.contains("control.socket"),
        "{said}"
    );
    assert_eq!(camera.ctl("status").0, 0);
}

/// What stands in agent.example.toml: JSON, without peercamctl.
#[test]
fn any_program_can_ask_in_json() {
    let config = |state: &Path| {
        format!("state-dir = {state:?}\ncontrol = {{ socket = {:?} }}", state.join("control.sock"))
    };
    let camera = Camera::start_with(config);
    let mut stream = UnixStream::connect(camera.socket()).unwrap();
    let start = r#"{"command":"startWebRTC","ersip":"127.0.0.1","ersport":9,"roomid":"a"}"#;
    for request in [r#"{"command":"status"}"#, start, r#"{"command":"listConfig"}"#] {
        writeln!(stream, "{request}").unwrap();
    }
    let answers: Vec<Value> = BufReader::new(stream)
        .lines()
        .take(3)
        .map(|line| serde_json::from_str(&line.unwrap()).unwrap())
        .collect();
    assert!(answers.iter().all(|answer| answer["status"] == "SUCCESS"), "{answers:?}");
    assert_eq!(answers[0]["data"]["hosts"].as_array().unwrap().len(), 0);
    assert_eq!(answers[2]["data"]["webrtc"][0]["roomid"], "a");
}

#[test]
fn what_the_watchdog_knows_of_the_device_is_told() {
    let mut camera = Camera::start_with(|state| {
        format!("state-dir = {state:?}\ncontrol = {{ socket = {:?} }}", state.join("control.sock"))
    });
    assert!(camera.json("status")["data"].get("device").is_none());
    camera.kill();
    let (notify, status) = (camera.state.path().join("notify"), camera.state.path().join("status"));
    let _supervisor = UnixDatagram::bind(&notify).unwrap();
    // As the watchdog's test in crates/watchdog/tests/status.rs finds it.
    let text = "resetting = false\n[record]\nboots = 12\nresets-in-a-row = 2\n\
                earlier-seconds = 9000\n[record.services.agent]\nfailures = 3\n\
                [[record.resets]]\nat-seconds = 9000\nkind = \"hardware\"\nreason = \"time ran out\"\n";
    std::fs::write(&status, text).unwrap();
    camera.environment = vec![("NOTIFY_SOCKET", notify), ("PEERCAM_STATUS", status.clone())];
    camera.begin();
    let device = &camera.json("status")["data"]["device"];
    assert_eq!((&device["starts"], &device["resets_in_a_row"]), (&12.into(), &2.into()));
    assert_eq!(device["last_reset"]["kind"], "hardware");
    assert!(device["uptime_seconds"].as_u64().unwrap() > 0, "{device}");
    let (_, out, _) = camera.ctl("status");
    for words in ["start 12, services failed 3 times", ": time ran out, the last of 2 in a row"] {
        assert!(out.contains(words), "{words:?} is not in {out}");
    }
    // A file that is gone takes nothing else with it.
    std::fs::remove_file(&status).unwrap();
    assert!(camera.json("status")["data"].get("device").is_none());
}

/// The token of a link, as a door sees it at this moment.
fn verify(link: &ShareLink, key: PublicKey) -> Result<Claims, TokenError> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let token = Token::parse(&link.grant().unwrap().token)?;
    token.verify(&key, &[], link.room(), now).cloned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_is_shared_listed_and_revoked() {
    let rendezvous = Rendezvous::start().await;
    let camera = Camera::start(rendezvous.address).await;
    let key: PublicKey = camera.json("status")["data"]["key"].as_str().unwrap().parse().unwrap();

    let (code, out, said) = camera.ctl("share --for 2h --allow watch,talk --once --label plumber");
    assert_eq!(code, 0, "{said}");
    let link: ShareLink = out.trim_end().parse().unwrap();
    assert_eq!(link.origin(), format!("http://{}", rendezvous.address));
    assert_eq!((link.room().as_str(), link.camera()), (ROOM, Some(&key)));
    let claims = verify(&link, key).unwrap();
    assert!(claims.once && claims.scope == BTreeSet::from([Action::Watch, Action::Talk]));
    assert_eq!(claims.exp - claims.iat, 7200);
    let viewer = link.grant().unwrap().key.as_ref().unwrap().public();
    assert_eq!(claims.cnf.unwrap().key(), &viewer);
    assert!(said.contains(&claims.jti) && said.contains("good for"), "{said}");
    assert!(!said.contains('█'), "no QR code where nobody sees it");

    // With a code for a phone, and another name of the server.
    let (code, out, said) = camera.ctl("share --qr --server https://cam.example.org");
    assert_eq!(code, 0, "{said}");
    assert!(out.starts_with("https://cam.example.org/r/test-room#k="), "{out}");
    assert!(said.lines().filter(|line| line.contains('█')).count() > 30, "{said}");

    let states = || -> Vec<String> {
        let list = camera.json("shares");
        let list = list["data"].as_array().unwrap().iter();
        list.map(|it| it["state"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(states(), ["good", "good"]);
    let (_, out, _) = camera.ctl("shares");
    let plumber = format!("{} (plumber): room {ROOM}, watch,talk, for one visit: good", claims.jti);
    assert!(out.contains(&plumber), "{out}");
    assert_eq!(camera.ctl("revoke plumber").1, "1\n");
    assert_eq!(states(), ["good", "revoked"]);
    let (code, out, said) = camera.ctl("revoke nobody");
    assert_eq!((code, out.as_str()), (0, "0\n"));
    assert!(said.contains("owner's key"), "{said}");
    assert_eq!(camera.ctl("revoke --all").1, "1\n");
    assert_eq!(states(), ["revoked", "revoked"]);

    // The log tells none of it.
    let log = std::fs::read_to_string(camera.log()).unwrap();
    assert!(log.contains(&format!("/r/{ROOM}")), "{log}");
    assert!(!log.contains("#k=") && !log.contains(&link.grant().unwrap().token), "{log}");

    for (wrong, code, words) in [
        ("share --bearer", 1, "access.bearer"),
        ("share --room elsewhere", 1, "does not wait in the room elsewhere"),
        ("share --server cam.example.org", 1, "cam.example.org"),
        ("share --for 11y", 2, "24h"),
        ("share --for 9999d", 1, "ten years"),
        ("share --for 0s", 1, "a second"),
        ("share --allow talk", 1, "watch"),
        ("share --allow dance", 2, "dance"),
        ("share --owner-key x.pem", 2, "--camera"),
        ("revoke", 2, "<ID>"),
    ] {
        let (exit, _, said) = camera.ctl(wrong);
        assert!(exit == code && said.contains(words), "{wrong}: {exit} {said}");
    }
}

#[test]
fn an_owner_signs_links_far_from_the_camera() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("owner.pem");
    let ctl = |arguments: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_peercamctl"));
        run(command.current_dir(folder.path()).args(arguments.split_whitespace()))
    };
    let (code, owner, _) = ctl("owner-key new owner.pem");
    assert_eq!(code, 0);
    let owner: PublicKey = owner.trim_end().parse().unwrap();
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(ctl("owner-key show owner.pem").1.trim_end(), owner.to_string());
    let (code, _, said) = ctl("owner-key new owner.pem");
    assert!(code == 1 && said.contains("never overwritten"), "{said}");
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o640)).unwrap();
    let (code, shown, said) = ctl("owner-key show owner.pem");
    assert_eq!((code, shown.trim_end()), (0, owner.to_string().as_str()));
    assert!(said.contains("chmod 600 owner.pem"), "{said}");

    let camera = SecretKey::from_bytes(&[7; 32]).public();
    let share =
        format!("share --owner-key owner.pem --camera {camera} --server https://cam.example.org");
    let link: ShareLink = ctl(&share).1.trim_end().parse().unwrap();
    assert_eq!(link.room(), &RoomId::from_public_key(camera.as_bytes()));
    assert_eq!(link.camera(), Some(&camera));
    assert_eq!(verify(&link, owner).unwrap().iss, Some(owner));
    assert_eq!(verify(&link, camera), Err(TokenError::Issuer));

    let (code, out, _) = ctl(&format!("{share} --room garden --bearer --json"));
    let answer: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((code, &answer["status"]), (0, &"SUCCESS".into()));
    let link: ShareLink = answer["data"]["link"].as_str().unwrap().parse().unwrap();
    assert_eq!((link.room().as_str(), link.grant().unwrap().key.is_none()), ("garden", true));
    assert_eq!(answer["data"]["token"].as_str().unwrap(), link.grant().unwrap().token);
    let (code, _, said) = ctl(&share.replace("owner.pem", "none.pem"));
    assert!(code == 1 && said.contains("none.pem"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_has_the_link_watches_until_it_is_revoked() {
    let rendezvous = Rendezvous::start().await;
    let camera = Camera::start_with(|state| {
        let config = base(state, rendezvous.address);
        assert!(config.contains("door = \"open\""), "{config}");
        config.replace("door = \"open\"", "door = \"token\"")
    });
    camera.until(|camera| camera.ctl("status").1.contains("hosting for"), "room");
    let link: ShareLink = camera.ctl("share --label guest").1.trim_end().parse().unwrap();
    let grant = (*link.camera().unwrap(), link.grant().unwrap().clone());
    let options = ViewerOptions { link: Some(grant), ..ViewerOptions::new(Transport::Rtp) };
    let viewer = Viewer::join(rendezvous.address, ROOM, options).await;
    viewer.plays_on().await;
    assert!(camera.ctl("status").1.contains("viewers: 1"));
    assert_eq!(camera.ctl("revoke guest").1, "1\n");
    camera.until(|camera| camera.ctl("status").1.contains("viewers: 0"), "end of the session");
}

/// The commands of the documents, in their order, with this test's server in place of theirs.
#[tokio::test(flavor = "multi_thread")]
async fn the_commands_in_the_documents_work() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    for document in ["README.md", "docs/coming-from-evostream.md"] {
        let text = std::fs::read_to_string(root.join(document)).unwrap();
        let commands: Vec<_> =
            text.lines().filter_map(|line| line.strip_prefix("peercamctl ")).collect();
        assert!(commands.len() >= 4, "{document}: {commands:?}");
        let rendezvous = Rendezvous::start().await;
        let camera = Camera::start(rendezvous.address).await;
        for command in commands {
            let command = command.split('#').next().unwrap();
            let command = command.replace("192.0.2.7", &rendezvous.address.ip().to_string());
            let command = command.replace("8080", &rendezvous.address.port().to_string());
            let (code, _, said) = camera.ctl(&command);
            assert_eq!(code, 0, "{document}: peercamctl {command}: {said}");
        }
    }
}
