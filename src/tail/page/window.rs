//! One window of a log: the newest entries before the page's end, and which of
//! them it proves to be whole.

use std::collections::VecDeque;

use bytes::Bytes;

use super::super::anchor::{Anchor, Finder, Tracker, index};
use super::super::filter::Levels;
use super::super::line::{Dialect, Entry, Joiner, OpenLines};
use super::super::{INVERSION, MAX_ORIENTATION, Position, is_whole};
use super::{Edge, Query};
use crate::docker::{PART_BYTES, Record, Stream, Tail};

/// Streams in the order of their slots, in which lines end with a run.
const STREAMS: [Stream; 3] = [Stream::Stdout, Stream::Stderr, Stream::Tty];

/// An edge with its place in the window.
#[derive(Debug, Clone, Copy)]
pub(super) struct End {
    pub(super) edge: Edge,
    /// Records of the window before it.
    pub(super) index: u32,
    /// Whether the window shows the anchor's place among its likes.
    placed: bool,
}

/// Where a page begins.
#[derive(Debug, Clone, Copy)]
pub(super) struct Start {
    /// Number of its first entry.
    pub(super) from: u64,
    /// Where it begins, if there may be entries before it.
    pub(super) older: Option<End>,
}

#[derive(Debug)]
struct Held {
    number: u64,
    entry: Entry,
    end: End,
}

#[derive(Debug)]
pub(super) struct Window {
    pub(super) tail: Tail,
    /// Records of it so far, those behind the page's end included.
    pub(super) seen: u32,
    /// Records up to the page's end so far.
    pub(super) index: u32,
    /// Whether the page's end was reached.
    pub(super) is_over: bool,
    /// Whether all of it was read, and it is all there is.
    pub(super) is_whole: bool,
    target: Option<Finder>,
    dialect: Dialect,
    joiner: Joiner,
    tracker: Tracker,
    /// Stamp of each stream's first record, if that may continue a line or a group
    /// of equal stamps which began before the window.
    torn: [Option<i64>; 3],
    /// Each stream's first record in the window: its place, from 1, and stamp.
    pub(super) first: [Option<(u32, i64)>; 3],
    /// Stamp of the window's first record.
    begins: Option<i64>,
    /// The oldest stamp of a line that began in the window.
    oldest: Option<i64>,
    /// Entries so far, those that were left out included.
    count: u64,
    /// The newest that were not, within the page's bounds.
    held: VecDeque<Held>,
    bytes: usize,
    /// The newest one for which the page had no room.
    dropped: Option<(u64, End)>,
    /// All entries wanted behind it are whole, and how many came before it.
    floor: Option<(u64, End)>,
    /// Lines that were left open as others were ended without a record.
    open: Option<OpenLines>,
    /// A line was seen that is too old for `since`.
    older_seen: bool,
    /// The first entry at or after `since` behind all such lines.
    since: Option<u64>,
    /// For a filter.
    levels: Levels,
}

impl Window {
    pub(super) fn new(
        tail: Tail,
        target: Option<Finder>,
        joiner: Joiner,
        dialect: Dialect,
    ) -> Self {
        Self {
            tail,
            seen: 0,
            index: 0,
            is_over: false,
            is_whole: false,
            target,
            dialect,
            joiner,
            tracker: Tracker::default(),
            torn: [None; 3],
            first: [None; 3],
            begins: None,
            oldest: None,
            count: 0,
            held: VecDeque::new(),
            bytes: 0,
            dropped: None,
            floor: None,
            open: None,
            older_seen: false,
            since: None,
            levels: Levels::default(),
        }
    }

