//! A node and its NATS servers: which of them it uses, and how they know each other.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::{fs, path::PathBuf, time::Duration};

use data_encoding::BASE64URL_NOPAD;
use serde_json::{Value, json};
use support::{
    authority::{Authority, Issued},
    cluster::*,
    *,
};
use tempfile::TempDir;
use tokio::time::{sleep, timeout};

#[tokio::test]
async fn dead_servers_in_the_list_are_passed_over() {
    let nats = Nats::start();
    let mut list: Vec<_> = (0..9).map(|_| format!("nats://{}", free_address())).collect();
    list.push(nats.url());
    nats.is_up().await;
    let node = Process::start(&list, "");
    // At the first attempt.
    let log = node.logs("in the cluster").await;
    assert!(!log.contains("not in the cluster"), "{log}");
    readyz(node.address, 200, "ready\n").await;
}

#[tokio::test]
async fn when_its_server_ends_a_node_goes_over_to_another() {
    let mut nats = Nats::cluster();
    let three = "replicas = 3\nnode = ";
    let a = node(&[nats[2].url()], &format!("{three}\"a\""), "").await;
    let list = [nats[0].url(), nats[1].url()];
    let b = node(&list, &format!("{three}\"b\""), "").await;
    elects(async {
        while get(b.address, "/readyz").await.body != "ready\n" {
            sleep(Duration::from_millis(100)).await;
        }
    })
    .await;
    let mut camera = moves_in(a.address, "front-door").await;
    sees(b.address, "front-door", true).await;
    let mut viewer = b.viewer("front-door").await;
    session(&mut camera, &mut viewer).await;

    let used = usize::from(!nats[0].serves("b").await);
    assert!(nats[used].serves("b").await);
    nats[used].stop();
    hears_camera(&mut viewer, false).await;
    hears_camera(&mut viewer, true).await;
    assert!(nats[1 - used].serves("b").await);
    session(&mut camera, &mut viewer).await;
    // And all nodes hear of what is new.
    let mut second = moves_in(b.address, "back-door").await;
    elects(async {
        while !get(a.address, "/api/rooms/back-door").await.body.contains("\"online\":true") {
            sleep(Duration::from_millis(100)).await;
        }
    })
    .await;
    let mut other = a.viewer("back-door").await;
    session(&mut second, &mut other).await;
}

#[tokio::test]
async fn a_token_stands_in_the_url() {
    let nats = Nats::start_with(&["--auth", "a/token"]);
    let node = node(&[format!("nats://a%2Ftoken@{}", nats.address)], "", "").await;
    readyz(node.address, 200, "ready\n").await;
}

/// Waits for something that needs several NATS servers to agree on a leader: they take their time.
async fn elects(work: impl Future<Output = ()>) {
    timeout(Duration::from_secs(90), work).await.expect("NATS has no leader");
}

#[tokio::test]
async fn user_and_password_stand_in_the_url() {
    let nats = Nats::start_with(&["--user", "node", "--pass", "a+secret"]);
    let url = |user: &str| vec![format!("nats://{user}@{}", nats.address)];
    let node = Process::start(&url("node:a+secret"), "");
    node.is_up().await;
    readyz(node.address, 200, "ready\n").await;

    for wrong in ["node:another", "stranger:a+secret"] {
        let refused = Process::start(&url(wrong), "");
        let log = refused.logs("not in the cluster").await;
        is_not_let_in(&refused, &log).await;
        for secret in ["another", "a+secret"] {
            assert!(!log.contains(secret), "{log}");
        }
    }
}

/// The log and `/readyz` of a node whose credentials are no good.
async fn is_not_let_in(node: &Process, log: &str) {
    let words = "NATS does not let this node in: check credentials-file, or user and password";
    assert!(log.contains(words), "{log}");
    readyz(node.address, 503, words).await;
}

