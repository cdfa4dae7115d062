//! An anchor: what tells one stored record from all others.
//!
//! The engine offers no offset and its timestamps repeat and run backwards. A
//! record is known by stream and timestamp, by its place among the records equal
//! in both, and by its payload: the parts of a line share a timestamp and may be
//! equal (48 KiB of one letter are three equal records).

use super::line::Dialect;
use crate::docker::{Record, Stream};

/// Identity of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Anchor {
    /// Stream it was written to.
    pub stream: Stream,
    /// The engine's stamp, ns since the Unix epoch.
    pub time: i64,
    /// Place among the records of equal stream and time, from 0; parts and line
    /// ends are counted apart, so that a line's end is the same to a reader that
    /// has not seen the line's beginning.
    pub ordinal: u32,
    /// xxh3-64 of the payload.
    pub hash: u64,
    /// Whether it ended its line.
    pub ends_line: bool,
}

impl Anchor {
    /// Whether `record` may be it, its place in its group left aside.
    pub(crate) fn is_like(&self, record: &Record) -> bool {
        self.stream == record.stream && self.time == record.time && self.hash == record.hash()
    }
}

/// The anchor of the record read last, with ordinals counted.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Tracker {
    last: [Option<Anchor>; 3],
    /// Parts and line ends so far of each stream's last stamp.
    places: [[u32; 2]; 3],
    /// Whose last one was read last.
    newest: Option<Stream>,
}

impl Tracker {
    /// The record read last; `None` before the first.
    pub(crate) fn anchor(&self) -> Option<Anchor> {
        self.newest.and_then(|stream| self.last_of(stream))
    }

    /// What `record`'s stream read last.
    pub(crate) fn last_of(&self, stream: Stream) -> Option<Anchor> {
        self.last[index(stream)]
    }

    /// Takes over what another knows that has read as far, and more on the way.
    pub(crate) fn adopt(&mut self, other: &Tracker) {
        for slot in 0..3 {
            if other.last[slot].is_some() {
                self.last[slot] = other.last[slot];
                self.places[slot] = other.places[slot];
            }
        }
        self.newest = other.newest.or(self.newest);
    }

    /// Takes the next record in file order.
    #[inline]
    pub(crate) fn push<P: AsRef<[u8]>>(&mut self, record: &Record<P>) -> Anchor {
        let slot = index(record.stream);
        let ends_line = record.ends_line();
        if self.last[slot].is_none_or(|last| last.time != record.time) {
            self.places[slot] = [0; 2];
        }
        let place = &mut self.places[slot][usize::from(ends_line)];
        let anchor = Anchor {
            stream: record.stream,
            time: record.time,
            ordinal: *place,
            hash: record.hash(),
            ends_line,
        };
        *place = place.saturating_add(1);
        self.last[slot] = Some(anchor);
        self.newest = Some(record.stream);
        anchor
    }
}

pub(crate) fn index(stream: Stream) -> usize {
    match stream {
        Stream::Stdout => 0,
        Stream::Stderr => 1,
        Stream::Tty => 2,
    }
}

/// Looks for an anchor among the records of one read, in file order.
///
/// The read may begin inside the anchor's group (the records of equal stream and
/// time), so a place in the group counts only if its start was seen: an earlier
/// record of the stream with another timestamp, or the read is the whole log. An
/// anchor that ends its line needs no place: the parts before it have no newline,
/// and no other line of the stream has its stamp. Without that, the only stderr
/// line of a long stdout log could be found by reading the whole log alone. Where
/// lines share stamps this does not hold; but there both streams are stamped as they
/// are stored, so that any record of an earlier stamp is before the group.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Finder {
    anchor: Anchor,
    group_start_seen: bool,
    place: u32,
    unproven: bool,
    /// Whether other lines of its stream may have its stamp.
    loose: bool,
}

impl Finder {
    pub(crate) fn new(anchor: Anchor, whole_log: bool) -> Self {
        Self {
            anchor,
            group_start_seen: whole_log,
            place: 0,
            unproven: false,
            loose: false,
        }
    }

    /// The same in a log of this dialect.
    pub(crate) fn among(self, dialect: Dialect) -> Self {
        Self {
            loose: dialect.stamps_are_loose,
            ..self
        }
    }

