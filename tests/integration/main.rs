//! What Pulsetail promises, against a simulated engine: a real server on real sockets, read by generated clients, with a
//! Docker API behind it whose logs and faults are scripted.

#![allow(
    clippy::disallowed_methods,
    clippy::panic,
    clippy::unwrap_used,
    reason = "tests fail by panicking, and their tasks end with their runtime"
)]

mod adversarial;
mod ancestor;
mod architecture;
mod bare;
mod beginnings;
mod catch_ups;
mod churn;
mod cost;
mod counts;
mod drivers;
mod ends;
mod engines;
mod fan_out;
mod filters;
mod harness;
mod health;
mod hostile;
mod inventory;
mod judge;
mod later;
mod leaks;
mod listing;
mod live;
mod logs;
mod memory;
mod pacing;
mod page_bounds;
mod page_tokens;
mod pages;
mod readme;
mod requests;
mod resume;
mod resyncs;
mod roster;
mod selectors;
mod sharing;
mod short_tails;
mod skips;
mod subscriber;
mod supervision;
mod tasks;
mod verify;
mod watches;
