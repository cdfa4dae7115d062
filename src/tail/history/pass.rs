//! One snapshot of a stretch: which of its lines count, and what they prove.
//!
//! A window of a log may begin inside a line and inside a group of equal stamps,
//! so what it shows of a line or a place counts only as far as it is proven.

use super::super::anchor::{Anchor, Finder, Tracker, index};
use super::super::line::{Entry, Joiner};
use super::super::{Delivery, Gap, GapCause, INVERSION, MAX_ORIENTATION, Position};
use super::check::{Check, OpenLines};
use crate::docker::{Record, Tail};

/// Lines that `tail_lines` may hold before it reads a second time, in bytes.
pub(super) const HELD_BYTES: usize = 256 * 1024;

/// One snapshot.
#[derive(Debug)]
pub(super) struct Pass {
    pub(super) tail: Tail,
    pub(super) seen: u32,
    pub(super) stage: Stage,
    pub(super) target: Option<Finder>,
    /// Behind the target only the window's size still matters.
    pub(super) past_target: bool,
    /// Stamp of the window's first record.
    pub(super) begins: Option<i64>,
    /// The oldest stamp of a line that began in the window.
    pub(super) oldest: Option<i64>,
    /// Whether each stream's last line may have begun before the window.
    pub(super) torn: [bool; 3],
    pub(super) joiner: Joiner,
    pub(super) tracker: Tracker,
}

#[derive(Debug)]
pub(super) enum Stage {
    /// Looking whether the log still has its beginning: as long as it holds less
    /// than the engine keeps, nothing was deleted.
    Begin { first: Option<Anchor>, stored: u64 },
    /// Looking for the record to start behind.
    Find {
        finder: Finder,
        lines: OpenLines,
        check: Option<Check>,
    },
    /// Looking for the first line at or after an instant.
    Since {
        instant: i64,
        /// A line begun before it shows that the stretch is in the window.
        older_than: i64,
        older_seen: bool,
    },
    /// Counting lines; held while they are few.
    Count {
        /// The window's first record; means something if that is the whole log.
        first: Option<Anchor>,
        /// The first record whose place is proven, and the lines before it.
        proven: Option<(Anchor, u64)>,
        /// Stamps of the lines at hand that may have begun before the window.
        torn: [Option<i64>; 2],
        /// Lines up to the last one whose beginning may lie before the window.
        suspect: u64,
        lines: u64,
        held: Vec<Entry>,
        ends: Vec<Position>,
        bytes: usize,
    },
    /// Looking for a record of the count, and the lines to skip from there.
    Recount { finder: Finder, skip: u64 },
    /// Passing over the lines before those asked for.
    Skip { left: u64 },
    /// Everything from here on.
    Deliver,
    /// The position is gone: everything, behind a gap, and one for what may have
    /// been skipped before it.
    Gap {
        after: Option<i64>,
        /// The latest stamp of the lines that were open there, which are lost as well.
        open: Option<i64>,
        /// What the engine said of it, if it did.
        words: Option<String>,
        skip: Option<Gap>,
    },
    /// The window is too small: only whether it is the whole log still matters.
    Size,
}

impl Pass {
    pub(super) fn new(tail: Tail, stage: Stage, target: Option<Finder>, joiner: Joiner) -> Self {
        Self {
            tail,
            seen: 0,
            stage,
            target,
            past_target: false,
            begins: None,
            oldest: None,
            torn: [false; 3],
            joiner,
            tracker: Tracker::default(),
        }
    }

    /// Takes the next record; says where the pass stood before it.
    pub(super) fn take(&mut self, record: Record, out: &mut Vec<Delivery>) -> Position {
        self.tell_gap(Some(record.time), out);
        let before = self.position();
        self.note_record(&record);
        let stage = &mut self.stage;
        self.joiner
            .push(record, &mut |entry| stage.sift(entry, out));
        self.note_ends(before);
        before
    }

    /// Tells what was lost before a record of this stamp, if anything was.
    pub(super) fn tell_gap(&mut self, before: Option<i64>, out: &mut Vec<Delivery>) {
        if let Stage::Gap {
            after,
            open,
            words,
            skip,
        } = &mut self.stage
        {
            let before = before.map(|before| (*open).map_or(before, |open| before.max(open)));
            let gap = Gap::gone(GapCause::RotatedOut, (*after, before), words.take());
            out.extend(skip.take().into_iter().chain([gap]).map(Delivery::Gap));
            self.stage = Stage::Deliver;
        }
    }

    /// Notes what a record proves, and its place.
    fn note_record(&mut self, record: &Record) {
        let slot = index(record.stream);
        let group = self.tracker.last_of(record.stream);
        let was_torn = group.filter(|_| self.torn[slot]).map(|last| last.time);
        self.note_age(record);
        let loose = self.joiner.dialect().stamps_are_loose;
        let line = self.joiner.open_line(slot).filter(|_| loose);
        let is_torn = self.torn[slot].then_some(line.unwrap_or(record.time));
        let is_proven = group.is_some_and(|last| last.time != record.time);
        let anchor = self.tracker.push(record);
        if let Stage::Count {
            first,
            proven,
            torn,
            lines,
            ..
        } = &mut self.stage
        {
            *torn = [was_torn, is_torn];
            first.get_or_insert(anchor);
            if is_proven {
                proven.get_or_insert((anchor, *lines));
            }
        }
    }

