//! Tampered messages, by the thousand and through the door: whoever sends them hears what is wrong
//! with them, or is shown out; the other rooms notice nothing.
#![allow(clippy::unwrap_used)]

// The crate whose messages they are tests its parsers with them.
#[path = "../../protocol/tests/mutations/mod.rs"]
mod mutations;
mod support;

use std::fmt::Debug;

use futures_util::{SinkExt, StreamExt};
use mutations::{Mutator, seed};
use peercam_protocol::signalling::{FromViewer, ToCamera};
use serde::{Serialize, de::DeserializeOwned};
use support::*;
use tokio_tungstenite::tungstenite::Message;

const ROUNDS: usize = 500;
/// In each round, from a camera and from a viewer each.
const FRAMES: usize = 50;

/// Sends frames, and waits until the server has dealt with them. Returns whether the connection
/// is still there.
async fn tampers<Hears: DeserializeOwned + Debug, Says: Serialize>(
    peer: &mut Peer<Hears, Says>,
    mutator: &mut Mutator,
    recorded: &[String],
) -> bool {
    for _ in 0..FRAMES {
        let frame = Message::text(mutator.frame(recorded));
        if soon("a frame to be sent", peer.socket.feed(frame)).await.is_err() {
            return false;
        }
    }
    if soon("a ping to be sent", peer.socket.send(Message::Ping("done".into()))).await.is_err() {
        return false;
    }
    loop {
        match soon("an answer", peer.socket.next()).await {
            Some(Ok(Message::Pong(data))) if data == "done" => return true,
            // Whatever it says can be read.
            Some(Ok(Message::Text(text))) => {
                serde_json::from_str::<Hears>(&text)
                    .unwrap_or_else(|error| panic!("{error}: {text}"));
            }
            Some(Ok(_)) => {}
            Some(Err(_)) | None => return false,
        }
    }
}

#[tokio::test]
async fn who_sends_tampered_messages_disturbs_no_other_room() {
    let server = Rendezvous::start_with(|config| {
        let limits = &mut config.limits;
        // What is too much is tested elsewhere: here it should get as far as it can.
        limits.bad_messages_per_minute = u32::MAX;
        limits.candidates = u32::MAX;
        limits.joins_per_address_per_minute = u32::MAX;
        for rate in [
            &mut limits.viewer_messages_per_second,
            &mut limits.viewer_message_burst,
            &mut limits.camera_messages_per_second,
            &mut limits.camera_message_burst,
        ] {
            *rate = u32::MAX;
        }
    })
    .await;
    let mut camera = server.camera("front-door").await;
    let mut viewer = server.viewer("front-door").await;
    let number = session(&mut camera, &mut viewer).await;

    let (to_server, to_room) = (mutations::from_camera(), mutations::from_viewer());
    let mut mutator = Mutator::new(seed());
    let mut bad_camera = server.camera("garden").await;
    let mut bad_viewer = server.viewer("garden").await;
    let mut shown_out = 0;
    for round in 0..ROUNDS {
        if !tampers(&mut bad_viewer, &mut mutator, &to_room).await {
            bad_viewer = server.viewer("garden").await;
            shown_out += 1;
        }
        if !tampers(&mut bad_camera, &mut mutator, &to_server).await {
            bad_camera = server.camera("garden").await;
            shown_out += 1;
        }

        let said = candidate(&format!("candidate of round {round}"));
        viewer.says(FromViewer::Candidate { candidate: said.clone() }).await;
        let heard = ToCamera::Candidate { session: number, candidate: said };
        assert_eq!(camera.hears().await, heard);
        let sdp = format!("answer of round {round}");
        camera.answers(number, &sdp).await;
        viewer.hears_answer(&sdp).await;
    }
    // Nearly all of it was listened to.
    assert!(shown_out < ROUNDS / 10, "shown out {shown_out} times");
    // Nothing of it stays.
    bad_camera.leaves().await;
    bad_viewer.leaves().await;
    let mut camera = server.camera("garden").await;
    let mut viewer = server.viewer("garden").await;
    session(&mut camera, &mut viewer).await;
}
