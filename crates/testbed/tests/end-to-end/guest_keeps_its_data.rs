//! What a camera has on /data is there after a restart: its settings, its identity, its files, and
//! how late it is.

use peercam_testbed::{Bed, Guest, Rendezvous};

use crate::scene::{BOARD, SOON, room};

#[tokio::test]
async fn data_of_a_guest_survives_a_reboot() {
    let bed = Bed::new("guest-data").unwrap();
    let rendezvous = Rendezvous::start(&bed).await.unwrap();
    let room = room("guest-data");
    let mut guest = Guest::start(&bed, &rendezvous, BOARD, &room).unwrap();
    guest.wait_hosting(&rendezvous, &room).await.unwrap();
    guest.wait_for_shell().await.unwrap();
    let identity = "sha256sum /data/peercam/identity*";
    let before = guest.run(identity).await.unwrap();
    assert!(!before.is_empty());
    guest.run("echo kept > /data/note && sync").await.unwrap();
    // Two days before what the machine's own clock says.
    let clock = "date -s @$(($(date +%s) + 172800)) >/dev/null && date +%s";
    let clock = seconds(&guest.run(clock).await.unwrap());

    guest.reboot().await.unwrap();
    rendezvous.wait_online(&room, false, SOON).await.unwrap();
    // The settings were moved from the boot partition to /data the first time: that it finds its
    // room again says that they are kept.
    guest.wait_hosting(&rendezvous, &room).await.unwrap();
    guest.wait_for_shell().await.unwrap();
    assert_eq!(guest.run("cat /data/note").await.unwrap(), "kept");
    assert_eq!(guest.run(identity).await.unwrap(), before);
    let now = seconds(&guest.run("date +%s").await.unwrap());
    assert!((clock..clock + 3600).contains(&now), "it is {now}, and was {clock} before");
    // Everything else is the image's, and nothing can change it.
    let (code, _) = guest.try_run("touch /usr/bin/peercam-agent").await.unwrap();
    assert_ne!(code, 0, "the root file system should be read-only");
}

/// What `date +%s` said; the console may have shown other things meanwhile.
fn seconds(output: &str) -> u64 {
    output.lines().find_map(|line| line.parse().ok()).expect(output)
}