    /// Takes the next record; says whether it was the last of the page.
    pub(super) fn take(&mut self, record: Record, query: &Query) -> bool {
        self.seen = self.seen.saturating_add(self.dialect.counted(&record));
        if self.is_over {
            return false;
        }
        self.is_over = self.target.as_mut().is_some_and(|t| t.is_at(&record));
        let before = self.end([false; 3]);
        let slot = index(record.stream);
        self.note_age(&record, query.since);
        let anchor = self.tracker.push(&record);
        self.index = self.index.saturating_add(1);
        self.first[slot].get_or_insert((self.index, anchor.time));
        let mut ended = Vec::new();
        self.joiner.push(record, &mut |entry| ended.push(entry));
        let after = End {
            edge: Edge {
                anchor,
                ended: [false; 3],
            },
            index: self.index,
            placed: self.is_known(anchor),
        };
        for entry in ended {
            // The end of a run had ended this line before the record came.
            let over = before.filter(|_| entry.unterminated).map(|mut end| {
                end.edge.ended[slot] = true;
                end
            });
            self.add(entry, over.unwrap_or(after), query);
        }
        if self.floor.is_none() && after.placed {
            self.floor = Some((self.count, after));
        }
        self.is_over
    }

    /// Ends the open lines of these streams without a record, in order.
    pub(super) fn end_lines(&mut self, ended: [bool; 3], query: &Query) {
        let open = self.joiner.open_lines();
        let mut rest = Vec::new();
        if ended != [false; 3] {
            self.joiner.flush(&mut |entry, _| rest.push(entry));
        }
        let mut so_far = [false; 3];
        for slot in (0..3).filter(|slot| ended[*slot]) {
            so_far[slot] = true;
            let line = rest.iter().position(|e| e.stream == STREAMS[slot]);
            match (line, self.end(so_far)) {
                (Some(line), Some(end)) => self.add(rest.swap_remove(line), end, query),
                // All of its parts stand before the window.
                _ if query.wants(STREAMS[slot]) => self.floor = None,
                _ => {}
            }
        }
        self.open = Some([0, 1, 2].map(|slot| open[slot].filter(|_| !ended[slot])));
    }

    /// The snapshot has ended.
    pub(super) fn close(&mut self) {
        self.is_whole = match self.tail {
            Tail::All => true,
            Tail::Last(want) => is_whole(want, self.seen),
        };
    }

    /// Whether it may be all there is, and one twice as wide would tell.
    pub(super) fn is_short(&self) -> bool {
        !self.is_whole && matches!(self.tail, Tail::Last(want) if self.seen < want)
    }

    /// Lines that are open at the page's end.
    pub(super) fn open_lines(&self) -> OpenLines {
        self.open.unwrap_or_else(|| self.joiner.open_lines())
    }

    /// Behind the last record up to the page's end.
    pub(super) fn position(&self) -> Position {
        let anchor = self.tracker.anchor();
        let behind = Position {
            anchor,
            ..Position::default()
        };
        Position {
            open: self.open_lines(),
            ..behind
        }
    }

    /// Whether the place of the last record among its likes is known.
    pub(super) fn is_placed(&self) -> bool {
        self.tracker.anchor().is_none_or(|a| self.is_known(a))
    }

    /// Records behind the page's end.
    pub(super) fn behind(&self) -> u32 {
        let all = match self.tail {
            Tail::Last(want) if !self.is_whole => want,
            _ => self.seen,
        };
        all.saturating_sub(self.index)
    }

    /// Where a page begins that searches at most `bound` records, if the window
    /// shows it.
    pub(super) fn start(&self, bound: u32, has_since: bool) -> Option<Start> {
        let since_known = has_since && (self.older_seen || self.is_whole);
        let begin = match since_known {
            true => self.since.unwrap_or(u64::MAX),
            false => 0,
        };
        if self.is_whole {
            let (lower, older) = self.dropped.unzip();
            let from = begin.max(lower.map_or(0, |number| number + 1));
            let older = older.filter(|_| lower >= Some(begin));
            return Some(Start { from, older });
        }
        let (before, floor) = self.floor?;
        let (lower, end) = match self.dropped {
            Some((number, end)) if number >= before => end.placed.then_some((number, end))?,
            _ => (before, floor),
        };
        let older = Some(end);
        if since_known && begin > lower {
            let (from, older) = (begin, None);
            return Some(Start { from, older });
        }
        // Before the first entry at or after `since` it is not known whether an
        // entry that is stamped earlier belongs to the page or lies before it.
        let is_behind =
            |number| !has_since || since_known || self.since.is_some_and(|since| since <= number);
        let from = lower + 1;
        let is_full = self.dropped.is_some_and(|(number, _)| number >= before);
        let mut held = self.held.iter().filter(|held| held.number >= from);
        let is_searched = self.index >= bound && end.index < self.index;
        let known = match is_full && is_behind(lower) {
            true => true,
            false => is_searched && held.next().is_none_or(|first| is_behind(first.number)),
        };
        known.then_some(Start { from, older })
    }

