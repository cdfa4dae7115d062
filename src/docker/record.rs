//! A record: what the engine stores, a line or a part of at most 16 KiB of one.

use std::ops::Range;

use bytes::Bytes;
use xxhash_rust::xxh3::xxh3_64;

use super::timestamp::Prefix;

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
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Where it was written.
    pub stream: Stream,
    /// The engine's stamp, ns since the Unix epoch. It repeats and runs
    /// backwards: file order decides, never this.
    pub time: i64,
    /// Its bytes without the timestamp; a final `\n` ends a line.
    pub payload: Bytes,
}

impl Record {
    /// What a frame holds, whose bytes are these of `bundle`: timestamp and payload.
    /// `None` if it does not start with a timestamp, which is a protocol error of the
    /// engine.
    pub(crate) fn of_frame(stream: Stream, bundle: &Bytes, frame: Range<usize>) -> Option<Record> {
        let Prefix::Complete { time, len } = Prefix::of(&bundle[frame.clone()]) else {
            return None;
        };
        Some(Record {
            stream,
            time,
            payload: bundle.slice(frame.start + len..frame.end),
        })
    }

    /// Whether it is the last record of its line.
    pub fn ends_line(&self) -> bool {
        self.payload.ends_with(b"\n")
    }

    /// xxh3-64 of the payload.
    pub fn hash(&self) -> u64 {
        xxh3_64(&self.payload)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_without_a_timestamp_is_no_record() {
        let frame = Bytes::from_static(b"Error grabbing logs: EOF");
        assert_eq!(
            Record::of_frame(Stream::Stdout, &frame, 0..frame.len()),
            None
        );
    }

    #[test]
    fn an_empty_line_is_a_record_of_one_newline() {
        let frame = Bytes::from_static(b"1970-01-01T00:00:00.000000001Z \n");
        let record = Record::of_frame(Stream::Stderr, &frame, 0..frame.len()).unwrap();
        assert_eq!((record.time, &record.payload[..]), (1, &b"\n"[..]));
        assert!(record.ends_line());
    }
}
