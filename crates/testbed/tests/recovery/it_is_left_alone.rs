//! What is no reason to restart anything: the agent and the watchdog go on as they are, the device
//! is not reset, and the page plays afterwards.

use peercam_testbed::{
    Bed,
    recovery::{
        Cure, Fault, Scene,
        fault::{
            BUSY, CLOCK_BACK, CLOCK_FORWARD, CLOCK_RIGHT, DEBUGGER, NO_NETWORK, SLOW_STORAGE,
            VIEWER_STORM, WATCHDOG_DEBUGGER, WEAK_FOR_LONG, WEAK_NETWORK,
        },
    },
};

use crate::was_never_reset;

const NO_FAULTS: &[Fault] = &[
    DEBUGGER,
    WATCHDOG_DEBUGGER,
    CLOCK_FORWARD,
    CLOCK_BACK,
    CLOCK_RIGHT,
    SLOW_STORAGE,
    VIEWER_STORM,
    BUSY,
    NO_NETWORK,
    WEAK_NETWORK,
];

async fn is_left_alone(board: &str, faults: &[Fault]) {
    let bed = Bed::new(board).unwrap();
    let mut scene = Scene::set(&bed, board).await.unwrap();
    let first = scene.status().await.unwrap();
    for fault in faults {
        let recovery = scene.suffer(fault).await.unwrap();
        eprintln!("{board}, {}: {recovery}", fault.name);
        // Its pipeline it may build again by itself: a pause without pictures is one, whatever for.
        assert!(recovery.cure <= Cure::Agent, "{}: {recovery:?}", fault.name);
        let status = &recovery.status;
        assert_eq!(status.agent(), first.agent(), "{}: {recovery:?}", fault.name);
        assert_eq!(status.pid, first.pid, "{}: {recovery:?}", fault.name);
        assert_eq!(status.failures(), 0, "{}: {recovery:?}", fault.name);
    }
    was_never_reset(&mut scene, &first).await;
}

#[tokio::test]
async fn an_arm64_camera_is_left_alone() {
    is_left_alone("qemu-aarch64", NO_FAULTS).await;
}

#[tokio::test]
#[ignore = "long: run by scripts/test --all"]
async fn an_armv7_camera_is_left_alone() {
    is_left_alone("qemu-armv7", NO_FAULTS).await;
}

#[tokio::test]
#[ignore = "long: run by scripts/test --all"]
async fn an_arm64_camera_is_left_alone_on_a_network_that_is_weak_for_long() {
    is_left_alone("qemu-aarch64", &[WEAK_FOR_LONG]).await;
}
