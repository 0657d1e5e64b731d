//! The agent dies in the guest: the watchdog starts it again, and the page plays again by itself.

use std::time::Duration;

use peercam_protocol::signalling::Transport;
use peercam_testbed::{Bed, Browser, Guest, Rendezvous, wait};

use crate::scene::{BOARD, SOON, link, room};

#[tokio::test]
async fn a_killed_agent_comes_back_in_the_guest_and_the_page_plays_again() {
    let bed = Bed::new("guest-kill").unwrap();
    let rendezvous = Rendezvous::start(&bed).await.unwrap();
    let room = room("guest-kill");
    let mut guest = Guest::start(&bed, &rendezvous, BOARD, &room).unwrap();
    guest.wait_hosting(&rendezvous, &room).await.unwrap();
    let browser = Browser::start(&bed).await.unwrap();
    browser.open(&link(&rendezvous, &room, Transport::Rtp)).await.unwrap();
    let before = browser.wait_playing(SOON).await.unwrap();
    guest.wait_for_shell().await.unwrap();
    let first = guest.run("pidof peercam-agent").await.unwrap();

    guest.run("kill -9 $(pidof peercam-agent)").await.unwrap();
    let second = wait::until("another agent in the guest", SOON, async || {
        let (_, pid) = guest.try_run("pidof peercam-agent").await?;
        tokio::time::sleep(Duration::from_millis(200)).await;
        Ok(match pid.parse::<u32>() {
            Ok(_) if pid != first => wait::Look::Done(pid),
            _ => wait::Look::NotYet(format!("pidof says {pid:?}, at first {first:?}")),
        })
    });
    second.await.unwrap();
    let after = browser
        .wait_stats("the page to play the new agent's stream", SOON, |stats| {
            stats.reconnects > before.reconnects
        })
        .await
        .unwrap();
    assert!(after.frames_decoded >= before.frames_decoded, "the page was not loaded again");
    browser.wait_playing(SOON).await.unwrap();
}
