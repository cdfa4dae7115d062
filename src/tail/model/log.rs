//! The engine's log as the tests know it: what was stored, what is retained.

use std::collections::{HashMap, HashSet};
use std::ops::Range;

use bytes::Bytes;
use proptest::prelude::*;

use super::write::Write;
use crate::docker::{Record, Stream, Tail};
use crate::tail::anchor::index;
use crate::tail::{Anchor, Dialect, Position};

pub(super) const MS: i64 = 1_000_000;
/// Stamps of a journal are so coarse that lines often share one.
const COARSE: i64 = 5 * MS;

/// How a container's output is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Store {
    /// Two streams; the parts of a line share its stamp, and no two lines do.
    Files,
    /// The same of one terminal.
    Terminal,
    /// Two streams in one order; stamps are loose. A line is over with its newline,
    /// so no run ends without one here.
    Journal,
}

pub(super) fn stores() -> impl Strategy<Value = Store> {
    prop_oneof![
        3 => Just(Store::Files),
        1 => Just(Store::Terminal),
        2 => Just(Store::Journal),
    ]
}

/// A line as clients shall get it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Line {
    pub(super) stream: Stream,
    pub(super) time: i64,
    pub(super) text: Vec<u8>,
    pub(super) unterminated: bool,
}

/// A line and where its records are.
#[derive(Debug, Clone)]
pub(super) struct Span {
    pub(super) line: Line,
    pub(super) first: usize,
    pub(super) last: usize,
    /// The record that showed its end: the last one, or the next of its stream.
    pub(super) over: usize,
}

/// Records keep their index when those before them are deleted.
#[derive(Debug, Clone)]
pub(super) struct Log {
    pub(super) records: Vec<Record>,
    /// Those before it are deleted.
    pub(super) base: usize,
    /// Its end is not found, and a follow of it is deaf.
    pub(super) spins: bool,
    pub(super) running: bool,
    pub(super) store: Store,
    /// How many records a tail brings less than it is asked for.
    pub(super) short: usize,
    clock: i64,
    last: [i64; 3],
    /// First record of each stream's open line.
    open: [Option<usize>; 3],
    /// Of each record: the first one of its line.
    firsts: Vec<usize>,
    groups: HashMap<(Stream, i64), Vec<usize>>,
    used: HashSet<(Stream, i64)>,
}

impl Log {
    pub(super) fn new(store: Store) -> Self {
        Self {
            records: Vec::new(),
            base: 0,
            spins: false,
            running: true,
            store,
            short: 0,
            clock: 1_700_000_000_000 * MS,
            last: [0; 3],
            open: [None; 3],
            firsts: Vec::new(),
            groups: HashMap::new(),
            used: HashSet::new(),
        }
    }

    pub(super) fn end(&self) -> usize {
        self.records.len()
    }

    /// Stores what a running container writes.
    pub(super) fn write(&mut self, write: &Write) {
        let stream = match self.store {
            Store::Terminal => Stream::Tty,
            _ => write.stream,
        };
        let (slot, at) = (index(stream), self.end());
        self.clock += write.later;
        let time = match (self.store, self.open[slot]) {
            (Store::Journal, _) => self.coarse_stamp(stream),
            (_, Some(first)) => self.records[first].time,
            (_, None) => self.stamp(stream, self.clock - write.held),
        };
        let first = self.open[slot].unwrap_or(at);
        self.firsts.push(first);
        self.open[slot] = Some(first).filter(|_| !write.newline);
        // An empty part is never stored.
        let text = if write.text.is_empty() && !write.newline {
            b"z"
        } else {
            write.text
        };
        let payload = match write.newline {
            true => Bytes::from([text, b"\n"].concat()),
            false => Bytes::from_static(text),
        };
        self.groups.entry((stream, time)).or_default().push(at);
        self.records.push(Record {
            stream,
            time,
            payload,
        });
    }

    /// Stamps of a stream rise, and no two of its lines ever share one.
    fn stamp(&mut self, stream: Stream, wanted: i64) -> i64 {
        let last = &mut self.last[index(stream)];
        let mut time = wanted.max(*last + 1);
        while !self.used.insert((stream, time)) {
            time += 1;
        }
        *last = time;
        time
    }

    /// One that its stream's record before may have, and no older one.
    fn coarse_stamp(&mut self, stream: Stream) -> i64 {
        let last = &mut self.last[index(stream)];
        let mut time = self.clock / COARSE * COARSE;
        while time != *last && !self.used.insert((stream, time)) {
            time += COARSE;
        }
        *last = time;
        time
    }

    /// The host's clock is set back.
    pub(super) fn step_back(&mut self, by: i64) {
        self.clock -= by;
        self.last = [0; 3];
    }

    pub(super) fn exit(&mut self) {
        for stream in [Stream::Stdout, Stream::Stderr] {
            if self.store == Store::Journal && self.open[index(stream)].is_some() {
                self.write(&Write::line(stream));
            }
        }
        self.running = false;
        self.open = [None; 3];
    }

    /// Of a line only its end may be left: places among equal parts cannot be
    /// told in a line whose beginning is deleted. Of a journal, whole lines and
    /// stamps are.
    pub(super) fn delete(&mut self, mut until: usize) {
        let kept = |until: usize| {
            let whole = |at: &usize| self.store == Store::Journal || !self.records[*at].ends_line();
            let stored = (until..self.end()).filter(whole);
            let stored = stored.map(|at| self.first_of(at));
            let open = self.open.into_iter().flatten();
            stored.chain(open).min().filter(|first| *first < until)
        };
        while let Some(first) = kept(until) {
            until = first;
        }
        if self.store == Store::Journal {
            // None that is stored from here on has the stamp of one deleted.
            self.clock += COARSE;
        }
        self.base = self.base.max(until);
    }

