//! The user names and passwords that the rendezvous makes of a shared secret, at a real TURN
//! server (coturn): good ones get an allocation, and expired or invented ones none.
#![allow(clippy::unwrap_used)]

mod support;

use std::{
    io::Write,
    net::UdpSocket,
    process::{Child, Command, Stdio},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use data_encoding::BASE64;
use hmac::{Hmac, Mac};
use peercam_protocol::signalling::{ErrorCode, IceServer, ToCamera, ToViewer};
use peercam_rendezvous::turn::{TurnSecret, TurnServers};
use sha1::Sha1;
use support::*;
use tempfile::TempDir;

const SECRET: &str = "what both of them know";

/// `turnserver` on the loopback interface, until it is dropped.
struct Coturn {
    child: Child,
    port: u16,
    folder: TempDir,
}

impl Coturn {
    fn start() -> Self {
        let port = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let child = Command::new("turnserver")
            .args(["-n", "--listening-ip=127.0.0.1", "--relay-ip=127.0.0.1"])
            .args(["--no-cli", "--no-tcp", "--no-tls", "--no-dtls", "--log-file=stdout"])
            .args(["--use-auth-secret", "--realm=peercam.test"])
            .arg(format!("--static-auth-secret={SECRET}"))
            .arg(format!("--listening-port={port}"))
            .arg(format!("--pidfile={}", path("pid").display()))
            .arg(format!("--userdb={}", path("db").display()))
            .stdin(Stdio::null())
            .stdout(std::fs::File::create(path("log")).unwrap())
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| panic!("turnserver (Debian package coturn): {error}"));
        let server = Self { child, port, folder };
        let begun = Instant::now();
        while server.ask(&message(1, &[])).is_none() {
            let log = || std::fs::read_to_string(server.folder.path().join("log"));
            assert!(begun.elapsed() < PATIENCE, "no answer: {:?}", log());
        }
        server
    }

    fn url(&self) -> String {
        format!("turn:127.0.0.1:{}?transport=udp", self.port)
    }

    /// Sends a request; the answer, if one comes in a while.
    fn ask(&self, request: &[u8]) -> Option<Vec<u8>> {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        self.ask_on(&socket, request)
    }

    fn ask_on(&self, socket: &UdpSocket, request: &[u8]) -> Option<Vec<u8>> {
        socket.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
        let mut answer = [0; 1500];
        socket.send_to(request, ("127.0.0.1", self.port)).unwrap();
        let length = socket.recv(&mut answer).ok()?;
        Some(answer[..length].to_vec())
    }

    /// Asks for an allocation (RFC 8656 §7) with long-term credentials (RFC 8489 §9.2); the error
    /// code if it is refused.
    fn allocate(&self, user: &str, password: &str) -> Result<(), u16> {
        let transport = attribute(REQUESTED_TRANSPORT, &[17, 0, 0, 0]);
        // An answer from the loopback interface may be late, and is not lost.
        let ask = |socket: &UdpSocket, request: &[u8]| {
            let answer = (0..40).find_map(|_| self.ask_on(socket, request));
            answer.unwrap_or_else(|| panic!("turnserver does not answer"))
        };
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let question = ask(&socket, &message(ALLOCATE, &transport));
        assert_eq!(error_code(&question), Some(401));
        let mut body = transport;
        body.extend(attribute(USERNAME, user.as_bytes()));
        let realm = find(&question, REALM).unwrap();
        body.extend(attribute(REALM, realm));
        body.extend(attribute(NONCE, find(&question, NONCE).unwrap()));
        let realm = String::from_utf8(realm.to_vec()).unwrap();
        let key = md5(&format!("{user}:{realm}:{password}"));
        // The length in the header counts the attribute that is to come.
        let mut request = message(ALLOCATE, &body);
        let length = u16::try_from(body.len() + 24).unwrap();
        request[2..4].copy_from_slice(&length.to_be_bytes());
        let mut mac = Hmac::<Sha1>::new_from_slice(&key).unwrap();
        mac.update(&request);
        let integrity = attribute(MESSAGE_INTEGRITY, &mac.finalize().into_bytes());
        request.extend(integrity);
        let answer = ask(&socket, &request);
        match error_code(&answer) {
            Some(code) => Err(code),
            None => {
                assert!(find(&answer, XOR_RELAYED_ADDRESS).is_some(), "{answer:?}");
                Ok(())
            }
        }
    }
}

impl Drop for Coturn {
    fn drop(&mut self) {
        _ = self.child.kill();
        _ = self.child.wait();
    }
}

// RFC 8489 and RFC 8656.
const ALLOCATE: u16 = 0x0003;
const USERNAME: u16 = 0x0006;
const MESSAGE_INTEGRITY: u16 = 0x0008;
const ERROR_CODE: u16 = 0x0009;
const REALM: u16 = 0x0014;
const NONCE: u16 = 0x0015;
const XOR_RELAYED_ADDRESS: u16 = 0x0016;
const REQUESTED_TRANSPORT: u16 = 0x0019;

fn message(kind: u16, body: &[u8]) -> Vec<u8> {
    let mut message = kind.to_be_bytes().to_vec();
    message.extend(u16::try_from(body.len()).unwrap().to_be_bytes());
    message.extend([0x21, 0x12, 0xa4, 0x42]);
    message.extend([7; 12]);
    message.extend(body);
    message
}

fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    let mut attribute = kind.to_be_bytes().to_vec();
    attribute.extend(u16::try_from(value.len()).unwrap().to_be_bytes());
    attribute.extend(value);
    attribute.resize(attribute.len().next_multiple_of(4), 0);
    attribute
}

fn find(message: &[u8], wanted: u16) -> Option<&[u8]> {
    let mut rest = message.get(20..)?;
    while rest.len() >= 4 {
        let kind = u16::from_be_bytes([rest[0], rest[1]]);
        let length = usize::from(u16::from_be_bytes([rest[2], rest[3]]));
        let value = rest.get(4..4 + length)?;
        if kind == wanted {
            return Some(value);
        }
        rest = rest.get(4 + length.next_multiple_of(4)..)?;
    }
    None
}

fn error_code(message: &[u8]) -> Option<u16> {
    let value = find(message, ERROR_CODE)?;
    Some(u16::from(value[2]) * 100 + u16::from(value[3]))
}

/// By the program that everybody has: TURN wants no better hash.
fn md5(text: &str) -> Vec<u8> {
    let mut child =
        Command::new("md5sum").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap().stdout;
    data_encoding::HEXLOWER.decode(&output[..32]).unwrap()
}

async fn rendezvous(urls: Vec<String>) -> Rendezvous {
    Rendezvous::start_with(|config| {
        config.turn_servers = vec![TurnServers {
            urls,
            secret: TurnSecret::new(SECRET).unwrap(),
            ttl: Duration::from_secs(600),
        }];
    })
    .await
}

fn login(servers: &[IceServer]) -> (String, String) {
    let [server] = servers else { panic!("not one server: {servers:?}") };
    (server.username.clone().unwrap(), server.credential.clone().unwrap())
}

#[tokio::test]
async fn what_is_handed_out_opens_the_turn_server_until_it_expires() {
    let coturn = Coturn::start();
    let server = rendezvous(vec![coturn.url()]).await;
    let mut camera = server.knock_as_camera("front-door").await;
    let ToCamera::Hosting { ice_servers: cameras, .. } = camera.hears().await else {
        panic!("not hosting")
    };
    let mut viewer = server.knock_as_viewer("front-door").await;
    let ToViewer::Welcome { ice_servers: viewers, .. } = viewer.hears().await else {
        panic!("not welcome")
    };
    viewer.joins("an offer").await;
    let ToCamera::Join { ice_servers: sessions, .. } = camera.hears().await else {
        panic!("no join")
    };
    let logins = [&cameras, &viewers, &sessions].map(|servers| login(servers));
    for (user, password) in &logins {
        assert_eq!(coturn.allocate(user, password), Ok(()), "{user}");
    }
    let users: std::collections::HashSet<_> = logins.iter().map(|(user, _)| user).collect();
    assert_eq!(users.len(), 3, "each has a name of its own");

    let (user, password) = &logins[0];
    assert_eq!(coturn.allocate(user, "guessed"), Err(401));
    // As if it were good for longer than it was handed out for.
    let (expiry, tag) = user.split_once(':').unwrap();
    let later = format!("{}:{tag}", expiry.parse::<u64>().unwrap() + 1);
    assert_eq!(coturn.allocate(&later, password), Err(401));
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    assert!(expiry.parse::<u64>().unwrap().abs_diff(now + 600) < 60, "{expiry}");
    // One that was good until a moment ago.
    let expired = format!("{}:{tag}", now - 1);
    let mut mac = Hmac::<Sha1>::new_from_slice(SECRET.as_bytes()).unwrap();
    mac.update(expired.as_bytes());
    let password = BASE64.encode(&mac.finalize().into_bytes());
    assert_eq!(coturn.allocate(&expired, &password), Err(401));
}

#[tokio::test]
async fn who_is_turned_away_sees_no_password() {
    let server = rendezvous(vec!["turn:turn.example".to_owned()]).await;
    let identity = Identity::of("anna").with_door();
    let mut camera = server.knock_as(&identity, "front-door").await;
    camera.hears().await;
    let mut stranger = server.knock_as_viewer("front-door").await;
    stranger.hears_error(ErrorCode::TokenMissing).await;
    stranger.is_closed(1008).await;
}

/// What the server adds for the camera must not make a message too large for it.
#[tokio::test]
async fn the_largest_offer_still_fits_with_ice_servers() {
    let urls = (0..20).map(|number| format!("turn:turn-{number}.example:3478")).collect();
    let server = rendezvous(urls).await;
    let mut camera = server.camera("front-door").await;
    let mut viewer = server.viewer("front-door").await;
    viewer.joins(&"x".repeat(80_000)).await;
    let sentence = viewer.hears_error(ErrorCode::TooLarge).await;
    let limit: usize = sentence.rsplit(' ').next().unwrap().parse().unwrap();
    let mut viewer = server.viewer("front-door").await;
    let frame = r#"{"type":"join","transport":"rtp","offer":""}"#.len();
    let offer = "x".repeat(limit - frame);
    viewer.joins(&offer).await;
    let text = camera.hears_text().await;
    assert!(text.len() <= peercam_protocol::wire::MAX_MESSAGE_SIZE, "{} bytes", text.len());
    assert!(text.contains("turn-19"));
}
