//! The server's own TLS: a real client over it, and certificates that are renewed.
#![allow(clippy::unwrap_used)]

mod support;

use std::{
    fs,
    process::Stdio,
    sync::Arc,
    time::{Duration, SystemTime},
};

use futures_util::{SinkExt, StreamExt};
use peercam_protocol::{SUBPROTOCOL, signalling::ToViewer, wire::decode};
use peercam_rendezvous::Server;
use rcgen::{CertificateParams, KeyPair};
use rustls::{
    ClientConfig, RootCertStore, crypto::ring, pki_types::CertificateDer, pki_types::ServerName,
};
use support::{authority::Authority, *};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::TcpStream,
    process::Command,
    time::sleep,
};
use tokio_rustls::{TlsConnector, client::TlsStream};
use tokio_tungstenite::{
    client_async,
    tungstenite::{ClientRequestBuilder, Message},
};

async fn connect(authority: &Authority, server: &Rendezvous) -> TlsStream<TcpStream> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from(authority.der())).unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let stream = TcpStream::connect(server.address).await.unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    let connecting = TlsConnector::from(Arc::new(config)).connect(name, stream);
    soon("the handshake", connecting).await.unwrap()
}

/// The certificate that a new connection is shown.
async fn shown(authority: &Authority, server: &Rendezvous) -> Vec<u8> {
    let stream = connect(authority, server).await;
    stream.get_ref().1.peer_certificates().unwrap()[0].to_vec()
}

async fn get(authority: &Authority, server: &Rendezvous, path: &str) -> Reply {
    let mut stream = connect(authority, server).await;
    let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    soon("the answer", stream.read_to_string(&mut answer)).await.unwrap();
    Reply::parse(&answer)
}

async fn start(authority: &Authority) -> Rendezvous {
    Rendezvous::start_with(|config| config.tls = Some(authority.files())).await
}

#[tokio::test]
async fn pages_and_websockets_go_over_tls() {
    let authority = Authority::new();
    authority.renew();
    let server = start(&authority).await;

    let health = get(&authority, &server, "/healthz").await;
    assert_eq!((health.status, health.body.as_str()), (200, "ok\n"));

    let uri = "wss://localhost/watch/front-door".parse().unwrap();
    let request = ClientRequestBuilder::new(uri).with_sub_protocol(SUBPROTOCOL);
    let stream = connect(&authority, &server).await;
    let (mut socket, _) = soon("the WebSocket", client_async(request, stream)).await.unwrap();
    let Some(Ok(Message::Text(text))) = soon("the welcome", socket.next()).await else {
        panic!("no welcome")
    };
    assert!(matches!(decode(&text).unwrap(), ToViewer::Welcome { online: false, .. }));
    // Said and answered, and closed in order.
    socket.send(Message::text("?")).await.unwrap();
    let Some(Ok(Message::Text(text))) = soon("an error", socket.next()).await else {
        panic!("no error")
    };
    assert!(text.contains("bad-message"), "{text}");
    socket.close(None).await.unwrap();
    while let Some(frame) = soon("the close", socket.next()).await {
        assert!(matches!(frame, Ok(Message::Close(_))), "{frame:?}");
    }
    server.stop().await;
}

#[tokio::test]
async fn a_renewed_certificate_is_shown_without_a_restart_and_a_broken_one_is_not() {
    let authority = Authority::new();
    let first = authority.renew();
    let server = start(&authority).await;
    assert_eq!(shown(&authority, &server).await, first);

    // Half a renewal, and then nonsense: the one from before stays.
    fs::write(authority.path("key.pem"), KeyPair::generate().unwrap().serialize_pem()).unwrap();
    sleep(Duration::from_secs(3)).await;
    assert_eq!(shown(&authority, &server).await, first);
    fs::write(authority.path("cert.pem"), "nonsense").unwrap();
    sleep(Duration::from_secs(3)).await;
    assert_eq!(shown(&authority, &server).await, first);

    let second = authority.renew();
    soon("the new certificate", async {
        while shown(&authority, &server).await != second {
            sleep(Duration::from_millis(100)).await;
        }
    })
    .await;
    server.stop().await;
}

