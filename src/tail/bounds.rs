//! Between which stamps lie records that nobody has seen.
//!
//! Records are known in file order, their stamps are not in it: stdout and stderr
//! are stamped before they are ordered, and every part of a line bears the stamp
//! of its first, however late it is written.

use super::INVERSION;
use super::anchor::{Anchor, index};
use super::line::OpenLines;
use crate::docker::{Record, Stream};

/// No record behind `anchor`, where these lines are open, is stamped earlier.
pub(crate) fn earliest_behind(anchor: Anchor, open: OpenLines) -> i64 {
    // A terminal has no other stream.
    let early = match anchor.stream {
        Stream::Tty => anchor.time,
        Stream::Stdout | Stream::Stderr => anchor.time.saturating_sub(INVERSION),
    };
    open.into_iter().flatten().fold(early, i64::min)
}

/// No record before this one, which begins a line, is stamped later.
pub(crate) fn latest_before<P>(begins: &Record<P>) -> i64 {
    match begins.stream {
        Stream::Tty => begins.time,
        Stream::Stdout | Stream::Stderr => begins.time.saturating_add(INVERSION),
    }
}

/// Where the clock was set back in between, stamps say nothing.
pub(crate) fn between(after: Option<i64>, before: Option<i64>) -> (Option<i64>, Option<i64>) {
    match (after, before) {
        (Some(after), Some(before)) if after > before => (None, None),
        bounds => bounds,
    }
}

/// The records behind some that nobody has seen, in file order: how late those can
/// be stamped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Behind {
    /// Stamp of each stream's first record.
    first: [Option<i64>; 3],
    /// How late any before the first that is known to begin a line can be stamped.
    begun: Option<i64>,
    /// Each stream's last stamp, and whether it ended its line.
    last: [Option<(i64, bool)>; 3],
}

impl Behind {
    pub(crate) fn push(&mut self, record: &Record) {
        let (slot, time) = (index(record.stream), record.time);
        self.first[slot].get_or_insert(time);
        if self.last[slot].is_some_and(|(last, ended)| ended || last != time) {
            self.begun.get_or_insert(latest_before(record));
        }
        self.last[slot] = Some((time, record.ends_line()));
    }

    /// No record before them is stamped later; `None`: that is not known.
    pub(crate) fn latest_before(&self) -> Option<i64> {
        let streams = match self.first[index(Stream::Tty)] {
            Some(_) => &[Stream::Tty][..],
            None => &[Stream::Stdout, Stream::Stderr],
        };
        let latest = |stream: &Stream| match (self.first[index(*stream)], self.begun) {
            (Some(first), Some(begun)) => Some(first.min(begun)),
            (first, begun) => first.or(begun),
        };
        let all: Option<Vec<_>> = streams.iter().map(latest).collect();
        all?.into_iter().max()
    }
}