    pub(super) fn position(&self) -> Position {
        Position {
            anchor: self.tracker.anchor(),
            open: self.joiner.open_lines(),
            verified: None,
        }
    }

    /// Whether the last `wanted` lines are in the window from their beginnings,
    /// and are held or can be found again.
    pub(super) fn holds(&self, wanted: u32) -> bool {
        let Stage::Count {
            lines,
            suspect,
            proven,
            bytes,
            ..
        } = &self.stage
        else {
            return false;
        };
        let Some(skipped) = lines.checked_sub(u64::from(wanted)) else {
            return self.tail == Tail::All;
        };
        // It may be over, and comes as it is then.
        let open = (0..3).filter(|slot| self.joiner.open_line(*slot).is_some());
        let open_whole = open.into_iter().all(|slot| !self.torn[slot]);
        let found = *bytes <= HELD_BYTES || proven.is_some_and(|(_, before)| before <= skipped);
        let whole = skipped > 0 && skipped >= *suspect && self.is_placed();
        self.tail == Tail::All || (whole && found && open_whole)
    }

    /// Notes where each line held ends. Of two that one record ended, the first
    /// ends before it: resuming there repeats, never loses.
    fn note_ends(&mut self, before: Position) {
        let after = self.position();
        if let Stage::Count { held, ends, .. } = &mut self.stage {
            let ended = held.len().saturating_sub(ends.len());
            ends.extend((1..ended).map(|_| before));
            ends.resize(held.len(), after);
        }
    }

    /// Notes which lines began in the window: the first record of each stream
    /// may continue one, so it proves nothing.
    fn note_age(&mut self, record: &Record) {
        self.begins.get_or_insert(record.time);
        let last = self.tracker.last_of(record.stream);
        let dialect = self.joiner.dialect();
        let slot = index(record.stream);
        self.torn[slot] = match last {
            None => !self.began_here(record.time),
            Some(last) => self.torn[slot] && !dialect.begins_group(&last, record),
        };
        if last.is_some_and(|last| dialect.begins_line(&last, record)) {
            let oldest = self.oldest.map_or(record.time, |t| t.min(record.time));
            self.oldest = Some(oldest);
            if let Stage::Since {
                older_than,
                older_seen,
                ..
            } = &mut self.stage
            {
                *older_seen |= oldest < *older_than;
            }
        }
    }

    /// Whether a line of this stamp can only have begun in the window: its first
    /// part is not far from where its stamp says. Where it says nothing, a line
    /// begun so far back comes without its beginning.
    fn began_here(&self, time: i64) -> bool {
        let before = time.saturating_sub(INVERSION);
        let is_here = match self.joiner.dialect().stamps_are_loose {
            true => self.seen > MAX_ORIENTATION,
            false => self.oldest.is_some_and(|oldest| oldest < before),
        };
        self.tail == Tail::All || is_here
    }

    /// Whether the place of the last record among its likes is known.
    pub(super) fn is_placed(&self) -> bool {
        let loose = self.joiner.dialect().stamps_are_loose;
        let is_placed = |last: Anchor| match loose {
            true => self.begins < Some(last.time),
            false => last.ends_line || !self.torn[index(last.stream)],
        };
        self.tail == Tail::All || self.tracker.anchor().is_none_or(is_placed)
    }

    /// Stamp of the line that `record` continues or ends, if that may have begun
    /// before the window.
    pub(super) fn torn_line(&self, record: &Record) -> Option<i64> {
        let slot = index(record.stream);
        match self.tracker.last_of(record.stream) {
            None => (!self.began_here(record.time)).then_some(record.time),
            Some(_) => self.joiner.open_lines()[slot].filter(|_| self.torn[slot]),
        }
    }
}

impl Stage {
    /// The lines open there are lost as well: they come from their beginnings.
    pub(super) fn gap_behind(position: Position, words: Option<String>, skip: Option<Gap>) -> Self {
        let lines = position.open.into_iter().flatten();
        let after = position
            .anchor
            .map(|at| lines.clone().fold(at.time, i64::min));
        Self::Gap {
            after,
            open: lines.max(),
            words,
            skip,
        }
    }

    fn sift(&mut self, entry: Entry, out: &mut Vec<Delivery>) {
        match self {
            Stage::Deliver => out.push(Delivery::Entry(entry)),
            Stage::Skip { left: 0 } => {
                out.push(Delivery::Entry(entry));
                *self = Stage::Deliver;
            }
            Stage::Skip { left } => *left -= 1,
            Stage::Since { instant, .. } if entry.time < *instant => {}
            Stage::Since {
                older_seen: true, ..
            } => {
                out.push(Delivery::Entry(entry));
                *self = Stage::Deliver;
            }
            Stage::Since { .. } => *self = Stage::Size,
            Stage::Count {
                torn,
                suspect,
                lines,
                held,
                bytes,
                ..
            } => {
                *lines += 1;
                if torn.contains(&Some(entry.time)) {
                    *suspect = *lines;
                }
                *bytes = bytes.saturating_add(entry.line.len() + size_of::<Entry>());
                match *bytes <= HELD_BYTES {
                    true => held.push(entry),
                    false => *held = Vec::new(),
                }
            }
            Stage::Begin { .. }
            | Stage::Find { .. }
            | Stage::Recount { .. }
            | Stage::Gap { .. }
            | Stage::Size => {}
        }
    }
}
