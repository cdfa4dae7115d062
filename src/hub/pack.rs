//! Deliveries of a machine, packed into units.

use super::unit::{Content, GapCause, UNIT_BYTES, Unit, entry_cost};
use crate::tail::{Delivery, Entry, Position};

/// Collects deliveries until they make a unit.
#[derive(Debug)]
pub(crate) struct Packer {
    cause: GapCause,
    entries: Vec<Entry>,
    bytes: usize,
    units: Vec<Unit>,
    /// The machine's position as last told.
    at: Position,
}

impl Packer {
    /// `cause`: what a gap of this read means.
    pub(crate) fn new(cause: GapCause) -> Self {
        Self {
            cause,
            entries: Vec::new(),
            bytes: 0,
            units: Vec::new(),
            at: Position::default(),
        }
    }

    /// Takes what one event brought; `after` is the machine's position then.
    pub(crate) fn push(&mut self, deliveries: &mut Vec<Delivery>, after: Position) {
        for delivery in deliveries.drain(..) {
            match delivery {
                Delivery::Entry(entry) => {
                    self.bytes += entry_cost(&entry);
                    self.entries.push(entry);
                }
                // What is left behind a gap came with the same event, and is
                // not read by whoever resumes at its end.
                Delivery::Gap(gap) => self.content(Content::Gap(gap, self.cause), self.at),
                Delivery::Replaced => self.content(Content::LeaseReplaced, after),
                Delivery::At(position) => self.reached(position),
            }
        }
        self.reached(after);
    }

    fn reached(&mut self, position: Position) {
        self.at = position;
        if self.bytes >= UNIT_BYTES {
            self.close(position);
        }
    }

    /// Adds what is not an entry, behind the entries so far.
    pub(crate) fn content(&mut self, content: Content, after: Position) {
        self.close(after);
        self.units.push(Unit { content, after });
    }

    /// Everything so far; `after` is the machine's position now.
    pub(crate) fn take(&mut self, after: Position) -> Vec<Unit> {
        self.close(after);
        std::mem::take(&mut self.units)
    }

    /// Whether a whole unit is ready.
    pub(crate) fn is_full(&self) -> bool {
        !self.units.is_empty()
    }

    fn close(&mut self, after: Position) {
        if !self.entries.is_empty() {
            let content = Content::Entries(std::mem::take(&mut self.entries));
            self.units.push(Unit { content, after });
            self.bytes = 0;
        }
    }
}
