//! The administrator's interface: who gets in, what he sees, and what he can do.
#![allow(clippy::unwrap_used)]

mod support;

use std::{net::SocketAddr, time::Duration};

use peercam_protocol::{
    Action, Claims,
    signalling::{ByeReason, ErrorCode, ToCamera},
    token::Confirmation,
};
use peercam_rendezvous::{Admin, Config, Server};
use serde_json::{Value, json};
use support::*;
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::TcpStream,
};

const SECRET: &str = "the-admins-own-secret";

/// A server with an administrator.
struct Managed {
    server: Rendezvous,
    admin: SocketAddr,
    folder: TempDir,
}

impl Managed {
    async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    async fn start_with(change: impl FnOnce(&mut Config)) -> Self {
        let folder = TempDir::new().unwrap();
        let secret_file = folder.path().join("secret");
        std::fs::write(&secret_file, format!("{SECRET}\n")).unwrap();
        let listen = "127.0.0.1:0".parse().unwrap();
        let server = Rendezvous::start_with(|config| {
            config.admin = Some(Admin { listen, secret_file, tls: false });
            change(config);
        })
        .await;
        let admin = server.admin.unwrap();
        Self { server, admin, folder }
    }

    async fn ask(&self, method: &str, path: &str, headers: &str) -> Reply {
        let request =
            format!("{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{headers}\r\n");
        let mut stream = TcpStream::connect(self.admin).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut text = String::new();
        soon("the answer", stream.read_to_string(&mut text)).await.unwrap();
        Reply::parse(&text)
    }

    async fn call(&self, method: &str, path: &str) -> Reply {
        self.ask(method, path, &format!("Authorization: Bearer {SECRET}\r\n")).await
    }

    async fn get(&self, path: &str) -> Value {
        let reply = self.call("GET", path).await;
        assert_eq!(reply.status, 200, "{path}: {reply:?}");
        serde_json::from_str(&reply.body).unwrap()
    }

    /// The event stream, from behind the event with this number on.
    async fn events(&self, last: Option<u64>) -> Events {
        let last = last.map(|id| format!("Last-Event-ID: {id}\r\n")).unwrap_or_default();
        let request = format!(
            "GET /api/v1/events HTTP/1.0\r\nHost: x\r\nAuthorization: Bearer {SECRET}\r\n{last}\r\n"
        );
        let mut stream = TcpStream::connect(self.admin).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut events = Events(BufReader::new(stream));
        let head = events.block().await;
        assert!(head.contains(" 200 ") && head.contains("text/event-stream"), "{head}");
        events
    }
}

struct Events(BufReader<TcpStream>);

impl Events {
    /// Lines up to an empty one.
    async fn block(&mut self) -> String {
        let mut block = String::new();
        loop {
            let mut line = String::new();
            let read = soon("an event", self.0.read_line(&mut line)).await.unwrap();
            if read == 0 || line.trim().is_empty() {
                return block;
            }
            block += &line;
        }
    }

    async fn next(&mut self) -> Value {
        loop {
            let block = self.block().await;
            assert!(!block.is_empty(), "the stream ended");
            if let Some(data) = block.lines().find_map(|line| line.strip_prefix("data:")) {
                let event: Value = serde_json::from_str(data.trim()).unwrap();
                assert!(block.contains(&format!("id: {}", event["id"])), "{block}");
                return event;
            }
        }
    }

    /// Passes over other events until one of this type comes.
    async fn until(&mut self, kind: &str) -> Value {
        loop {
            let event = self.next().await;
            if event["type"] == kind {
                return event;
            }
        }
    }
}

#[tokio::test]
async fn nothing_is_told_and_nothing_done_without_the_secret() {
    let managed = Managed::start().await;
    let mut camera = managed.server.camera("front-door").await;
    let half = &SECRET[..SECRET.len() - 1];
    for headers in [
        String::new(),
        format!("Authorization: Bearer {half}\r\n"),
        format!("Authorization: Bearer {SECRET}x\r\n"),
        format!("Authorization: Basic {SECRET}\r\n"),
        format!("Cookie: secret={SECRET}\r\n"),
    ] {
        for (method, path) in [
            ("GET", "/api/v1/status"),
            ("GET", "/api/v1/rooms"),
            ("GET", "/api/v1/events"),
            ("GET", "/metrics"),
            ("DELETE", "/api/v1/rooms/front-door/camera"),
            ("POST", "/api/v1/drain"),
        ] {
            let reply = managed.ask(method, path, &headers).await;
            assert_eq!(reply.status, 401, "{method} {path}");
            assert!(reply.header("www-authenticate").unwrap().starts_with("Bearer"));
            assert!(!reply.body.contains("front-door") && !reply.body.contains(SECRET));
        }
    }
    // The camera is still there, and the server too.
    camera.says_text("?").await;
    camera.hears_error(ErrorCode::BadMessage).await;
    assert_eq!(managed.ask("GET", "/readyz", "").await.status, 200);
}

