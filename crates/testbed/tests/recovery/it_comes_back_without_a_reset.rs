//! Faults of the agent, of what it needs, and of the watchdog itself: each is cured by the smallest
//! step that cures it, and the device goes on.

use peercam_testbed::{
    Bed,
    recovery::{
        Cure, Fault, Scene,
        fault::{
            CRASH_LOOP, DATA_FREED, DATA_FULL, DEADLOCKED, DEVICE_GONE, KILLED, MEMORY, STOPPED,
            WATCHDOG_KILLED,
        },
    },
};

use crate::was_never_reset;

const FAULTS: &[Fault] = &[
    KILLED,
    DEADLOCKED,
    STOPPED,
    DEVICE_GONE,
    MEMORY,
    DATA_FULL,
    DATA_FREED,
    CRASH_LOOP,
    WATCHDOG_KILLED,
];

/// The same in each push for the board that is not the main one.
const SOME_FAULTS: &[Fault] = &[KILLED, STOPPED, WATCHDOG_KILLED];

async fn comes_back(board: &str, faults: &[Fault]) {
    let bed = Bed::new(board).unwrap();
    let mut scene = Scene::set(&bed, board).await.unwrap();
    let first = scene.status().await.unwrap();
    for fault in faults {
        let recovery = scene.suffer(fault).await.unwrap();
        eprintln!("{board}, {}: {recovery}", fault.name);
        // A busy machine may have an agent build its pipeline again for nothing.
        let cures = fault.cure..=fault.cure.max(Cure::Agent);
        assert!(cures.contains(&recovery.cure), "{}: {recovery:?}", fault.name);
        if let Some(recorded) = fault.recorded {
            let cause = recovery.status.cause().unwrap_or("nothing");
            assert!(cause.contains(recorded), "{}: the record says {cause}", fault.name);
        }
    }
    was_never_reset(&mut scene, &first).await;
}

#[tokio::test]
async fn an_arm64_camera_comes_back_without_a_reset() {
    comes_back("qemu-aarch64", FAULTS).await;
}

#[tokio::test]
async fn an_armv7_camera_comes_back_without_a_reset() {
    comes_back("qemu-armv7", SOME_FAULTS).await;
}

#[tokio::test]
#[ignore = "long: run by scripts/test --all"]
async fn an_armv7_camera_comes_back_from_all_of_it() {
    comes_back("qemu-armv7", FAULTS).await;
}
