//! What a user sees, through the door a user comes in by: real programs, a real browser, real
//! images. One file a behaviour. Run by `scripts/test`, or by hand with
//!
//! ```text
//! cargo build --workspace --bins && cargo test --workspace --test end-to-end -- --test-threads=1
//! ```
//!
//! Guests need their images: `peercam-firmware build --board qemu-aarch64`, and `qemu-armv7`.
//! Without them, leave the guests out with `--skip guest`.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod browser_leaves_nothing_behind;
mod camera_goes_offline_and_returns;
mod dashboard_shows_who_is_here;
mod guest_camera_plays;
mod guest_is_hardened;
mod guest_keeps_its_data;
mod guest_with_broken_settings_comes_up;
mod host_camera_plays;
mod late_viewer_sees_a_picture_at_once;
mod latency_does_not_grow;
mod liar;
mod lost_path_is_found_again;
mod lying_rendezvous_is_caught;
mod own_page_plays;
mod recovery_is_measured;
mod refused_way_is_not_the_end;
mod rendezvous_is_measured;
mod rendezvous_restarts;
mod run_ends_cleanly;
mod scene;
mod share_link_opens_the_camera;
mod site;
mod ten_viewers_share_one_encode;
mod viewer_over_the_limit_is_refused;
mod whep_client_of_others_plays;
