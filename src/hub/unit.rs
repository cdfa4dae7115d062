//! A unit: what subscribers share, with its place in the ring.

use crate::tail::{Entry, Gap, Position};

/// A unit closes at this many bytes; a larger entry travels alone.
pub const UNIT_BYTES: usize = 64 * 1024;

/// Something that happened in one container's log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// Lines, in file order, at least one.
    Entries(Vec<Entry>),
    /// Entries may be missing here.
    Gap(Gap, GapCause),
    /// A stuck or failed lease was replaced, without loss.
    LeaseReplaced,
    /// A run of the container began (ns since the Unix epoch).
    Started(Option<i64>),
    /// A run ended and its log is delivered: when, and with which code.
    Exited(Option<i64>, Option<i32>),
    /// The container does not run, and all that it wrote is delivered.
    Settled,
}

/// Why entries may be missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GapCause {
    /// The engine deleted them before they were read.
    RotatedOut,
    /// The engine deleted them before a slow subscriber came to them.
    SlowConsumer,
}

/// A piece of a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unit {
    /// What it holds.
    pub content: Content,
    /// Behind its last record.
    pub after: Position,
}

impl Unit {
    /// Bytes it counts against a ring's bound.
    pub(crate) fn cost(&self) -> usize {
        let held = match &self.content {
            Content::Entries(entries) => entries.iter().map(entry_cost).sum(),
            _ => 0,
        };
        size_of::<Unit>() + held
    }
}

/// Bytes an entry counts against a unit's and a ring's bound.
pub(crate) fn entry_cost(entry: &Entry) -> usize {
    size_of::<Entry>() + entry.line.len()
}
