//! The camera's control socket, by which programs on the camera itself ask it for something:
//! `peercamctl`, or anything else that writes a line of JSON into a Unix socket.
//!
//! | module | holds |
//! |---|---|
//! | [`messages`] | what is asked ([`Request`]) and answered ([`Answer`]) |
//! | [`file`](mod@file) | the socket in the file system, and who may use it |
//! | [`server`] | the connections |
//!
//! ```text
//!  peercamctl ──{"command":"status"}\n──▶ connection ──Asked──▶ the agent's loop
//!             ◀──{"status":"SUCCESS",…}\n──          ◀──Answer──
//! ```
//!
//! Each line is one request, and each is answered by one line, in order. What comes in is bounded:
//!
//! | what | limit | what happens there |
//! |---|---|---|
//! | a request | 16 KiB | it is refused in words, and the connection closed |
//! | connections at once | 8 | one more is told so, and closed |
//! | a connection that asks nothing | 60 s | it is closed |
//! | requests that wait for the agent's loop | 8 | further ones wait in their connection |
//! | the agent's answer | 10 s | the request is answered with a failure |

pub mod file;
pub mod messages;
pub mod server;

pub use file::{BindError, Listener};
pub use messages::{Answer, Outcome, Request};
pub use server::{Asked, Server};