    /// Whether `record` is the anchor.
    pub(crate) fn is_at(&mut self, record: &Record) -> bool {
        self.group_start_seen |= self.loose && record.time < self.anchor.time;
        if record.stream != self.anchor.stream {
            return false;
        }
        if record.time != self.anchor.time {
            self.group_start_seen = true;
            self.place = 0;
            return false;
        }
        if record.ends_line() != self.anchor.ends_line {
            return false;
        }
        let place = self.place;
        self.place += 1;
        if record.hash() != self.anchor.hash {
            return false;
        }
        match self.group_start_seen {
            true => place == self.anchor.ordinal,
            false => {
                self.unproven = true;
                self.anchor.ends_line && !self.loose
            }
        }
    }

    /// Whether `record` may be the anchor, and what was read before it does not
    /// show whether it is.
    pub(crate) fn is_in_doubt(&self, record: &Record) -> bool {
        let alone = self.anchor.ends_line && !self.loose;
        !self.group_start_seen && !alone && self.anchor.is_like(record)
    }

    /// Whether an equal record was seen whose place could not be proven.
    pub(crate) fn saw_likeness(&self) -> bool {
        self.unproven
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    fn record(stream: Stream, time: i64, payload: &'static str) -> Record {
        let payload = Bytes::from_static(payload.as_bytes());
        Record {
            stream,
            time,
            payload,
        }
    }

    fn anchors(records: &[Record]) -> Vec<Anchor> {
        let mut tracker = Tracker::default();
        records.iter().map(|r| tracker.push(r)).collect()
    }

    /// Index at which `anchor` is found in a read of `records`.
    fn found(anchor: Anchor, records: &[Record], whole_log: bool) -> Option<usize> {
        let mut finder = Finder::new(anchor, whole_log);
        records.iter().position(|r| finder.is_at(r))
    }

    fn equal_parts() -> Vec<Record> {
        let part = |payload| record(Stream::Stdout, 2, payload);
        let other = record(Stream::Stderr, 3, "between\n");
        let first = record(Stream::Stdout, 1, "x\n");
        vec![
            first,
            part("aa"),
            other,
            part("bb"),
            part("aa"),
            part("aa"),
            part("a\n"),
        ]
    }

    #[test]
    fn each_of_several_equal_parts_is_itself() {
        let records = equal_parts();
        for (at, anchor) in anchors(&records).into_iter().enumerate() {
            assert_eq!(found(anchor, &records, false), Some(at));
        }
    }

    #[test]
    fn a_line_end_is_the_same_to_a_reader_that_missed_the_beginning() {
        let records = equal_parts();
        let (end, missed) = (anchors(&records)[6], anchors(&records[5..])[1]);
        assert_eq!(end, missed);
        assert_eq!(found(missed, &records, true), Some(6));
    }

    #[test]
    fn a_read_that_begins_among_equal_parts_proves_nothing() {
        let records = equal_parts();
        let second = anchors(&records)[4];
        assert_eq!(found(second, &records[2..], false), None);
        let mut finder = Finder::new(second, false);
        records[2..].iter().for_each(|r| assert!(!finder.is_at(r)));
        assert!(finder.saw_likeness());
    }

    #[test]
    fn a_line_whose_stream_has_no_other_record_in_the_read_is_found() {
        let only = record(Stream::Stderr, 5, "warning\n");
        let out = |time| record(Stream::Stdout, time, "out\n");
        let records = [out(4), only, out(6)];
        assert_eq!(found(anchors(&records)[1], &records, false), Some(1));
    }

    #[test]
    fn equal_lines_of_one_stamp_are_told_apart_where_stamps_are_loose() {
        let records = [1, 2, 2, 2].map(|time| record(Stream::Stdout, time, "x\n"));
        let last = anchors(&records)[3];
        let journald = Dialect::of("journald", 29);
        let found = |records: &[Record]| {
            let mut finder = Finder::new(last, false).among(journald);
            records.iter().position(|r| finder.is_at(r))
        };
        assert_eq!((found(&records), found(&records[1..])), (Some(3), None));
    }

    #[test]
    fn the_same_bytes_at_another_time_or_on_another_stream_are_not_it() {
        let anchor = anchors(&[record(Stream::Stdout, 5, "x\n")])[0];
        let records = [
            record(Stream::Stderr, 5, "x\n"),
            record(Stream::Stdout, 6, "x\n"),
        ];
        assert_eq!(found(anchor, &records, true), None);
    }
}
