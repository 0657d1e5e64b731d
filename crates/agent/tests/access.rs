//! Who may watch: the camera decides, also where the rendezvous lets everybody through.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::{
    collections::BTreeSet,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use peercam_agent::{
    access::{Minted, Signer, Terms, mint},
    identity::Identity,
};
use peercam_protocol::{
    Action, Claims, Fingerprint, PublicKey, RoomId, SecretKey,
    link::Grant,
    proof,
    signalling::{
        ErrorCode, FromCamera, FromViewer, Pass, ServerTime, SessionId, ToCamera, ToViewer,
        Transport,
    },
    token::{Confirmation, LEEWAY},
};
use support::{
    Agent, ROOM, Rendezvous, Socket, Viewer, ViewerOptions,
    fake_rendezvous::{Camera, FakeRendezvous},
    viewer::{Proven, pass},
};

const OFFER: &str = include_str!("../src/session/offer_chromium.sdp");

fn offer() -> String {
    OFFER.replace('\n', "\r\n")
}

fn fingerprint() -> Fingerprint {
    Fingerprint::of_sdp(&offer()).unwrap()
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

/// Known to the camera as one of its owner's.
fn owner() -> SecretKey {
    SecretKey::from_bytes(&[9; 32])
}

/// The configuration of a camera that asks for tokens.
fn door(more: &str) -> String {
    let owner = owner().public();
    format!("[access]\ndoor = \"token\"\nowner-keys = [\"{owner}\"]\n{more}")
}

fn terms() -> Terms {
    Terms {
        room: ROOM.parse().unwrap(),
        actions: BTreeSet::from([Action::Watch]),
        valid_for: Duration::from_secs(3600),
        not_before: None,
        once: false,
        bearer: false,
    }
}

fn share(terms: &Terms) -> Minted {
    mint(Signer::Owner(&owner()), terms, now()).unwrap()
}

/// A token with other claims than `mint` gives.
fn changed(change: impl FnOnce(&mut Claims)) -> Grant {
    let key = SecretKey::from_bytes(&[5; 32]);
    let mut claims = share(&terms()).claims;
    claims.cnf = Some(Confirmation::new(key.public()));
    change(&mut claims);
    Grant { token: claims.sign(&owner()), key: Some(key) }
}

fn camera_key(agent: &Agent) -> PublicKey {
    Identity::load_or_create(agent.state.path()).unwrap().public_key()
}

/// A camera whose rendezvous lets everything through.
async fn reached(more: &str) -> (Agent, Camera) {
    let rendezvous = FakeRendezvous::start().await;
    let agent = Agent::launch(rendezvous.address(), &door(more));
    (agent, rendezvous.host().await)
}

/// Joins, with the Chromium's offer; what the camera says to that.
async fn join(camera: &mut Camera, number: u64, pass: Option<Pass>) -> Result<(), ErrorCode> {
    let session = SessionId(number);
    let join = ToCamera::Join {
        session,
        transport: Transport::Fmp4,
        offer: offer(),
        resume: None,
        pass: pass.clone(),
        ice_servers: vec![],
    };
    camera.send(&join).await;
    let answer = camera.find(|message| match message {
        FromCamera::Answer { session: of, sdp, proof } if of == session => Some(Ok((sdp, proof))),
        FromCamera::Error { session: Some(of), error } if of == session => Some(Err(error)),
        _ => None,
    });
    match answer.await {
        Ok((sdp, proof)) => {
            if let Some(Pass { nonce, .. }) = pass {
                let camera = proof.expect("a proof").key;
                let room = ROOM.parse().unwrap();
                Proven { camera, room, nonce, viewer: fingerprint() }.check(&sdp, proof.as_ref());
            }
            Ok(())
        }
        Err(error) => {
            assert!(error.code.ends_session(), "{error}");
            Err(error.code)
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_wrong_token_has_its_own_error_and_no_session() {
    support::log();
    let (agent, mut camera) = reached("").await;
    let key = camera_key(&agent);
    let show = |grant: &Grant| pass(&key, ROOM, &fingerprint(), Some(grant));
    let good = share(&terms()).grant;
    let bearer = share(&Terms { bearer: true, ..terms() }).grant;
    let garden = share(&Terms { room: "garden".parse().unwrap(), ..terms() }).grant;
    let stranger = SecretKey::from_bytes(&[8; 32]);
    let stranger = mint(Signer::Owner(&stranger), &terms(), now()).unwrap().grant;
    let none = good.token.replacen(&good.token[..good.token.find('.').unwrap()], NONE, 1);
    let thief = SecretKey::from_bytes(&[7; 32]);
    let other = Fingerprint::from_bytes([1; 32]);
    use ErrorCode as E;
    let wrong = [
        ("nothing", None, E::TokenMissing),
        ("no token", Some(pass(&key, ROOM, &fingerprint(), None)), E::TokenMissing),
        ("garbage", Some(show(&Grant { token: "x".into(), ..good.clone() })), E::TokenInvalid),
        (
            "truncated",
            Some(show(&Grant { token: good.token[..good.token.len() - 4].into(), ..good.clone() })),
            E::TokenInvalid,
        ),
        ("alg none", Some(show(&Grant { token: none, ..good.clone() })), E::TokenInvalid),
        ("a stranger's", Some(show(&stranger)), E::TokenInvalid),
        ("another room's", Some(show(&garden)), E::TokenForAnotherRoom),
        (
            "expired",
            Some(show(&changed(|claims| claims.exp = now() - LEEWAY - 1))),
            E::TokenExpired,
        ),
        (
            "early",
            Some(show(&changed(|claims| claims.nbf = Some(now() + 600)))),
            E::TokenNotYetValid,
        ),
        ("a bearer token", Some(show(&bearer)), E::TokenNotYours),
        ("stolen", Some(Pass { signature: None, ..show(&good) }), E::TokenNotYours),
        (
            "stolen, signed by the thief",
            Some(show(&Grant { key: Some(thief), ..good.clone() })),
            E::TokenNotYours,
        ),
        (
            "replayed over another connection",
            Some(pass(&key, ROOM, &other, Some(&good))),
            E::TokenNotYours,
        ),
        (
            "not to watch",
            Some(show(&changed(|claims| claims.scope = BTreeSet::from([Action::Talk])))),
            E::NotAllowed,
        ),
    ];
    for (number, (what, pass, code)) in (1..).zip(wrong) {
        assert_eq!(join(&mut camera, number, pass).await, Err(code), "{what}");
    }
    assert_eq!(join(&mut camera, 100, Some(show(&good))).await, Ok(()));
    agent.stop().await;
}

/// `{"alg":"none"}`
const NONE: &str = "eyJhbGciOiJub25lIn0";

#[tokio::test(flavor = "multi_thread")]
async fn a_link_for_one_visit_is_good_for_one() {
    support::log();
    let (agent, mut camera) = reached("").await;
    let key = camera_key(&agent);
    let once = share(&Terms { once: true, ..terms() }).grant;
    let show = || pass(&key, ROOM, &fingerprint(), Some(&once));
    // Who can't show that it is his, does not use it up.
    let stolen = Pass { signature: None, ..show() };
    assert_eq!(join(&mut camera, 1, Some(stolen)).await, Err(ErrorCode::TokenNotYours));
    assert_eq!(join(&mut camera, 2, Some(show())).await, Ok(()));
    assert_eq!(join(&mut camera, 3, Some(show())).await, Err(ErrorCode::TokenUsed));
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bearer_tokens_are_taken_where_the_owner_allows_them() {
    support::log();
    let (agent, mut camera) = reached("bearer = true").await;
    let bearer = share(&Terms { bearer: true, ..terms() }).grant;
    let pass = pass(&camera_key(&agent), ROOM, &fingerprint(), Some(&bearer));
    assert_eq!(join(&mut camera, 1, Some(pass)).await, Ok(()));
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stranger_takes_nobodys_place() {
    support::log();
    let (agent, mut camera) = reached("[viewers]\nmax = 1").await;
    let key = camera_key(&agent);
    let show = |grant: &Grant| pass(&key, ROOM, &fingerprint(), Some(grant));
    assert_eq!(join(&mut camera, 1, None).await, Err(ErrorCode::TokenMissing));
    assert_eq!(join(&mut camera, 2, Some(show(&share(&terms()).grant))).await, Ok(()));
    assert_eq!(join(&mut camera, 3, None).await, Err(ErrorCode::TokenMissing));
    // And one who finds the camera full keeps his visit.
    let once = share(&Terms { once: true, ..terms() }).grant;
    assert_eq!(join(&mut camera, 4, Some(show(&once))).await, Err(ErrorCode::Full));
    let (session, reason) = (SessionId(2), peercam_protocol::signalling::ByeReason::ViewerLeft);
    camera.send(&ToCamera::Bye { session, reason }).await;
    for number in 5.. {
        match join(&mut camera, number, Some(show(&once))).await {
            Err(ErrorCode::Full) => tokio::time::sleep(Duration::from_millis(50)).await,
            outcome => {
                assert_eq!(outcome, Ok(()));
                break;
            }
        }
    }
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_open_door_asks_for_nothing_and_proves_who_answers() {
    support::log();
    let rendezvous = FakeRendezvous::start().await;
    let agent = Agent::launch(rendezvous.address(), "access = { door = \"open\" }");
    let mut camera = rendezvous.host().await;
    assert_eq!(join(&mut camera, 1, None).await, Ok(()));
    let curious = pass(&camera_key(&agent), ROOM, &fingerprint(), None);
    assert_eq!(join(&mut camera, 2, Some(curious)).await, Ok(()));
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_key_of_a_server_that_tells_the_time_is_pinned() {
    support::log();
    let rendezvous = FakeRendezvous::start().await;
    let agent = Agent::launch(rendezvous.address(), &door(""));
    let room: RoomId = ROOM.parse().unwrap();
    let url = format!("ws://{}", rendezvous.address());
    let pinned = || std::fs::read_to_string(agent.state.path().join("clock.toml"));
    let [first, second] = [1, 2].map(|seed| SecretKey::from_bytes(&[seed; 32]));
    for key in [&first, &second] {
        let mut camera = rendezvous.accept().await;
        let nonce = camera.prove().await;
        let unix_ms = now() * 1000;
        let signature = key.sign(&proof::time(unix_ms, &room, &nonce));
        let time = Some(ServerTime { unix_ms, key: key.public(), signature });
        camera.send(&ToCamera::Hosting { room: room.clone(), ice_servers: vec![], time }).await;
        // It is in the room, and lets in who may.
        let pass = pass(&camera_key(&agent), ROOM, &fingerprint(), Some(&share(&terms()).grant));
        assert_eq!(join(&mut camera, 1, Some(pass)).await, Ok(()));
        let begun = std::time::Instant::now();
        while !pinned().is_ok_and(|text| text.contains(&url)) {
            assert!(begun.elapsed() < support::PATIENCE, "no pin");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let text = pinned().unwrap();
        assert!(text.contains(&first.public().to_string()), "{text}");
        assert!(!text.contains(&second.public().to_string()), "{text}");
    }
    agent.stop().await;
}

/// Through a real rendezvous, from the offer to the picture.
async fn watch(rendezvous: &Rendezvous, agent: &Agent, grant: Grant) -> Viewer {
    let options = ViewerOptions {
        link: Some((camera_key(agent), grant)),
        ..ViewerOptions::new(Transport::Rtp)
    };
    Viewer::join(rendezvous.address, ROOM, options).await
}

async fn camera(rendezvous: &Rendezvous) -> Agent {
    let agent = Agent::launch(rendezvous.address, &door(""));
    let token = share(&terms()).grant.token;
    let mut socket = Socket::watch_with(rendezvous.address, ROOM, Some(&token)).await;
    let online = tokio::time::timeout(support::PATIENCE, socket.until_online());
    online.await.expect("the camera hosts its room");
    agent
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_ends_when_its_token_expires() {
    support::log();
    let rendezvous = Rendezvous::start().await;
    let agent = camera(&rendezvous).await;
    let lasting = watch(&rendezvous, &agent, share(&terms()).grant).await;
    lasting.plays_on().await;
    let short = changed(|claims| {
        claims.iat = now() - 600;
        claims.exp = now() - LEEWAY + 8;
    });
    let viewer = watch(&rendezvous, &agent, short).await;
    viewer.plays_on().await;
    let all = viewer.until("the end", |all| !all.errors.is_empty()).await;
    assert_eq!(all.errors[0].code, ErrorCode::TokenExpired);
    viewer.until("no connection", |all| all.closed).await;
    lasting.plays_on().await;
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_is_taken_up_again_by_nobody_else() {
    support::log();
    let rendezvous = Rendezvous::start().await;
    let agent = camera(&rendezvous).await;
    let viewer = watch(&rendezvous, &agent, share(&terms()).grant).await;
    viewer.plays_on().await;
    let resume = viewer.resume_key().await;
    // Somebody who may watch, and saw the key, with an offer like the viewer's.
    let token = share(&terms()).grant.token;
    let mut thief = Socket::watch_with(rendezvous.address, ROOM, Some(&token)).await;
    thief.until_online().await;
    let sdp = viewer.offer_restart().await.sdp;
    let line = sdp.lines().find(|line| line.starts_with("a=fingerprint:")).unwrap();
    let forged = sdp
        .replace(line, &line.replace(|c: char| c.is_ascii_digit(), "0"))
        .replace("SHA-000", "sha-256")
        .replace("sha-000", "sha-256");
    let join = |offer: &str| FromViewer::Join {
        transport: Transport::Rtp,
        offer: offer.to_owned(),
        resume: Some(resume.clone()),
        pass: None,
    };
    for offer in [forged.as_str(), "garbage"] {
        thief.send(&join(offer)).await;
        let error = thief.find(|message| match message {
            ToViewer::Error { error } => Some(error),
            _ => None,
        });
        assert_eq!(error.await.code, ErrorCode::TokenNotYours);
    }
    viewer.plays_on().await;
    // Its own line is still its own.
    viewer.restart().await;
    viewer.until("another connection", |all| all.connections == 2).await;
    viewer.plays_on().await;
    assert!(viewer.received().errors.is_empty());
    agent.stop().await;
}
