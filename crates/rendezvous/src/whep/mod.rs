//! WHEP (draft-ietf-wish-whep): any standard player watches a camera, by HTTP. What it shares with
//! WHIP is RFC 9725. Media goes straight from the camera to the player, as for everybody.
//!
//! | module | holds |
//! |---|---|
//! | `endpoint` | the requests, and what they are answered |
//! | `desk` | what is done for requests that belong to a session |
//! | `session` | one player's session: a viewer of its room who speaks HTTP |
//! | `sessions` | the running ones, by names that nobody guesses |
//! | `sdp` | what a session changes in offers and answers |
//! | `fragment` | what a PATCH brings and is answered (RFC 8840) |
//! | `problem` | errors in HTTP's terms |
//!
//! | request | on | does |
//! |---|---|---|
//! | POST, an offer | `/whep/<room>` | joins; 201 with answer, candidates and ICE servers |
//! | PATCH, a fragment | `/whep/<room>/<session>` | hands candidates on (204), or restarts ICE (200) |
//! | DELETE | `/whep/<room>/<session>` | leaves |
//! | OPTIONS | both | says what is taken; answers browsers that ask first (CORS) |
//!
//! To the room and the camera a player is a viewer like any other. It has no socket, so nothing
//! can be told it unasked: the answer waits a moment for the camera's candidates. A session ends by
//! DELETE, by a word of the camera, which gives up a player that does not come (30 s), or with the
//! camera's connection.
//!
//! In a cluster a session's address names its node, and each node passes requests on to it: they may
//! come to any, as a load balancer sends them. Only that node's end is the end of the session.

mod desk;
mod endpoint;
mod fragment;
mod problem;
mod sdp;
mod session;
mod sessions;

pub(crate) use self::{desk::Desk, endpoint::router};

const SDP_FRAGMENT: &str = "application/trickle-ice-sdpfrag";
