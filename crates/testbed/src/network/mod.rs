//! Networks of a test's own: homes behind routers, an internet between them, servers on it, and
//! lines that can be made bad.
//!
//! | module | holds |
//! |---|---|
//! | [`scene`] | [`Scene`]: camera and viewer in their homes, servers between them, all started |
//! | [`table`] | the table of paths: which networks, which way media should find |
//! | [`world`] | [`World`]: homes, routers, internet, as a [`Plan`](world::Plan) wants them |
//! | [`namespace`] | [`Namespace`]: a network without a name, gone when we are |
//! | [`hop`] | [`Hop`]: a cable between two namespaces with rate, loss and delay |
//! | [`mod@line`] | [`Impairment`], and what it does to frames, as arithmetic |
//! | [`router`] | [`Router`]: address translation and firewalls |
//! | [`place`] | [`Place`]: where a program runs; doors for this host into a namespace |
//! | [`turn`] | [`TurnServer`]: coturn |
//! | [`tls`] | certificates of a test's own authority |
//!
//! ```text
//!  viewer ══ hop ══ router ──┐                 ┌── router ══ hop ══ camera
//!                            ├── internet ─────┤
//!             rendezvous ────┘   (a bridge)    └── STUN and TURN
//! ```
//!
//! All of it needs root, or a user namespace: see [`Namespace::new`].

pub mod hop;
pub mod line;
pub mod namespace;
pub mod place;
pub mod router;
pub mod scene;
pub mod table;
pub mod tls;
pub mod turn;
pub mod world;

pub use hop::{Hop, Way};
pub use line::Impairment;
pub use namespace::Namespace;
pub use place::Place;
pub use router::Router;
pub use scene::Scene;
pub use turn::TurnServer;
pub use world::World;
