//! Lines joined from records, per stream, within a bound.

use bytes::{Bytes, BytesMut};

use super::anchor::{Anchor, index};
use crate::docker::{PART_BYTES, Record, RecordRef, Stream};

/// A whole line: what clients get.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry<L = Bytes> {
    /// Where it was written.
    pub stream: Stream,
    /// The engine's stamp, ns since the Unix epoch.
    pub time: i64,
    /// Place among the entries of equal stream and time, from 0.
    pub ordinal: u32,
    /// Its bytes without the final `\n`; a `\r` stays.
    pub line: L,
    /// Whether it has no `\n`: the last words of a run.
    pub unterminated: bool,
    /// Bytes cut off behind the longest line kept.
    pub truncated_bytes: u64,
}

/// How a log's driver stores lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Dialect {
    /// A part shorter than 16 KiB is the last of its line although it has no
    /// `\n`: `local` before engine 23. Source: moby 990b0e28ba.
    pub short_part_ends_line: bool,
    /// Records of one stream can share a stamp whatever lines they belong to, and
    /// the parts of a line have stamps of their own, so that only a `\n` ends it:
    /// journald keeps microseconds of each part, Podman's conmon the time of each
    /// read.
    pub stamps_are_loose: bool,
    /// `tail` counts whole lines and not records. Source: podman
    /// `libpod/logs/log.go`.
    pub tail_counts_lines: bool,
}

impl Dialect {
    /// Every driver of Podman.
    pub const PODMAN: Self = Self {
        short_part_ends_line: false,
        stamps_are_loose: true,
        tail_counts_lines: true,
    };

    /// The dialect of a driver of a Docker engine of this major version.
    pub fn of(driver: &str, engine_major: u32) -> Self {
        Self {
            short_part_ends_line: driver == "local" && (1..23).contains(&engine_major),
            stamps_are_loose: driver == "journald",
            tail_counts_lines: false,
        }
    }

    /// Whether `record` begins a line, as its stream's record before it was `last`.
    pub(crate) fn begins_line<P>(self, last: &Anchor, record: &Record<P>) -> bool {
        last.ends_line || (!self.stamps_are_loose && last.time != record.time)
    }

    /// Whether it does, and is the first of its stamp: from here on lines are whole
    /// and their places known.
    pub(crate) fn begins_group(self, last: &Anchor, record: &Record) -> bool {
        last.time != record.time && self.begins_line(last, record)
    }

    /// How much of a `tail` a record is.
    pub(crate) fn counted<P: AsRef<[u8]>>(self, record: &Record<P>) -> u32 {
        u32::from(!self.tail_counts_lines || record.ends_line())
    }
}

/// Timestamps of the lines still open, per stream.
pub type OpenLines = [Option<i64>; 3];

#[derive(Debug, Clone)]
struct Open {
    time: i64,
    bytes: BytesMut,
    truncated: u64,
}

/// Joins records to lines.
#[derive(Debug, Clone)]
pub struct Joiner {
    max_line: usize,
    dialect: Dialect,
    open: [Option<Open>; 3],
    /// Stamp and place of the last entry of each stream.
    last: [Option<(i64, u32)>; 3],
}

impl Joiner {
    /// `max_line`: bytes of a line that are kept.
    pub fn new(max_line: usize, dialect: Dialect) -> Self {
        Self {
            max_line,
            dialect,
            open: [const { None }; 3],
            last: [None; 3],
        }
    }

    pub(crate) fn dialect(&self) -> Dialect {
        self.dialect
    }

    /// Takes the next record in file order; emits the lines it completes.
    pub fn push(&mut self, record: Record, emit: &mut impl FnMut(Entry)) {
        let slot = index(record.stream);
        let open = self.open[slot].as_ref();
        let is_another = open.is_some_and(|open| open.time != record.time);
        if is_another && !self.dialect.stamps_are_loose {
            self.close(record.stream, true, emit);
        }
        let newline = record.ends_line();
        let short = self.dialect.short_part_ends_line && record.payload.len() < PART_BYTES;
        let text = record.payload.len() - usize::from(newline);
        if self.open[slot].is_none() && (newline || short) && text <= self.max_line {
            let mut line = record.payload;
            line.truncate(text);
            emit(self.entry(record.stream, record.time, line, false, 0));
            return;
        }
        self.append(record.stream, record.time, &record.payload[..text]);
        if newline || short {
            self.close(record.stream, false, emit);
        }
    }

    /// The run is over: what is open stays without its newline. Each line comes
    /// with those that are open behind it.
    pub fn flush(&mut self, emit: &mut dyn FnMut(Entry, OpenLines)) {
        self.flush_but(OpenLines::default(), emit);
    }

