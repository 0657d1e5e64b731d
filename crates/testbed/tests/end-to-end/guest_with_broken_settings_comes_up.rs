//! A mistake in the peercam.toml that a person put on the boot partition: the console and a file
//! beside it say what is wrong, the camera comes up all the same, and the corrected file works.

use peercam_testbed::{Bed, Guest, Rendezvous, guest};

use crate::scene::{BOARD, room};

#[tokio::test]
async fn broken_settings_are_reported_and_the_guest_comes_up() {
    let bed = Bed::new("guest-broken").unwrap();
    let rendezvous = Rendezvous::start(&bed).await.unwrap();
    let room = room("guest-broken");
    let entrance = guest::Entrance::find().unwrap();
    let good = entrance.settings(&rendezvous, &room);
    let broken = good.replace("[rendezvous]", "[rendevous]");

    let mut machine = Guest::start_with(&bed, BOARD, &entrance, &broken).unwrap();
    machine.wait_for_shell().await.unwrap();
    assert!(machine.output().contains("rendevous"), "{}", machine.output());
    machine.wait_for_agent().await.unwrap();
    let disk = machine.stop().await.unwrap();
    let report = disk.read_boot_file("peercam.toml.error").unwrap().expect("an error file");
    let report = String::from_utf8(report).unwrap();
    assert!(report.contains("rendevous"), "{report}");

    let mut machine = Guest::start_with(&bed, BOARD, &entrance, &good).unwrap();
    machine.wait_hosting(&rendezvous, &room).await.unwrap();
    let disk = machine.stop().await.unwrap();
    for file in [guest::SETTINGS, "peercam.toml.error"] {
        assert!(disk.read_boot_file(file).unwrap().is_none(), "{file} should be gone");
    }
}
