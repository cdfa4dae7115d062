//! The engine's side: the only stage that knows bollard.
//!
//! It turns requests of exact paths into containers and records. It never hands
//! on a torn frame, waits without a deadline, or lets a client's text into a
//! request.

mod container;
mod endpoint;
mod engine;
mod inventory;
mod listed;
mod own;
mod probe;
mod record;
mod records;
mod timestamp;
mod transport;
mod verified;

pub use container::{Container, ContainerId, State};
pub use endpoint::{Surroundings, find};
pub use engine::{Engine, EngineError, Event, Identity, Tail};
pub use inventory::{Change, Changes, Feed, FindError, Inventory, Keeper, Ledger, Seen};
pub use listed::Listed;
pub use own::Own;
pub use probe::{Probe, Reach};
pub use record::{PART_BYTES, Record, Stream};
pub use records::{Chunk, Records};
pub use timestamp::now;
pub use transport::{Connector, Flow, TlsSettings};
pub use verified::Verified;

pub(crate) use probe::{FAILURES as PING_FAILURES, INTERVAL as PING_INTERVAL};
pub(crate) use record::RecordRef;
pub(crate) use transport::{
    BETWEEN as READ_DEADLINE, HEAD as OPEN_DEADLINE, PING as PING_DEADLINE,
};
