//! The promises of Pulsetail on real Docker engines: an old one and a current one.

#![allow(
    clippy::disallowed_methods,
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "tests fail by panicking and print what they measure; their tasks end with their runtime"
)]

mod chaos;
mod churn;
mod client;
mod conformance;
mod cost;
mod daemon;
mod drivers;
mod engine;
mod exact;
mod harness;
mod judge;
mod kills;
mod kind;
mod lists;
mod long;
mod matrix;
mod memory;
mod outages;
mod pages;
mod pauses;
mod process;
mod selectors;
mod server;
mod truth;
mod writer;