#[tokio::test]
async fn the_page_and_the_description_are_there_for_all_and_hold_no_secret() {
    let managed = Managed::start().await;
    for path in ["/", "/dashboard.js", "/dashboard.css", "/page.css", "/icon.svg", "/openapi.json"]
    {
        let reply = managed.ask("GET", path, "").await;
        assert_eq!(reply.status, 200, "{path}");
        let policy = reply.header("content-security-policy").unwrap();
        assert!(policy.contains("frame-ancestors 'none'"), "{policy}");
        assert!(!reply.body.contains(SECRET));
    }
    // And not where everybody is.
    for path in ["/api/v1/status", "/dashboard.js", "/openapi.json", "/metrics"] {
        assert_eq!(managed.server.get(path).await.status, 404, "{path}");
    }
}

#[tokio::test]
async fn what_is_not_there_is_said_in_json() {
    let managed = Managed::start().await;
    for (method, path, status) in [
        ("GET", "/api/v2/rooms", 404),
        ("PUT", "/api/v1/status", 405),
        ("DELETE", "/api/v1/rooms/a/viewers/one", 400),
        ("DELETE", "/api/v1/rooms/A%20b/camera", 400),
    ] {
        let reply = managed.call(method, path).await;
        assert_eq!(reply.status, status, "{method} {path}: {reply:?}");
        let body: Value = serde_json::from_str(&reply.body).unwrap();
        assert!(body["message"].is_string(), "{method} {path}: {body}");
    }
}

#[tokio::test]
async fn a_get_changes_nothing() {
    let managed = Managed::start().await;
    for path in ["/api/v1/drain", "/api/v1/rooms/a/camera", "/api/v1/rooms/a/viewers/0"] {
        assert_eq!(managed.call("GET", path).await.status, 405, "{path}");
    }
    assert_eq!(managed.get("/api/v1/status").await["ready"], true);
}

#[tokio::test]
async fn who_is_here_is_shown() {
    let managed = Managed::start().await;
    let mut camera = managed.server.camera("front-door").await;
    let mut viewer = managed.server.viewer("front-door").await;
    let _waiting = managed.server.viewer("garden").await;
    let session = session(&mut camera, &mut viewer).await;

    let status = managed.get("/api/v1/status").await;
    for (name, count) in [("rooms", 2), ("cameras", 1), ("viewers", 2), ("sessions", 1)] {
        assert_eq!(status[name], count, "{name} in {status}");
    }
    let rooms = managed.get("/api/v1/rooms").await;
    assert_eq!(rooms["rooms"][0]["room"], "front-door");
    assert_eq!(rooms["rooms"][0]["viewers"][0]["session"], session.0);
    assert_eq!(rooms["rooms"][1]["camera"], Value::Null);
    assert_eq!(rooms["next"], Value::Null);

    let page = managed.get("/api/v1/rooms?limit=1").await;
    assert_eq!((&page["rooms"][1], &page["next"]), (&Value::Null, &json!("front-door")));
    let page = managed.get("/api/v1/rooms?limit=1&after=front-door").await;
    assert_eq!((&page["rooms"][0]["room"], &page["next"]), (&json!("garden"), &Value::Null));

    let cameras = managed.get("/api/v1/cameras").await;
    assert_eq!(cameras["cameras"].as_array().unwrap().len(), 1);
    assert_eq!(cameras["cameras"][0]["room"], "front-door");
    let viewers = managed.get("/api/v1/viewers").await;
    assert_eq!(viewers["viewers"].as_array().unwrap().len(), 2);

    assert_eq!(managed.get("/api/v1/rooms/garden").await["viewers"][0]["session"], Value::Null);
    assert_eq!(managed.call("GET", "/api/v1/rooms/attic").await.status, 404);
    for path in ["/api/v1/rooms/a%2Fb", "/api/v1/rooms?limit=0", "/api/v1/rooms?after=a%2Fb"] {
        assert_eq!(managed.call("GET", path).await.status, 400, "{path}");
    }
}

#[tokio::test]
async fn a_viewer_who_is_kicked_loses_his_stream_and_the_others_keep_theirs() {
    let managed = Managed::start().await;
    let mut camera = managed.server.camera("front-door").await;
    let mut viewer = managed.server.viewer("front-door").await;
    let mut other = managed.server.viewer("front-door").await;
    let mut events = managed.events(None).await;
    let ended = session(&mut camera, &mut viewer).await;
    let kept = session(&mut camera, &mut other).await;
    let view = managed.get("/api/v1/rooms/front-door").await;
    let id = &view["viewers"][0]["viewer"];
    let path = format!("/api/v1/rooms/front-door/viewers/{id}");
    assert_eq!(managed.call("DELETE", &path).await.status, 204);

    let sentence = viewer.hears_error(ErrorCode::SentAway).await;
    assert!(sentence.contains("administrator"), "{sentence}");
    viewer.is_closed(1008).await;
    camera.hears_bye(ended, ByeReason::Other).await;
    assert_eq!(events.until("session-ended").await["session"], ended.0);
    camera.answers(kept, "again").await;
    other.hears_answer("again").await;
    assert_eq!(managed.call("DELETE", &path).await.status, 404);
}

