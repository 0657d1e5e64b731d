//! A standard player with a token that the camera made, at a door that asks for one.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::{
    collections::BTreeSet,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use peercam_agent::access::{Signer, Terms, mint};
use peercam_protocol::{Action, SecretKey, ShareLink, signalling::IceServer, token::LEEWAY};
use support::{
    Camera, ROOM, Rendezvous, base,
    whep::{Player, bearer, request},
};

/// Known to the camera as one of its owner's.
fn owner() -> SecretKey {
    SecretKey::from_bytes(&[9; 32])
}

/// A camera in its room, whose door asks for tokens.
fn camera(rendezvous: &Rendezvous, bearer: bool) -> Camera {
    let owner = owner().public();
    let door = format!("door = \"token\", bearer = {bearer}, owner-keys = [\"{owner}\"]");
    let camera = Camera::start_with(|state| {
        base(state, rendezvous.address).replace("door = \"open\"", &door)
    });
    camera.until(|camera| camera.ctl("status").1.contains("hosting for"), "room");
    camera
}

/// What `peercamctl share --bearer` prints: the link, and the token in it.
fn share(camera: &Camera, arguments: &str) -> String {
    let (code, out, said) = camera.ctl(&format!("share --bearer {arguments}"));
    assert_eq!(code, 0, "{said}");
    assert!(said.contains("/whep/"), "{said}");
    let (link, token) = out.trim_end().split_once('\n').expect("a link and a token");
    let link: ShareLink = link.parse().unwrap();
    assert_eq!(link.grant().unwrap().token, token);
    token.to_owned()
}

/// A bearer token of this key's, good for an hour, made so many seconds from now.
fn signed_by(key: &SecretKey, made_in: i64) -> String {
    let terms = Terms {
        room: ROOM.parse().unwrap(),
        actions: BTreeSet::from([Action::Watch]),
        valid_for: Duration::from_secs(3600),
        not_before: None,
        once: false,
        bearer: true,
    };
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    mint(Signer::Owner(key), &terms, now.saturating_add_signed(made_in)).unwrap().grant.token
}

fn until_viewers(camera: &Camera, number: usize) {
    let viewers = format!("viewers: {number}");
    camera.until(|camera| camera.ctl("status").1.contains(&viewers), &viewers);
}

