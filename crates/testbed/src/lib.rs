//! Real programs for the end-to-end tests, for `scripts/run` and for the measurements: no mocks,
//! the binaries that a user gets.
//!
//! | module | holds |
//! |---|---|
//! | [`bed`] | [`Bed`]: the folder of one test, with the logs of everything that ran in it |
//! | [`process`] | [`Process`]: a program whose whole process group ends with us, however we end |
//! | [`rendezvous`] | [`Rendezvous`]: the rendezvous server on a port of its own |
//! | [`camera`] | [`HostCamera`]: the agent on this machine, from its test source |
//! | [`guest`] | [`Guest`]: a board's image in QEMU, and the shell on its serial console |
//! | [`browser`] | [`Browser`]: headless Chromium over WebDriver, and what its player says |
//! | [`stats`] | [`Stats`]: the player's figures |
//! | [`network`] | [`World`]: networks of a test's own, with routers, bad lines and a TURN server |
//! | [`recovery`] | faults of a guest's camera, and how it came back from them |
//! | [`net`] | free ports, this host's address, one HTTP request |
//! | [`picture`] | a picture that fills the encoder's bit rate |
//! | [`programs`] | where the binaries are |
//! | [`wait`] | waiting for a condition, with a deadline that names what did not happen |
//! | [`progress`] | lines on standard error with the seconds since the start |
//!
//! ```text
//!  Bed ──┬── Rendezvous ◀── HostCamera or Guest
//!        │        ▲
//!        └── Browser (chromedriver → Chromium: the player page) ── media ──▶ camera
//! ```

pub mod bed;
pub mod browser;
pub mod camera;
pub mod error;
pub mod guest;
pub mod net;
pub mod network;
pub mod picture;
pub mod process;
pub mod programs;
pub mod progress;
mod qmp;
pub mod recovery;
pub mod rendezvous;
pub mod stats;
pub mod wait;

pub use bed::Bed;
pub use browser::Browser;
pub use camera::HostCamera;
pub use error::{Error, Result};
pub use guest::Guest;
pub use network::{Place, World};
pub use process::Process;
pub use rendezvous::Rendezvous;
pub use stats::Stats;
