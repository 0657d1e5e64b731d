//! The server's own TLS: a real client over it, and certificates that are renewed.
#![allow(clippy::unwrap_used)]

mod support;

use std::{fs, path::PathBuf, sync::Arc, time::Duration};

use futures_util::{SinkExt, StreamExt};
use peercam_protocol::{SUBPROTOCOL, signalling::ToViewer, wire::decode};
use peercam_rendezvous::{Server, TlsFiles};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::{
    ClientConfig, RootCertStore, crypto::ring, pki_types::CertificateDer, pki_types::ServerName,
};
use support::*;
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::sleep,
};
use tokio_rustls::{TlsConnector, client::TlsStream};
use tokio_tungstenite::{
    client_async,
    tungstenite::{ClientRequestBuilder, Message},
};

/// An authority, and a folder with the server's files.
struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    folder: TempDir,
}

impl Authority {
    fn new() -> Self {
        let mut parameters = CertificateParams::new(Vec::new()).unwrap();
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(parameters, KeyPair::generate().unwrap());
        Self { issuer: issuer.unwrap(), folder: TempDir::new().unwrap() }
    }

    fn files(&self) -> TlsFiles {
        TlsFiles { certificate: self.path("cert.pem"), key: self.path("key.pem") }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Puts a new certificate and its key in place; returns what the server will show.
    fn renew(&self) -> Vec<u8> {
        let key = KeyPair::generate().unwrap();
        let parameters = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        let certificate = parameters.signed_by(&key, &self.issuer).unwrap();
        fs::write(self.path("cert.pem"), certificate.pem()).unwrap();
        fs::write(self.path("key.pem"), key.serialize_pem()).unwrap();
        certificate.der().to_vec()
    }

    async fn connect(&self, server: &Rendezvous) -> TlsStream<TcpStream> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from(self.issuer.der().to_vec())).unwrap();
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
    async fn shown(&self, server: &Rendezvous) -> Vec<u8> {
        let stream = self.connect(server).await;
        stream.get_ref().1.peer_certificates().unwrap()[0].to_vec()
    }
}

async fn start(authority: &Authority) -> Rendezvous {
    Rendezvous::start_with(|config| config.tls = Some(authority.files())).await
}

#[tokio::test]
async fn pages_and_websockets_go_over_tls() {
    let authority = Authority::new();
    authority.renew();
    let server = start(&authority).await;

    let mut stream = authority.connect(&server).await;
    stream
        .write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        .await
        .unwrap();
    let mut answer = String::new();
    soon("the answer", stream.read_to_string(&mut answer)).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("ok\n"), "{answer}");

    let uri = "wss://localhost/watch/front-door".parse().unwrap();
    let request = ClientRequestBuilder::new(uri).with_sub_protocol(SUBPROTOCOL);
    let stream = authority.connect(&server).await;
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
    assert_eq!(authority.shown(&server).await, first);

    // Half a renewal, and then nonsense: the one from before stays.
    fs::write(authority.path("key.pem"), KeyPair::generate().unwrap().serialize_pem()).unwrap();
    sleep(Duration::from_secs(3)).await;
    assert_eq!(authority.shown(&server).await, first);
    fs::write(authority.path("cert.pem"), "nonsense").unwrap();
    sleep(Duration::from_secs(3)).await;
    assert_eq!(authority.shown(&server).await, first);

    let second = authority.renew();
    soon("the new certificate", async {
        while authority.shown(&server).await != second {
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