#[tokio::test]
async fn a_client_that_never_shakes_hands_is_hung_up_on() {
    let authority = Authority::new();
    authority.renew();
    let server = Rendezvous::start_with(|config| {
        config.tls = Some(authority.files());
        config.limits.request_seconds = 1;
    })
    .await;
    let mut silent = TcpStream::connect(server.address).await.unwrap();
    let mut plain = TcpStream::connect(server.address).await.unwrap();
    plain.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    for stream in [&mut silent, &mut plain] {
        let mut rest = Vec::new();
        // Reset or closed, but not kept.
        _ = soon("the end", stream.read_to_end(&mut rest)).await;
        assert!(!rest.starts_with(b"HTTP"), "no words that are not TLS");
    }
    server.stop().await;
}

#[tokio::test]
async fn files_that_are_of_no_use_are_named() {
    let authority = Authority::new();
    let message = async || {
        let mut config = peercam_rendezvous::Config::default();
        config.listen = "127.0.0.1:0".parse().unwrap();
        config.tls = Some(authority.files());
        Server::bind(config).await.unwrap_err().to_string()
    };
    let error = message().await;
    assert!(error.contains("cert.pem") && error.contains("this user can read"), "{error}");
    authority.renew();
    fs::write(authority.path("cert.pem"), "").unwrap();
    let error = message().await;
    assert!(error.contains("no certificate in it"), "{error}");
    authority.renew();
    fs::write(authority.path("key.pem"), KeyPair::generate().unwrap().serialize_pem()).unwrap();
    let error = message().await;
    assert!(error.contains("key.pem") && error.contains("first certificate"), "{error}");
}

/// Seconds after 1970, so many from now.
fn in_seconds(seconds: u64) -> u64 {
    SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs() + seconds
}

/// Makes a certificate end then.
fn until(unix: u64) -> impl FnOnce(&mut CertificateParams) {
    move |parameters| {
        parameters.not_after = rcgen::date_time_ymd(1970, 1, 1) + Duration::from_secs(unix);
    }
}

const DAY: u64 = 24 * 3600;

#[tokio::test]
async fn the_end_of_the_certificate_is_among_the_figures() {
    let authority = Authority::new();
    let (first, second) = (in_seconds(90 * DAY), in_seconds(180 * DAY));
    authority.put(&authority.issue_with("localhost", until(first)));
    let server = Rendezvous::start_with(|config| {
        config.tls = Some(authority.files());
        config.public_metrics = true;
    })
    .await;
    let line = |unix| format!("\npeercam_tls_certificate_expiry_timestamp_seconds {unix}\n");
    let figures = get(&authority, &server, "/metrics").await.body;
    assert!(figures.contains(&line(first)), "{figures}");
    authority.put(&authority.issue_with("localhost", until(second)));
    soon("the new certificate's end", async {
        while !get(&authority, &server, "/metrics").await.body.contains(&line(second)) {
            sleep(Duration::from_millis(100)).await;
        }
    })
    .await;
    server.stop().await;

    let plain = Rendezvous::start_with(|config| config.public_metrics = true).await;
    assert!(!plain.get("/metrics").await.body.contains("tls_certificate_expiry"));
    plain.stop().await;
}

#[tokio::test]
async fn a_certificate_that_ends_soon_is_warned_of() {
    let authority = Authority::new();
    authority.put(&authority.issue_with("localhost", until(in_seconds(10 * DAY + 3600))));
    let files = authority.files();
    let config = authority.path("rendezvous.toml");
    let text = format!(
        "listen = \"127.0.0.1:0\"\n[tls]\ncertificate = {:?}\nkey = {:?}\n",
        files.certificate, files.key
    );
    fs::write(&config, text).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_peercam-rendezvous"));
    command.arg("--config").arg(&config).env_remove("RUST_LOG").kill_on_drop(true);
    let mut server = command.stdin(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let mut log = BufReader::new(server.stderr.take().unwrap()).lines();
    let mut said = async |words: &[&str]| loop {
        let line = soon(words[0], log.next_line()).await.unwrap().unwrap();
        if words.iter().all(|word| line.contains(word)) {
            return;
        }
        assert!(!line.contains("TLS certificate") || line.contains("INFO"), "{line}");
    };
    said(&["WARN", "cert.pem", "ends in 10 days", "renew"]).await;
    // One that is good for longer is nothing to warn of, one that is over is.
    authority.put(&authority.issue_with("localhost", until(in_seconds(30 * DAY))));
    said(&["a new TLS certificate is in use"]).await;
    authority.put(&authority.issue_with("localhost", until(in_seconds(0) - DAY - 3600)));
    said(&["WARN", "cert.pem", "ended 1 day ago", "renew"]).await;
    server.kill().await.unwrap();
}
