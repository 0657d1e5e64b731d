//! What a camera and its viewers say to each other arrives, and arrives nowhere else.
#![allow(clippy::unwrap_used)]

mod support;

use peercam_protocol::signalling::{
    ByeReason, Error, ErrorCode, FromCamera, FromViewer, ToCamera, ToViewer, Transport,
};
use peercam_protocol::wire::{MAX_MESSAGE_SIZE, encode};
use support::*;

#[tokio::test]
async fn offer_answer_and_candidates_pass() {
    let server = Rendezvous::start().await;
    let mut camera = server.camera("front-door").await;
    let mut viewer = server.viewer("front-door").await;

    let offer = "v=0\r\ns=\"Küche\" \u{1F4F7}\r\n".to_owned();
    viewer
        .says(FromViewer::Join {
            transport: Transport::Fmp4,
            offer: offer.clone(),
            resume: None,
            pass: None,
        })
        .await;
    let ToCamera::Join { session, transport, offer: heard, .. } = camera.hears().await else {
        panic!("no join")
    };
    assert_eq!((transport, heard), (Transport::Fmp4, offer));

    viewer.says(FromViewer::Candidate { candidate: candidate("of the viewer") }).await;
    let expected = ToCamera::Candidate { session, candidate: candidate("of the viewer") };
    assert_eq!(camera.hears().await, expected);

    camera.answers(session, "v=0\r\n").await;
    viewer.hears_answer("v=0\r\n").await;
    camera.says(FromCamera::Candidate { session, candidate: candidate("of the camera") }).await;
    let expected = ToViewer::Candidate { candidate: candidate("of the camera") };
    assert_eq!(viewer.hears().await, expected);
}

#[tokio::test]
async fn a_viewer_never_sees_a_session_number() {
    let server = Rendezvous::start().await;
    let mut camera = server.camera("front-door").await;
    let mut viewer = server.viewer("front-door").await;
    viewer.joins("an offer").await;
    let session = camera.hears_join("an offer").await;
    camera.answers(session, "an answer").await;
    camera.says(FromCamera::Candidate { session, candidate: candidate("c") }).await;
    camera.says(FromCamera::Bye { session, reason: ByeReason::ConnectionLost }).await;
    for _ in 0..3 {
        let text = viewer.hears_text().await;
        assert!(!text.contains("session"), "{text}");
    }
}

#[tokio::test]
async fn two_viewers_of_one_camera_are_kept_apart() {
    let server = Rendezvous::start().await;
    let mut camera = server.camera("front-door").await;
    let mut anna = server.viewer("front-door").await;
    let mut bert = server.viewer("front-door").await;
    anna.joins("of anna").await;
    let annas = camera.hears_join("of anna").await;
    bert.joins("of bert").await;
    let berts = camera.hears_join("of bert").await;
    assert_ne!(annas, berts);

    camera.answers(berts, "to bert").await;
    camera.answers(annas, "to anna").await;
    anna.hears_answer("to anna").await;
    bert.hears_answer("to bert").await;

    anna.leaves().await;
    camera.hears_bye(annas, ByeReason::ViewerLeft).await;
    camera.says(FromCamera::Bye { session: berts, reason: ByeReason::CameraStopping }).await;
    assert_eq!(bert.hears().await, ToViewer::Bye { reason: ByeReason::CameraStopping });
}

#[tokio::test]
async fn a_viewer_may_say_bye_and_join_again() {
    let server = Rendezvous::start().await;
    let mut camera = server.camera("front-door").await;
    let mut viewer = server.viewer("front-door").await;
    let first = session(&mut camera, &mut viewer).await;
    viewer.says(FromViewer::Bye { reason: ByeReason::ConnectionLost }).await;
    camera.hears_bye(first, ByeReason::ConnectionLost).await;
    let second = session(&mut camera, &mut viewer).await;
    assert_ne!(first, second);
}

#[tokio::test]
async fn a_viewer_whose_connection_breaks_has_left() {
    let server = Rendezvous::start().await;
    let mut camera = server.camera("front-door").await;
    let mut viewer = server.viewer("front-door").await;
    let session = session(&mut camera, &mut viewer).await;
    drop(viewer);
    camera.hears_bye(session, ByeReason::ViewerLeft).await;
}

