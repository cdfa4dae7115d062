//! What the simulated engine promises, seen through HTTP.

mod client;
mod events;
mod faults;
mod following;
mod http;
mod power;
mod reading;
mod storing;
