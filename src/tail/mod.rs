//! One exact log out of many short streams.
//!
//! Machines without IO decide what is asked of the engine and which records are
//! new: [`Live`] keeps up with a log for ever, [`History`] reads a stretch of it
//! once, [`Paging`] a page backwards. Whoever drives them does the asking. None
//! ever guesses: where a stream may have skipped or repeated something, file order
//! in a snapshot decides.

mod anchor;
mod bounds;
mod cursor;
mod doubt;
mod filter;
mod history;
mod line;
mod live;
#[cfg(test)]
mod model;
mod page;

pub use anchor::Anchor;
pub use cursor::{Cursor, CursorError, MAX_CURSOR, Place};
pub use doubt::Skips;
pub use filter::{Criteria, Filter, Level, Levels, MAX_PATTERN};
pub use history::{From, History, Until};
pub use line::{Dialect, Entry, Joiner, OpenLines};
pub use live::{Live, Settings};
pub use page::{Border, Edge, Page, Paging, Query};

use crate::docker::{Record, Tail};

/// A place in a log: behind the last record read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Position {
    /// The last record read; `None`: the log's beginning.
    pub anchor: Option<Anchor>,
    /// Lines that were open there. Their parts so far are read again, so that
    /// the line comes whole.
    pub open: OpenLines,
    /// What is not verified yet; `None`: all up to here is.
    pub verified: Option<Verified>,
}

/// A live stream of the engine can skip whole files while they rotate, so what it
/// brought is compared with a snapshot from time to time. This is up to where that
/// was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verified {
    /// The last record proven to have none missing before it; `None`: the log's
    /// beginning.
    pub anchor: Option<Anchor>,
    /// Records delivered behind it.
    pub count: u32,
}

/// What happened to a machine's read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The next record of the current lease or snapshot.
    Record(Record),
    /// The current lease or snapshot ended as it should.
    End,
    /// It broke: the engine cut it, refused it or sent what it may not. Given
    /// once the next attempt may be made.
    Broken,
    /// The same, and the engine said that it cannot read the log, in these words.
    Failed(String),
    /// Nothing has come yet of a read of the log's end, for longer than that takes,
    /// or of a probe; and the engine is well.
    Silent,
    /// The deadline has passed.
    Elapsed,
    /// What the probe that was asked for found: the log's last record.
    Probed(Option<Record>),
    /// The container runs.
    Running,
    /// The container does not run, and its log is complete.
    Stopped,
    /// The container, and its log with it, is gone.
    Gone,
}

impl Event {
    /// A read that broke, and what the engine said of it.
    pub fn broken(words: Option<String>) -> Self {
        words.map_or(Self::Broken, Self::Failed)
    }
}

/// What to do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Go on as before.
    More,
    /// Drop what is being read, open a lease.
    Lease(Tail),
    /// Drop what is being read, take a snapshot.
    Snapshot(Tail),
    /// Keep the lease and look at the log's last record beside it.
    Probe,
    /// Drop what is being read, find out whether the container runs.
    Ask,
    /// Nothing to read until the container runs again.
    Rest,
    /// All that was asked for has been delivered.
    Done,
}

/// What a machine hands on, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Delivery {
    /// A line.
    Entry(Entry),
    /// A line that the engine had skipped before the record of this number (see
    /// [`Live::taken`]); lines from behind it were delivered before.
    Late(Entry, u64),
    /// Entries may be missing here.
    Gap(Gap),
    /// All that the engine had stored when the last request was made (the probe,
    /// if this answers one) is delivered.
    Verified,
    /// A stream that had stalled, repeated or gone back was replaced.
    Replaced,
    /// The position behind the lines so far. Told between the lines of one event
    /// where they can be many or long; behind the event the machine's own holds.
    At(Box<Position>),
}

/// Ends the lines that are open behind `anchor`, each with its own position.
fn flush(joiner: &mut Joiner, anchor: Option<Anchor>, out: &mut Vec<Delivery>) {
    flush_but(OpenLines::default(), joiner, anchor, out);
}

/// The same of the streams that have no line in `open`.
fn flush_but(
    open: OpenLines,
    joiner: &mut Joiner,
    anchor: Option<Anchor>,
    out: &mut Vec<Delivery>,
) {
    joiner.flush_but(open, &mut |entry, open| {
        out.push(Delivery::Entry(entry));
        out.push(Delivery::At(Box::new(Position {
            anchor,
            open,
            verified: None,
        })));
    });
}

/// Entries may be missing here. Nothing else is a gap.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gap {
    /// Why.
    pub cause: GapCause,
    /// Stamp of the last record before it; `None`: there was none. Of a skip: no
    /// record missing is stamped earlier; `None`: that is not known.
    pub after: Option<i64>,
    /// Stamp of the first record behind it; `None`: none yet. Of a skip: no record
    /// missing is stamped later; `None`: that is not known.
    pub before: Option<i64>,
    /// Whether something is missing for certain.
    pub certain: bool,
    /// How many entries are missing, if that is known exactly.
    pub missing: Option<u64>,
    /// For a gap found after records from behind it were delivered: the number
    /// (see [`Live::taken`]) of the record it lies before.
    pub place: Option<u64>,
    /// What the engine said of it, if it did.
    pub words: Option<String>,
}

impl Gap {
    /// A gap that is only possible.
    pub(crate) fn possible(cause: GapCause, after: Option<i64>, before: Option<i64>) -> Self {
        Self {
            cause,
            after,
            before,
            certain: false,
            missing: None,
            place: None,
            words: None,
        }
    }

    /// The last record read is gone. Where the engine said before that it cannot
    /// read the log, in these `words`, that is why.
    pub(crate) fn gone(
        cause: GapCause,
        (after, before): (Option<i64>, Option<i64>),
        words: Option<String>,
    ) -> Self {
        let cause = match words {
            Some(_) => GapCause::EngineError,
            None => cause,
        };
        Self {
            words,
            ..Self::possible(cause, after, before)
        }
    }
}

/// Why entries may be missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GapCause {
    /// The engine deleted them before they were read.
    RotatedOut,
    /// The engine's live stream skipped files, and they were deleted before the
    /// check.
    EngineSkip,
    /// The engine said that it cannot read its own log, and what was read last is
    /// gone since.
    EngineError,
    /// The engine deleted them before a slow subscriber came to them.
    SlowConsumer,
    /// They were deleted while the engine's stream stood still.
    Stall,
    /// Somebody else cut the log's file.
    LogTruncated,
    /// The container was removed before its log was known to be read.
    ContainerRemoved,
}

/// stdout and stderr are stamped before they are ordered: 22 ms back were seen.
const INVERSION: i64 = 1_000_000_000;
/// Records read at most to learn whether a line began where a log is joined, if no
/// stamp tells.
const MAX_ORIENTATION: u32 = 4_096;
/// The smallest window: a rotation's overlap, a snapshot's first guess.
const WINDOW: u32 = 64;
/// Whether a snapshot of the last `want` records that brought `seen` is the whole
/// log. While files rotate an engine can bring fewer than are asked for and stored
/// (seen with API 1.56: 511 of 512), so one that is more than half full is not.
const fn is_whole(want: u32, seen: u32) -> bool {
    seen <= want / 2
}

/// A window that missed is followed by one this many times as large: all of
/// them together read 1.15 times what the last one does.
const WIDEN: u32 = 8;
