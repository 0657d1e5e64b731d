//! The cameras of both images, booted in QEMU: their V4L2 device and their microphone play in the
//! page over both transports. While they do, they are hardened.

use peercam_protocol::signalling::Transport;
use peercam_testbed::{Bed, Browser, Guest, Rendezvous, guest::Entrance};

use crate::{
    guest_is_hardened::{assert_closed, assert_hardened},
    scene::{SOON, link, room},
};

async fn plays(board: &str) {
    let bed = Bed::new(board).unwrap();
    let rendezvous = Rendezvous::start(&bed).await.unwrap();
    let room = room(board);
    let entrance = Entrance::find().unwrap();
    let settings = entrance.settings(&rendezvous, &room);
    let mut guest = Guest::start_with(&bed, board, &entrance, &settings).unwrap();
    guest.wait_hosting(&rendezvous, &room).await.unwrap();
    // It is the guest's devices that play, not a test source.
    guest.wait_for_shell().await.unwrap();
    guest.run("test -c /dev/video0").await.unwrap();
    assert_closed(&mut guest).await;

    let browser = Browser::start(&bed).await.unwrap();
    for (transport, audio_codec) in [(Transport::Rtp, "opus"), (Transport::Fmp4, "mp4a.40.2")] {
        browser.open(&link(&rendezvous, &room, transport)).await.unwrap();
        let stats = browser.wait_playing(SOON).await.unwrap();
        assert_eq!(stats.transport.as_deref(), Some(transport.as_str()));
        assert_eq!(stats.audio_codec.as_deref(), Some(audio_codec));
        assert!(stats.width.unwrap() >= 320 && stats.height.unwrap() >= 180, "{stats:?}");
    }
    assert_hardened(&mut guest, entrance.ports()).await;
}

#[tokio::test]
async fn the_arm64_guest_plays_over_both_transports() {
    plays("qemu-aarch64").await;
}

#[tokio::test]
async fn the_armv7_guest_plays_over_both_transports() {
    plays("qemu-armv7").await;
}
