//! Reading a stretch of a log once, by snapshots.
//!
//! The beginning of the stretch is looked for in windows from the log's end
//! backwards, each wider than the one before, so that the newest N records cost
//! O(N). `since` is never sent to the engine: it decodes the whole log, and old
//! engines lose lines with it.

use super::anchor::{Anchor, Finder, Tracker, index};
use super::line::{Dialect, Entry, Joiner};
use super::{Delivery, Event, Gap, Next, Position, WIDEN, WINDOW};
use crate::docker::{Record, Tail};

/// Lines that `tail_lines` may hold before it reads a second time, in bytes.
const HELD_BYTES: usize = 256 * 1024;
/// Records read beyond the lines asked for: lines of several parts, and what is
/// stored meanwhile.
const SLACK: u32 = 16;
/// stdout and stderr are stamped before they are ordered: 22 ms back were seen.
const INVERSION: i64 = 1_000_000_000;

/// Where a stretch begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum From {
    /// Everything retained.
    Beginning,
    /// Behind this position.
    After(Position),
    /// The first line, in file order, stamped at or after this (ns since the
    /// Unix epoch), and everything behind it.
    Since(i64),
    /// The last lines, both streams counted.
    Lines(u32),
}

/// Where a stretch ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Until {
    /// Behind this record, if it is met.
    Anchor(Anchor),
    /// With what is stored at the time of reading.
    End,
}

/// The machine.
#[derive(Debug)]
pub struct History {
    from: From,
    until: Until,
    max_line: usize,
    dialect: Dialect,
    pass: Pass,
    start: Option<Position>,
}

/// One snapshot.
#[derive(Debug)]
struct Pass {
    tail: Tail,
    seen: u32,
    stage: Stage,
    target: Option<Finder>,
    /// Behind the target only the window's size still matters.
    past_target: bool,
    joiner: Joiner,
    tracker: Tracker,
}

#[derive(Debug)]
enum Stage {
    /// Looking for the record to start behind.
    Find { finder: Finder, lines: OpenLines },
    /// Looking for the first line at or after an instant.
    Since { instant: i64, older_seen: bool },
    /// Counting lines; held while they are few.
    Count {
        first: Option<Anchor>,
        lines: u64,
        held: Vec<Entry>,
        ends: Vec<Position>,
        bytes: usize,
    },
    /// Looking for the record that a count began with.
    Recount { finder: Finder, skip: u64 },
    /// Passing over the lines before those asked for.
    Skip { left: u64 },
    /// Everything from here on.
    Deliver,
    /// The position is gone: everything, behind a gap.
    Gap { after: Option<i64> },
    /// The window is too small: only whether it is the whole log still matters.
    Size,
}

/// The parts of lines that were open at a position, read again.
#[derive(Debug, Default, Clone, Copy)]
struct OpenLines {
    times: super::line::OpenLines,
    /// Whether the line's first part must have been read: another stamp was seen.
    starts: [bool; 3],
}

impl OpenLines {
    fn is_part(&mut self, record: &Record) -> bool {
        let slot = index(record.stream);
        let part = self.times[slot] == Some(record.time);
        self.starts[slot] |= !part;
        part
    }

    fn are_whole(&self) -> bool {
        (0..3).all(|slot| self.times[slot].is_none() || self.starts[slot])
    }
}

impl History {
    /// A machine for one stretch, and its first request.
    pub fn new(from: From, until: Until, max_line: usize, dialect: Dialect) -> (Self, Next) {
        let mut history = Self {
            from,
            until,
            max_line,
            dialect,
            pass: Pass {
                tail: Tail::All,
                seen: 0,
                stage: Stage::Deliver,
                target: None,
                past_target: false,
                joiner: Joiner::new(max_line, dialect),
                tracker: Tracker::default(),
            },
            start: None,
        };
        let first = history.restart();
        (history, first)
    }

    /// Behind the last record read.
    pub fn position(&self) -> Position {
        match &self.pass.stage {
            // Not there yet.
            Stage::Find { .. } | Stage::Recount { .. } | Stage::Gap { .. } | Stage::Size => {
                match self.from {
                    From::After(position) => position,
                    _ => Position::default(),
                }
            }
            _ => self.pass.position(),
        }
    }

    /// Where the stretch begins, once that is known.
    pub fn start(&self) -> Option<Position> {
        match self.from {
            From::Beginning => Some(Position::default()),
            From::After(position) => self.start.or(Some(position)),
            From::Since(_) | From::Lines(_) => self.start,
        }
    }

    /// The container is over: what is open stays without its newline.
    pub fn flush(&mut self, out: &mut Vec<Delivery>) {
        let emit = &mut |entry| out.push(Delivery::Entry(entry));
        self.pass.joiner.flush(emit);
    }

    /// Takes an event of the snapshot, appends what it brings.
    pub fn on(&mut self, event: Event, out: &mut Vec<Delivery>) -> Next {
        match event {
            Event::Record(record) => self.on_record(record, out),
            Event::End => self.on_end(out),
            Event::Broken => self.restart(),
            _ => Next::More,
        }
    }

