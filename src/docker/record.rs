//! A record: what the engine stores, a line or a part of at most 16 KiB of one.

use bytes::Bytes;
use xxhash_rust::xxh3::xxh3_64;

use super::timestamp::{Prefix, Prefixes};

/// The engine splits longer lines into parts of this many bytes.
/// Source: moby `daemon/logger/copier.go`, `defaultBufSize`.
pub const PART_BYTES: usize = 16 * 1024;

/// Where a record was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
    /// A terminal, which merges both.
    Tty,
}

/// One stored record, in file order among its likes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Record<P = Bytes> {
    /// Where it was written.
    pub stream: Stream,
    /// The engine's stamp, ns since the Unix epoch. It repeats and runs
    /// backwards: file order decides, never this.
    pub time: i64,
    /// Its bytes without the timestamp; a final `\n` ends a line.
    pub payload: P,
}

/// A record whose bytes are another's: most lines are read where they came, and
/// nobody counts who shares them.
pub(crate) type RecordRef<'a> = Record<&'a [u8]>;

impl<'a> RecordRef<'a> {
    /// What a frame holds: timestamp and payload. `None` if it does not start with a
    /// timestamp, which is a protocol error of the engine.
    #[inline]
    pub(crate) fn of_frame(
        stream: Stream,
        frame: &'a [u8],
        prefixes: &mut Prefixes,
    ) -> Option<Self> {
        let Prefix::Complete { time, len } = prefixes.read(frame) else {
            return None;
        };
        Some(Self {
            stream,
            time,
            payload: &frame[len..],
        })
    }
}

impl Record {
    /// One whose bytes stand in `bundle`, as one that shares them.
    pub(crate) fn of_bundle(record: RecordRef<'_>, bundle: &Bytes) -> Self {
        Self {
            stream: record.stream,
            time: record.time,
            payload: bundle.slice_ref(record.payload),
        }
    }
}

impl<P: AsRef<[u8]>> Record<P> {
    /// Its bytes.
    pub(crate) fn bytes(&self) -> &[u8] {
        self.payload.as_ref()
    }

    /// Whether it is the last record of its line.
    pub fn ends_line(&self) -> bool {
        self.bytes().ends_with(b"\n")
    }

    /// xxh3-64 of the payload.
    pub fn hash(&self) -> u64 {
        xxh3_64(self.bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(stream: Stream, frame: &[u8]) -> Option<RecordRef<'_>> {
        Record::of_frame(stream, frame, &mut Prefixes::default())
    }

    #[test]
    fn a_frame_without_a_timestamp_is_no_record() {
        assert_eq!(of(Stream::Stdout, b"Error grabbing logs: EOF"), None);
    }

    #[test]
    fn an_empty_line_is_a_record_of_one_newline() {
        let record = of(Stream::Stderr, b"1970-01-01T00:00:00.000000001Z \n").unwrap();
        assert_eq!((record.time, record.payload), (1, &b"\n"[..]));
        assert!(record.ends_line());
    }
}
