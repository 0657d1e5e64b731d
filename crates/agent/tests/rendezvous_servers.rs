//! On which of its servers a camera waits, and whom it trusts on the way there.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::{
    net::SocketAddr,
    path::Path,
    sync::{Arc, LazyLock},
    time::Duration,
};

use peercam_agent::{
    access::Access,
    config,
    identity::Identity,
    rendezvous::{Client, Event, Outbox, Plan, ServerUrl},
    tls::Tls,
};
use peercam_protocol::{
    Nonce,
    signalling::{Door, Error, ErrorCode, FromCamera, ToCamera},
};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use support::{PATIENCE, ROOM, Rendezvous, Socket, fake_rendezvous::FakeRendezvous};
use tempfile::TempDir;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        ServerConfig,
        crypto::ring,
        pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer},
    },
};

fn plan(servers: &[String], ca: Option<&Path>) -> Plan {
    let servers: Vec<ServerUrl> = servers.iter().map(|url| url.parse().unwrap()).collect();
    let tls = Tls::load(ca).unwrap();
    // One camera in all tests of this program: a room belongs to the first key that comes.
    static STATE: LazyLock<TempDir> = LazyLock::new(|| TempDir::new().unwrap());
    static IDENTITY: LazyLock<Identity> =
        LazyLock::new(|| Identity::load_or_create(STATE.path()).unwrap());
    let rules = config::Access { door: Door::Open, ..Default::default() };
    let access = Access::open(&IDENTITY, &rules, STATE.path());
    Plan {
        reconsider: Duration::from_millis(400),
        ..Plan::new(servers, ROOM.parse().unwrap(), tls, access)
    }
}

fn ws(address: SocketAddr) -> String {
    format!("ws://{address}")
}

/// Waits for the room; where it is, and the way back.
async fn hosted(client: &mut Client) -> (String, Outbox) {
    let hosting = async {
        loop {
            match client.next().await.expect("the client lives") {
                Event::Hosting { server, outbox, .. } => return (server.to_string(), outbox),
                Event::Lost | Event::Message(_) | Event::Trouble(_) => {}
            }
        }
    };
    tokio::time::timeout(PATIENCE, hosting).await.expect("a room")
}