    /// From the start, or from where delivery has come to.
    fn restart(&mut self) -> Next {
        if let Stage::Deliver = self.pass.stage
            && self.pass.tracker.anchor().is_some()
        {
            self.from = From::After(self.position());
        }
        match self.from {
            From::Beginning => self.read(Tail::All, Stage::Deliver),
            From::After(position) => self.find(position, Tail::Last(WINDOW)),
            From::Since(instant) => self.since(instant, Tail::Last(WINDOW)),
            From::Lines(lines) => self.count(lines.saturating_add(SLACK)),
        }
    }

    fn find(&mut self, position: Position, tail: Tail) -> Next {
        let Some(anchor) = position.anchor else {
            return self.read(Tail::All, Stage::Deliver);
        };
        let whole = tail == Tail::All;
        let stage = Stage::Find {
            finder: Finder::new(anchor, whole),
            lines: OpenLines {
                times: position.open,
                starts: [whole; 3],
            },
        };
        self.read(tail, stage)
    }

    fn since(&mut self, instant: i64, tail: Tail) -> Next {
        let older_seen = tail == Tail::All;
        self.read(
            tail,
            Stage::Since {
                instant,
                older_seen,
            },
        )
    }

    fn count(&mut self, want: u32) -> Next {
        let stage = Stage::Count {
            first: None,
            lines: 0,
            held: Vec::new(),
            ends: Vec::new(),
            bytes: 0,
        };
        self.read(Tail::Last(want), stage)
    }

    fn read(&mut self, tail: Tail, stage: Stage) -> Next {
        self.pass = Pass {
            tail,
            seen: 0,
            stage,
            target: match self.until {
                Until::Anchor(anchor) => Some(Finder::new(anchor, tail == Tail::All)),
                Until::End => None,
            },
            past_target: false,
            joiner: Joiner::new(self.max_line, self.dialect),
            tracker: Tracker::default(),
        };
        Next::Snapshot(tail)
    }

    fn on_record(&mut self, record: Record, out: &mut Vec<Delivery>) -> Next {
        let pass = &mut self.pass;
        pass.seen = pass.seen.saturating_add(1);
        if pass.past_target {
            return Next::More;
        }
        let at_target = pass.target.as_mut().is_some_and(|t| t.is_at(&record));
        match &mut pass.stage {
            Stage::Find { finder, lines } => {
                let part = lines.is_part(&record);
                let found = finder.is_at(&record);
                pass.tracker.push(&record);
                if part {
                    pass.joiner.push(record, &mut |_| ());
                }
                if !found {
                    // A target before the start is no end: there is more to come.
                    return Next::More;
                }
                if !lines.are_whole() {
                    pass.stage = Stage::Size;
                    return Next::More;
                }
                pass.stage = Stage::Deliver;
            }
            Stage::Recount { finder, skip } => {
                if !finder.is_at(&record) {
                    return Next::More;
                }
                pass.stage = Stage::Skip { left: *skip };
                self.take(record, out);
            }
            _ => self.take(record, out),
        }
        if at_target {
            self.at_target(out)
        } else {
            Next::More
        }
    }

    /// A record of the stretch, or of the window before it.
    fn take(&mut self, record: Record, out: &mut Vec<Delivery>) {
        let pass = &mut self.pass;
        if let Stage::Gap { after } = pass.stage {
            let before = Some(record.time);
            out.push(Delivery::Gap(Gap { after, before }));
            pass.stage = Stage::Deliver;
        }
        pass.note_age(&record);
        let before = pass.position();
        let anchor = pass.tracker.push(&record);
        if let Stage::Count { first, .. } = &mut pass.stage {
            first.get_or_insert(anchor);
        }
        let stage = &mut pass.stage;
        pass.joiner
            .push(record, &mut |entry| stage.sift(entry, out));
        pass.note_ends(before);
        if matches!(pass.stage, Stage::Deliver) {
            self.start.get_or_insert(before);
        }
    }

    fn at_target(&mut self, out: &mut Vec<Delivery>) -> Next {
        let enough = match (&self.pass.stage, self.from) {
            (Stage::Count { lines, .. }, From::Lines(wanted)) => *lines > u64::from(wanted),
            (Stage::Size, _) => false,
            (Stage::Since { older_seen, .. }, _) => *older_seen,
            _ => true,
        };
        match &self.pass.stage {
            _ if !enough => {
                self.pass.past_target = true;
                Next::More
            }
            Stage::Count { .. } => self.counted(out),
            _ => self.done(),
        }
    }

    fn done(&mut self) -> Next {
        self.start.get_or_insert(self.pass.position());
        Next::Done
    }

    fn on_end(&mut self, out: &mut Vec<Delivery>) -> Next {
        let (seen, tail) = (self.pass.seen, self.pass.tail);
        let whole = match tail {
            Tail::All => true,
            Tail::Last(want) => seen < want,
        };
        match &self.pass.stage {
            Stage::Deliver
            | Stage::Skip { .. }
            | Stage::Since {
                older_seen: true, ..
            } => self.done(),
            Stage::Gap { after } => {
                let (after, before) = (*after, None);
                out.push(Delivery::Gap(Gap { after, before }));
                Next::Done
            }
            Stage::Count { .. } => self.counted_to_end(whole, out),
            Stage::Recount { .. } => self.restart(),
            Stage::Find { finder, .. }
                if whole && !(finder.saw_likeness() && tail != Tail::All) =>
            {
                let From::After(position) = self.from else {
                    return Next::Done;
                };
                let after = position.anchor.map(|anchor| anchor.time);
                self.read(Tail::All, Stage::Gap { after })
            }
            Stage::Find { .. } | Stage::Since { .. } | Stage::Size => self.widen(whole),
        }
    }

