//! The lines there were.

use super::chain::{ByDigest, Digests, PART};
use super::entry::{Held, received};
use super::{digest, mix};
use crate::proto::{LogEntry, Stream};

/// A line that was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Line<'a> {
    /// Where it was written.
    pub stream: Stream,
    /// When the engine took it, in nanoseconds since the Unix epoch, if that is
    /// known.
    pub time: Option<i64>,
    /// Its bytes without the LF.
    pub bytes: &'a [u8],
    /// A run ended within it.
    pub unterminated: bool,
}

/// A line as it is remembered.
#[derive(Debug, Clone, Copy)]
pub(super) struct Written {
    pub(super) line: u64,
    pub(super) time: Option<i64>,
    pub(super) stream: Stream,
    pub(super) unterminated: bool,
}

/// Lines over it may come truncated; their bytes are kept.
const LONG: usize = 1024;
/// So many ends of a line are known; the others come under another name.
const ENDS: usize = 64;

/// The lines there were, in the order of the log: a line's place is that of its
/// last part. Without times, the lines of a stream have to be distinct.
#[derive(Debug, Clone, Default)]
pub struct Truth {
    pub(super) lines: Vec<Written>,
    pub(super) untimed: bool,
    /// Of lines of several parts, the digests of their ends.
    pub(super) ends: ByDigest<usize>,
    /// And of their beginnings.
    pub(super) begins: Digests,
    /// Of lines known truncated only, the digests of what was left.
    heads: ByDigest<usize>,
    long: Vec<(usize, Box<[u8]>)>,
    pub(super) from_first: bool,
    pub(super) to_last: bool,
    pub(super) stored: bool,
}

impl Truth {
    /// All that was written; none yet. A chain may begin and end anywhere in it.
    pub fn new() -> Self {
        Self::default()
    }

    /// The chain must have had everything from the first line on.
    #[must_use]
    pub fn from_first(mut self) -> Self {
        self.from_first = true;
        self
    }

    /// The chain must have had everything up to the last line.
    #[must_use]
    pub fn to_last(mut self) -> Self {
        self.to_last = true;
        self
    }

    /// The lines are those still stored: there were others before them, so
    /// entries from before are passed over and gaps are not counted.
    #[must_use]
    pub fn stored(mut self) -> Self {
        self.stored = true;
        self
    }

    /// The next line, stored in parts of 16 KiB.
    pub fn push(&mut self, line: &Line<'_>) {
        // The LF may stand alone.
        let cuts = (1..=line.bytes.len() / PART).map(|part| part * PART);
        let cuts: Vec<_> = cuts.rev().take(ENDS).collect();
        self.push_parts(line, &cuts);
    }

    /// The next line, stored in parts that begin at its start and at `cuts`.
    /// Where parts of it are gone, its end may come behind the gap, and before it
    /// its beginning as unterminated.
    pub fn push_parts(&mut self, line: &Line<'_>, cuts: &[usize]) {
        let nth = self.lines.len();
        let of = |bytes| digest(line.stream.into(), bytes, line.unterminated);
        for cut in cuts {
            let (begin, end) = line.bytes.split_at(*cut);
            self.ends.insert(key(of(end), line.time), nth);
            let begin = digest(line.stream.into(), begin, true);
            self.begins.insert(key(begin, line.time));
        }
        if line.bytes.len() > LONG {
            self.long.push((nth, line.bytes.into()));
        }
        self.untimed |= line.time.is_none();
        self.lines.push(Written {
            line: of(line.bytes),
            time: line.time,
            stream: line.stream,
            unterminated: line.unterminated,
        });
    }

    /// The next line, as it came in an entry; one that was truncated is known by
    /// what was left of it.
    pub fn push_entry(&mut self, entry: &LogEntry) {
        let Some(entry) = received(entry) else { return };
        let line = Line {
            stream: entry.stream,
            time: Some(entry.time),
            bytes: entry.bytes,
            unterminated: entry.unterminated,
        };
        if entry.truncated_bytes == 0 {
            return self.push(&line);
        }
        let nth = self.lines.len();
        let left = digest(line.stream.into(), line.bytes, line.unterminated);
        let head = mix(left, entry.truncated_bytes);
        self.heads.insert(key(head, line.time), nth);
        self.lines.push(Written {
            line: head,
            time: line.time,
            stream: line.stream,
            unterminated: line.unterminated,
        });
    }

    /// How many lines there are.
    pub fn len(&self) -> usize {
        self.lines.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    /// The whole line that these first bytes are of.
    pub(super) fn truncated(&self, held: &Held, cut: u64, left: u64) -> Option<usize> {
        let head = key(mix(held.line(), cut), Some(held.time));
        if let Some(nth) = self.heads.get(&head) {
            return Some(*nth);
        }
        let (cut, left) = (usize::try_from(cut).ok()?, usize::try_from(left).ok()?);
        let is_it = |(nth, bytes): &&(usize, Box<[u8]>)| {
            let line = self.lines[*nth];
            let head = bytes
                .get(..left)
                .filter(|_| left.checked_add(cut) == Some(bytes.len()));
            let same = |head| digest(line.stream.into(), head, line.unterminated) == held.line();
            line.time.is_none_or(|time| time == held.time) && head.is_some_and(same)
        };
        self.long.iter().find(is_it).map(|(nth, _)| *nth)
    }
}

/// The digest that a line is found by.
pub(super) fn key(line: u64, time: Option<i64>) -> u64 {
    time.map_or(line, |time| mix(line, time.cast_unsigned()))
}
