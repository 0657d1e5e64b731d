//! peercam-watchdog, the parts: starts the camera's services, hears their heartbeats, restarts
//! them, and feeds the hardware watchdog while they are well.
//!
//! | module | holds |
//! |---|---|
//! | [`config`] | `watchdog.toml`: read, checked |
//! | `fields` | the keys of TOML tables |
//! | [`cgroup`] | control groups, which hold and limit what a service starts |
//! | `confine` | the limits of all services |
//! | [`launch`] | what a service needs on this machine; its process |
//! | [`service`] | one service as a state machine: no I/O, no clock |
//! | [`supervisor`] | all of them, and whether to feed: no I/O, no clock |
//! | [`drill`] | a service is made to fail on purpose: no I/O, no clock |
//! | [`drills`] | `peercam-watchdog test`, which asks for that |
//! | [`escalation`] | what is done when restarts don't help: no I/O, no clock |
//! | `ladder` | the last of it: telling the device to reboot |
//! | `collector` | the pipes into which services print |
//! | [`lines`] | lines of what they print, bounded in size and number: no I/O, no clock |
//! | [`notify`] | a socket on which a service is heard |
//! | `ears` | hears all of them, and bounds what a flood costs |
//! | [`reaper`] | processes that ended or are to end |
//! | [`hardware`] | the hardware watchdog |
//! | [`record`] | what is kept across resets: no I/O, no clock |
//! | [`keeper`] | the file it is kept in |
//! | [`dumps`] | what the kernel said when it came to its end |
//! | [`monitor`] | what goes wrong slowly (memory, storage, heat …): no I/O, no clock |
//! | [`sensors`] | measures that |
//! | `memory` | lets go of what only the start needed |
//! | `watch` | asks the sensors, and says what the monitors make of it |
//! | [`status`] | what it tells about the moment |
//! | `board` | the file in which it tells that |
//! | [`run`] | the loop that ties them together |
//! | [`log`] | where lines go, the watchdog's and the services' |
//! | `console` | standard output and standard error, without waiting for them |
//! | [`ring`] | a log of bounded size in two files |
//! | `kept` | what of it outlives a reset |
//! | `writer` | a thread that writes to storage |
//! | [`show`] | the log for people and programs |
//!
//! ```text
//!  watchdog.toml ─▶ config ─▶ launch
//!                                │
//!  signals, reaper ─┐            ▼
//!  notify sockets ──┼─ events ▶ run ◀─▶ supervisor ─ verdict ▶ hardware ─▶ /dev/watchdog
//!  time ────────────┘            │
//!                                └─ start, SIGTERM, SIGKILL ─▶ services
//!
//!  services ─ print ▶ collector ─ lines ▶ log ─┬▶ console
//!                                              ├▶ ring on a tmpfs
//!                                              └▶ kept ─ writer ▶ ring in state-dir
//! ```
//!
//! # Stays broken
//!
//! A service is *up* from its `READY=1` (or its start, when it has no `ready-timeout`) until it
//! ends, misses a heartbeat, or does none of the work that it says is due for `progress-timeout`.
//! A critical service *stays broken* when
//!
//! - it was not up at any moment for `broken-after`, in spite of restarts; or
//! - it failed `broken-failures` times in a row, that is without having been up for `stable-after`
//!   in between; until it then is up for that long.
//!
//! Then [`escalation`] decides: all services are restarted, then the device. Without it the hardware
//! watchdog is no longer fed; it is fed again as soon as neither is true any more, if that is before
//! the hardware's timeout. Not broken are: a service that ended
//! on purpose (exit code 0 under `restart = "on-failure"`), one that ends with one of its
//! `no-reset-exit-codes` (a configuration error, which a reset would not cure), and one that is up
//! and waits for something (a network, a configuration).

mod board;
pub mod cgroup;
mod collector;
pub mod config;
mod confine;
mod console;
pub mod drill;
pub mod drills;
pub mod dumps;
mod ears;
pub mod escalation;
mod fields;
pub mod hardware;
pub mod keeper;
mod kept;
mod ladder;
pub mod launch;
pub mod lines;
pub mod log;
mod memory;
pub mod monitor;
pub mod notify;
pub mod reaper;
pub mod record;
pub mod ring;
pub mod run;
pub mod sensors;
pub mod service;
pub mod show;
pub mod status;
pub mod supervisor;
mod watch;
mod writer;
