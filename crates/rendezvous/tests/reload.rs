//! Another configuration while the server runs: it holds for who comes, and who is here stays.
#![allow(clippy::unwrap_used)]

mod support;

use std::time::Duration;

use peercam_protocol::signalling::{ErrorCode, ToViewer};
use support::*;
use tokio::time::sleep;

/// Reloads are done by a task: tries until one has come through.
async fn until<T>(what: &str, mut attempt: impl AsyncFnMut() -> Option<T>) -> T {
    soon(what, async {
        loop {
            if let Some(found) = attempt().await {
                return found;
            }
            sleep(Duration::from_millis(20)).await;
        }
    })
    .await
}

#[tokio::test]
async fn other_limits_hold_for_who_comes_and_who_is_here_stays() {
    let server = Rendezvous::start().await;
    let mut camera = server.camera("front-door").await;
    let mut viewer = server.viewer("front-door").await;
    let mut config = server.config.clone();
    config.limits.viewers_per_room = 1;
    config.limits.connections_per_address = 3;
    server.control.reload(config.clone());

    until("the other limit", async || {
        let mut other = server.knock_as_viewer("front-door").await;
        let text = other.hears_text().await;
        text.contains("1 viewers are in the room").then_some(())
    })
    .await;
    session(&mut camera, &mut viewer).await;

    let third = server.viewer("garden").await;
    let mut fourth = server.knock_as_viewer("garden").await;
    fourth.hears_error(ErrorCode::Full).await;
    drop(third);

    config.limits.viewers_per_room = 100;
    config.limits.connections_per_address = 100;
    server.control.reload(config);
    until("the old limit", async || {
        let mut other = server.knock_as_viewer("front-door").await;
        other.hears_text().await.contains("welcome").then_some(())
    })
    .await;
}

#[tokio::test]
async fn other_ice_servers_are_handed_out() {
    let server = Rendezvous::start().await;
    let text = "[[ice-servers]]\nurls = [\"stun:stun.example.org:3478\"]\n";
    let mut config = peercam_rendezvous::Config::from_toml(text, "f").unwrap();
    config.listen = server.config.listen;
    let _camera = server.camera("front-door").await;
    server.control.reload(config);
    until("the other servers", async || {
        let mut viewer = server.knock_as_viewer("front-door").await;
        match viewer.hears().await {
            ToViewer::Welcome { ice_servers, .. } => (ice_servers.len() == 1).then_some(()),
            other => panic!("not welcome: {other:?}"),
        }
    })
    .await;
}
