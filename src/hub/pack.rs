//! Deliveries of a machine, packed into units.

use super::batch::Writer;
use super::unit::{Content, UNIT_BYTES, Unit};
use crate::docker::{Container, ContainerId, now};
use crate::tail::{Cursor, Delivery, Entry, GapCause, Position};

/// A cursor issued now. `engine`: its tag.
pub(crate) fn cursor(engine: u64, container: ContainerId, position: Position) -> String {
    let issued = now();
    Cursor {
        engine,
        container,
        issued,
        position,
    }
    .encode()
}

/// Collects deliveries until they make a unit.
#[derive(Debug)]
pub(crate) struct Packer {
    container: ContainerId,
    /// Tag of the engine, for cursors.
    engine: u64,
    cause: GapCause,
    /// When the engine was asked for what comes in, ns since the Unix epoch.
    asked: i64,
    entries: Writer,
    /// Whether all of them stand before `at`.
    is_told: bool,
    /// What the entries stand before, if they are late.
    late: Option<u64>,
    units: Vec<Unit>,
    /// The machine's position as last told.
    at: Position,
}

impl Packer {
    /// `engine`: its tag in cursors. `cause`: what deletion before this read means.
    pub(crate) fn new(container: &Container, engine: u64, cause: GapCause) -> Self {
        let mut packer = Self {
            container: container.id,
            engine,
            cause,
            asked: 0,
            entries: Writer::default(),
            is_told: true,
            late: None,
            units: Vec::new(),
            at: Position::default(),
        };
        packer.label(container);
        packer
    }

    /// What the container is called from here on.
    pub(crate) fn label(&mut self, container: &Container) {
        self.entries
            .label(&container.id.to_string(), &container.name);
    }

    /// Takes what one event brought; `after` is the machine's position then.
    pub(crate) fn push(&mut self, deliveries: &mut Vec<Delivery>, after: Position) {
        for delivery in deliveries.drain(..) {
            match delivery {
                Delivery::Entry(entry) => self.entry(&entry, None),
                Delivery::Late(entry, place) => self.entry(&entry, Some(place)),
                // What is left behind a gap came with the same event, and is
                // not read by whoever resumes at its end.
                Delivery::Gap(mut gap) => {
                    if gap.cause == GapCause::RotatedOut {
                        gap.cause = self.cause;
                    }
                    self.content(Content::Gap(gap), self.at);
                }
                Delivery::Verified => self.content(Content::Verified(self.asked), after),
                Delivery::Replaced => self.content(Content::LeaseReplaced, after),
                Delivery::At(position) => self.reached(position),
            }
        }
        self.reached(after);
    }

    /// The engine is being asked, now.
    pub(crate) fn asked_at(&mut self, now: i64) {
        self.asked = now;
    }

    fn entry(&mut self, entry: &Entry, late: Option<u64>) {
        if self.late != late {
            self.close(self.at);
            self.late = late;
        }
        if entry.line.len() >= UNIT_BYTES && self.is_told {
            self.close(self.at);
        }
        self.entries.push(entry, late.is_some());
        self.is_told = false;
    }

    fn reached(&mut self, position: Position) {
        self.at = position;
        self.is_told = true;
        if self.entries.len() >= UNIT_BYTES {
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
            let cursor = cursor(self.engine, self.container, after);
            let entries = self.entries.finish(&cursor);
            let content = match self.late {
                Some(place) => Content::Late(entries, place),
                None => Content::Entries(entries),
            };
            self.units.push(Unit { content, after });
        }
    }
}
