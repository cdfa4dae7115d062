//! Reading a stretch of a log once, by snapshots.
//!
//! The beginning of the stretch is looked for in windows from the log's end
//! backwards, each wider than the one before, so that the newest N records cost
//! O(N). `since` is never sent to the engine: it decodes the whole log, and old
//! engines lose lines with it.

mod begin;
mod check;
mod count;
mod in_doubt;
mod pass;
mod stretch;

use super::anchor::{Anchor, Finder, index};
use super::doubt::Skips;
use super::line::{Dialect, Entry, Joiner};
use super::live::Settings;
use super::{
    Delivery, Event, Gap, GapCause, INVERSION, Next, Position, WIDEN, WINDOW, flush_but, is_whole,
};
use crate::docker::{Record, Tail};
use check::{Check, OpenLines};
use pass::{Pass, Stage};
pub use stretch::{From, Until};

/// Records read beyond the lines asked for: lines of several parts, and what is
/// stored meanwhile.
const SLACK: u32 = 16;
/// The machine.
#[derive(Debug)]
pub struct History {
    from: From,
    until: Until,
    max_line: usize,
    dialect: Dialect,
    /// Whether the engine never deletes anything of the log.
    complete: bool,
    /// Bytes stored at least where the engine has deleted any; 0: not known.
    kept: u64,
    pass: Pass,
    start: Option<Position>,
    /// Whether `from` is a place this read came to itself.
    ours: bool,
    /// What the engine said of a log that it could not read, if it did.
    words: Option<String>,
}

impl History {
    /// A machine for one stretch, and its first request.
    pub fn new(from: From, until: Until, settings: &Settings) -> (Self, Next) {
        let (max_line, dialect) = (settings.max_line, settings.dialect);
        let joiner = Joiner::new(max_line, dialect);
        let mut history = Self {
            from,
            until,
            max_line,
            dialect,
            complete: settings.skips == Skips::Never,
            kept: settings.kept,
            pass: Pass::new(Tail::All, Stage::Deliver, None, joiner),
            start: None,
            ours: false,
            words: None,
        };
        let first = history.restart();
        (history, first)
    }

