//! A guest's camera that is made to fail while a page plays it: what the tests of recovery
//! begin with.
//!
//! | module | holds |
//! |---|---|
//! | [`scene`] | [`Scene`]: a guest whose camera plays in a page; lets it suffer a fault |
//! | [`fault`] | [`Fault`]: what goes wrong, and what is to bring the camera back |
//! | [`watchdog`] | [`watchdog::Status`]: what `peercam-watchdog status --json` says |
//! | [`pictures`] | when pictures came in the page, and when they didn't |

pub mod fault;
pub mod pictures;
pub mod scene;
pub mod watchdog;

pub use fault::{Cure, Deed, Fault};
pub use scene::{Recovery, Scene};
