//! The engine's log as the tests know it: what was stored, what is retained.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::ops::Range;

use bytes::Bytes;
use proptest::prelude::*;

use crate::docker::{Record, Stream, Tail};
use crate::tail::anchor::index;
use crate::tail::{Anchor, Position};

pub(super) const MS: i64 = 1_000_000;

/// One write of the container.
#[derive(Clone)]
pub(super) struct Write {
    pub(super) stream: Stream,
    /// Ends its line; otherwise a part is stored and the line stays open.
    pub(super) newline: bool,
    /// Few distinct texts, so that equal parts and equal lines are common.
    text: &'static [u8],
    /// How long after the write before it.
    later: i64,
    /// How long its stamp waited for the writer.
    held: i64,
}

impl fmt::Debug for Write {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = if self.newline { "line" } else { "part" };
        let text = String::from_utf8_lossy(&self.text[..self.text.len().min(2)]);
        write!(
            f,
            "{:?} {kind} {text:?} +{} -{}",
            self.stream, self.later, self.held
        )
    }
}

impl Write {
    pub(super) fn line(stream: Stream) -> Self {
        Self {
            stream,
            newline: true,
            text: b"x",
            later: MS,
            held: 0,
        }
    }

    pub(super) fn part(stream: Stream) -> Self {
        Self {
            newline: false,
            ..Self::line(stream)
        }
    }

    pub(super) fn after(mut self, later: i64) -> Self {
        self.later = later;
        self
    }

    /// A whole line, stamped as it is stored.
    pub(super) fn plain(mut self) -> Self {
        (self.newline, self.held) = (true, 0);
        self.later = self.later.max(MS);
        self
    }

    /// Its stamp is so much older than its place.
    pub(super) fn held(mut self, held: i64) -> Self {
        self.held = held;
        self
    }

    pub(super) fn long(mut self) -> Self {
        self.text = &[b'l'; 4_096];
        self
    }
}

pub(super) fn writes() -> impl Strategy<Value = Write> {
    let stream = prop_oneof![3 => Just(Stream::Stdout), 1 => Just(Stream::Stderr)];
    let text = prop_oneof![4 => Just(&b"x"[..]), 1 => Just(&b"yy"[..]), 1 => Just(&b""[..])];
    let later = prop_oneof![8 => 0..20 * MS, 2 => 0..2_000 * MS, 1 => 0..60_000 * MS];
    let held = prop_oneof![3 => Just(0), 1 => 0..30 * MS, 1 => 0..900 * MS];
    (stream, prop::bool::weighted(0.75), text, later, held).prop_map(
        |(stream, newline, text, later, held)| Write {
            stream,
            newline,
            text,
            later,
            held,
        },
    )
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
    pub(super) tty: bool,
    /// How many records a tail brings less than it is asked for.
    pub(super) short: usize,
    clock: i64,
    last: [i64; 3],
    open: [Option<i64>; 3],
    groups: HashMap<(Stream, i64), Vec<usize>>,
    used: HashSet<(Stream, i64)>,
}

impl Log {
    pub(super) fn new(tty: bool) -> Self {
        Self {
            records: Vec::new(),
            base: 0,
            spins: false,
            running: true,
            tty,
            short: 0,
            clock: 1_700_000_000_000 * MS,
            last: [0; 3],
            open: [None; 3],
            groups: HashMap::new(),
            used: HashSet::new(),
        }
    }

    pub(super) fn end(&self) -> usize {
        self.records.len()
    }

    /// Stores what a running container writes.
    pub(super) fn write(&mut self, write: &Write) {
        let stream = if self.tty { Stream::Tty } else { write.stream };
        let slot = index(stream);
        self.clock += write.later;
        let time = match self.open[slot] {
            Some(time) => time,
            None => self.stamp(stream, self.clock - write.held),
        };
        self.open[slot] = Some(time).filter(|_| !write.newline);
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
        self.groups
            .entry((stream, time))
            .or_default()
            .push(self.records.len());
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

    /// The host's clock is set back.
    pub(super) fn step_back(&mut self, by: i64) {
        self.clock -= by;
        self.last = [0; 3];
    }

    pub(super) fn exit(&mut self) {
        self.running = false;
        self.open = [None; 3];
    }

    /// Of a line only its end may be left: places among equal parts cannot be
    /// told in a line whose beginning is deleted.
    pub(super) fn delete(&mut self, mut until: usize) {
        let kept = |until: usize| {
            let stored = self.records[until..]
                .iter()
                .filter(|record| !record.ends_line());
            let stored = stored.map(|record| (record.stream, record.time));
            let streams = [Stream::Stdout, Stream::Stderr, Stream::Tty];
            let open = streams.map(|stream| Some((stream, self.open[index(stream)]?)));
            let lines = stored.chain(open.into_iter().flatten());
            lines
                .map(|line| self.groups[&line][0])
                .min()
                .filter(|first| *first < until)
        };
        while let Some(first) = kept(until) {
            until = first;
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
        let place = if anchor.ends_line {
            0
        } else {
            anchor.ordinal as usize
        };
        let at = like
            .nth(place)
            .unwrap_or_else(|| panic!("no record is {anchor:?}, {from} {} {group:?}", self.base));
        assert!(anchor.is_like(&self.records[at]), "{anchor:?} is not {at}");
        at
    }

    /// First record of the line of the record at `at`.
    pub(super) fn first_of(&self, at: usize) -> usize {
        let record = &self.records[at];
        self.groups[&(record.stream, record.time)][0]
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
        for record in &self.records[..=at] {
            open[index(record.stream)] = Some(record.time).filter(|_| !record.ends_line());
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
    /// in what is retained: their streams have no earlier record.
    pub(super) fn torn_at(&self, at: usize) -> usize {
        let open = self.position(at).open.into_iter().enumerate();
        let torn = open.filter(|(slot, open)| {
            let mut of_stream = self.records[self.base..=at].iter();
            let earlier = of_stream.find(|record| index(record.stream) == *slot);
            open.is_some() && earlier.is_none_or(|record| Some(record.time) == *open)
        });
        torn.count()
    }

    /// The lines of these records, in order of their last record. A line is all
    /// records of one stream and stamp: no need to join them one by one.
    pub(super) fn lines(&self, range: Range<usize>) -> Vec<Span> {
        let mut spans: Vec<Span> = Vec::new();
        let mut of_line: HashMap<(Stream, i64), usize> = HashMap::new();
        for at in range {
            let Record {
                stream,
                time,
                payload,
            } = &self.records[at];
            let newline = payload.ends_with(b"\n");
            let slot = *of_line.entry((*stream, *time)).or_insert_with(|| {
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
