//! What a chain is fed with, and what it remembers of it.

use prost_types::Timestamp;

use super::{MARKS, digest, mix};
use crate::proto::{LogEntry, Stream, log_entry};

/// An entry as it was received.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry<'a> {
    /// Where it was written.
    pub stream: Stream,
    /// Nanoseconds since the Unix epoch.
    pub time: i64,
    /// Place among the entries of the same stream and time.
    pub ordinal: u32,
    /// The line without its LF.
    pub bytes: &'a [u8],
    /// It ended without LF.
    pub unterminated: bool,
    /// Bytes cut from its end.
    pub truncated_bytes: u64,
    /// It stands before entries that came earlier.
    pub late: bool,
}

/// A gap as it was received. Times are nanoseconds since the Unix epoch.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Gap {
    /// Its cause is `ENGINE_SKIP`: it may come behind entries from behind it, and
    /// its times say where it belongs.
    pub skip: bool,
    /// Time of the last entry before it.
    pub after_time: Option<i64>,
    /// Time of the first entry behind it.
    pub before_time: Option<i64>,
    /// Entries are missing for certain.
    pub certain: bool,
    /// How many are missing, if that is known.
    pub missing_entries: Option<u64>,
}

impl Gap {
    /// Whether it may tell of lines from before entries that have come: the times of
    /// a skip always do, those of another gap if it says where it begins, as one
    /// that swallowed a skip which was not found yet.
    pub(super) fn reaches_back(&self) -> bool {
        self.skip || self.after_time.is_some()
    }

    /// Whether an instant lies between its times.
    pub(super) fn spans(&self, time: i64) -> bool {
        self.reaches(time, time)
    }

    /// Whether its times reach into those between two.
    pub(super) fn reaches(&self, low: i64, high: i64) -> bool {
        let (mut after, mut before) = (self.after_time, self.before_time);
        // The clock was set back within.
        if let (Some(from), Some(to)) = (after, before) {
            (after, before) = (Some(from.min(to)), Some(from.max(to)));
        }
        after.is_none_or(|after| after <= high) && before.is_none_or(|before| low <= before)
    }
}

/// An entry as it is remembered.
#[derive(Debug, Clone, Copy)]
pub(super) struct Held {
    /// Digest of its key and its bytes.
    pub(super) unique: u64,
    /// Digest of stream and bytes; in the low bits `late`, the stream and
    /// `unterminated`.
    line: u64,
    pub(super) time: i64,
}

impl Held {
    pub(super) fn of(entry: &Entry<'_>) -> Self {
        let line = digest(entry.stream.into(), entry.bytes, entry.unterminated);
        let key = mix(entry.time.cast_unsigned(), u64::from(entry.ordinal));
        Self {
            unique: mix(line, key),
            line: line
                | u64::from(entry.unterminated) << 3
                | (entry.stream as u64 & 3) << 1
                | u64::from(entry.late),
            time: entry.time,
        }
    }

    pub(super) fn late(&self) -> bool {
        self.line & 1 == 1
    }

    pub(super) fn stream(&self) -> usize {
        (self.line >> 1 & 3) as usize
    }

    pub(super) fn unterminated(&self) -> bool {
        self.line >> 3 & 1 == 1
    }

    pub(super) fn line(&self) -> u64 {
        self.line & !MARKS
    }
}

/// A gap and its place: so many entries stand before it.
#[derive(Debug, Clone, Copy)]
pub(super) struct HeldGap {
    pub(super) place: usize,
    pub(super) gap: Gap,
}

/// An entry of the contract; `None`: it has no line that this client knows, or no
/// time.
pub(super) fn received(entry: &LogEntry) -> Option<Entry<'_>> {
    Some(Entry {
        stream: entry.stream(),
        time: nanos(entry.time.as_ref()?)?,
        ordinal: entry.ordinal,
        bytes: match entry.line.as_ref()? {
            log_entry::Line::Text(text) => text.as_bytes(),
            log_entry::Line::Raw(raw) => raw,
        },
        unterminated: entry.unterminated,
        truncated_bytes: entry.truncated_bytes,
        late: entry.late,
    })
}

/// Nanoseconds since the Unix epoch.
pub(super) fn nanos(time: &Timestamp) -> Option<i64> {
    let seconds = time.seconds.checked_mul(1_000_000_000)?;
    seconds.checked_add(i64::from(time.nanos))
}