#[tokio::test]
async fn a_camera_that_is_kicked_may_come_again() {
    let managed = Managed::start().await;
    let mut camera = managed.server.camera("front-door").await;
    let path = "/api/v1/rooms/front-door/camera";
    assert_eq!(managed.call("DELETE", path).await.status, 204);
    match camera.hears().await {
        ToCamera::Error { session: None, error } => assert_eq!(error.code, ErrorCode::SentAway),
        other => panic!("no error, but {other:?}"),
    }
    camera.is_closed(1008).await;
    managed.server.camera("front-door").await;
}

#[tokio::test]
async fn tokens_are_shown_by_name_and_never_as_they_are() {
    let managed = Managed::start().await;
    let identity = Identity::of("front-door").with_door();
    let room = "front-door";
    let mut camera = managed.server.knock_as(&identity, room).await;
    assert!(matches!(camera.hears().await, ToCamera::Hosting { .. }));
    let now = std::time::UNIX_EPOCH.elapsed().unwrap().as_secs();
    let claims = Claims {
        iss: None,
        room: Some(room.parse().unwrap()),
        scope: [Action::Watch].into(),
        iat: now,
        nbf: None,
        exp: now + 600,
        jti: "for-the-neighbours".to_owned(),
        once: false,
        cnf: Some(Confirmation::new(Identity::of("a viewer").key.public())),
    };
    let token = claims.sign(&identity.key);
    let mut viewer = managed.server.knock_with(room, &token).await;
    viewer.hears().await;
    let reply = managed.call("GET", "/api/v1/tokens").await;
    let tokens: Value = serde_json::from_str(&reply.body).unwrap();
    let expected = json!([{ "token": "for-the-neighbours", "room": room, "viewers": 1 }]);
    assert_eq!(tokens["tokens"], expected);
    assert_eq!(managed.get("/api/v1/viewers").await["viewers"][0]["token"], "for-the-neighbours");
    for path in ["/api/v1/tokens", "/api/v1/viewers", "/api/v1/rooms", "/metrics"] {
        assert!(!managed.call("GET", path).await.body.contains(&token), "{path}");
    }
}

#[tokio::test]
async fn a_claim_that_is_given_up_is_the_next_cameras() {
    let managed = Managed::start().await;
    let owner = managed.server.camera("front-door").await;
    let other = Identity::of("another camera");
    let mut refused = managed.server.knock_as(&other, "front-door").await;
    assert!(matches!(
        refused.hears().await,
        ToCamera::Error { error, .. } if error.code == ErrorCode::RoomClaimed
    ));
    let claims = managed.get("/api/v1/claims").await;
    assert_eq!(claims["claims"][0]["room"], "front-door");
    assert_eq!(claims["claims"][0]["key"], json!(Identity::of("front-door").key.public()));
    assert_eq!(claims["claims"][0]["door"], "open");

    owner.leaves().await;
    assert_eq!(managed.call("DELETE", "/api/v1/claims/front-door").await.status, 204);
    assert_eq!(managed.call("DELETE", "/api/v1/claims/front-door").await.status, 404);
    let mut camera = managed.server.knock_as(&other, "front-door").await;
    assert!(matches!(camera.hears().await, ToCamera::Hosting { .. }));
    let claims = managed.get("/api/v1/claims").await;
    assert_eq!(claims["claims"][0]["key"], json!(other.key.public()));
}

#[tokio::test]
async fn events_tell_what_happens_and_what_was_missed() {
    let managed = Managed::start().await;
    let mut events = managed.events(None).await;
    let mut camera = managed.server.camera("front-door").await;
    let online = events.next().await;
    assert_eq!((&online["type"], &online["room"]), (&json!("camera-online"), &json!("front-door")));
    let mut viewer = managed.server.viewer("front-door").await;
    assert_eq!(events.next().await["type"], "viewer-joined");
    let session = session(&mut camera, &mut viewer).await;
    let started = events.next().await;
    assert_eq!(
        (&started["type"], &started["session"]),
        (&json!("session-started"), &json!(session.0))
    );
    drop(events);

    viewer.leaves().await;
    camera.leaves().await;
    let mut events = managed.events(online["id"].as_u64()).await;
    for kind in ["viewer-joined", "session-started", "viewer-left", "camera-offline"] {
        assert_eq!(events.next().await["type"], kind);
    }
}

