//! Faults of the agent, and of the watchdog itself: each is cured by the smallest
//! step that cures it, and the device goes on.

use peercam_testbed::{
    Bed,
    recovery::{
        Fault, Scene,
        fault::{DEADLOCKED, KILLED, STOPPED, WATCHDOG_KILLED},
    },
};

use crate::was_never_reset;

const FAULTS: &[Fault] = &[KILLED, DEADLOCKED, STOPPED, WATCHDOG_KILLED];

async fn comes_back(board: &str) {
    let bed = Bed::new(board).unwrap();
    let mut scene = Scene::set(&bed, board).await.unwrap();
    let first = scene.status().await.unwrap();
    for fault in FAULTS {
        let recovery = scene.suffer(fault).await.unwrap();
        eprintln!("{board}, {}: {recovery:?}", fault.name);
        assert_eq!(recovery.cure, fault.cure, "{}: {recovery:?}", fault.name);
        if let Some(recorded) = fault.recorded {
            let cause = recovery.status.cause().unwrap_or("nothing");
            assert!(cause.contains(recorded), "{}: the record says {cause}", fault.name);
        }
    }
    was_never_reset(&mut scene, &first).await;
}

#[tokio::test]
async fn an_arm64_camera_comes_back_without_a_reset() {
    comes_back("qemu-aarch64").await;
}

#[tokio::test]
async fn an_armv7_camera_comes_back_without_a_reset() {
    comes_back("qemu-armv7").await;
}
