//! The ends of a stretch.

use super::super::Position;
use super::super::anchor::Anchor;

/// Where a stretch begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum From {
    /// Everything retained.
    Beginning,
    /// Behind this position.
    After(Position),
    /// The first line, in file order, stamped at or after this (ns since the
    /// Unix epoch), and everything behind it.
    Since(i64),
    /// The last lines, both streams counted.
    Lines(u32),
}

/// Where a stretch ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Until {
    /// Behind this record, if it is met.
    Anchor(Anchor),
    /// With what is stored at the time of reading.
    End,
}