    /// The same again over a wider window, or over the whole log if that is all.
    fn widen(&mut self, whole: bool) -> Next {
        let tail = match self.pass.tail {
            Tail::Last(want) if !whole => Tail::Last(want.saturating_mul(WIDEN)),
            _ => Tail::All,
        };
        match self.from {
            From::After(position) => self.find(position, tail),
            From::Since(instant) => self.since(instant, tail),
            From::Beginning | From::Lines(_) => self.read(Tail::All, Stage::Deliver),
        }
    }

    fn counted_to_end(&mut self, whole: bool, out: &mut Vec<Delivery>) -> Next {
        let (From::Lines(wanted), Stage::Count { lines, .. }) = (self.from, &self.pass.stage)
        else {
            return Next::Done;
        };
        if whole || *lines > u64::from(wanted) {
            return self.counted(out);
        }
        let per_line = self.pass.seen / u32::try_from(*lines).unwrap_or(u32::MAX).max(1);
        let missing = wanted.saturating_sub(u32::try_from(*lines).unwrap_or(u32::MAX));
        let more = missing
            .saturating_add(1)
            .saturating_mul(per_line.saturating_add(1));
        self.count(self.pass.seen.saturating_add(more).saturating_add(SLACK))
    }

    /// The window holds the lines asked for: those held go out, others are read
    /// again from the record that the count began with.
    fn counted(&mut self, out: &mut Vec<Delivery>) -> Next {
        let (
            From::Lines(wanted),
            Stage::Count {
                first,
                lines,
                held,
                ends,
                bytes,
            },
        ) = (self.from, &mut self.pass.stage)
        else {
            return Next::Done;
        };
        let skip = lines.saturating_sub(u64::from(wanted));
        if *bytes <= HELD_BYTES {
            let skip = usize::try_from(skip).unwrap_or(usize::MAX);
            let last_skipped = skip.checked_sub(1).and_then(|last| ends.get(last));
            self.start = Some(last_skipped.copied().unwrap_or_default());
            let kept = std::mem::take(held).into_iter().skip(skip);
            out.extend(kept.map(Delivery::Entry));
            self.pass.stage = Stage::Deliver;
            return Next::Done;
        }
        let Some(first) = *first else {
            return Next::Done;
        };
        let window = self.pass.seen.saturating_mul(2);
        let finder = Finder::new(first, false);
        self.read(Tail::Last(window), Stage::Recount { finder, skip })
    }
}

impl Pass {
    fn position(&self) -> Position {
        Position {
            anchor: self.tracker.anchor(),
            open: self.joiner.open_lines(),
        }
    }

    /// Notes where each line held ends. Of two that one record ended, the first
    /// ends before it: resuming there repeats, never loses.
    fn note_ends(&mut self, before: Position) {
        let after = self.position();
        if let Stage::Count { held, ends, .. } = &mut self.stage {
            let ended = held.len().saturating_sub(ends.len());
            ends.extend((1..ended).map(|_| before));
            ends.resize(held.len(), after);
        }
    }

    /// Notes whether lines from before the instant are in the window: the first
    /// record of each stream may continue a line, so it proves nothing.
    fn note_age(&mut self, record: &Record) {
        if let Stage::Since {
            instant,
            older_seen,
        } = &mut self.stage
        {
            let last = self.tracker.last_of(record.stream);
            let begins = last.is_some_and(|l| l.ends_line || l.time != record.time);
            *older_seen |= begins && record.time < instant.saturating_sub(INVERSION);
        }
    }
}

impl Stage {
    fn sift(&mut self, entry: Entry, out: &mut Vec<Delivery>) {
        match self {
            Stage::Deliver => out.push(Delivery::Entry(entry)),
            Stage::Skip { left: 0 } => {
                out.push(Delivery::Entry(entry));
                *self = Stage::Deliver;
            }
            Stage::Skip { left } => *left -= 1,
            Stage::Since { instant, .. } if entry.time < *instant => {}
            Stage::Since {
                older_seen: true, ..
            } => {
                out.push(Delivery::Entry(entry));
                *self = Stage::Deliver;
            }
            Stage::Since { .. } => *self = Stage::Size,
            Stage::Count {
                lines, held, bytes, ..
            } => {
                *lines += 1;
                *bytes = bytes.saturating_add(entry.line.len() + size_of::<Entry>());
                match *bytes <= HELD_BYTES {
                    true => held.push(entry),
                    false => *held = Vec::new(),
                }
            }
            Stage::Find { .. } | Stage::Recount { .. } | Stage::Gap { .. } | Stage::Size => {}
        }
    }
}