    /// The same of the streams that have no line in `open`.
    pub(crate) fn flush_but(&mut self, open: OpenLines, emit: &mut dyn FnMut(Entry, OpenLines)) {
        let streams = [Stream::Stdout, Stream::Stderr, Stream::Tty];
        for stream in streams.into_iter().filter(|of| open[index(*of)].is_none()) {
            let mut line = None;
            self.close(stream, true, &mut |entry| line = Some(entry));
            if let Some(line) = line {
                emit(line, self.open_lines());
            }
        }
    }

    /// Whether a line has begun and not ended.
    pub(crate) fn has_open_line(&self) -> bool {
        self.open.iter().any(Option::is_some)
    }

    /// Timestamp of a stream's open line.
    pub(crate) fn open_line(&self, slot: usize) -> Option<i64> {
        self.open[slot].as_ref().map(|open| open.time)
    }

    /// Forgets the lines that were not open at a place, which others have had.
    pub(crate) fn keep_open(&mut self, open: OpenLines) {
        for (held, open) in self.open.iter_mut().zip(open) {
            held.take_if(|_| open.is_none());
        }
    }

    /// Which lines are still open.
    pub fn open_lines(&self) -> OpenLines {
        std::array::from_fn(|slot| self.open_line(slot))
    }

    fn append(&mut self, stream: Stream, time: i64, bytes: &[u8]) {
        let open = self.open[index(stream)].get_or_insert_with(|| Open {
            time,
            bytes: BytesMut::new(),
            truncated: 0,
        });
        let kept = bytes.len().min(self.max_line - open.bytes.len());
        open.bytes.extend_from_slice(&bytes[..kept]);
        open.truncated += (bytes.len() - kept) as u64;
    }

    fn close(&mut self, stream: Stream, unterminated: bool, emit: &mut impl FnMut(Entry)) {
        let Some(mut open) = self.open[index(stream)].take() else {
            return;
        };
        if open.truncated > 0 {
            let whole = open.bytes.len() - cut_char(&open.bytes);
            open.truncated += (open.bytes.len() - whole) as u64;
            open.bytes.truncate(whole);
        }
        let line = open.bytes.freeze();
        emit(self.entry(stream, open.time, line, unterminated, open.truncated));
    }

    /// Whether `record` is a line of its own, which is [`Joiner::line`].
    #[inline]
    pub(crate) fn is_line(&self, record: &RecordRef<'_>) -> bool {
        let fits = record.payload.len() <= self.max_line;
        fits && record.ends_line() && !self.has_open_line()
    }

    /// [`Joiner::push`] of a record that is a line of its own.
    #[inline]
    pub(crate) fn line<'a>(&mut self, record: &RecordRef<'a>) -> Entry<&'a [u8]> {
        let line = &record.payload[..record.payload.len() - 1];
        self.entry(record.stream, record.time, line, false, 0)
    }

    #[inline]
    fn entry<L>(
        &mut self,
        stream: Stream,
        time: i64,
        line: L,
        unterminated: bool,
        truncated_bytes: u64,
    ) -> Entry<L> {
        let last = &mut self.last[index(stream)];
        let ordinal = last.filter(|(t, _)| *t == time).map_or(0, |(_, n)| n + 1);
        *last = Some((time, ordinal));
        Entry {
            stream,
            time,
            ordinal,
            line,
            unterminated,
            truncated_bytes,
        }
    }
}

