//! Entries written straight into protobuf, without a message in between.

use std::sync::OnceLock;

use bytes::Bytes;

use super::{Batch, Span};
use crate::docker::Stream;
use crate::tail::Entry;

/// Prefix of a gRPC message: the compression flag, and four bytes of length.
pub(super) const PREFIX: usize = 5;
/// The longest head: prefix, tag, and a length of 32 bits.
pub(super) const HEAD: usize = PREFIX + 1 + 5;
/// The most an entry has beside its line.
const ENTRY_HEAD: usize = 64;
/// In ns.
const SECOND: i64 = 1_000_000_000;
/// A buffer that an exceptional line made larger than this is not kept.
const SCRATCH: usize = 256 * 1024;

/// Tags of the fields written here, by their names in `proto/`.
mod tag {
    pub(super) const RESPONSE_BATCH: u8 = 2 << 3 | LEN;
    pub(super) const BATCH_CONTAINER: u8 = 1 << 3 | LEN;
    pub(super) const BATCH_ENTRIES: u8 = 2 << 3 | LEN;
    pub(super) const BATCH_CURSOR: u8 = 3 << 3 | LEN;
    pub(super) const CONTAINER_ID: u8 = 1 << 3 | LEN;
    pub(super) const CONTAINER_NAME: u8 = 2 << 3 | LEN;
    pub(super) const ENTRY_TIME: u8 = 1 << 3 | LEN;
    pub(super) const ENTRY_STREAM: u8 = 2 << 3;
    pub(super) const ENTRY_TEXT: u8 = 3 << 3 | LEN;
    pub(super) const ENTRY_RAW: u8 = 4 << 3 | LEN;
    pub(super) const ENTRY_UNTERMINATED: u8 = 5 << 3;
    pub(super) const ENTRY_TRUNCATED_BYTES: u8 = 6 << 3;
    pub(super) const ENTRY_LATE: u8 = 7 << 3;
    pub(super) const ENTRY_ORDINAL: u8 = 8 << 3;
    pub(super) const TIME_SECONDS: u8 = 1 << 3;
    pub(super) const TIME_NANOS: u8 = 2 << 3;
    const LEN: u8 = 2;
}

/// Writes entries, and makes batches of them.
#[derive(Debug, Default)]
pub struct Writer {
    /// Room for the longest head, the container, then the entries.
    bytes: Vec<u8>,
    container: Vec<u8>,
    /// Where the first entry begins in `bytes`.
    first: usize,
    spans: Vec<Span>,
}

impl Writer {
    /// Whose entries the next batches hold.
    pub fn label(&mut self, id: &str, name: &str) {
        let mut reference = Vec::with_capacity(id.len() + name.len() + 8);
        for (tag, text) in [(tag::CONTAINER_ID, id), (tag::CONTAINER_NAME, name)] {
            if !text.is_empty() {
                put_bytes(&mut reference, tag, text.as_bytes());
            }
        }
        self.container.clear();
        put_bytes(&mut self.container, tag::BATCH_CONTAINER, &reference);
    }

    /// Bytes of the entries so far.
    pub fn len(&self) -> usize {
        self.bytes.len().saturating_sub(self.first)
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.spans.is_empty()
    }

