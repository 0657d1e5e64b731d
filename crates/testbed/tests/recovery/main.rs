//! What goes wrong in a camera, in guests of both architectures: what brings it back, that the
//! reason is kept, and that its picture comes again in a page that was open all the time. One file a
//! behaviour. Run by `scripts/test`, or by hand with
//!
//! ```text
//! cargo build --workspace --bins && cargo test --workspace --test recovery -- --test-threads=1
//! ```
//!
//! Tests that take long are ignored there; `scripts/test --all` runs them (`--ignored`). What is
//! left to chance comes from `$PEERCAM_SEED`, which is printed.
//!
//! Guests need their images: `peercam-firmware build --board qemu-aarch64`, and `qemu-armv7`.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod a_reset_brings_it_back;
mod any_order;
mod it_comes_back_without_a_reset;
mod it_is_left_alone;

use peercam_testbed::recovery::{Scene, watchdog::Status};

/// Since `first`: says the record, the kernel, and the console.
async fn was_never_reset(scene: &mut Scene, first: &Status) {
    let last = scene.status().await.unwrap();
    assert_eq!(last.record.boot_id, first.record.boot_id);
    assert_eq!(last.record.boots, first.record.boots);
    assert_eq!(last.record.resets.len(), first.record.resets.len(), "{last:?}");
    assert_eq!(scene.guest.starts(), 1);
}