/// How many bytes at the end begin a character that was cut off.
fn cut_char(bytes: &[u8]) -> usize {
    let back = bytes.iter().rev().take(4);
    let Some(lead) = back.clone().position(|b| b & 0xc0 != 0x80) else {
        return 0;
    };
    let needed = match bytes[bytes.len() - 1 - lead] {
        0xc2..=0xdf => 2,
        0xe0..=0xef => 3,
        0xf0..=0xf4 => 4,
        _ => return 0,
    };
    if lead + 1 < needed { lead + 1 } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MODERN: Dialect = Dialect {
        short_part_ends_line: false,
        stamps_are_loose: false,
        tail_counts_lines: false,
    };

    fn joined(joiner: &mut Joiner, records: &[(Stream, i64, &[u8])]) -> Vec<Entry> {
        let mut entries = Vec::new();
        for (stream, time, payload) in records {
            let record = Record {
                stream: *stream,
                time: *time,
                payload: Bytes::copy_from_slice(payload),
            };
            joiner.push(record, &mut |entry| entries.push(entry));
        }
        entries
    }

    #[test]
    fn parts_are_joined_per_stream_though_the_other_stream_stands_between() {
        let mut joiner = Joiner::new(1 << 20, MODERN);
        let full = [b'a'; PART_BYTES];
        let entries = joined(
            &mut joiner,
            &[
                (Stream::Stdout, 1, &full),
                (Stream::Stderr, 2, b"err\n"),
                (Stream::Stdout, 1, b"end\n"),
            ],
        );
        assert_eq!(entries[0].line, "err");
        assert_eq!(entries[1].line.len(), PART_BYTES + 3);
        assert_eq!((entries[1].time, entries[1].unterminated), (1, false));
    }

    #[test]
    fn an_open_line_is_closed_by_another_stamp_or_the_end_of_the_run() {
        let mut joiner = Joiner::new(1 << 20, MODERN);
        let mut entries = joined(
            &mut joiner,
            &[
                (Stream::Stdout, 1, b"last words"),
                (Stream::Stdout, 9, b"new run"),
            ],
        );
        assert_eq!(joiner.open_lines(), [Some(9), None, None]);
        joiner.flush(&mut |entry, _| entries.push(entry));
        let lines: Vec<_> = entries
            .iter()
            .map(|e| (&e.line[..], e.unterminated))
            .collect();
        assert_eq!(lines, [(&b"last words"[..], true), (b"new run", true)]);
    }

    #[test]
    fn before_engine_23_a_short_part_of_the_local_driver_ends_its_line() {
        let full = [b'a'; PART_BYTES];
        let records: [(Stream, i64, &[u8]); 2] =
            [(Stream::Stdout, 1, &full), (Stream::Stdout, 1, b"")];
        let mut old = Joiner::new(1 << 20, Dialect::of("local", 20));
        assert_eq!(joined(&mut old, &records).len(), 1);
        let mut new = Joiner::new(1 << 20, Dialect::of("local", 23));
        assert_eq!(joined(&mut new, &records).len(), 0);
    }

    #[test]
    fn where_stamps_are_loose_a_newline_alone_ends_a_line() {
        let records: [(Stream, i64, &[u8]); 5] = [
            (Stream::Stdout, 1, b"a"),
            (Stream::Stdout, 2, b"b"),
            (Stream::Stderr, 2, b"between\n"),
            (Stream::Stdout, 2, b"c\n"),
            (Stream::Stdout, 2, b"d\n"),
        ];
        for dialect in [Dialect::of("journald", 29), Dialect::PODMAN] {
            let entries = joined(&mut Joiner::new(1 << 20, dialect), &records);
            let told = entries.iter().map(|e| (&e.line[..], e.time, e.ordinal));
            let expected = [(&b"between"[..], 2, 0), (b"abc", 1, 0), (b"d", 2, 0)];
            assert_eq!(told.collect::<Vec<_>>(), expected);
        }
    }

    #[test]
    fn a_line_over_the_bound_is_cut_between_characters_and_says_what_is_gone() {
        let mut joiner = Joiner::new(5, MODERN);
        let entries = joined(
            &mut joiner,
            &[(Stream::Stdout, 1, "abcdé and more\n".as_bytes())],
        );
        assert_eq!(
            (&entries[0].line[..], entries[0].truncated_bytes),
            (&b"abcd"[..], 11)
        );
        let next = joined(&mut joiner, &[(Stream::Stdout, 2, b"12345\n")]);
        assert_eq!(
            (&next[0].line[..], next[0].truncated_bytes),
            (&b"12345"[..], 0)
        );
    }

    #[test]
    fn what_is_beyond_the_bound_is_not_held() {
        let mut joiner = Joiner::new(100, MODERN);
        for _ in 0..1_000 {
            assert!(joined(&mut joiner, &[(Stream::Stdout, 1, &[b'x'; PART_BYTES])]).is_empty());
        }
        assert!(joiner.open[0].as_ref().unwrap().bytes.capacity() < 1_000);
        let entries = joined(&mut joiner, &[(Stream::Stdout, 1, b"\n")]);
        assert_eq!(entries[0].truncated_bytes, 1_000 * PART_BYTES as u64 - 100);
    }

    #[test]
    fn entries_of_equal_stream_and_time_are_counted() {
        let mut joiner = Joiner::new(100, MODERN);
        let entries = joined(
            &mut joiner,
            &[
                (Stream::Stdout, 1, b"\n"),
                (Stream::Stderr, 1, b"\n"),
                (Stream::Stdout, 1, b"\n"),
            ],
        );
        assert_eq!(
            entries.iter().map(|e| e.ordinal).collect::<Vec<_>>(),
            [0, 0, 1]
        );
    }
}
