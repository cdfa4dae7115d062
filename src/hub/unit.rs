//! A unit: what subscribers share, with its place in the ring.

use super::batch::Batch;
use crate::tail::{Gap, Position};

/// A unit closes at this many bytes; a larger entry travels alone.
pub const UNIT_BYTES: usize = 64 * 1024;

/// Something that happened in one container's log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// Lines, in file order, at least one.
    Entries(Batch),
    /// Entries may be missing here.
    Gap(Gap),
    /// Lines that the engine had skipped; the number of the record (see
    /// `Live::taken`) that they stand before.
    Late(Batch, u64),
    /// All that the engine had stored by then (ns since the Unix epoch, our
    /// clock) is delivered or reported.
    Verified(i64),
    /// A stuck or failed lease was replaced, without loss.
    LeaseReplaced,
    /// The engine's clock was set back: stamps of a stream go back.
    ClockStep,
    /// A run of the container began, or ended with its log delivered.
    Changed(Change),
    /// The container does not run, and all that it wrote is delivered.
    Settled,
}

/// A run's beginning or end; what nobody knows is `None`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// When, in ns since the Unix epoch.
    Started(Option<i64>),
    /// When, and with which code.
    Exited(Option<i64>, Option<i32>),
}

impl Change {
    pub(crate) fn is_start(self) -> bool {
        matches!(self, Change::Started(_))
    }
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
    /// The number of the record that this stands before, if it comes later than
    /// its place.
    pub(crate) fn place(&self) -> Option<u64> {
        match &self.content {
            Content::Late(_, place) => Some(*place),
            Content::Gap(gap) => gap.place,
            _ => None,
        }
    }

    /// Bytes it counts against a ring's bound.
    pub(crate) fn cost(&self) -> usize {
        let held = match &self.content {
            Content::Entries(batch) | Content::Late(batch, _) => batch.cost(),
            _ => 0,
        };
        size_of::<Unit>() + held
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::batch::Writer;
    use super::*;
    use crate::docker::Stream;
    use crate::tail::Entry;

    /// A unit of one entry with a line of so many bytes.
    pub(in crate::hub) fn batch_of(bytes: usize) -> Unit {
        let entry: Entry = Entry {
            stream: Stream::Stdout,
            time: 1,
            ordinal: 0,
            line: vec![b'x'; bytes].into(),
            unterminated: false,
            truncated_bytes: 0,
        };
        let mut writer = Writer::default();
        writer.label("0123", "web");
        writer.push(&entry, false);
        Unit {
            content: Content::Entries(writer.finish("cursor")),
            after: Position::default(),
        }
    }

    #[test]
    fn a_unit_costs_what_it_holds() {
        let (small, large) = (batch_of(1).cost(), batch_of(10_001).cost());
        assert!((10_000..10_010).contains(&(large - small)));
    }
}
