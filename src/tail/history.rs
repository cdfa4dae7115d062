//! Reading a stretch of a log once, by snapshots.
//!
//! The beginning of the stretch is looked for in windows from the log's end
//! backwards, each wider than the one before, so that the newest N records cost
//! O(N). `since` is never sent to the engine: it decodes the whole log, and old
//! engines lose lines with it.

use super::anchor::{Anchor, Finder, Tracker, index};
use super::line::{Dialect, Entry, Joiner};
use super::{Delivery, Event, Gap, Next, Position, WIDEN, WINDOW, flush};
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
    /// The oldest stamp of a line that began in the window.
    oldest: Option<i64>,
    /// Whether each stream's last line may have begun before the window.
    torn: [bool; 3],
    joiner: Joiner,
    tracker: Tracker,
}

#[derive(Debug)]
enum Stage {
    /// Looking for the record to start behind.
    Find { finder: Finder, lines: OpenLines },
    /// Looking for the first line at or after an instant.
    Since {
        instant: i64,
        /// A line begun before it shows that the stretch is in the window.
        older_than: i64,
        older_seen: bool,
    },
    /// Counting lines; held while they are few.
    Count {
        /// The window's first record; means something if that is the whole log.
        first: Option<Anchor>,
        /// The first record whose place is proven, and the lines before it.
        proven: Option<(Anchor, u64)>,
        /// Stamps of the lines at hand that may have begun before the window.
        torn: [Option<i64>; 2],
        /// Lines up to the last one whose beginning may lie before the window.
        suspect: u64,
        lines: u64,
        held: Vec<Entry>,
        ends: Vec<Position>,
        bytes: usize,
    },
    /// Looking for a record of the count, and the lines to skip from there.
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
                oldest: None,
                torn: [false; 3],
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
        flush(&mut self.pass.joiner, self.pass.tracker.anchor(), out);
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
            From::Lines(lines) => self.count(Tail::Last(lines.saturating_add(SLACK))),
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
        // The target is behind its line's beginning: so is all of the stretch.
        let begin = match self.until {
            Until::Anchor(target) => instant.min(target.time),
            Until::End => instant,
        };
        self.read(
            tail,
            Stage::Since {
                instant,
                older_than: begin.saturating_sub(INVERSION),
                older_seen: tail == Tail::All,
            },
        )
    }

    fn count(&mut self, tail: Tail) -> Next {
        let stage = Stage::Count {
            first: None,
            proven: None,
            torn: [None; 2],
            suspect: 0,
            lines: 0,
            held: Vec::new(),
            ends: Vec::new(),
            bytes: 0,
        };
        self.read(tail, stage)
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
            oldest: None,
            torn: [false; 3],
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
        if self.doubts_target(&record) || self.doubts_line(&record) {
            self.pass.stage = Stage::Size;
            return Next::More;
        }
        let pass = &mut self.pass;
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
                    // It may belong to a line that is still open there.
                    pass.tracker.push(&record);
                    pass.joiner.push(record, &mut |_| ());
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

    /// Whether `record` may be the target and the window does not show whether
    /// it is: what is wanted from here on is read again. Before the stretch it
    /// does not matter.
    fn doubts_target(&mut self, record: &Record) -> bool {
        let target = self.pass.target;
        if !target.is_some_and(|target| target.is_in_doubt(record)) {
            return false;
        }
        match self.pass.stage {
            Stage::Find { .. } | Stage::Recount { .. } | Stage::Size => return false,
            Stage::Deliver => self.from = From::After(self.position()),
            _ => {}
        }
        true
    }

    /// Whether `record` belongs to a line that may have begun before the window,
    /// which no position that was looked for knows of: it is read again as one
    /// that was open here.
    fn doubts_line(&mut self, record: &Record) -> bool {
        let (Stage::Deliver, From::Since(_)) = (&self.pass.stage, self.from) else {
            return false;
        };
        let Some(line) = self.pass.torn_line(record) else {
            return false;
        };
        let mut position = self.position();
        position.open[index(record.stream)] = Some(line);
        self.from = From::After(position);
        true
    }

    /// A record of the stretch, or of the window before it.
    fn take(&mut self, record: Record, out: &mut Vec<Delivery>) {
        let pass = &mut self.pass;
        if let Stage::Gap { after } = pass.stage {
            let before = Some(record.time);
            out.push(Delivery::Gap(Gap { after, before }));
            pass.stage = Stage::Deliver;
        }
        let before = pass.position();
        let group = pass.tracker.last_of(record.stream);
        let was_torn = group.filter(|_| pass.torn[index(record.stream)]);
        let was_torn = was_torn.map(|last| last.time);
        pass.note_age(&record);
        let is_proven = group.is_some_and(|last| last.time != record.time);
        let anchor = pass.tracker.push(&record);
        if let Stage::Count {
            first,
            proven,
            torn,
            lines,
            ..
        } = &mut pass.stage
        {
            let is_torn = pass.torn[index(record.stream)];
            *torn = [was_torn, is_torn.then_some(record.time)];
            first.get_or_insert(anchor);
            if is_proven {
                proven.get_or_insert((anchor, *lines));
            }
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
            (Stage::Count { .. }, From::Lines(wanted)) => self.pass.holds(wanted),
            (Stage::Size, _) => false,
            (Stage::Since { older_seen, .. }, _) => *older_seen && self.pass.is_placed(),
            _ => true,
        };
        match &self.pass.stage {
            _ if !enough => {
                self.pass.past_target = true;
                Next::More
            }
            Stage::Count { .. } => self.counted(self.pass.tail == Tail::All, out),
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
            Stage::Deliver | Stage::Skip { .. } => self.done(),
            Stage::Since {
                older_seen: true, ..
            } if self.pass.is_placed() => self.done(),
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
            From::Lines(_) => self.count(tail),
            From::Beginning => self.read(Tail::All, Stage::Deliver),
        }
    }

    fn counted_to_end(&mut self, whole: bool, out: &mut Vec<Delivery>) -> Next {
        let (From::Lines(wanted), Stage::Count { lines, .. }) = (self.from, &self.pass.stage)
        else {
            return Next::Done;
        };
        if !whole && self.pass.target.is_some() && !self.pass.past_target {
            // The target is further back than the window, or gone.
            return self.widen(false);
        }
        if whole || self.pass.holds(wanted) {
            return self.counted(whole, out);
        }
        let (seen, lines) = (self.pass.seen, u32::try_from(*lines).unwrap_or(u32::MAX));
        let missing = wanted.saturating_sub(lines).saturating_add(1);
        let more = missing.saturating_mul(seen / lines.max(1) + 1);
        // What was read says little of what is before it: neither a crawl nor a
        // leap.
        let most = seen.saturating_mul(WIDEN - 1);
        let want = seen.saturating_add(more.clamp(seen / 2, most).saturating_add(SLACK));
        self.count(Tail::Last(want))
    }

    /// The window holds the lines asked for: those held go out, others are read
    /// again from a record whose place is known.
    fn counted(&mut self, whole: bool, out: &mut Vec<Delivery>) -> Next {
        let (
            From::Lines(wanted),
            Stage::Count {
                first,
                proven,
                lines,
                held,
                ends,
                bytes,
                ..
            },
        ) = (self.from, &mut self.pass.stage)
        else {
            return Next::Done;
        };
        let wanted = u64::from(wanted);
        if *bytes <= HELD_BYTES {
            let skip = usize::try_from(lines.saturating_sub(wanted)).unwrap_or(usize::MAX);
            let last_skipped = skip.checked_sub(1).and_then(|last| ends.get(last));
            self.start = Some(last_skipped.copied().unwrap_or_default());
            for (entry, end) in held.drain(..).zip(ends.drain(..)).skip(skip) {
                out.extend([Delivery::Entry(entry), Delivery::At(end)]);
            }
            self.pass.stage = Stage::Deliver;
            return Next::Done;
        }
        // The target may be far from the end, so what was seen is no measure.
        let (lines, window) = match self.pass.tail {
            Tail::Last(want) => (*lines, want.saturating_mul(2)),
            Tail::All => (*lines, u32::MAX),
        };
        let from_proven = proven.filter(|(_, before)| lines - before >= wanted);
        let (tail, finder, before) = match (from_proven, *first) {
            (Some((anchor, before)), _) => {
                let finder = Finder::new(anchor, false);
                (Tail::Last(window), finder, before)
            }
            (None, Some(first)) if whole => (Tail::All, Finder::new(first, true), 0),
            _ => return self.count(Tail::Last(window)),
        };
        let skip = (lines - before).saturating_sub(wanted);
        self.read(tail, Stage::Recount { finder, skip })
    }
}

