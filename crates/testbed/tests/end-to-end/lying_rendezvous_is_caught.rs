//! A rendezvous that wants to see the picture, or to show another one, gets nowhere: the player
//! plays only what proves to be the camera of its link, the camera serves only who proves that the
//! link is his.

use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use peercam_protocol::{
    ShareLink, TOKEN_SUBPROTOCOL,
    key::SecretKey,
    proof::{self, Fingerprint},
    signalling::{Door, ErrorCode, FromViewer, Pass, ToViewer, Transport},
    wire,
};
use peercam_testbed::{
    Stats,
    stats::State,
    wait::{self, Look},
};
use tokio_tungstenite::tungstenite::Message;

use crate::{
    liar::{self, Liar, Lie, with_own_certificate},
    scene::{SOON, Scene},
};

/// What the page says once it has decided, with its words.
async fn verdict(scene: &Scene, state: State) -> (Stats, String) {
    let stats = scene.browser.wait_state(state, SOON).await.unwrap();
    // A refusal stands: nothing is tried behind it.
    tokio::time::sleep(Duration::from_secs(3)).await;
    let later = scene.browser.stats().await.unwrap();
    assert_eq!(later.state, state, "{later:?}");
    assert_eq!(later.frames_decoded, stats.frames_decoded);
    (later, scene.browser.text().await.unwrap())
}

/// `#k=…` alone, for a camera whose door is open.
fn public_link(scene: &Scene) -> ShareLink {
    let key = scene.camera.key().unwrap().public();
    scene.rendezvous.link(scene.camera.room()).unwrap().to_camera(key)
}

#[tokio::test]
async fn a_certificate_swapped_on_both_sides_is_not_played() {
    let scene = Scene::new("swapped").await;
    let liar = Liar::before(scene.rendezvous.address(), Lie::OwnCertificate).await;
    scene.browser.open(&liar.link(&public_link(&scene)).to_string()).await.unwrap();
    let (stats, words) = verdict(&scene, State::Unsafe).await;
    assert!(words.contains("This is not the camera of your link"), "{words}");
    assert!(words.contains("Somebody between you and the camera"), "{words}");
    assert_eq!((stats.frames_decoded, stats.verified), (0.0, false));
    assert_eq!(liar.seen(|seen| seen.joins.len()), 1, "it did not ask again");

    liar.tell(Lie::None);
    scene.browser.reload().await.unwrap();
    let honest = scene.browser.wait_playing(SOON).await.unwrap();
    assert!(honest.verified, "{honest:?}");
}

#[tokio::test]
async fn the_camera_does_not_take_a_certificate_that_the_viewer_did_not_sign() {
    let scene = Scene::with_camera("unsigned", |options| options.door = Door::Token).await;
    let liar = Liar::before(scene.rendezvous.address(), Lie::OwnCertificate).await;
    let link = scene.share(Duration::from_secs(600));
    scene.browser.open(&liar.link(&link).to_string()).await.unwrap();
    let (stats, words) = verdict(&scene, State::Refused).await;
    assert!(words.contains("The camera can’t tell that this link is yours"), "{words}");
    assert_eq!(stats.frames_decoded, 0.0);
    assert_eq!(liar.seen(|seen| seen.answers.len()), 0, "the camera answered");
    assert_eq!(liar.seen(|seen| seen.errors[0].code), ErrorCode::TokenNotYours);
}

#[tokio::test]
async fn an_old_answer_is_not_taken_for_a_new_one() {
    let scene = Scene::new("replayed").await;
    let liar = Liar::before(scene.rendezvous.address(), Lie::None).await;
    let link = liar.link(&public_link(&scene)).to_string();
    scene.browser.open(&link).await.unwrap();
    assert!(scene.browser.wait_playing(SOON).await.unwrap().verified);

    liar.tell(Lie::OldAnswer);
    scene.browser.reload().await.unwrap();
    let (stats, words) = verdict(&scene, State::Unsafe).await;
    assert!(words.contains("This is not the camera of your link"), "{words}");
    assert_eq!(stats.frames_decoded, 0.0);

    liar.tell(Lie::NoProof);
    scene.browser.reload().await.unwrap();
    let (stats, words) = verdict(&scene, State::Unsafe).await;
    assert!(words.contains("This may not be the camera of your link"), "{words}");
    assert_eq!(stats.frames_decoded, 0.0);
}

#[tokio::test]
async fn who_reads_the_token_on_its_way_gets_nothing_from_the_camera() {
    let scene = Scene::with_camera("stolen", |options| options.door = Door::Token).await;
    let liar = Liar::before(scene.rendezvous.address(), Lie::None).await;
    let link = scene.share(Duration::from_secs(600));
    scene.browser.open(&liar.link(&link).to_string()).await.unwrap();
    assert!(scene.browser.wait_playing(SOON).await.unwrap().verified);

    // All that can be read: the token and the viewer's signature, both in his join.
    let (offer, pass) = liar.seen(|seen| seen.joins[0].clone());
    let token = pass.token.clone().unwrap();
    let subprotocols = liar.seen(|seen| seen.subprotocols[0].clone());
    assert!(subprotocols.contains(&format!("{TOKEN_SUBPROTOCOL}{token}")), "{subprotocols}");
    let read = format!("{subprotocols} {pass:?} {:?}", pass.signature);
    assert!(!read.contains(&link.grant().unwrap().key.as_ref().unwrap().reveal()));

    // The thief's own connection has the thief's own certificate, which he signs as he can.
    let offer = with_own_certificate(&offer);
    let own = SecretKey::from_bytes(&[0x5e; 32]);
    let room = scene.camera.room();
    let certificate = Fingerprint::of_sdp(&offer).unwrap();
    let statement = proof::join(link.camera().unwrap(), room, &pass.nonce, &certificate);
    let signed = Pass { signature: Some(own.sign(&statement)), ..pass.clone() };
    let unsigned = Pass { signature: None, ..pass.clone() };
    for pass in [pass, signed, unsigned] {
        let server = scene.rendezvous.address();
        let mut thief = liar::connect(server, &liar::path_of(room), &subprotocols).await;
        let join = FromViewer::Join {
            transport: Transport::Rtp,
            offer: offer.clone(),
            resume: None,
            pass: Some(pass),
        };
        thief.send(Message::text(wire::encode(&join))).await.unwrap();
        let refusal = wait::until("the camera's refusal", SOON, async || {
            let message = thief.next().await.unwrap().unwrap();
            Ok(match wire::decode(message.to_text().unwrap()) {
                Ok(ToViewer::Welcome { .. }) => Look::NotYet("a welcome".to_owned()),
                Ok(ToViewer::Error { error }) => Look::Done(error.code),
                other => panic!("the thief got {other:?}"),
            })
        });
        assert_eq!(refusal.await.unwrap(), ErrorCode::TokenNotYours);
    }
    let undisturbed = scene.browser.wait_playing(SOON).await.unwrap();
    assert_eq!(undisturbed.reconnects, 0);
}