    /// Behind the last record read.
    pub fn position(&self) -> Position {
        match &self.pass.stage {
            // Not there yet.
            Stage::Begin { .. }
            | Stage::Find { .. }
            | Stage::Recount { .. }
            | Stage::Gap { .. }
            | Stage::Size => match self.from {
                From::After(position) => position,
                _ => Position::default(),
            },
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

    /// The run is over that wrote what is open here and not in `open`: that stays
    /// without its newline.
    pub fn flush(&mut self, open: super::OpenLines, out: &mut Vec<Delivery>) {
        // What ended before the first line wanted is not, and may lack its beginning.
        let (least, torn) = match (self.from, &self.pass.stage) {
            (From::Lines(0), _) => (i64::MAX, [false; 3]),
            (From::Since(_), Stage::Since { instant, .. }) => (*instant, [false; 3]),
            (From::Since(_), _) => (i64::MIN, self.pass.torn),
            _ => (i64::MIN, [false; 3]),
        };
        let (anchor, told) = (self.pass.tracker.anchor(), out.len());
        flush_but(open, &mut self.pass.joiner, anchor, out);
        let unwanted = |entry: &Entry| entry.time < least || torn[index(entry.stream)];
        let unwanted = |told: &mut Delivery| matches!(told, Delivery::Entry(e) if unwanted(e));
        out.extract_if(told.., unwanted).for_each(drop);
    }

    /// Takes an event of the snapshot, appends what it brings.
    pub fn on(&mut self, event: Event, out: &mut Vec<Delivery>) -> Next {
        match event {
            Event::Record(record) => match self.pass.stage {
                Stage::Begin { .. } => self.on_first_records(&record),
                _ => self.on_record(record, out),
            },
            Event::End => self.on_end(out),
            Event::Broken => self.restart(),
            Event::Silent if self.pass.seen == 0 => self.widen(true),
            Event::Failed(words) => {
                self.words = Some(words);
                self.restart()
            }
            _ => Next::More,
        }
    }

    /// From the start, or from where delivery has come to.
    fn restart(&mut self) -> Next {
        if let Stage::Deliver = self.pass.stage
            && self.pass.tracker.anchor().is_some()
        {
            (self.from, self.ours) = (From::After(self.position()), false);
        }
        match self.from {
            From::Beginning => self.read(Tail::All, Stage::Deliver),
            From::After(position) => {
                let doubtful = position.verified.map_or(0, |verified| verified.count);
                self.find(position, Tail::Last(WINDOW.saturating_add(doubtful)))
            }
            From::Since(instant) => self.since(instant, Tail::Last(WINDOW)),
            From::Lines(lines) => self.count(Tail::Last(lines.saturating_add(SLACK))),
        }
    }

    fn find(&mut self, position: Position, tail: Tail) -> Next {
        let Some(anchor) = position.anchor else {
            let stage = match self.complete {
                true => Stage::Deliver,
                false => Stage::Begin {
                    first: None,
                    stored: 0,
                },
            };
            return self.read(Tail::All, stage);
        };
        // Everything is behind the log's beginning: is that still there?
        match position.verified {
            Some(verified) if verified.anchor.is_none() => {
                let (first, stored) = (None, 0);
                self.read(Tail::All, Stage::Begin { first, stored })
            }
            _ => self.find_behind(None, position, anchor, tail),
        }
    }

    /// `beginning`: the log's first record, if it is known to be the first there was.
    fn find_behind(
        &mut self,
        beginning: Option<Anchor>,
        position: Position,
        anchor: Anchor,
        tail: Tail,
    ) -> Next {
        let whole = tail == Tail::All;
        let stage = Stage::Find {
            check: Check::new(position, beginning, whole, self.dialect),
            finder: Finder::new(anchor, whole).among(self.dialect),
            lines: OpenLines::new(position.open, whole && self.complete, self.dialect),
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
        let whole = tail == Tail::All;
        let target = match self.until {
            Until::Anchor(anchor) => Some(Finder::new(anchor, whole).among(self.dialect)),
            Until::End => None,
        };
        let joiner = Joiner::new(self.max_line, self.dialect);
        self.pass = Pass::new(tail, stage, target, joiner);
        Next::Snapshot(tail)
    }

    fn on_record(&mut self, record: Record, out: &mut Vec<Delivery>) -> Next {
        self.pass.seen = (self.pass.seen).saturating_add(self.dialect.counted(&record));
        if self.pass.past_target {
            return Next::More;
        }
        if self.doubts_target(&record) || self.doubts_line(&record) {
            self.pass.stage = Stage::Size;
            return Next::More;
        }
        let pass = &mut self.pass;
        let at_target = pass.target.as_mut().is_some_and(|t| t.is_at(&record));
        match &mut pass.stage {
            Stage::Find {
                finder,
                lines,
                check,
            } => {
                if let Some(check) = check {
                    check.count(&record);
                }
                let check = *check;
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
                let whole = pass.tail == Tail::All;
                let proven = check.is_none_or(|check| check.is_done());
                if !(whole || proven && lines.torn().next().is_none()) {
                    pass.stage = Stage::Size;
                    return Next::More;
                }
                pass.joiner.keep_open(lines.times);
                for time in lines.torn().map(Some).filter(|_| !self.ours) {
                    let torn = Gap::possible(GapCause::RotatedOut, time, time);
                    out.push(Delivery::Gap(torn));
                }
                if let Some(gap) = check.and_then(|check| check.gap()) {
                    out.push(Delivery::Gap(gap));
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
        match at_target {
            true => self.at_target(out),
            false => Next::More,
        }
    }

    /// A record of the stretch, or of the window before it.
    fn take(&mut self, record: Record, out: &mut Vec<Delivery>) {
        let before = self.pass.take(record, out);
        if matches!(self.pass.stage, Stage::Deliver) {
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
        self.pass.past_target = !enough;
        match &self.pass.stage {
            _ if !enough => Next::More,
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
            Tail::Last(want) => is_whole(want, seen),
        };
        match &self.pass.stage {
            Stage::Begin {
                first: Some(first), ..
            } => {
                let first = *first;
                self.begin(Some(first))
            }
            Stage::Begin { .. } if self.position().anchor.is_some() => self.begin(None),
            Stage::Begin { .. } | Stage::Deliver | Stage::Skip { .. } => self.done(),
            Stage::Since {
                older_seen: true, ..
            } if self.pass.is_placed() => self.done(),
            Stage::Gap { .. } => {
                self.pass.tell_gap(None, out);
                Next::Done
            }
            Stage::Count { .. } => self.counted_to_end(whole, out),
            Stage::Recount { .. } => self.restart(),
            // A window that brought less than it was asked for is no proof.
            Stage::Find { check, .. } if tail == Tail::All => {
                let From::After(position) = self.from else {
                    return Next::Done;
                };
                let skip = check.as_ref().map(Check::lost);
                let gap = Stage::gap_behind(position, self.words.clone(), skip);
                self.read(Tail::All, gap)
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
}