#[tokio::test]
async fn an_error_of_the_camera_ends_the_session_and_another_may_begin() {
    let server = Rendezvous::start().await;
    let mut camera = server.camera("front-door").await;
    let mut viewer = server.viewer("front-door").await;
    viewer.joins("an offer").await;
    let session_id = camera.hears_join("an offer").await;
    let error = Error::new(ErrorCode::Full, "20 viewers watch, the limit: try again later");
    camera.says(FromCamera::Error { session: Some(session_id), error: error.clone() }).await;
    assert_eq!(viewer.hears().await, ToViewer::Error { error });
    session(&mut camera, &mut viewer).await;
}

#[tokio::test]
async fn a_camera_that_could_not_use_one_message_goes_on_with_the_session() {
    let server = Rendezvous::start().await;
    let mut camera = server.camera("front-door").await;
    let mut viewer = server.viewer("front-door").await;
    viewer.joins("an offer").await;
    let session = camera.hears_join("an offer").await;

    let error = Error::new(ErrorCode::BadMessage, "a candidate that can't be used: no port");
    camera.says(FromCamera::Error { session: Some(session), error: error.clone() }).await;
    assert_eq!(viewer.hears().await, ToViewer::Error { error });

    viewer.says(FromViewer::Candidate { candidate: candidate("a better one") }).await;
    let expected = ToCamera::Candidate { session, candidate: candidate("a better one") };
    assert_eq!(camera.hears().await, expected);
}

#[tokio::test]
async fn an_error_of_the_camera_that_is_about_nobody_reaches_nobody() {
    let server = Rendezvous::start().await;
    let mut camera = server.camera("front-door").await;
    let mut viewer = server.viewer("front-door").await;
    let error = Error::new(ErrorCode::MediaUnavailable, "/dev/video0 is gone");
    camera.says(FromCamera::Error { session: None, error }).await;
    session(&mut camera, &mut viewer).await;
}

#[tokio::test]
async fn messages_that_cross_with_the_end_of_a_session_harm_nobody() {
    let server = Rendezvous::start_with(|config| config.limits.bad_messages_per_minute = 1).await;
    let mut camera = server.camera("front-door").await;
    let mut viewer = server.viewer("front-door").await;
    let ended = session(&mut camera, &mut viewer).await;
    viewer.says(FromViewer::Bye { reason: ByeReason::ViewerLeft }).await;
    for _ in 0..10 {
        viewer.says(FromViewer::Candidate { candidate: candidate("late") }).await;
        camera.says(FromCamera::Candidate { session: ended, candidate: candidate("late") }).await;
        camera.says(FromCamera::Bye { session: ended, reason: ByeReason::ConnectionLost }).await;
    }
    camera.hears_bye(ended, ByeReason::ViewerLeft).await;
    // Whatever was relayed by mistake would come before these.
    viewer.joins("again").await;
    let session = camera.hears_join("again").await;
    camera.answers(session, "again").await;
    viewer.hears_answer("again").await;
}

#[tokio::test]
async fn when_the_camera_leaves_sessions_are_forgotten_but_not_ended() {
    let server = Rendezvous::start().await;
    let mut camera = server.camera("front-door").await;
    let mut viewer = server.viewer("front-door").await;
    let first = session(&mut camera, &mut viewer).await;
    camera.leaves().await;
    // No bye: media that runs goes on.
    viewer.hears_online(false).await;
    viewer.says(FromViewer::Candidate { candidate: candidate("late") }).await;

    let mut camera = server.camera("front-door").await;
    viewer.hears_online(true).await;
    let second = session(&mut camera, &mut viewer).await;
    assert!(second > first, "a camera that kept {first} running would take {second} for it");
}

#[tokio::test]
async fn fields_of_a_newer_version_are_no_obstacle() {
    let server = Rendezvous::start().await;
    let mut camera = server.camera("front-door").await;
    let mut viewer = server.viewer("front-door").await;
    viewer
        .says_text(r#"{"type":"join","offer":"an offer","mood":"sunny","extra":{"a":[1]}}"#)
        .await;
    camera.hears_join("an offer").await;
}

#[tokio::test]
async fn the_largest_message_passes_and_is_not_too_large_for_the_camera() {
    let server = Rendezvous::start().await;
    let mut camera = server.camera("front-door").await;
    let mut viewer = server.viewer("front-door").await;
    // The server keeps 64 bytes free for the session's number.
    let frame = encode(&FromViewer::Join {
        transport: Transport::Rtp,
        offer: String::new(),
        resume: None,
        pass: None,
    });
    let offer = "x".repeat(MAX_MESSAGE_SIZE - 64 - frame.len());
    viewer.joins(&offer).await;
    camera.hears_join(&offer).await;
}