#[tokio::test]
async fn a_credentials_file_opens_nats() {
    let folder = TempDir::new().unwrap();
    let operator = Operator::new();
    let config = folder.path().join("nats.conf");
    fs::write(&config, operator.config()).unwrap();
    let nats = Nats::start_with(&["--config", config.to_str().unwrap()]);
    let credentials = |name: &str, text: String| {
        let file = folder.path().join(name);
        fs::write(&file, text).unwrap();
        format!("credentials-file = {:?}", file.to_str().unwrap())
    };
    let good = credentials("good.creds", operator.credentials());
    let node = Process::start(&[nats.url()], &good);
    node.is_up().await;
    readyz(node.address, 200, "ready\n").await;

    let strange = credentials("strange.creds", Operator::new().credentials());
    for wrong in [strange.as_str(), ""] {
        let refused = Process::start(&[nats.url()], wrong);
        let log = refused.logs("not in the cluster").await;
        is_not_let_in(&refused, &log).await;
    }
    // One that is lost later is told in the log; anybody may read /readyz, which names no file.
    let lost = Process::start(&["nats://127.0.0.1:1".to_owned()], &good);
    lost.is_up().await;
    fs::remove_file(folder.path().join("good.creds")).unwrap();
    let log = lost.logs("the credentials for NATS can't be read").await;
    assert!(log.contains("good.creds"), "{log}");
    let words = readyz(lost.address, 503, "the credentials for NATS can't be read").await;
    assert!(!words.contains("good.creds"), "{words}");
}

/// Who says who is who: an operator, and an account that it signed (JWTs of NATS, signed by nkeys).
struct Operator {
    operator: nkeys::KeyPair,
    account: nkeys::KeyPair,
}

impl Operator {
    fn new() -> Self {
        Self { operator: nkeys::KeyPair::new_operator(), account: nkeys::KeyPair::new_account() }
    }

    /// Configuration of a server that believes it.
    fn config(&self) -> String {
        let Self { operator, account } = self;
        let limits = json!({
            "subs": -1, "data": -1, "payload": -1, "imports": -1, "exports": -1, "wildcards": true,
            "conn": -1, "leaf": -1, "mem_storage": -1, "disk_storage": -1, "streams": -1,
            "consumer": -1,
        });
        let system = nkeys::KeyPair::new_account();
        let of_account = |account: &nkeys::KeyPair, limits: &Value| {
            jwt(operator, account, json!({ "type": "account", "version": 2, "limits": limits }))
        };
        format!(
            "operator: {}\nsystem_account: {}\nresolver: MEMORY\n\
             resolver_preload: {{ {}: {}, {}: {} }}\n",
            jwt(operator, operator, json!({ "type": "operator", "version": 2 })),
            system.public_key(),
            account.public_key(),
            of_account(account, &limits),
            system.public_key(),
            of_account(&system, &json!({ "subs": -1, "data": -1, "payload": -1, "conn": -1 })),
        )
    }

    /// A user's file.
    fn credentials(&self) -> String {
        let user = nkeys::KeyPair::new_user();
        let claims = json!({
            "type": "user", "version": 2, "subs": -1, "data": -1, "payload": -1, "pub": {}, "sub": {},
        });
        format!(
            "-----BEGIN NATS USER JWT-----\n{}\n------END NATS USER JWT------\n\n\
             -----BEGIN USER NKEY SEED-----\n{}\n------END USER NKEY SEED------\n",
            jwt(&self.account, &user, claims),
            user.seed().unwrap()
        )
    }
}

fn jwt(issuer: &nkeys::KeyPair, subject: &nkeys::KeyPair, nats: Value) -> String {
    let claims = json!({
        "jti": "test", "iat": 1_700_000_000, "iss": issuer.public_key(), "name": "test",
        "sub": subject.public_key(), "nats": nats,
    });
    let header = json!({ "typ": "JWT", "alg": "ed25519-nkey" });
    let part = |value: &Value| BASE64URL_NOPAD.encode(value.to_string().as_bytes());
    let signed = format!("{}.{}", part(&header), part(&claims));
    let signature = issuer.sign(signed.as_bytes()).unwrap();
    format!("{signed}.{}", BASE64URL_NOPAD.encode(&signature))
}

