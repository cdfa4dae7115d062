//! The promises of Pulsetail on real Docker engines: an old one and a current one.

mod engine;
mod cost;
mod exact;
mod harness;
mod kind;
mod server;
