//! What a user sees on other networks than the test machine's own: homes behind routers, bad
//! lines, servers that fail. Real programs and a real browser; the networks are namespaces with
//! the kernel's own address translation, and lines of ours (see `peercam_testbed::network`). One
//! file a behaviour. Run by `scripts/test`, or by hand, as root, with
//!
//! ```text
//! cargo build --workspace --bins && cargo test --workspace --test networks -- --test-threads=1
//! ```
//!
//! Tests that take minutes are ignored there; `scripts/test --all` runs them (`--ignored`). What
//! is left to chance comes from `$PEERCAM_SEED`, which is printed.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod address_changes;
mod any_line;
mod bad_lines;
mod lines_are_as_bad_as_asked_for;
mod link_goes_down;
mod paths;
mod rendezvous_goes_away;
mod turn_server_restarts;
