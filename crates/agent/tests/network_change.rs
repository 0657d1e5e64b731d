//! The camera's network changes under a running session: the kernel is asked to do it, in a
//! network namespace of the test's own. Needs root and iproute2.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::{future::Future, process::Command, time::Duration};

use nix::sched::{CloneFlags, unshare};
use peercam_protocol::signalling::Transport;
use support::{Agent, ROOM, Rendezvous, Viewer, ViewerOptions, viewer::Received};

/// The camera is on its own interface, the viewer on another; the rendezvous is on loopback, which
/// is not offered to viewers.
const CAMERA: &str = "198.51.100.1/32";
const CAMERA_LATER: &str = "198.51.100.2/32";
const CAMERA_V6: &str = "2001:db8:1::1/128";
const VIEWER: &str = "203.0.113.1/32";
const VIEWER_V6: &str = "2001:db8:2::1/128";

fn ip(arguments: &str) {
    let status = Command::new("ip").args(arguments.split(' ')).status().unwrap();
    assert!(status.success(), "ip {arguments}");
}

/// Runs `test` on a network that nobody else is on.
fn alone<F: Future<Output = ()>>(test: impl FnOnce() -> F) {
    support::log();
    if let Err(error) = unshare(CloneFlags::CLONE_NEWNET) {
        eprintln!("skipped: no network namespace ({error}); run as root");
        return;
    }
    ip("link set lo up");
    ip("link add camera type veth peer name viewer");
    ip("link set camera up");
    ip("link set viewer up");
    // For multicast DNS.
    ip("route add 224.0.0.0/4 dev viewer");
    ip(&format!("addr add {CAMERA} dev camera"));
    ip(&format!("addr add {VIEWER} dev viewer"));
    ip(&format!("addr add {VIEWER_V6} dev viewer nodad"));
    // Its threads are made from here on, and so belong to the namespace.
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(test());
}

async fn start(transport: Transport) -> (Rendezvous, Agent, Viewer) {
    let rendezvous = Rendezvous::start().await;
    let agent = Agent::start(rendezvous.address, "network = { loopback = false }").await;
    let local = ["203.0.113.1:0", "[2001:db8:2::1]:0"];
    let local = local.map(|address| address.parse().unwrap()).to_vec();
    let options = ViewerOptions { local, ..ViewerOptions::new(transport) };
    let viewer = Viewer::join(rendezvous.address, ROOM, options).await;
    viewer.plays_on().await;
    (rendezvous, agent, viewer)
}

/// The camera asks, the viewer does it, and the session goes on; as it was `before` its network
/// changed.
async fn moves_on(viewer: &Viewer, before: Received) {
    viewer.until("a wish for a restart", |all| all.restarts_asked > before.restarts_asked).await;
    viewer.restart().await;
    viewer.until("another connection", |all| all.connections > before.connections).await;
    viewer.plays_on().await;
    let all = viewer.received();
    assert!(all.byes == 0 && all.errors.is_empty(), "{:?}", all.errors);
}

#[test]
fn an_address_that_is_replaced_moves_the_session() {
    alone(|| async {
        for transport in [Transport::Rtp, Transport::Fmp4] {
            let (_rendezvous, agent, viewer) = start(transport).await;
            let before = viewer.received();
            ip(&format!("addr del {CAMERA} dev camera"));
            ip(&format!("addr add {CAMERA_LATER} dev camera"));
            moves_on(&viewer, before).await;
            // And back.
            let before = viewer.received();
            ip(&format!("addr add {CAMERA} dev camera"));
            ip(&format!("addr del {CAMERA_LATER} dev camera"));
            moves_on(&viewer, before).await;
            agent.stop().await;
        }
    });
}

#[test]
fn a_session_moves_from_ipv4_to_ipv6() {
    alone(|| async {
        let (_rendezvous, agent, viewer) = start(Transport::Rtp).await;
        let before = viewer.received();
        ip(&format!("addr add {CAMERA_V6} dev camera nodad"));
        ip(&format!("addr del {CAMERA} dev camera"));
        moves_on(&viewer, before).await;
        agent.stop().await;
    });
}

#[test]
fn more_addresses_disturb_nobody() {
    alone(|| async {
        let (_rendezvous, agent, viewer) = start(Transport::Rtp).await;
        ip(&format!("addr add {CAMERA_LATER} dev camera"));
        tokio::time::sleep(Duration::from_secs(1)).await;
        viewer.plays_on().await;
        let all = viewer.received();
        assert!(all.restarts_asked == 0 && all.connections == 1);
        agent.stop().await;
    });
}
