//! Cuts what a process writes into records, as the copier between a container's pipe and its log does.

use bytes::{Bytes, BytesMut};

use crate::Timestamp;

/// The copier's buffer: a line that does not fit is stored in parts of this size.
const PART_MAX: usize = 16 * 1024;

/// One stream's pipe.
#[derive(Default)]
pub(crate) struct Copier {
    pending: BytesMut,
    /// The stamp of the line whose first parts are stored already.
    open_line: Option<Timestamp>,
}

/// What becomes one record, without its newline.
pub(crate) struct Piece {
    pub(crate) time: Timestamp,
    pub(crate) bytes: Bytes,
    pub(crate) end: End,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// A newline that ended a whole line.
    Line,
    /// A newline that ended the last part of a long line.
    LastPart,
    /// No newline: more may follow, or the stream ended here.
    Open,
}

impl Copier {
    pub(crate) fn write(&mut self, bytes: &[u8]) {
        self.pending.extend_from_slice(bytes);
    }

    /// The next complete line or full part; a line is stamped when its end, or its first full part, has been read.
    pub(crate) fn next(&mut self, now: impl FnOnce() -> Timestamp) -> Option<Piece> {
        let within = self.pending.len().min(PART_MAX);
        if let Some(length) = self.pending[..within]
            .iter()
            .position(|&byte| byte == b'\n')
        {
            let mut bytes = self.pending.split_to(length + 1);
            bytes.truncate(length);
            let (time, end) = match self.open_line.take() {
                Some(first) => (first, End::LastPart),
                None => (now(), End::Line),
            };
            return Some(Piece {
                time,
                bytes: bytes.freeze(),
                end,
            });
        }
        (within == PART_MAX).then(|| self.part(within, now))
    }

    /// What was left without a newline when the stream ended.
    pub(crate) fn finish(&mut self, now: impl FnOnce() -> Timestamp) -> Option<Piece> {
        let rest = (!self.pending.is_empty()).then(|| self.part(self.pending.len(), now));
        self.open_line = None;
        rest
    }

    fn part(&mut self, length: usize, now: impl FnOnce() -> Timestamp) -> Piece {
        let time = *self.open_line.get_or_insert_with(now);
        Piece {
            time,
            bytes: self.pending.split_to(length).freeze(),
            end: End::Open,
        }
    }
}
