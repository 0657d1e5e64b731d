//! Faults by chance, one after the other, in one boot. `$PEERCAM_SEED` brings a run back,
//! `$PEERCAM_FAULTS` makes it another number than 200.

use std::time::Duration;

use peercam_testbed::{
    Bed,
    network::scene::seed,
    recovery::{
        Cure, Deed, Fault, Scene,
        fault::{
            BUSY, CLOCK_BACK, CLOCK_FORWARD, CLOCK_RIGHT, CRASH_LOOP, DATA_FREED, DATA_FULL,
            DEADLOCKED, DEBUGGER, DEVICE_GONE, KILLED, MEMORY, NO_NETWORK, SLOW_STORAGE, STOPPED,
            VIEWER_STORM, WATCHDOG_DEBUGGER, WATCHDOG_KILLED, WEAK_NETWORK,
        },
    },
};

use crate::was_never_reset;

/// What may happen; what one begins and another ends happens together.
const STORIES: &[&[Fault]] = &[
    &[KILLED],
    &[DEADLOCKED],
    &[STOPPED],
    &[DEVICE_GONE],
    &[MEMORY],
    &[DATA_FULL, DATA_FREED],
    &[CRASH_LOOP],
    &[WATCHDOG_KILLED],
    &[DEBUGGER],
    &[WATCHDOG_DEBUGGER],
    &[CLOCK_FORWARD, CLOCK_BACK, CLOCK_RIGHT],
    &[SLOW_STORAGE],
    &[VIEWER_STORM],
    &[BUSY],
    &[NO_NETWORK],
    &[WEAK_NETWORK],
];

/// So many failures an hour are a lot for a camera, and few for this test: the watchdog that init
/// starts next bears them. Failures in a row it bears as ever.
const BEAR_MORE: Fault = Fault {
    name: "more failures an hour allowed",
    deeds: &[Deed::Shell(
        "sed 's/^failures-per-hour = .*/failures-per-hour = 1000/' /etc/peercam/watchdog.toml \
         >/run/watchdog.toml && mount -o bind /run/watchdog.toml /etc/peercam/watchdog.toml \
         && kill -KILL $(pidof peercam-watchdog)",
    )],
    ..WATCHDOG_KILLED
};

/// Longest pause between two faults.
const LONGEST_PAUSE: Duration = Duration::from_secs(12);
/// After so many failures there is a pause in which a service is stable again (`stable-after`), so
/// that no ten of them come in a row.
const IN_A_ROW: u64 = 4;
const STABLE: Duration = Duration::from_secs(20);

#[tokio::test]
#[ignore = "long: run by scripts/test --all"]
async fn whatever_happens_an_arm64_camera_comes_back_without_a_reset() {
    let faults = std::env::var("PEERCAM_FAULTS").ok().map_or(200, |text| text.parse().unwrap());
    let mut chance = fastrand::Rng::with_seed(seed());
    let bed = Bed::new("any-order").unwrap();
    let mut scene = Scene::set(&bed, "qemu-aarch64").await.unwrap();
    scene.suffer(&BEAR_MORE).await.unwrap();
    let first = scene.status().await.unwrap();
    let (mut number, mut stable) = (0, first.failures());
    while number < faults {
        let story = STORIES[chance.usize(..STORIES.len())];
        let mut failures = 0;
        for fault in story {
            number += 1;
            let before = scene.status().await.unwrap().failures();
            let recovery = scene.suffer(fault).await.unwrap();
            eprintln!("{number}, {}: {recovery}", fault.name);
            assert!((fault.cure..Cure::Reset).contains(&recovery.cure), "{number}: {recovery:?}");
            failures = recovery.status.failures();
            assert_eq!(failures > before, fault.recorded.is_some(), "{number}: {recovery:?}");
        }
        let pause = if failures >= stable + IN_A_ROW {
            stable = failures;
            STABLE
        } else {
            LONGEST_PAUSE.mul_f64(chance.f64())
        };
        tokio::time::sleep(pause).await;
    }
    was_never_reset(&mut scene, &first).await;
}
