//! What a person can do to a camera with its card in a computer. A mistake in the peercam.toml that he
//! put on the boot partition: the console and a file beside it say what is wrong, and the camera comes
//! up all the same. The corrected file is taken over, network and all; `factory-reset` makes it
//! another camera.

use peercam_testbed::{
    Bed, Guest, Rendezvous,
    guest::{self, FACTORY_RESET, SETTINGS, SETTINGS_ERROR},
    wait::{self, Look},
};

use crate::scene::{BOARD, SOON, room};

/// Another address than the one that DHCP has for the guest.
const DEVICE: &str = r#"
[device]
name = "front-door"
ipv4 = "10.0.2.77/24"
gateways = ["10.0.2.2"]
dns = ["10.0.2.3"]
"#;

/// Waits until a command prints this line; the console may show other things, too.
async fn prints(guest: &mut Guest, command: &str, line: &str) {
    wait::until(&format!("{line:?} of {command}"), SOON, async || {
        let (_, output) = guest.try_run(command).await?;
        let printed = output.lines().any(|it| it.trim() == line);
        Ok(if printed { Look::Done(()) } else { Look::NotYet(output) })
    })
    .await
    .unwrap();
}

/// The hash of the camera's key, when it has one.
async fn identity(guest: &mut Guest) -> String {
    wait::until("the camera's key", SOON, async || {
        let (_, output) = guest.try_run("sha256sum /data/peercam/identity*").await?;
        let hash = output.lines().find_map(|line| line.split_once("  /data/peercam/identity"));
        Ok(match hash {
            Some((hash, _)) if hash.len() == 64 => Look::Done(hash.to_owned()),
            _ => Look::NotYet(output),
        })
    })
    .await
    .unwrap()
}

#[tokio::test]
async fn broken_settings_are_reported_and_the_guest_comes_up() {
    let bed = Bed::new("guest-broken").unwrap();
    let rendezvous = Rendezvous::start(&bed).await.unwrap();
    let room = room("guest-broken");
    let entrance = guest::Entrance::find().unwrap();
    let good = entrance.settings(&rendezvous, &room) + DEVICE;
    let broken = good.replace("ipv4", "ip-v4");
    let line = 1 + good.lines().take_while(|line| !line.starts_with("ipv4")).count();
    let said = [format!("line {line}"), "`ip-v4`".to_owned()];

    let mut machine = Guest::start_with(&bed, BOARD, &entrance, &broken).unwrap();
    machine.wait_for_shell().await.unwrap();
    machine.wait_for_agent().await.unwrap();
    let before = identity(&mut machine).await;
    machine.run("touch /data/note && sync").await.unwrap();
    let output = machine.output();
    let disk = machine.stop().await.unwrap();
    let report = disk.read_boot_file(SETTINGS_ERROR).unwrap().expect("an error file");
    let report = String::from_utf8(report).unwrap();
    for words in said {
        assert!(output.contains(&words), "{words}: {output}");
        assert!(report.contains(&words), "{words}: {report}");
    }
    assert!(disk.read_boot_file(SETTINGS).unwrap().is_some(), "it should be left where it is");

    let files = [(SETTINGS, good.as_str()), (FACTORY_RESET, "")];
    let mut machine = Guest::start_with_files(&bed, BOARD, &entrance, &files).unwrap();
    machine.wait_hosting(&rendezvous, &room).await.unwrap();
    machine.wait_for_shell().await.unwrap();
    prints(&mut machine, "hostname", "front-door").await;
    // One, and no other.
    let addresses = "ip -4 -o addr show dev eth0 | sed 's/^.*inet //; s/ .*//' | tr '\\n' ';'";
    prints(&mut machine, addresses, "10.0.2.77/24;").await;
    prints(&mut machine, "ip -4 route show default", "default via 10.0.2.2 dev eth0").await;
    prints(&mut machine, "cat /etc/resolv.conf", "nameserver 10.0.2.3").await;
    assert_ne!(identity(&mut machine).await, before);
    machine.run("! [ -e /data/note ]").await.unwrap();
    let disk = machine.stop().await.unwrap();
    for file in [SETTINGS, SETTINGS_ERROR, FACTORY_RESET] {
        assert!(disk.read_boot_file(file).unwrap().is_none(), "{file} should be gone");
    }
}