    /// The entries held from that number on.
    pub(super) fn entries_from(&mut self, from: u64) -> Vec<Entry> {
        let held = self.held.drain(..).filter(|held| held.number >= from);
        held.map(|held| held.entry).collect()
    }

    fn add(&mut self, mut entry: Entry, end: End, query: &Query) {
        self.count += 1;
        let number = self.count;
        if query.since.is_some_and(|since| entry.time >= since) {
            self.since.get_or_insert(number);
        }
        let passes = query.passes(&entry, &mut self.levels);
        let is_torn = self.torn[index(entry.stream)] == Some(entry.time);
        // Of a line without its beginning, neither text nor such a stamp tells.
        let is_vague = self.dialect.stamps_are_loose || query.filter.is_some();
        if is_torn && (passes || is_vague && query.wants(entry.stream)) {
            self.floor = None;
        }
        if !passes {
            return;
        }
        if entry.line.len() <= PART_BYTES {
            // A slice would keep all that was read with it.
            entry.line = Bytes::copy_from_slice(&entry.line);
        }
        self.bytes += cost(&entry);
        self.held.push_back(Held { number, entry, end });
        while self.held.len() > query.size || (self.bytes > query.bytes && self.held.len() > 1) {
            let Some(oldest) = self.held.pop_front() else {
                return;
            };
            self.bytes -= cost(&oldest.entry);
            self.dropped = Some((oldest.number, oldest.end));
        }
    }

    /// The place behind the last record and these lines.
    fn end(&self, ended: [bool; 3]) -> Option<End> {
        let anchor = self.tracker.anchor()?;
        Some(End {
            edge: Edge { anchor, ended },
            index: self.index,
            placed: self.is_known(anchor),
        })
    }

    /// Whether the window shows a record's place among its likes. One that ends
    /// its line has none, where no two lines share a stamp.
    fn is_known(&self, anchor: Anchor) -> bool {
        match self.dialect.stamps_are_loose {
            true => self.tail == Tail::All || self.begins < Some(anchor.time),
            false => anchor.ends_line || self.torn[index(anchor.stream)] != Some(anchor.time),
        }
    }

    /// Notes what a record tells of the lines that began in the window.
    fn note_age(&mut self, record: &Record, since: Option<i64>) {
        self.begins.get_or_insert(record.time);
        match self.tracker.last_of(record.stream) {
            None if self.began_here(record.time) => {}
            None => self.torn[index(record.stream)] = Some(record.time),
            Some(last) if self.dialect.begins_line(&last, record) => {
                let oldest = self.oldest.map_or(record.time, |t| t.min(record.time));
                self.oldest = Some(oldest);
                if since.is_some_and(|since| record.time < since.saturating_sub(INVERSION)) {
                    self.older_seen = true;
                    self.since = None;
                }
            }
            Some(_) => {}
        }
    }

    /// Whether a line of this stamp can only have begun in the window. Where stamps
    /// say nothing, one begun so far back comes without its beginning.
    fn began_here(&self, time: i64) -> bool {
        let before = time.saturating_sub(INVERSION);
        let is_here = match self.dialect.stamps_are_loose {
            true => self.index > MAX_ORIENTATION,
            false => self.oldest.is_some_and(|oldest| oldest < before),
        };
        self.tail == Tail::All || is_here
    }
}

fn cost(entry: &Entry) -> usize {
    size_of::<Entry>() + entry.line.len()
}