impl Pass {
    fn position(&self) -> Position {
        Position {
            anchor: self.tracker.anchor(),
            open: self.joiner.open_lines(),
        }
    }

    /// Whether the last `wanted` lines are in the window from their beginnings,
    /// and are held or can be found again.
    fn holds(&self, wanted: u32) -> bool {
        let Stage::Count {
            lines,
            suspect,
            proven,
            bytes,
            ..
        } = &self.stage
        else {
            return false;
        };
        let Some(skipped) = lines.checked_sub(u64::from(wanted)) else {
            return self.tail == Tail::All;
        };
        let found = *bytes <= HELD_BYTES || proven.is_some_and(|(_, before)| before <= skipped);
        let whole = skipped > 0 && skipped >= *suspect && self.is_placed();
        self.tail == Tail::All || (whole && found)
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

    /// Notes which lines began in the window: the first record of each stream
    /// may continue one, so it proves nothing.
    fn note_age(&mut self, record: &Record) {
        let last = self.tracker.last_of(record.stream);
        let slot = index(record.stream);
        self.torn[slot] = match last {
            None => !self.began_here(record.time),
            Some(last) => self.torn[slot] && last.time == record.time,
        };
        if last.is_some_and(|l| l.ends_line || l.time != record.time) {
            let oldest = self.oldest.map_or(record.time, |t| t.min(record.time));
            self.oldest = Some(oldest);
            if let Stage::Since {
                older_than,
                older_seen,
                ..
            } = &mut self.stage
            {
                *older_seen |= oldest < *older_than;
            }
        }
    }

    /// Whether a line of this stamp can only have begun in the window: its first
    /// part is not far from where its stamp says.
    fn began_here(&self, time: i64) -> bool {
        let before = time.saturating_sub(INVERSION);
        self.tail == Tail::All || self.oldest.is_some_and(|oldest| oldest < before)
    }

    /// Whether the place of the last record among its likes is known.
    fn is_placed(&self) -> bool {
        let is_placed = |last: Anchor| last.ends_line || !self.torn[index(last.stream)];
        self.tail == Tail::All || self.tracker.anchor().is_none_or(is_placed)
    }

    /// Stamp of the line that `record` continues or ends, if that may have begun
    /// before the window.
    fn torn_line(&self, record: &Record) -> Option<i64> {
        let slot = index(record.stream);
        match self.tracker.last_of(record.stream) {
            None => (!self.began_here(record.time)).then_some(record.time),
            Some(_) => self.joiner.open_lines()[slot].filter(|_| self.torn[slot]),
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
                torn,
                suspect,
                lines,
                held,
                bytes,
                ..
            } => {
                *lines += 1;
                if torn.contains(&Some(entry.time)) {
                    *suspect = *lines;
                }
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
