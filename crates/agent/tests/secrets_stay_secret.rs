//! What opens a door stands in no log. In a program of its own: the log is the whole program's.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::{collections::BTreeSet, time::Duration};

use peercam_agent::{
    access::{Signer, Terms, mint},
    identity::Identity,
};
use peercam_protocol::{Action, SecretKey, signalling::Transport};
use support::{Agent, ROOM, Rendezvous, Socket, Viewer, ViewerOptions, logged, logged_at};

#[tokio::test(flavor = "multi_thread")]
async fn no_log_has_a_token_or_a_key() {
    let level = "peercam_agent=trace,peercam_rendezvous=trace,tungstenite=debug,debug";
    assert!(logged_at(level).is_empty());
    let owner = SecretKey::from_bytes(&[9; 32]);
    let more = format!("access = {{ door = \"token\", owner-keys = [\"{}\"] }}", owner.public());
    let rendezvous = Rendezvous::start().await;
    let agent = Agent::launch(rendezvous.address, &more);
    let terms = Terms {
        room: ROOM.parse().unwrap(),
        actions: BTreeSet::from([Action::Watch]),
        valid_for: Duration::from_secs(3600),
        not_before: None,
        once: true,
        bearer: false,
    };
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let [good, bearer] = [false, true].map(|bearer| {
        mint(Signer::Owner(&owner), &Terms { bearer, ..terms.clone() }, now.as_secs())
            .unwrap()
            .grant
    });
    let mut socket = Socket::watch_with(rendezvous.address, ROOM, Some(&good.token)).await;
    tokio::time::timeout(support::PATIENCE, socket.until_online()).await.expect("a camera");
    let identity = Identity::load_or_create(agent.state.path()).unwrap();
    let watch = async |grant: &peercam_protocol::link::Grant| {
        let options = ViewerOptions {
            link: Some((identity.public_key(), grant.clone())),
            ..ViewerOptions::new(Transport::Rtp)
        };
        Viewer::join(rendezvous.address, ROOM, options).await
    };
    // One who comes in, one who comes twice, and one who has the wrong kind.
    let viewer = watch(&good).await;
    viewer.plays_on().await;
    let resume = viewer.resume_key().await;
    for refused in [&good, &bearer] {
        watch(refused).await.until("a refusal", |all| !all.errors.is_empty()).await;
    }
    agent.stop().await;
    let log = logged();
    assert!(log.contains("join refused"), "the log has what happened");
    let viewer_key = good.key.as_ref().unwrap().reveal();
    let camera_key = identity.key().reveal();
    let signature = |token: &str| token.rsplit('.').next().unwrap().to_owned();
    for secret in [
        signature(&good.token),
        signature(&bearer.token),
        viewer_key,
        camera_key,
        resume.as_str().to_owned(),
    ] {
        assert!(!log.contains(&secret), "{secret} is in the log");
    }
}
