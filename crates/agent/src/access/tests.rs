use std::{collections::BTreeSet, fs, time::Duration};

use peercam_protocol::Action;
use tempfile::TempDir;

use super::*;

fn open(state: &TempDir, config: &config::Access) -> Access {
    let identity = Identity::load_or_create(state.path()).unwrap();
    Access::open(&identity, config, state.path())
}

fn terms() -> Terms {
    Terms {
        room: "garden".parse().unwrap(),
        actions: BTreeSet::from([Action::Watch]),
        valid_for: Duration::from_secs(3600),
        not_before: None,
        once: false,
        bearer: true,
    }
}

fn bearer() -> config::Access {
    config::Access { bearer: true, ..Default::default() }
}

const OFFER: &str = include_str!("../session/offer_chromium.sdp");

fn admit(access: &Access, minted: &Minted) -> Result<Admission, Error> {
    let token = Some(minted.grant.token.clone());
    let pass = Pass { nonce: Nonce::from_bytes([1; 16]), token, signature: None };
    access.admit(&terms().room, OFFER, Some(&pass))
}

fn refusal(access: &Access, minted: &Minted) -> ErrorCode {
    admit(access, minted).unwrap_err().code
}

#[tokio::test]
async fn what_was_shared_revoked_and_used_outlives_a_restart() {
    let state = TempDir::new().unwrap();
    let access = open(&state, &bearer());
    let kept = access.share(&terms(), Some("kids".to_owned())).await.unwrap();
    let gone = access.share(&terms(), None).await.unwrap();
    let once = access.share(&Terms { once: true, ..terms() }, None).await.unwrap();
    access.revoke(&gone.claims.jti).await.unwrap();
    let admission = admit(&access, &once).unwrap();
    access.enter(&admission).unwrap().expect("something to wait for").done().await.unwrap();
    // Who was admitted in the same moment is too late.
    assert_eq!(access.enter(&admission).unwrap_err().code, ErrorCode::TokenUsed);

    // No end of the program in between: as after a power cut.
    let access = open(&state, &bearer());
    assert!(admit(&access, &kept).is_ok());
    assert_eq!(refusal(&access, &gone), ErrorCode::TokenRevoked);
    assert_eq!(refusal(&access, &once), ErrorCode::TokenUsed);
    let states: Vec<_> = access.shares().iter().map(|listed| listed.state).collect();
    assert_eq!(states, [ShareState::Used, ShareState::Revoked, ShareState::Good]);
    assert_eq!(access.revoke("kids").await.unwrap(), Revoked::Shares(1));
    assert_eq!(refusal(&access, &kept), ErrorCode::TokenRevoked);
}

#[tokio::test]
async fn what_can_not_be_written_down_is_not_shared_but_revoked_all_the_same() {
    let state = TempDir::new().unwrap();
    let access = open(&state, &bearer());
    let kept = access.share(&terms(), None).await.unwrap();
    // Where the next draft of the file would be.
    let obstacle = state.path().join("access.toml.new");
    fs::create_dir(&obstacle).unwrap();
    assert!(matches!(access.share(&terms(), None).await, Err(ShareError::Unkept(_))));
    assert_eq!(access.shares().len(), 1);
    assert!(matches!(access.revoke_all().await, Err(RevokeError::Unkept(_))));
    assert_eq!(refusal(&access, &kept), ErrorCode::TokenRevoked);
    fs::remove_dir(&obstacle).unwrap();
    access.share(&terms(), None).await.unwrap();
    assert_eq!(access.shares().len(), 2);
}

#[tokio::test]
async fn after_all_was_revoked_what_is_shared_is_good_again() {
    let state = TempDir::new().unwrap();
    let access = open(&state, &bearer());
    let before = access.share(&terms(), None).await.unwrap();
    let mut revocations = access.revocations();
    assert_eq!(access.revoke_all().await.unwrap(), 1);
    assert!(revocations.has_changed().unwrap());
    revocations.mark_unchanged();
    let after = access.share(&terms(), None).await.unwrap();
    for access in [access, open(&state, &bearer())] {
        assert_eq!(refusal(&access, &before), ErrorCode::TokenRevoked);
        assert!(admit(&access, &after).is_ok());
    }
}