#[tokio::test(flavor = "multi_thread")]
async fn it_watches_with_a_bearer_token_and_leaves() {
    let stun = IceServer {
        urls: vec!["stun:192.0.2.1:3478".to_owned()],
        username: None,
        credential: None,
    };
    let rendezvous = Rendezvous::start_with(vec![stun]).await;
    let camera = camera(&rendezvous, true);
    let token = share(&camera, "--for 2h");
    let player = Player::watch(rendezvous.address, ROOM, &bearer(&token)).await.unwrap();
    player.plays_on().await;
    player.until("sound", |all| all.audio > 0).await;
    assert!(player.location().starts_with(&format!("/whep/{ROOM}/")), "{:?}", player.created);
    assert_eq!(player.created.header("etag"), "\"0\"");
    assert_eq!(player.created.header("content-type"), "application/sdp");
    assert_eq!(player.created.header("link"), "<stun:192.0.2.1:3478>; rel=\"ice-server\"");
    until_viewers(&camera, 1);

    // Who has only seen the session's address can't end it.
    let without = request(rendezvous.address, "DELETE", player.location(), "", "").await;
    assert_eq!(without.status, 401);
    player.plays_on().await;
    assert_eq!(player.delete().await.status, 200);
    player.until("the end", |all| all.closed).await;
    until_viewers(&camera, 0);
    assert_eq!(player.delete().await.status, 404);

    // The token is in no log.
    let log = std::fs::read_to_string(camera.log()).unwrap();
    assert!(log.contains("joined") && !log.contains(&token), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn revoking_its_token_ends_its_session() {
    let rendezvous = Rendezvous::start().await;
    let camera = camera(&rendezvous, true);
    let (television, kitchen) = (share(&camera, "--label television"), share(&camera, ""));
    let revoked = Player::watch(rendezvous.address, ROOM, &bearer(&television)).await.unwrap();
    let other = Player::watch(rendezvous.address, ROOM, &bearer(&kitchen)).await.unwrap();
    revoked.plays_on().await;
    other.plays_on().await;
    assert_eq!(camera.ctl("revoke television").1, "1\n");
    revoked.until("the end", |all| all.closed).await;
    until_viewers(&camera, 1);
    other.plays_on().await;
    assert_eq!(revoked.delete().await.status, 404);
    let again = Player::watch(rendezvous.address, ROOM, &bearer(&television)).await;
    let again = again.err().expect("no session");
    assert_eq!(again.status, 401);
    assert!(again.body.contains("revoked this link"), "{}", again.body);
    assert_eq!(other.delete().await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn its_session_ends_with_its_token() {
    let rendezvous = Rendezvous::start().await;
    let camera = camera(&rendezvous, true);
    // Good for another 20 s, with the leeway that clocks are given.
    let token = signed_by(&owner(), 20 - LEEWAY as i64 - 3600);
    let player = Player::watch(rendezvous.address, ROOM, &bearer(&token)).await.unwrap();
    player.plays_on().await;
    player.until("the end", |all| all.closed).await;
    until_viewers(&camera, 0);
    assert_eq!(player.delete().await.status, 404);
    let again = Player::watch(rendezvous.address, ROOM, &bearer(&token)).await;
    let again = again.err().expect("no session");
    assert!(again.status == 401 && again.body.contains("expired"), "{again:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_opens_nothing_is_refused_in_words() {
    let rendezvous = Rendezvous::start().await;
    let camera = camera(&rendezvous, true);
    let (ip, port) = (rendezvous.address.ip(), rendezvous.address.port());
    camera.json(&format!("startWebRTC ersIP={ip} ersPort={port} roomID=garden"));
    let in_garden = |camera: &Camera| camera.ctl("status").1.matches("hosting for").count() == 2;
    camera.until(in_garden, "second room");

    let good = share(&camera, "");
    let garden = share(&camera, "--room garden");
    let link: ShareLink = camera.ctl("share").1.trim_end().parse().unwrap();
    let bound = &link.grant().unwrap().token;
    let early = signed_by(&owner(), 600);
    let expired = signed_by(&owner(), -7200);
    let strangers = signed_by(&SecretKey::from_bytes(&[8; 32]), 0);
    let cut = &good[..good.len() - 4];
    let once = share(&camera, "--once");
    let first = Player::watch(rendezvous.address, ROOM, &bearer(&once)).await.unwrap();
    first.plays_on().await;

    let (invalid, scope) = (Some("invalid_token"), Some("insufficient_scope"));
    for (what, header, status, error, words) in [
        ("nothing", String::new(), 401, None, "asks for a token"),
        ("a password", "Authorization: Basic dTpw\r\n".into(), 401, None, "asks for a token"),
        ("garbage", bearer("x.y.z"), 401, invalid, "damaged"),
        ("half of it", bearer(cut), 401, invalid, "damaged"),
        ("a stranger's", bearer(&strangers), 401, invalid, "does not take"),
        ("an old one", bearer(&expired), 401, invalid, "expired 36"),
        ("one for later", bearer(&early), 401, invalid, "not good for another"),
        ("a used one", bearer(&once), 401, invalid, "good for one visit"),
        ("another room's", bearer(&garden), 403, scope, "for the room garden"),
        ("a share link's", bearer(bound), 403, scope, "does not have its key"),
    ] {
        let refused = Player::watch(rendezvous.address, ROOM, &header).await;
        let refused = refused.err().unwrap_or_else(|| panic!("{what} opens the door"));
        assert_eq!(refused.status, status, "{what}: {refused:?}");
        assert!(refused.body.contains(words), "{what}: {}", refused.body);
        let challenge = refused.header("www-authenticate");
        assert!(challenge.starts_with("Bearer realm=\"peercam\""), "{what}: {challenge}");
        match error {
            Some(error) => assert!(challenge.contains(error), "{what}: {challenge}"),
            None => assert!(!challenge.contains("error"), "{what}: {challenge}"),
        }
    }
    // Nobody was disturbed by that, and each token opens its own room.
    first.plays_on().await;
    for (room, token) in [(ROOM, &good), ("garden", &garden)] {
        let player = Player::watch(rendezvous.address, room, &bearer(token)).await.unwrap();
        player.plays_on().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_camera_that_takes_no_bearer_tokens_says_so() {
    let rendezvous = Rendezvous::start().await;
    let camera = camera(&rendezvous, false);
    let (code, _, said) = camera.ctl("share --bearer");
    assert!(code == 1 && said.contains("access.bearer = true"), "{said}");
    // Nor one that its owner signed elsewhere.
    let token = signed_by(&owner(), 0);
    let refused = Player::watch(rendezvous.address, ROOM, &bearer(&token)).await;
    let refused = refused.err().expect("no session");
    assert_eq!(refused.status, 403, "{refused:?}");
    assert!(refused.body.contains("bound to no key"), "{}", refused.body);
    assert!(refused.header("www-authenticate").contains("insufficient_scope"));
}
