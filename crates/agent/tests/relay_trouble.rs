//! TURN servers that are not what they should be: named in the log, and nobody waits for them.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::{net::SocketAddr, time::Duration};

use peercam_protocol::signalling::{IceServer, Transport};
use support::{
    Agent, ROOM, Rendezvous, Viewer, ViewerOptions,
    coturn::{Certified, Coturn, Over},
    until_logged,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream, UdpSocket},
};

/// A server that does to each connection what it is told to.
async fn hostile<F>(behave: impl Fn(TcpStream) -> F + Send + 'static) -> SocketAddr
where
    F: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            tokio::spawn(behave(stream));
        }
    });
    address
}

/// Sends `data`, and nothing more.
async fn says(data: &'static [u8]) -> SocketAddr {
    hostile(move |mut stream| async move {
        let _ = stream.write_all(data).await;
        let _ = stream.read_to_end(&mut Vec::new()).await;
    })
    .await
}

fn server(url: String) -> IceServer {
    let secret = Some("not for the log".to_owned());
    IceServer { urls: vec![url], username: secret.clone(), credential: secret }
}

/// A camera that is reached over relays only, and by these servers only.
async fn relay_only(servers: Vec<IceServer>, more: &str) -> (Rendezvous, Agent) {
    let rendezvous = Rendezvous::start_with(servers).await;
    let more = format!("[network]\nloopback = true\nrelay-only = true\n{more}");
    let agent = Agent::start(rendezvous.address, &more).await;
    (rendezvous, agent)
}