    /// Appends an entry. `late`: it comes behind entries from behind it.
    pub fn push<L: AsRef<[u8]>>(&mut self, entry: &Entry<L>, late: bool) {
        if self.spans.is_empty() {
            self.bytes.resize(HEAD, 0);
            self.bytes.extend_from_slice(&self.container);
            self.first = self.bytes.len();
        }
        let line = entry.line.as_ref();
        // Most are ASCII, which is told faster.
        let is_text = line.is_ascii() || str::from_utf8(line).is_ok();
        let text = match is_text {
            true => tag::ENTRY_TEXT,
            false => tag::ENTRY_RAW,
        };
        // Negative numbers are written as their two's complement.
        let time = [
            (tag::TIME_SECONDS, entry.time.div_euclid(SECOND) as u64),
            (tag::TIME_NANOS, entry.time.rem_euclid(SECOND) as u64),
        ];
        let stream = [(tag::ENTRY_STREAM, stream_number(entry.stream))];
        let rest = [
            (tag::ENTRY_UNTERMINATED, u64::from(entry.unterminated)),
            (tag::ENTRY_TRUNCATED_BYTES, entry.truncated_bytes),
            (tag::ENTRY_LATE, u64::from(late)),
            (tag::ENTRY_ORDINAL, u64::from(entry.ordinal)),
        ];
        let (time_len, rest_len) = (numbers_len(time), numbers_len(rest));
        let line_len = 1 + varint_len(line.len() as u64) + line.len();
        let len = 2 + time_len + numbers_len(stream) + line_len + rest_len;

        // Byte by byte to where they stay: what was just written in bytes is slow to
        // be read in words, as a copy would.
        let out = &mut self.bytes;
        out.reserve(ENTRY_HEAD + line.len());
        out.push(tag::BATCH_ENTRIES);
        put_varint(out, len as u64);
        // At most 17: a length of one byte.
        out.push(tag::ENTRY_TIME);
        out.push(time_len as u8);
        put_numbers(out, time);
        put_numbers(out, stream);
        out.push(text);
        put_varint(out, line.len() as u64);
        let start = out.len();
        out.extend_from_slice(line);
        let line_end = out.len();
        put_numbers(out, rest);
        self.spans.push(Span {
            end: place(out.len()),
            line: place(start),
            line_end: place(line_end),
            stream: entry.stream,
            time: entry.time,
        });
    }

    /// The entries so far as a batch with this cursor behind them. There must be
    /// one.
    pub fn finish(&mut self, cursor: &str) -> Batch {
        put_bytes(&mut self.bytes, tag::BATCH_CURSOR, cursor.as_bytes());
        let mut head = Vec::with_capacity(HEAD);
        put_head(&mut head, self.bytes.len() - HEAD);
        // The head ends where the room for it does.
        let unused = HEAD - head.len();
        self.bytes[unused..HEAD].copy_from_slice(&head);
        // Exactly its bytes: what a ring counts is what it holds.
        let framed = Bytes::copy_from_slice(&self.bytes[unused..]);
        let moved = |at: u32| at - place(unused);
        for span in &mut self.spans {
            span.end = moved(span.end);
            span.line = moved(span.line);
            span.line_end = moved(span.line_end);
        }
        let batch = Batch {
            framed,
            container: head.len()..self.first - unused,
            spans: self.spans.as_slice().into(),
            gzip: OnceLock::new(),
        };
        self.spans.clear();
        self.bytes.clear();
        if self.bytes.capacity() > SCRATCH {
            self.bytes = Vec::new();
        }
        batch
    }
}

/// Prefix of a message of one batch, and the batch's tag and length.
pub(super) fn put_head(out: &mut Vec<u8>, batch: usize) {
    let len = batch as u64;
    put_prefix(out, 1 + varint_len(len) + batch);
    out.push(tag::RESPONSE_BATCH);
    put_varint(out, len);
}

/// The prefix of an uncompressed gRPC message of `len` bytes.
fn put_prefix(out: &mut Vec<u8>, len: usize) {
    out.push(0);
    out.extend_from_slice(&place(len).to_be_bytes());
}

fn put_bytes(out: &mut Vec<u8>, tag: u8, bytes: &[u8]) {
    out.push(tag);
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// Number fields; 0 is not written.
fn put_numbers<const N: usize>(out: &mut Vec<u8>, numbers: [(u8, u64); N]) {
    for (tag, value) in numbers {
        if value != 0 {
            out.push(tag);
            put_varint(out, value);
        }
    }
}

fn numbers_len<const N: usize>(numbers: [(u8, u64); N]) -> usize {
    let len = |(_, value): (u8, u64)| match value {
        0 => 0,
        value => 1 + varint_len(value),
    };
    numbers.into_iter().map(len).sum()
}

/// Seven bits a byte.
fn varint_len(value: u64) -> usize {
    let bits = u64::BITS - (value | 1).leading_zeros();
    bits.div_ceil(7) as usize
}

fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// An offset; a batch is a few MiB at most.
fn place(offset: usize) -> u32 {
    u32::try_from(offset).unwrap_or(u32::MAX)
}

pub(super) fn stream_number(stream: Stream) -> u64 {
    match stream {
        Stream::Stdout => 1,
        Stream::Stderr => 2,
        Stream::Tty => 3,
    }
}
