//! The camera of the arm64 image, booted in QEMU: its V4L2 device and its microphone play in the
//! page over both transports.

use peercam_protocol::signalling::Transport;
use peercam_testbed::{Bed, Browser, Guest, Rendezvous};

use crate::scene::{BOARD, SOON, link, room};

#[tokio::test]
async fn a_guest_plays_over_both_transports() {
    let bed = Bed::new("guest").unwrap();
    let rendezvous = Rendezvous::start(&bed).await.unwrap();
    let mut guest = Guest::start(&bed, &rendezvous, BOARD, &room("guest")).unwrap();
    guest.wait_hosting(&rendezvous, &room("guest")).await.unwrap();
    // It is the guest's devices that play, not a test source.
    guest.wait_for_shell().await.unwrap();
    guest.run("test -c /dev/video0").await.unwrap();

    let browser = Browser::start(&bed).await.unwrap();
    for (transport, audio_codec) in [(Transport::Rtp, "opus"), (Transport::Fmp4, "mp4a.40.2")] {
        browser.open(&link(&rendezvous, &room("guest"), transport)).await.unwrap();
        let stats = browser.wait_playing(SOON).await.unwrap();
        assert_eq!(stats.transport.as_deref(), Some(transport.as_str()));
        assert_eq!(stats.audio_codec.as_deref(), Some(audio_codec));
        assert!(stats.width.unwrap() >= 320 && stats.height.unwrap() >= 180, "{stats:?}");
    }
}