    /// Somebody else empties its file.
    pub(super) fn empty(&mut self) {
        self.delete(self.end());
        self.spins = true;
    }

    /// What a read of `tail` gives now.
    pub(super) fn window(&self, tail: Tail) -> Range<usize> {
        let start = match tail {
            Tail::All => self.base,
            Tail::Last(want) => {
                let brought = (want as usize).saturating_sub(self.short);
                self.end().saturating_sub(brought).max(self.base)
            }
        };
        start..self.end()
    }

    /// Where `anchor` is, at or behind `from`.
    pub(super) fn find(&self, anchor: Anchor, from: usize) -> usize {
        let group = &self.groups[&(anchor.stream, anchor.time)];
        let mut like = group
            .iter()
            .copied()
            .filter(|at| *at >= from && self.records[*at].ends_line() == anchor.ends_line);
        let place = match anchor.ends_line && self.store != Store::Journal {
            true => 0,
            false => anchor.ordinal as usize,
        };
        let at = like
            .nth(place)
            .unwrap_or_else(|| panic!("no record is {anchor:?}, {from} {} {group:?}", self.base));
        assert!(anchor.is_like(&self.records[at]), "{anchor:?} is not {at}");
        at
    }

    /// First record of the line and of the stamp of the record at `at`.
    pub(super) fn first_of(&self, at: usize) -> usize {
        let record = &self.records[at];
        self.groups[&(record.stream, record.time)][0].min(self.firsts[at])
    }

    /// First record of its line.
    pub(super) fn line_of(&self, at: usize) -> usize {
        self.firsts[at]
    }

    pub(super) fn dialect(&self) -> Dialect {
        match self.store {
            Store::Journal => Dialect::of("journald", 29),
            Store::Files | Store::Terminal => Dialect::default(),
        }
    }

    /// Whether no line has records before and behind.
    pub(super) fn is_between_lines(&self, at: usize) -> bool {
        (at..self.end()).all(|behind| self.first_of(behind) >= at)
    }

    /// The position behind the record at `at`.
    pub(super) fn position(&self, at: usize) -> Position {
        let record = &self.records[at];
        let group = &self.groups[&(record.stream, record.time)];
        let before = group
            .iter()
            .filter(|i| **i < at && self.records[**i].ends_line() == record.ends_line());
        let mut open = [None; 3];
        for (record, first) in self.records[..=at].iter().zip(&self.firsts) {
            let begun = self.records[*first].time;
            open[index(record.stream)] = Some(begun).filter(|_| !record.ends_line());
        }
        let anchor = Some(Anchor {
            stream: record.stream,
            time: record.time,
            ordinal: before.count() as u32,
            hash: record.hash(),
            ends_line: record.ends_line(),
        });
        Position {
            anchor,
            open,
            verified: None,
        }
    }

    /// Lines open behind the record at `at` of which nothing shows that they began
    /// in what is retained: their streams have no record of an earlier line.
    pub(super) fn torn_at(&self, at: usize) -> usize {
        let open = self.position(at).open.into_iter().enumerate();
        let torn = open.filter(|(slot, open)| {
            let mut of_stream =
                (self.base..=at).filter(|at| index(self.records[*at].stream) == *slot);
            let last = of_stream.clone().next_back();
            let is_of_it = |at| last.is_some_and(|last| self.firsts[at] == self.firsts[last]);
            open.is_some() && of_stream.all(is_of_it)
        });
        torn.count()
    }

    /// The lines of these records, in order of their last record.
    pub(super) fn lines(&self, range: Range<usize>) -> Vec<Span> {
        let mut spans: Vec<Span> = Vec::new();
        let mut of_line: HashMap<usize, usize> = HashMap::new();
        for at in range {
            let Record {
                stream,
                time,
                payload,
            } = &self.records[at];
            let newline = payload.ends_with(b"\n");
            let slot = *of_line.entry(self.firsts[at]).or_insert_with(|| {
                let (stream, time, text) = (*stream, *time, Vec::new());
                let line = Line {
                    stream,
                    time,
                    text,
                    unterminated: true,
                };
                spans.push(Span {
                    line,
                    first: at,
                    last: at,
                    over: at,
                });
                spans.len() - 1
            });
            let span = &mut spans[slot];
            let text = &payload[..payload.len() - usize::from(newline)];
            span.line.text.extend_from_slice(text);
            span.line.unterminated = !newline;
            (span.last, span.over) = (at, at);
        }
        spans.sort_by_key(|span| span.last);
        spans
    }

    /// The lines of these records that are over, in the order in which they are:
    /// an open one is over once its stream goes on with another.
    pub(super) fn lines_over(&self, range: Range<usize>) -> Vec<Span> {
        let end = range.end;
        let over = self.lines(range).into_iter().filter_map(|mut span| {
            if span.line.unterminated {
                span.over = self.next_of(span.line.stream, span.last + 1, end)?;
            }
            Some(span)
        });
        let mut spans: Vec<_> = over.collect();
        spans.sort_by_key(|span| (span.over, !span.line.unterminated));
        spans
    }

    /// The lines of these records that are not over before `wanted`.
    pub(super) fn lines_behind(&self, range: Range<usize>, wanted: usize) -> Vec<Span> {
        let mut spans = self.lines(range);
        spans.retain(|span| match span.line.unterminated {
            true => self
                .next_of(span.line.stream, span.last + 1, wanted)
                .is_none(),
            false => span.last >= wanted,
        });
        spans
    }

    fn next_of(&self, stream: Stream, from: usize, end: usize) -> Option<usize> {
        (from..end).find(|at| self.records[*at].stream == stream)
    }
}
