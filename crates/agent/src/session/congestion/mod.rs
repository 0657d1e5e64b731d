//! How much one viewer's path carries: decided from what he reports of each packet's arrival
//! (transport-wide feedback, draft-holmer-rmcat-transport-wide-cc-extensions-01). No I/O and no
//! clock: time is passed in.
//!
//! | module | holds |
//! |---|---|
//! | [`history`] | what was sent and is not yet reported on |
//! | [`arrivals`] | one-way delay and rate of what arrived |
//! | [`loss`] | how much is lost, and whether that has to do with our rate |
//! | [`burst`] | how fast short bursts pass |
//! | [`controller`] | [`Controller`]: the estimate made of all this |
//! | [`pacer`] | [`Pacer`]: when the next packet may leave |
//! | [`backlog`] | the estimate for a data channel, from what waits in it |
//! | [`bucket`] | [`Bucket`]: a rate that may not be exceeded for long |
//!
//! The idea: a queue that never empties (the *standing* queue: the least delay in a window longer
//! than a few frames) is a link that is full, and while it is full, what arrives **is** what it
//! carries. So the estimate falls to a little less than the measured rate, once, and not in steps
//! towards nothing; bursts, jitter and random loss leave no standing queue and change nothing.

mod arrivals;
mod backlog;
mod bucket;
mod burst;
mod controller;
mod history;
mod loss;
mod pacer;
#[cfg(test)]
mod simulation;

pub(super) use backlog::Backlog;
pub(super) use bucket::Bucket;
pub(super) use controller::{Controller, Limits, Picture, Report, Status};
pub(super) use pacer::Pacer;