#[tokio::test]
async fn a_damaged_file_opens_no_door() {
    let state = TempDir::new().unwrap();
    let access = open(&state, &bearer());
    let minted = access.share(&terms(), None).await.unwrap();
    access.revoke(&minted.claims.jti).await.unwrap();
    fs::write(state.path().join("access.toml"), "revoked = [").unwrap();
    // And not at the next start either.
    for _ in 0..2 {
        let access = open(&state, &bearer());
        assert_eq!(refusal(&access, &minted), ErrorCode::TokenRevoked);
        assert!(state.path().join("access.toml.unusable").exists());
    }
    let access = open(&state, &bearer());
    let anew = access.share(&terms(), None).await.unwrap();
    assert!(admit(&access, &anew).is_ok());
}

#[tokio::test]
async fn what_can_not_be_kept_is_an_error_and_revoked_all_the_same() {
    let state = TempDir::new().unwrap();
    let access = open(&state, &bearer());
    let minted = access.share(&terms(), None).await.unwrap();
    // The state directory is gone, and its place is taken.
    fs::remove_dir_all(state.path()).unwrap();
    fs::write(state.path(), "").unwrap();
    let error = access.revoke_all().await.unwrap_err().to_string();
    assert!(error.contains("access.toml") && error.contains("state-dir"), "{error}");
    assert_eq!(refusal(&access, &minted), ErrorCode::TokenRevoked);
    assert!(matches!(access.share(&terms(), None).await, Err(ShareError::Unkept(_))));
    fs::remove_file(state.path()).unwrap();
}

#[tokio::test]
async fn bearer_tokens_are_not_shared_where_they_would_be_refused() {
    let state = TempDir::new().unwrap();
    let access = open(&state, &config::Access::default());
    let error = access.share(&terms(), None).await.unwrap_err();
    assert!(matches!(error, ShareError::Bearer), "{error}");
}

#[tokio::test]
async fn an_open_door_asks_for_nothing_and_a_proof_is_there_for_who_wants_it() {
    let state = TempDir::new().unwrap();
    let access = open(&state, &config::Access { door: Door::Open, ..Default::default() });
    let room = terms().room;
    let admission = access.admit(&room, OFFER, None).unwrap();
    assert!(admission.ticket.is_none() && admission.witness.is_none());
    assert!(access.enter(&admission).unwrap().is_none());
    let nonce = Nonce::from_bytes([1; 16]);
    let pass = Pass { nonce, token: None, signature: None };
    let witness = access.admit(&room, OFFER, Some(&pass)).unwrap().witness.expect("a witness");
    // Any SDP with a certificate is an answer here.
    let proof = witness.prove(OFFER).unwrap();
    let fingerprint = Fingerprint::of_sdp(OFFER).unwrap();
    let statement = proof::answer(&room, &nonce, &fingerprint, &fingerprint);
    assert_eq!(proof.key, access.public_key());
    assert!(proof.key.verify(&statement, &proof.signature));
    assert!(witness.prove("v=0\r\n").is_none());
}

/// None of these is a secret's place.
#[tokio::test]
async fn nothing_shows_a_secret() {
    let state = TempDir::new().unwrap();
    let access = open(&state, &config::Access::default());
    let minted = access.share(&Terms { bearer: false, ..terms() }, None).await.unwrap();
    let shown = format!("{access:?} {minted:?}");
    let files = fs::read_to_string(state.path().join("access.toml")).unwrap();
    let secrets = [minted.grant.token, minted.grant.key.unwrap().reveal()];
    for secret in secrets {
        assert!(!shown.contains(&secret) && !files.contains(&secret));
    }
}
