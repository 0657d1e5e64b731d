//! A viewer takes its session up again: on the socket it has, or on another one.
#![allow(clippy::unwrap_used)]

mod support;

use peercam_protocol::signalling::{
    ByeReason, Error, ErrorCode, FromCamera, FromViewer, ResumeKey, SessionId, ToCamera, ToViewer,
    Transport,
};
use support::*;

fn resume() -> FromViewer {
    FromViewer::Join {
        transport: Transport::Rtp,
        offer: "a restart".to_owned(),
        resume: key(),
        pass: None,
    }
}

fn key() -> Option<ResumeKey> {
    Some(ResumeKey::from_bytes([3; 16]))
}

async fn hears_resume(camera: &mut Camera) -> SessionId {
    let ToCamera::Join { session, offer, resume, .. } = camera.hears().await else {
        panic!("no join");
    };
    assert_eq!((offer.as_str(), resume), ("a restart", key()));
    session
}

#[tokio::test]
async fn on_its_socket_a_session_keeps_its_number_and_counts_candidates_anew() {
    let server = Rendezvous::start_with(|config| config.limits.candidates = 3).await;
    let mut camera = server.camera("front-door").await;
    let mut viewer = server.viewer("front-door").await;
    let session = session(&mut camera, &mut viewer).await;
    for generation in 0..4 {
        for _ in 0..3 {
            viewer.says(FromViewer::Candidate { candidate: candidate("v") }).await;
            let expected = ToCamera::Candidate { session, candidate: candidate("v") };
            assert_eq!(camera.hears().await, expected, "generation {generation}");
            camera.says(FromCamera::Candidate { session, candidate: candidate("c") }).await;
            assert_eq!(viewer.hears().await, ToViewer::Candidate { candidate: candidate("c") });
        }
        viewer.says(resume()).await;
        assert_eq!(hears_resume(&mut camera).await, session);
        camera.answers(session, "an answer").await;
        viewer.hears_answer("an answer").await;
    }
}

#[tokio::test]
async fn on_another_socket_it_gets_a_number_of_its_own() {
    let server = Rendezvous::start().await;
    let mut camera = server.camera("front-door").await;
    let mut old = server.viewer("front-door").await;
    let first = session(&mut camera, &mut old).await;
    let mut new = server.viewer("front-door").await;
    new.says(resume()).await;
    let second = hears_resume(&mut camera).await;
    assert_ne!(first, second);
    camera.answers(second, "an answer").await;
    new.hears_answer("an answer").await;
    // The old socket dies when it does, and takes nothing with it.
    old.leaves().await;
    camera.hears_bye(first, ByeReason::ViewerLeft).await;
    camera.says(FromCamera::Bye { session: second, reason: ByeReason::CameraStopping }).await;
    assert_eq!(new.hears().await, ToViewer::Bye { reason: ByeReason::CameraStopping });
}

#[tokio::test]
async fn a_session_that_is_gone_makes_room_for_a_new_one() {
    let server = Rendezvous::start().await;
    let mut camera = server.camera("front-door").await;
    let mut viewer = server.viewer("front-door").await;
    viewer.says(resume()).await;
    let gone = hears_resume(&mut camera).await;
    let error = Error::new(ErrorCode::SessionGone, "the session does not run any more");
    camera.says(FromCamera::Error { session: Some(gone), error: error.clone() }).await;
    assert_eq!(viewer.hears().await, ToViewer::Error { error });
    assert_ne!(session(&mut camera, &mut viewer).await, gone);
}

#[tokio::test]
async fn a_restart_that_is_refused_leaves_the_session() {
    let server = Rendezvous::start().await;
    let mut camera = server.camera("front-door").await;
    let mut viewer = server.viewer("front-door").await;
    let session = session(&mut camera, &mut viewer).await;
    viewer.says(resume()).await;
    hears_resume(&mut camera).await;
    let error = Error::new(ErrorCode::BadMessage, "the offer can't restart the session");
    camera.says(FromCamera::Error { session: Some(session), error: error.clone() }).await;
    assert_eq!(viewer.hears().await, ToViewer::Error { error });
    viewer.says(resume()).await;
    assert_eq!(hears_resume(&mut camera).await, session);
}

#[tokio::test]
async fn a_camera_asks_for_a_restart() {
    let server = Rendezvous::start().await;
    let mut camera = server.camera("front-door").await;
    let mut viewer = server.viewer("front-door").await;
    let mut other = server.viewer("front-door").await;
    let session_id = session(&mut camera, &mut viewer).await;
    camera.says(FromCamera::Restart { session: session_id }).await;
    assert_eq!(viewer.hears().await, ToViewer::Restart {});
    // One that never was is the camera's mistake; nobody else hears of it.
    let never = SessionId(session_id.0 + 100);
    camera.says(FromCamera::Restart { session: never }).await;
    let ToCamera::Error { session: Some(named), error } = camera.hears().await else {
        panic!("no error");
    };
    assert_eq!((named, error.code), (never, ErrorCode::OutOfOrder));
    session(&mut camera, &mut other).await;
}

#[tokio::test]
async fn a_second_join_without_a_key_is_for_the_camera_to_judge_too() {
    let server = Rendezvous::start().await;
    let mut camera = server.camera("front-door").await;
    let mut viewer = server.viewer("front-door").await;
    let session = session(&mut camera, &mut viewer).await;
    viewer.joins("another").await;
    assert_eq!(camera.hears_join("another").await, session);
    camera.answers(session, "to the other").await;
    viewer.hears_answer("to the other").await;
    viewer.leaves().await;
    camera.hears_bye(session, ByeReason::ViewerLeft).await;
}
