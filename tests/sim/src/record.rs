//! What the engine stores: a line, or a part of a long one.

use bytes::Bytes;

use crate::Timestamp;

/// Which of a process's outputs a record came from. A terminal has but one: `Stdout`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

impl Stream {
    /// The type byte of a frame header.
    pub(crate) const fn frame_type(self) -> u8 {
        match self {
            Self::Stdout => 1,
            Self::Stderr => 2,
        }
    }
}

/// One stored log record, as every read returns it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Where it was written.
    pub stream: Stream,
    /// Its stamp, shared by all parts of a long line.
    pub time: Timestamp,
    /// The payload with its newline, if it has one.
    pub bytes: Bytes,
}