#[tokio::test(flavor = "multi_thread")]
async fn the_next_server_stands_in_until_the_preferred_one_is_back() {
    support::log();
    let preferred = Rendezvous::start().await;
    let lesser = Rendezvous::start().await;
    let urls = [ws(preferred.address), ws(lesser.address)];
    let mut client = Client::start(plan(&urls, None));
    let (server, outbox) = hosted(&mut client).await;
    assert_eq!(server, urls[0]);

    let address = preferred.stop().await;
    drop(outbox);
    let (server, outbox) = hosted(&mut client).await;
    assert_eq!(server, urls[1]);

    // Nobody listens where the preferred one was: the room is not given up for that.
    tokio::time::sleep(Duration::from_millis(900)).await;
    Socket::watch(lesser.address, ROOM).await.until_online().await;

    let preferred = Rendezvous::start_at(address).await;
    let (server, new_outbox) = hosted(&mut client).await;
    assert_eq!(server, urls[0]);
    drop((outbox, new_outbox));
    client.close(Duration::from_secs(1)).await;
    preferred.stop().await;
    lesser.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_never_answers_does_not_keep_the_camera_from_the_next() {
    support::log();
    // Takes the connection and says nothing, for ever.
    let mute = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let server = Rendezvous::start().await;
    let urls = [ws(mute.local_addr().unwrap()), ws(server.address)];
    let mut client = Client::start(plan(&urls, None));
    assert_eq!(hosted(&mut client).await.0, urls[1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_camera_takes_its_room_over_from_its_own_dead_connection() {
    support::log();
    let server = Rendezvous::start().await;
    let plan = plan(&[ws(server.address)], None);
    let mut first = Client::start(plan.clone());
    let (_, _outbox) = hosted(&mut first).await;
    let mut viewer = Socket::watch(server.address, ROOM).await;
    viewer.until_online().await;

    // The first one is not closed: to the server it is alive.
    let mut second = Client::start(plan);
    let (_, outbox) = hosted(&mut second).await;
    tokio::time::timeout(PATIENCE, viewer.until_online()).await.expect("viewers are told");
    assert!(matches!(first.next().await, Some(Event::Trouble(_))), "why");
    assert!(matches!(first.next().await, Some(Event::Lost)));
    drop((first, outbox));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_camera_proves_once_that_it_has_its_key() {
    support::log();
    let server = FakeRendezvous::start().await;
    let mut client = Client::start(plan(&[ws(server.address())], None));
    let mut camera = server.accept().await;
    // Checks what is signed.
    let first = camera.prove().await;
    // A server that asks again gets no second signature on the same connection.
    camera.send(&ToCamera::Challenge { nonce: Nonce::from_bytes([8; 16]) }).await;
    let Some(FromCamera::Error { error, .. }) = camera.next().await else { panic!("an error") };
    assert_eq!(error.code, ErrorCode::OutOfOrder);
    let room = ROOM.parse().unwrap();
    camera.send(&ToCamera::Hosting { room, ice_servers: Vec::new(), time: None }).await;
    let (_, _outbox) = hosted(&mut client).await;
    drop(camera);
    // And makes a new nonce for each.
    assert_ne!(server.accept().await.prove().await, first);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_camera_that_is_told_to_move_is_on_the_next_server_before_the_first_ends() {
    support::log();
    let ending = Rendezvous::configured(|config| config.drain = PATIENCE).await;
    let other = Rendezvous::start().await;
    let urls = [ws(ending.address), ws(other.address)];
    let mut client = Client::start(plan(&urls, None));
    let (server, _outbox) = hosted(&mut client).await;
    assert_eq!(server, urls[0]);
    // It waits for its camera to go, and ends when it has.
    let (_, (server, _other_outbox)) = tokio::join!(ending.stop(), async {
        match tokio::time::timeout(PATIENCE, client.next()).await.expect("a move") {
            Some(Event::Hosting { server, outbox, .. }) => (server.to_string(), outbox),
            other => panic!("the room was lost in between: {other:?}"),
        }
    });
    assert_eq!(server, urls[1]);
    Socket::watch(other.address, ROOM).await.until_online().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_network_ends_the_waiting() {
    support::log();
    // Somebody else's camera has the room: the pauses grow to a minute.
    let server = FakeRendezvous::start().await;
    let client = Client::start(plan(&[ws(server.address())], None));
    let mut camera = server.accept().await;
    let error = Error::new(ErrorCode::RoomTaken, "another camera is here");
    camera.send(&ToCamera::Error { session: None, error }).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    client.network_changed();
    let again = tokio::time::timeout(Duration::from_secs(3), server.accept());
    again.await.expect("no pause");
}

/// An authority and what it vouches for.
struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new(name: &str) -> Self {
        let mut parameters = CertificateParams::new(Vec::new()).unwrap();
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        parameters.distinguished_name.push(rcgen::DnType::CommonName, name);
        Self(CertifiedIssuer::self_signed(parameters, KeyPair::generate().unwrap()).unwrap())
    }

    fn file(&self, folder: &TempDir) -> std::path::PathBuf {
        let file = folder.path().join("ca.pem");
        std::fs::write(&file, self.0.pem()).unwrap();
        file
    }

    /// A TLS server for `name`, in front of `inner`.
    async fn serve(&self, name: &str, expired: bool, inner: SocketAddr) -> SocketAddr {
        let key = KeyPair::generate().unwrap();
        let mut parameters = CertificateParams::new(vec![name.to_owned()]).unwrap();
        if expired {
            parameters.not_before = rcgen::date_time_ymd(2020, 1, 1);
            parameters.not_after = rcgen::date_time_ymd(2021, 1, 1);
        }
        let certificate = parameters.signed_by(&key, &self.0).unwrap();
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], key)
            .unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let acceptor = acceptor.clone();
                tokio::spawn(async move {
                    let Ok(mut stream) = acceptor.accept(stream).await else { return };
                    let mut inner = TcpStream::connect(inner).await.unwrap();
                    let _ = tokio::io::copy_bidirectional(&mut stream, &mut inner).await;
                });
            }
        });
        address
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn only_a_server_that_somebody_trusted_vouches_for_gets_the_camera() {
    support::log();
    let server = Rendezvous::start().await;
    let authority = Authority::new("ours");
    let stranger = Authority::new("somebody else's");
    let folder = TempDir::new().unwrap();
    let ca = authority.file(&folder);
    let good = authority.serve("localhost", false, server.address).await;
    let wrong_name = authority.serve("cam.example.org", false, server.address).await;
    let expired = authority.serve("localhost", true, server.address).await;
    let unknown = stranger.serve("localhost", false, server.address).await;
    let wss = |address: SocketAddr| format!("wss://localhost:{}", address.port());
    // Not even a plain server on a wss address.
    let plain = FakeRendezvous::start().await;

    for bad in [wss(wrong_name), wss(expired), wss(unknown), wss(plain.address())] {
        let mut client = Client::start(plan(&[bad.clone(), wss(good)], Some(&ca)));
        let (server, outbox) = hosted(&mut client).await;
        assert_eq!(server, wss(good), "not {bad}");
        drop(outbox);
        client.close(Duration::from_secs(1)).await;
    }
    // Without our authority the good one is as unknown as the others.
    let mut client = Client::start(plan(&[wss(good)], None));
    let hosting = tokio::time::timeout(Duration::from_secs(2), hosted(&mut client));
    assert!(hosting.await.is_err(), "a server nobody vouches for");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_servers_own_tls_takes_a_file_on_either_side() {
    support::log();
    let authority = Authority::new("ours");
    let folder = TempDir::new().unwrap();
    let ca = authority.file(&folder);
    let key = KeyPair::generate().unwrap();
    let parameters = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    let vouched_for = parameters.signed_by(&key, &authority.0).unwrap();
    let certificate = folder.path().join("certificate.pem");
    std::fs::write(&certificate, vouched_for.pem()).unwrap();
    let key_file = folder.path().join("key.pem");
    std::fs::write(&key_file, key.serialize_pem()).unwrap();
    let tls = peercam_rendezvous::TlsFiles { certificate, key: key_file };
    let server = Rendezvous::configured(|config| config.tls = Some(tls)).await;

    let url = format!("wss://localhost:{}", server.address.port());
    let mut client = Client::start(plan(std::slice::from_ref(&url), Some(&ca)));
    let (hosted_at, outbox) = hosted(&mut client).await;
    assert_eq!(hosted_at, url);
    drop(outbox);
    client.close(Duration::from_secs(1)).await;
    server.stop().await;
}
