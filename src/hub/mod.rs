//! A container's fan-out point: one reader feeds every subscriber.
//!
//! It never lets a subscriber push back on a lease: the ring drops what is old,
//! and whoever is left behind reads from the engine again.

mod batch;
mod budget;
mod catch_up;
mod container;
mod following;
mod lifecycle;
mod log;
mod pace;
mod pack;
mod page;
mod probe;
mod reader;
mod registry;
mod roster;
mod runs;
#[cfg(all(test, feature = "schedules"))]
mod schedules;
mod slots;
mod source;
mod subscription;
mod unit;

pub use batch::{Batch, Span, Writer};
pub use log::{Ended, Log};
pub use pace::{MAX_LATENCY, Pace};
pub(crate) use pack::cursor;
pub use page::PageError;
pub(crate) use probe::LONGEST_REST;
pub use registry::{Reading, Registry, Tasks};
pub use roster::Roster;
pub use subscription::{Item, OpenError, Subscription};
pub use unit::{Change, Content, UNIT_BYTES, Unit};