async fn join(rendezvous: &Rendezvous) -> Viewer {
    Viewer::join(rendezvous.address, ROOM, ViewerOptions::new(Transport::Rtp)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn servers_that_misbehave_are_named_and_hold_up_nobody() {
    support::logged();
    let closes = hostile(|stream| async move { drop(stream) }).await;
    // A STUN message that says it has 64 KB, and has not.
    let lies = says(&[1, 0x13, 0xff, 0xfc, 0x21, 0x12, 0xa4, 0x42]).await;
    // ChannelData of a channel that nobody bound, again and again.
    let talks = says(&[0x40, 0, 0, 4, 1, 2, 3, 4, 0x40, 1, 0, 1, 1, 0, 0, 0]).await;
    let garbage = says(&[0xff; 4096]).await;
    let silent = hostile(|stream| async move {
        tokio::time::sleep(Duration::from_secs(120)).await;
        drop(stream);
    })
    .await;
    let no_tls = says(b"220 mail.example ESMTP\r\n").await;
    let refuses = {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        listener.local_addr().unwrap()
    };
    let deaf = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let good = Coturn::start(Over::Tcp);
    let wrong_password = Coturn::start(Over::Udp);

    let tcp = |address: SocketAddr| server(format!("turn:{address}?transport=tcp"));
    let mut servers: Vec<IceServer> =
        [closes, lies, talks, garbage, silent, refuses].map(tcp).into();
    servers.push(server(format!("turns:localhost:{}", no_tls.port())));
    servers.push(server(format!("turns:localhost:{}", silent.port())));
    servers.push(server(format!("turn:{}", deaf.local_addr().unwrap())));
    servers.push(server("turn:no-such-name.invalid?transport=tcp".to_owned()));
    servers.push(wrong_password.ice_server_with("not for the log"));
    servers.push(good.ice_server());
    let (rendezvous, agent) = relay_only(servers, "").await;

    let viewer = join(&rendezvous).await;
    let received = viewer.until("connection", |all| all.connected).await;
    println!("connected after {:?}", received.connected_after.unwrap());
    viewer.plays_on().await;

    let expected = [
        (closes, "closes the connection"),
        (lies, "does not answer for 10 s: is it a TURN server?"),
        (talks, "does not answer for 10 s: is it a TURN server?"),
        (garbage, "what is not TURN: a message that begins with 0xff"),
        (silent, "does not answer for 10 s"),
        (refuses, "no connection: Connection refused"),
        (no_tls, "does not speak TLS there: look at scheme and port"),
        (deaf.local_addr().unwrap(), "no answer within 10 s: is UDP blocked"),
    ];
    for (address, words) in expected {
        until_logged(&["WARN", &format!(":{}", address.port()), words]).await;
    }
    until_logged(&[&format!("turns:localhost:{}", silent.port()), "no TLS handshake within 5 s"])
        .await;
    until_logged(&["no-such-name.invalid", "its name can't be looked up"]).await;
    until_logged(&[&wrong_password.url(), "refuses our user name or password (401"]).await;

    // A second viewer is not told about in the same words, and plays as well.
    let told = |log: &str| log.matches("0xff").count();
    let before = told(&support::logged());
    let second = join(&rendezvous).await;
    second.plays_on().await;
    let log = support::logged();
    assert_eq!(told(&log), before);
    assert!(!log.contains("not for the log"), "a credential is in the log");
    viewer.plays_on().await;
    agent.stop().await;
}

/// A viewer plays by the direct way meanwhile.
async fn refused_certificate(name: &str, ca: impl Fn(&Coturn) -> String, words: &[&str]) {
    support::logged();
    let turn = Coturn::start_as(name);
    let url = turn.url();
    let rendezvous = Rendezvous::start_with(vec![turn.ice_server()]).await;
    let more = format!("[network]\nloopback = true\n{}", ca(&turn));
    let agent = Agent::start(rendezvous.address, &more).await;
    let viewer = join(&rendezvous).await;
    let mut all = vec!["WARN", &url];
    all.extend(words);
    until_logged(&all).await;
    viewer.plays_on().await;
    let (_, camera) = viewer.candidate_types().await;
    assert_ne!(camera, "relay");
    assert!(!turn.log().contains("new, realm"), "an allocation: {}", turn.log());
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_for_another_name_is_refused() {
    let trust = |turn: &Coturn| format!("turn-ca = {:?}", turn.authority());
    refused_certificate("turn.example.org", trust, &["is for turn.example.org, not for localhost"])
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_of_an_unknown_authority_is_refused() {
    let trust = |_: &Coturn| String::new();
    refused_certificate("localhost", trust, &["nobody this camera trusts", "network.turn-ca"])
        .await;
    // Trusting somebody else does not help.
    let folder = tempfile::tempdir().unwrap();
    let other = Certified::new("localhost").trust(folder.path());
    let trust = move |_: &Coturn| format!("turn-ca = {other:?}");
    refused_certificate("localhost", trust, &["nobody this camera trusts"]).await;
}

/// The viewer restarts ICE each time the camera asks for it.
async fn obey(viewer: &Viewer, obeyed: &mut usize) {
    if viewer.received().restarts_asked > *obeyed {
        *obeyed = viewer.received().restarts_asked;
        viewer.restart().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_started_again_gives_a_new_relay() {
    support::logged();
    for over in [Over::Tcp, Over::Tls] {
        let turn = Coturn::start(over);
        let ca = match over {
            Over::Tls => format!("turn-ca = {:?}", turn.authority()),
            Over::Tcp | Over::Udp => String::new(),
        };
        let (rendezvous, agent) = relay_only(vec![turn.ice_server()], &ca).await;
        let viewer = join(&rendezvous).await;
        viewer.plays_on().await;
        viewer.resume_key().await;

        let stopped = turn.stop();
        let mut obeyed = 0;
        viewer.until("request for a restart", |all| all.restarts_asked > 0).await;
        obey(&viewer, &mut obeyed).await;
        tokio::time::sleep(Duration::from_secs(1)).await;
        let before = viewer.received();
        let _turn = stopped.start();
        let played = async {
            loop {
                obey(&viewer, &mut obeyed).await;
                if viewer.received().frames > before.frames + 10 {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        tokio::time::timeout(support::PATIENCE, played).await.expect("pictures by a new relay");
        assert!(obeyed >= 2, "once when it went, once when it came: {obeyed}");
        viewer.plays_on().await;
        assert_eq!(viewer.received().byes, 0, "the session is the same");
        agent.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_on_udp_that_is_started_again_gives_a_new_relay() {
    support::logged();
    let turn = Coturn::start(Over::Udp);
    let (rendezvous, agent) = relay_only(vec![turn.ice_server()], "").await;
    let viewer = join(&rendezvous).await;
    viewer.plays_on().await;
    viewer.resume_key().await;
    let _turn = turn.restart();
    let frames = viewer.received().frames;
    // Nobody hears that an allocation on UDP is gone; silence tells.
    viewer.until("silence", |all| all.closed).await;
    viewer.restart().await;
    viewer.until("pictures by a new relay", |all| all.frames > frames + 30).await;
    assert_eq!(viewer.received().byes, 0, "the session is the same");
    agent.stop().await;
}
