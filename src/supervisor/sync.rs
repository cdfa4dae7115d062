//! The locks and atomics of whatever several threads share here, in `hub` and in `grpc`.
//!
//! Tests with the feature `schedules` put `shuttle`'s in their place: these let any
//! other thread go first at each access, so that orders are tried that a machine
//! shows once in a year.

#[cfg(not(all(test, feature = "schedules")))]
pub(crate) use std::sync::{Mutex, MutexGuard, atomic};

#[cfg(all(test, feature = "schedules"))]
pub(crate) use shuttle::sync::{Mutex, MutexGuard, atomic};

/// Lets others go first, in such tests: before what is no access to these.
#[cfg(not(all(test, feature = "schedules")))]
pub(crate) const fn others_first() {}

#[cfg(all(test, feature = "schedules"))]
pub(crate) use shuttle::thread::yield_now as others_first;

/// Tries a scenario in orders enough to find what some order breaks.
#[cfg(all(test, feature = "schedules"))]
pub(crate) fn in_any_order(scenario: fn()) {
    const RANDOM: usize = 7_000;
    /// With few switches at chosen points, which finds what random ones rarely do.
    const CHOSEN: usize = 3_000;
    shuttle::check_random(scenario, RANDOM);
    shuttle::check_pct(scenario, CHOSEN, 3);
}
