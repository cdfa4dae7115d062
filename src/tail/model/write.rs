//! What containers write.

use std::fmt;

use proptest::prelude::*;

use super::log::MS;
use crate::docker::Stream;

/// One write of the container.
#[derive(Clone)]
pub(super) struct Write {
    pub(super) stream: Stream,
    /// Ends its line; otherwise a part is stored and the line stays open.
    pub(super) newline: bool,
    /// Few distinct texts, so that equal parts and equal lines are common.
    pub(super) text: &'static [u8],
    /// How long after the write before it.
    pub(super) later: i64,
    /// How long its stamp waited for the writer.
    pub(super) held: i64,
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
