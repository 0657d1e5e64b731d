//! Events posted to another server: signed, tried again, and never waited for.
#![allow(clippy::unwrap_used)]

mod support;

use std::{
    io::{self, Write},
    path::PathBuf,
    sync::{Arc, LazyLock, Mutex},
    time::Duration,
};

use hmac::{Hmac, Mac};
use peercam_rendezvous::{Config, EventKind, Server, Webhook};
use rustls::{ServerConfig, crypto::ring, pki_types::PrivateKeyDer};
use serde_json::Value;
use sha2::Sha256;
use support::{
    authority::{Authority, Issued},
    *,
};
use tempfile::TempDir;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpListener,
    time::timeout,
};
use tokio_rustls::TlsAcceptor;

const SECRET: &str = "signs-what-is-sent";

/// A server that is told of events.
struct Receiver {
    listener: TcpListener,
    folder: TempDir,
}

/// What the servers of all tests log; the host of a webhook says whose lines are whose.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

static LOG: LazyLock<Log> = LazyLock::new(|| {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone());
    tracing::subscriber::set_global_default(subscriber.finish()).unwrap();
    log
});

impl Log {
    /// How many lines about this host have all of these words.
    fn count(&self, host: &str, words: &[&str]) -> usize {
        let log = String::from_utf8(self.0.lock().unwrap().clone()).unwrap();
        let host = format!("host=\"{host}\"");
        let lines = log.lines().filter(|line| line.contains(&host));
        lines.filter(|line| words.iter().all(|word| line.contains(word))).count()
    }

    /// Waits for such a line.
    async fn says(&self, host: &str, words: &[&str]) {
        soon(words[0], async {
            while self.count(host, words) == 0 {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        })
        .await;
    }
}

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What it was told.
struct Delivery {
    headers: Reply,
    event: Value,
}

impl Receiver {
    async fn new() -> Self {
        Self::on("127.0.0.1").await
    }

    /// On this address.
    async fn on(host: &str) -> Self {
        LazyLock::force(&LOG);
        let folder = TempDir::new().unwrap();
        std::fs::write(folder.path().join("secret"), SECRET).unwrap();
        Self { listener: TcpListener::bind((host, 0)).await.unwrap(), folder }
    }

    fn secret_file(&self) -> PathBuf {
        self.folder.path().join("secret")
    }

    fn webhook(&self, events: &[EventKind]) -> Webhook {
        let address = self.listener.local_addr().unwrap();
        Webhook {
            url: format!("http://{address}/hook?to=us").parse().unwrap(),
            secret_file: self.secret_file(),
            events: events.to_vec(),
            ca: None,
        }
    }

    /// Takes one delivery and answers it.
    async fn takes(&self, answer: &str) -> Delivery {
        let (stream, _) = soon("a delivery", self.listener.accept()).await.unwrap();
        Self::takes_from(stream, answer).await
    }

    /// The same by TLS, with this certificate; none where the server does not like it.
    async fn takes_by_tls(&self, shown: &Issued) -> Option<Delivery> {
        let (stream, _) = soon("a delivery", self.listener.accept()).await.unwrap();
        let key = PrivateKeyDer::try_from(shown.key.serialize_der()).unwrap();
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![shown.certificate.der().clone()], key)
            .unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let stream = soon("the handshake", acceptor.accept(stream)).await.ok()?;
        Some(Self::takes_from(stream, "200 OK").await)
    }

