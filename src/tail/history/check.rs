//! What a position says of the records before it, held against what is stored: the
//! lines that were open there, and how many records were delivered.

use super::super::anchor::{Anchor, Finder, index};
use super::super::bounds::{Behind, between, earliest_behind};
use super::super::line::{Dialect, OpenLines as Times};
use super::super::{Gap, GapCause, Position, Verified};
use crate::docker::Record;

/// The parts of lines that were open at a position, read again.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct OpenLines {
    pub(super) times: Times,
    /// Whether the line's first part must have been read: another stamp was seen.
    starts: [bool; 3],
    /// Where stamps are loose: whatever was read tells of lines and places.
    loose: bool,
}

impl OpenLines {
    /// `complete`: the read holds every record that ever was in the log.
    pub(super) fn new(times: Times, complete: bool, dialect: Dialect) -> Self {
        Self {
            times,
            starts: [complete; 3],
            loose: dialect.stamps_are_loose,
        }
    }

    pub(super) fn is_part(&mut self, record: &Record) -> bool {
        let slot = index(record.stream);
        if self.loose {
            // Of the line that is open there, no part ends it.
            self.starts[slot] |= record.ends_line();
            return true;
        }
        let part = self.times[slot] == Some(record.time);
        self.starts[slot] |= !part;
        part
    }

    /// Stamps of the lines whose first parts may be deleted.
    pub(super) fn torn(&self) -> impl Iterator<Item = i64> {
        let torn = (0..3).filter(|slot| !self.starts[*slot]);
        torn.filter_map(|slot| self.times[slot])
    }
}

/// Whether as many records are stored behind the last verified one as were
/// delivered: a live stream may have skipped some.
#[derive(Debug, Clone, Copy)]
pub(super) struct Check {
    finder: Option<Finder>,
    delivered: u32,
    /// The first record there ever was, as long as the log begins with it; of use
    /// where nothing is verified.
    beginning: Option<Anchor>,
    /// Nothing behind the verified one is stamped earlier, if that is known.
    after: Option<i64>,
    /// The earliest and latest stamp of what is stored behind it, or left of that.
    stamps: Option<(i64, i64)>,
    left: Behind,
    /// Records behind the verified one; `None`: it has not come.
    stored: Option<u32>,
    /// Whether each of them is a whole line.
    lines_only: bool,
}

impl Check {
    /// `None`: everything up to there is verified.
    pub(super) fn new(
        position: Position,
        beginning: Option<Anchor>,
        whole_log: bool,
        dialect: Dialect,
    ) -> Option<Self> {
        let Verified { anchor, count } = position.verified?;
        Some(Self {
            finder: anchor.map(|anchor| Finder::new(anchor, whole_log).among(dialect)),
            delivered: count,
            beginning,
            after: anchor.map(|anchor| earliest_behind(anchor, position.open)),
            stamps: None,
            left: Behind::default(),
            stored: anchor.is_none().then_some(0),
            lines_only: true,
        })
    }

    pub(super) fn count(&mut self, record: &Record) {
        let time = record.time;
        if self.left == Behind::default() {
            // It may be deleted since it was seen.
            self.beginning = self.beginning.filter(|first| first.is_like(record));
        }
        let (low, high) = self.stamps.unwrap_or((time, time));
        self.stamps = Some((low.min(time), high.max(time)));
        self.left.push(record);
        match (&mut self.stored, &mut self.finder) {
            (Some(stored), _) => {
                *stored = stored.saturating_add(1);
                self.lines_only &= record.ends_line();
            }
            (None, Some(finder)) => {
                if finder.is_at(record) {
                    (self.stored, self.stamps) = (Some(0), None);
                }
            }
            (None, None) => {}
        }
    }

    /// Whether the window shows it.
    pub(super) fn is_done(&self) -> bool {
        self.stored.is_some()
    }

    /// What may be missing before the record read last.
    pub(super) fn gap(&self) -> Option<Gap> {
        // Records of the log's beginning may be deleted, unless that is proven.
        let is_known = self.finder.is_some() || self.beginning.is_some();
        let Some(stored) = self.stored.filter(|_| is_known) else {
            return Some(self.lost());
        };
        if stored == self.delivered {
            return None;
        }
        // All is stored, what was skipped, too.
        let (after, before) = self.stamps.unzip();
        let mut gap = Gap::possible(GapCause::EngineSkip, after, before);
        if stored > self.delivered {
            gap.certain = true;
            let skipped = u64::from(stored - self.delivered);
            gap.missing = self.lines_only.then_some(skipped);
        }
        Some(gap)
    }

    /// What was skipped may be deleted by now, or be among what is left.
    pub(super) fn lost(&self) -> Gap {
        let (mut after, mut before) = between(self.after, self.left.latest_before());
        if let Some((low, high)) = self.stamps {
            after = after.map(|after| after.min(low));
            before = before.map(|before| before.max(high));
        }
        Gap::possible(GapCause::EngineSkip, after, before)
    }
}