#[tokio::test]
async fn nats_is_believed_by_the_configured_authority_and_shown_a_certificate() {
    let (ours, other) = (Authority::new(), Authority::new());
    let server = issued(&ours, "server");
    let mut arguments = vec!["--tlsverify".to_owned()];
    arguments.push(format!("--tlscacert={}", ours.file().display()));
    arguments.push(format!("--tlscert={}", server.0.display()));
    arguments.push(format!("--tlskey={}", server.1.display()));
    let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
    let nats = Nats::start_with(&arguments);
    let shows = |(certificate, key): (PathBuf, PathBuf), authority: &Authority| {
        format!(
            "ca-file = {:?}\ncertificate-file = {certificate:?}\nkey-file = {key:?}\n",
            authority.file()
        )
    };
    // A server that asks for TLS gets it, whatever the URL says.
    for scheme in ["tls", "nats"] {
        let url = format!("{scheme}://{}", nats.address);
        let node = Process::start(&[url], &shows(issued(&ours, "node"), &ours));
        node.is_up().await;
        readyz(node.address, 200, "ready\n").await;
    }
    let url = format!("tls://{}", nats.address);
    for wrong in [
        // Not the server that is meant.
        shows(issued(&ours, "node"), &other),
        // Not the node that is meant.
        shows(issued(&other, "node"), &ours),
        format!("ca-file = {:?}", ours.file()),
    ] {
        let refused = Process::start(std::slice::from_ref(&url), &wrong);
        let log = refused.logs("not in the cluster").await;
        assert!(log.contains("no TLS with NATS: "), "{log}");
        readyz(refused.address, 503, "no TLS with NATS: check ca-file, certificate-file").await;
    }
}

/// Files with a certificate for 127.0.0.1 and its key.
fn issued(authority: &Authority, name: &str) -> (PathBuf, PathBuf) {
    let Issued { certificate, key } = authority.issue("127.0.0.1");
    let files = ["pem", "key"].map(|kind| authority.path(&format!("{name}.{kind}")));
    fs::write(&files[0], certificate.pem()).unwrap();
    fs::write(&files[1], key.serialize_pem()).unwrap();
    files.into()
}

#[tokio::test]
async fn a_node_that_comes_later_hears_of_every_camera() {
    /// More than a node reads at once.
    const CAMERAS: usize = 5000;
    let nats = Nats::start();
    let first = nats.node().await;
    readyz(first.address, 200, "ready\n").await;
    // A node of the test's own: it lives, and has all these cameras.
    let client = async_nats::connect(nats.url()).await.unwrap();
    let id = "f".repeat(32);
    let alive = format!(
        "{{\"version\":1,\"from\":\"{id}\",\"message\":{{\"alive\":{{\"name\":\"x\",\"greet\":false}}}}}}"
    );
    let news = client.clone();
    let lives = tokio::spawn(async move {
        loop {
            news.publish("peercam.nodes", alive.clone().into()).await.unwrap();
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    });
    for number in 0..CAMERAS {
        let subject = format!("$KV.peercam-cameras.camera-{number}");
        let hosting = json!({ "node": id, "generation": 1 }).to_string();
        client.publish(subject, hosting.into()).await.unwrap();
    }
    client.flush().await.unwrap();
    let all = format!("peercam_cluster_cameras{{at=\"elsewhere\"}} {CAMERAS}");
    counts(&first, &all).await;
    let later = nats.node().await;
    counts(&later, &all).await;
    // Nothing was lost, and asked for again.
    for node in [&first, &later] {
        counts(node, "peercam_cluster_messages_dropped_total{reason=\"unread\"} 0").await;
    }
    sees(later.address, &format!("camera-{}", CAMERAS - 1), true).await;
    sees(later.address, "camera-0", true).await;
    lives.abort();
}
