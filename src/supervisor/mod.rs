//! Tasks that cannot forget their heartbeat.
//!
//! It knows neither logs nor Docker.

mod timings;

pub use timings::{Timings, Violation, Wishes};
