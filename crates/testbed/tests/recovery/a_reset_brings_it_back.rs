//! What only a reset cures is cured by one, the record says why, and after three in a row the
//! camera is there in safe mode.

use peercam_testbed::{
    Bed,
    recovery::{
        Cure, Scene,
        fault::{PANIC, WATCHDOG_STOPPED},
        scene::SOON,
        watchdog::Reset,
    },
    wait::{self, Look},
};

/// `starved` and `panicked` are what the record may say of a reset that came of a watchdog that was
/// not fed, and of a panic.
async fn comes_back(board: &str, starved: &[&str], panicked: &[&str]) {
    let bed = Bed::new(board).unwrap();
    let mut scene = Scene::set(&bed, board).await.unwrap();
    let resets = [(WATCHDOG_STOPPED, starved), (PANIC, panicked), (PANIC, panicked)];
    for (before, (fault, kinds)) in resets.iter().enumerate() {
        let recovery = scene.suffer(fault).await.unwrap();
        eprintln!("{board}, {}: {recovery}", fault.name);
        assert_eq!(recovery.cure, Cure::Reset);
        let record = &recovery.status.record;
        let resets = before + 1;
        assert_eq!((record.resets.len(), record.boots as usize), (resets, resets + 1));
        assert_eq!(record.resets_in_a_row as usize, resets);
        let Reset { kind, reason } = record.resets.last().unwrap();
        assert!(kinds.contains(&kind.as_str()), "{}: {kind}, {reason}", fault.name);
        assert_eq!(recovery.status.safe_mode.is_some(), resets == 3, "{:?}", recovery.status);
    }
    assert_eq!(scene.guest.starts(), 4);
    // A test picture plays now; whoever looks into it has the camera back at once.
    let status = scene.status().await.unwrap();
    assert_eq!(status.safe_mode.as_deref(), Some("3 resets in a row"));
    scene.guest.run("peercam-watchdog leave-safe-mode").await.unwrap();
    wait::until("safe mode to end", SOON, async || {
        let status = scene.status().await?;
        let over = status.safe_mode.is_none() && status.agent().is_some();
        Ok(if over { Look::Done(()) } else { Look::NotYet(format!("{status:?}")) })
    })
    .await
    .unwrap();
    assert_eq!(scene.status().await.unwrap().record.resets_in_a_row, 0);
    assert_eq!(scene.guest.starts(), 4);
}

#[tokio::test]
async fn a_reset_brings_an_arm64_camera_back() {
    comes_back("qemu-aarch64", &["kernel", "hardware"], &["kernel"]).await;
}

#[tokio::test]
#[ignore = "long: run by scripts/test --all"]
async fn a_reset_brings_an_armv7_camera_back() {
    // Its kernel keeps nothing of what it said, nor does its software watchdog.
    comes_back("qemu-armv7", &["unknown"], &["unknown"]).await;
}