#[tokio::test]
async fn a_listener_who_does_not_read_holds_nobody_up() {
    let managed = Managed::start().await;
    let _deaf = managed.events(None).await;
    for _ in 0..1500 {
        managed.server.viewer("front-door").await;
    }
    let mut events = managed.events(None).await;
    managed.server.camera("front-door").await;
    events.until("camera-online").await;
}

#[tokio::test]
async fn the_figures_add_up() {
    let managed = Managed::start_with(|config| config.public_metrics = true).await;
    let mut camera = managed.server.camera("front-door").await;
    let mut viewer = managed.server.viewer("front-door").await;
    session(&mut camera, &mut viewer).await;
    camera.says_text("?").await;
    camera.hears_error(ErrorCode::BadMessage).await;
    let reply = managed.call("GET", "/metrics").await;
    assert!(reply.header("content-type").unwrap().starts_with("text/plain; version=0.0.4"));
    for line in [
        "peercam_cameras 1",
        "peercam_viewers 1",
        "peercam_sessions 1",
        "peercam_connections{kind=\"websocket\"} 2",
        "peercam_events_total{type=\"camera-online\"} 1",
        "peercam_messages_total{from=\"viewer\"} 1",
        "peercam_ready 1",
    ] {
        assert!(reply.body.lines().any(|other| other == line), "no {line} in {}", reply.body);
    }
    assert!(!reply.body.contains("front-door") && !reply.body.contains("127.0.0.1"));
    assert!(managed.server.get("/metrics").await.body.contains("peercam_cameras 1"));
}

#[tokio::test]
async fn the_administrator_can_end_the_server() {
    let managed = Managed::start_with(|config| config.drain = Duration::from_secs(30)).await;
    let mut camera = managed.server.camera("front-door").await;
    assert_eq!(managed.call("POST", "/api/v1/drain").await.status, 202);
    assert!(matches!(camera.hears().await, ToCamera::Move { .. }));
    assert_eq!(managed.ask("GET", "/readyz", "").await.status, 503);
    assert_eq!(managed.get("/api/v1/status").await["draining"], true);
    camera.leaves().await;
    managed.server.ended().await;
}

#[tokio::test]
async fn another_secret_holds_after_a_reload_and_a_bad_one_does_not() {
    let managed = Managed::start().await;
    let file = managed.folder.path().join("secret");
    let reload = async |text: &str| {
        std::fs::write(&file, text).unwrap();
        managed.server.control.reload(managed.server.config.clone());
    };
    reload("short").await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(managed.call("GET", "/api/v1/status").await.status, 200);
    reload("quite-another-secret").await;
    soon("the other secret", async {
        while managed.call("GET", "/api/v1/status").await.status != 401 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    let headers = "Authorization: Bearer quite-another-secret\r\n";
    assert_eq!(managed.ask("GET", "/api/v1/status", headers).await.status, 200);
}

#[tokio::test]
async fn a_secret_that_can_be_guessed_or_is_not_there_is_refused() {
    let folder = TempDir::new().unwrap();
    let secret_file = folder.path().join("secret");
    let listen = "127.0.0.1:0".parse().unwrap();
    let mut config = Config::default();
    config.listen = listen;
    config.admin = Some(Admin { listen, secret_file: secret_file.clone(), tls: false });
    let error = Server::bind(config.clone()).await.unwrap_err().to_string();
    assert!(error.starts_with("admin: ") && error.contains("openssl rand"), "{error}");
    std::fs::write(&secret_file, "hunter2").unwrap();
    let error = Server::bind(config).await.unwrap_err().to_string();
    assert!(error.contains("7 characters") && !error.contains("hunter2"), "{error}");
}

#[test]
fn the_interface_is_not_open_to_others_by_mistake() {
    let admin = |listen: &str, more: &str| {
        let text = format!("[admin]\nlisten = {listen:?}\nsecret-file = \"s\"\n{more}");
        Config::from_toml(&text, "f").map_err(|error| error.to_string())
    };
    for local in ["127.0.0.1:8081", "[::1]:8081", "127.0.0.9:1"] {
        admin(local, "").unwrap();
    }
    for other in ["0.0.0.0:8081", "192.0.2.1:8081", "[::]:8081"] {
        let error = admin(other, "").unwrap_err();
        assert!(error.contains("tls = true") && error.contains("dangerously"), "{error}");
        admin(other, "dangerously-without-tls = true").unwrap();
        admin(other, "tls = true\n[tls]\ncertificate = \"c\"\nkey = \"k\"").unwrap();
        assert!(admin(other, "tls = true").unwrap_err().contains("add [tls]"));
    }
}
