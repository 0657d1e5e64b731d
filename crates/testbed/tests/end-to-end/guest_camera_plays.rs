//! The cameras of both images, booted in QEMU: their V4L2 device and their microphone play in the
//! page over both transports.

use peercam_protocol::signalling::Transport;
use peercam_testbed::{Bed, Browser, Guest, Rendezvous};

use crate::scene::{SOON, link, room};

async fn plays(board: &str) {
    let bed = Bed::new(board).unwrap();
    let rendezvous = Rendezvous::start(&bed).await.unwrap();
    let room = room(board);
    let mut guest = Guest::start(&bed, &rendezvous, board, &room).unwrap();
    guest.wait_hosting(&rendezvous, &room).await.unwrap();
    // It is the guest's devices that play, not a test source.
    guest.wait_for_shell().await.unwrap();
    guest.run("test -c /dev/video0").await.unwrap();

    let browser = Browser::start(&bed).await.unwrap();
    for (transport, audio_codec) in [(Transport::Rtp, "opus"), (Transport::Fmp4, "mp4a.40.2")] {
        browser.open(&link(&rendezvous, &room, transport)).await.unwrap();
        let stats = browser.wait_playing(SOON).await.unwrap();
        assert_eq!(stats.transport.as_deref(), Some(transport.as_str()));
        assert_eq!(stats.audio_codec.as_deref(), Some(audio_codec));
        assert!(stats.width.unwrap() >= 320 && stats.height.unwrap() >= 180, "{stats:?}");
    }
}

#[tokio::test]
async fn the_arm64_guest_plays_over_both_transports() {
    plays("qemu-aarch64").await;
}

#[tokio::test]
async fn the_armv7_guest_plays_over_both_transports() {
    plays("qemu-armv7").await;
}