    async fn takes_from(mut stream: impl AsyncRead + AsyncWrite + Unpin, answer: &str) -> Delivery {
        let mut bytes = Vec::new();
        let body = loop {
            let mut buffer = [0; 4096];
            let count = soon("the request", stream.read(&mut buffer)).await.unwrap();
            assert!(count > 0, "cut off: {}", String::from_utf8_lossy(&bytes));
            bytes.extend_from_slice(&buffer[..count]);
            let text = String::from_utf8(bytes.clone()).unwrap();
            let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
            let reply = Reply::parse(&format!("HTTP/1.1 200 \r\n{head}\r\n\r\n"));
            let length: usize = reply.header("content-length").unwrap().parse().unwrap();
            if body.len() == length {
                assert!(head.starts_with("POST /hook?to=us HTTP/1.1\r\n"), "{head}");
                break (reply, body.to_owned());
            }
        };
        stream
            .write_all(format!("HTTP/1.1 {answer}\r\ncontent-length: 0\r\n\r\n").as_bytes())
            .await
            .unwrap();
        let (headers, body) = body;
        // As the receiver is told to check it.
        let signature = headers.header("peercam-signature").unwrap();
        let (time, code) = signature.split_once(",v1=").unwrap();
        let time = time.strip_prefix("t=").unwrap();
        let mut mac = Hmac::<Sha256>::new_from_slice(SECRET.as_bytes()).unwrap();
        mac.update(format!("{time}.{body}").as_bytes());
        let expected: String =
            mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(code, expected);
        let age = std::time::UNIX_EPOCH.elapsed().unwrap().as_secs() - time.parse::<u64>().unwrap();
        assert!(age < 60, "signed {age} s ago");
        let event: Value = serde_json::from_str(&body).unwrap();
        assert_eq!(headers.header("peercam-event").unwrap(), event["type"]);
        assert_eq!(headers.header("peercam-delivery").unwrap(), event["id"].to_string());
        Delivery { headers, event }
    }
}

#[tokio::test]
async fn events_that_are_asked_for_are_delivered_and_signed() {
    let receiver = Receiver::new().await;
    let hook = receiver.webhook(&[EventKind::CameraOnline, EventKind::CameraOffline]);
    let server = Rendezvous::start_with(|config| config.webhooks = vec![hook]).await;
    let camera = server.camera("front-door").await;
    let _viewer = server.viewer("front-door").await;
    let delivery = receiver.takes("204 No Content").await;
    assert_eq!(delivery.event["type"], "camera-online");
    assert_eq!(delivery.event["room"], "front-door");
    assert_eq!(delivery.headers.header("content-type"), Some("application/json"));
    camera.leaves().await;
    // Not the viewer, who was not asked for.
    assert_eq!(receiver.takes("200 OK").await.event["type"], "camera-offline");
}

#[tokio::test]
async fn what_fails_is_tried_again_and_nobody_waits_for_it() {
    let receiver = Receiver::new().await;
    let hook = receiver.webhook(&[EventKind::CameraOnline]);
    let server = Rendezvous::start_with(|config| {
        config.webhooks = vec![hook];
        config.public_metrics = true;
    })
    .await;
    let _camera = server.camera("front-door").await;
    let first = receiver.takes("500 Internal Server Error").await;
    // Signalling goes on meanwhile.
    let _viewer = server.viewer("front-door").await;
    let again = receiver.takes("200 OK").await;
    assert_eq!(first.event["id"], again.event["id"]);
    soon("the count", async {
        loop {
            let figures = server.get("/metrics").await.body;
            let counted = |outcome: &str| {
                let name = "peercam_webhook_deliveries_total";
                figures.contains(&format!("{name}{{outcome=\"{outcome}\"}} 1\n"))
            };
            if counted("delivered") && counted("failed") {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
}

#[tokio::test]
async fn the_last_events_are_delivered_before_the_server_is_gone() {
    let receiver = Receiver::new().await;
    let hook = receiver.webhook(&[EventKind::CameraOffline]);
    let mut server = Rendezvous::start_with(|config| config.webhooks = vec![hook]).await;
    let mut camera = server.camera("front-door").await;
    server.begin_stop();
    camera.hears().await;
    assert_eq!(receiver.takes("200 OK").await.event["type"], "camera-offline");
    server.ended().await;
}

#[tokio::test]
async fn a_webhook_can_be_added_and_taken_away_while_the_server_runs() {
    let receiver = Receiver::new().await;
    let server = Rendezvous::start().await;
    let mut config = server.config.clone();
    config.webhooks = vec![receiver.webhook(&[EventKind::ViewerJoined])];
    server.control.reload(config.clone());
    // It listens from some moment on.
    let mut viewers = Vec::new();
    soon("a delivery", async {
        loop {
            viewers.push(server.viewer("front-door").await);
            if let Ok(delivery) = timeout(Duration::from_secs(2), receiver.takes("200 OK")).await {
                return delivery;
            }
        }
    })
    .await;
    config.webhooks.clear();
    server.control.reload(config);
    soon("silence", async {
        while timeout(Duration::from_secs(2), receiver.takes("200 OK")).await.is_ok() {}
    })
    .await;
    let _viewer = server.viewer("front-door").await;
    let more = timeout(Duration::from_millis(500), receiver.listener.accept()).await;
    assert!(more.is_err(), "told once more");
}

#[tokio::test]
async fn by_https_an_authority_of_ones_own_is_believed_and_nobody_else() {
    const HOST: &str = "127.0.0.2";
    let receiver = Receiver::on(HOST).await;
    let (authority, other) = (Authority::new(), Authority::new());
    let mut hook = receiver.webhook(&[EventKind::CameraOnline]);
    let address = receiver.listener.local_addr().unwrap();
    hook.url = format!("https://{address}/hook?to=us").parse().unwrap();
    hook.ca = Some(authority.file());
    let server = Rendezvous::start_with(|config| config.webhooks = vec![hook]).await;
    let _camera = server.camera("front-door").await;

    let old = |parameters: &mut rcgen::CertificateParams| {
        parameters.not_after = rcgen::date_time_ymd(2020, 1, 1);
    };
    for (shown, words) in [
        (other.issue(HOST), "nobody this server trusts: set webhooks.ca"),
        (authority.issue("127.0.0.3"), "not for 127.0.0.2"),
        (authority.issue_with(HOST, old), "has expired"),
    ] {
        assert!(receiver.takes_by_tls(&shown).await.is_none(), "{words}");
        LOG.says(HOST, &[words, "WARN", "a webhook fails: trying again"]).await;
    }
    // The event that could not be delivered is not lost.
    let delivery = receiver.takes_by_tls(&authority.issue(HOST)).await.unwrap();
    assert_eq!(delivery.event["type"], "camera-online");
    LOG.says(HOST, &["a webhook works again"]).await;
    assert_eq!(LOG.count(HOST, &["a webhook fails"]), 3, "each reason once");
}

#[tokio::test]
async fn an_event_that_nobody_takes_is_given_up_aloud() {
    const HOST: &str = "127.0.0.4";
    let receiver = Receiver::on(HOST).await;
    let hook = receiver.webhook(&[EventKind::CameraOnline]);
    let mut server = Rendezvous::start_with(|config| config.webhooks = vec![hook]).await;
    let _camera = server.camera("front-door").await;
    receiver.takes("500 Internal Server Error").await;
    drop(receiver);
    server.begin_stop();
    server.ended().await;
    assert_eq!(LOG.count(HOST, &["WARN", "was not told: given up", "camera-online"]), 1);
}

#[tokio::test]
async fn an_authority_that_is_of_no_use_is_named() {
    let receiver = Receiver::new().await;
    let ca = receiver.folder.path().join("ca.pem");
    for (text, words) in [
        (None, "this user can read"),
        (Some(""), "no certificate in it"),
        (Some("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"), "authority"),
    ] {
        if let Some(text) = text {
            std::fs::write(&ca, text).unwrap();
        }
        let mut hook = receiver.webhook(&[]);
        hook.url = "https://example.org/".parse().unwrap();
        hook.ca = Some(ca.clone());
        let listen = "127.0.0.1:0".parse().unwrap();
        let mut config = Config::default();
        (config.listen, config.webhooks) = (listen, vec![hook]);
        let error = Server::bind(config).await.unwrap_err().to_string();
        assert!(error.starts_with("webhooks: ") && error.contains("ca.pem"), "{error}");
        assert!(error.contains(words), "{error}");
    }
}
