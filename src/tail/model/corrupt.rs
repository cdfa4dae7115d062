//! Lines that the engine cannot decode, and the gaps told of what is not there.

use super::driver::{Driver, Reading, Segment};
use super::live::hands_on_every_line_once;
use super::log::{Log, Store};
use super::op::Op;
use super::write::Write;
use crate::docker::{Stream, Tail};
use crate::tail::{Gap, GapCause, Position};

/// What an engine does that reads a line which it cannot decode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Manner {
    /// The read ends.
    Ends,
    /// A follow goes on with what is stored from then on.
    Follows,
    /// A snapshot goes on a few records later.
    Leaps,
}

/// Records that are left out behind a line that cannot be decoded.
const LEAP: usize = 3;

/// A read of what is stored.
#[derive(Debug, Clone, Copy)]
pub(super) struct Snap {
    /// What was retained when it began.
    pub(super) base: usize,
    pub(super) at: usize,
    pub(super) end: usize,
    /// Bad lines behind which it is.
    passed: usize,
    /// Bad lines that were stored when it began.
    bad: usize,
    manner: Manner,
}

impl Snap {
    /// Index of the next record; `None`: it is over.
    pub(super) fn next(&mut self, log: &Log) -> Option<usize> {
        while self.passed < self.bad && log.bad[self.passed] == self.at {
            self.passed += 1;
            if self.manner != Manner::Leaps {
                (self.at, self.passed) = (self.end, self.bad);
                return None;
            }
            let next = log.bad.get(self.passed).copied().unwrap_or(self.end);
            self.at = (self.at + LEAP).min(next).min(self.end);
        }
        let at = self.at;
        self.at += usize::from(at < self.end);
        (at < self.end).then_some(at)
    }

    /// The same of a follow, up to the end of its run: `Some(None)`: it is over;
    /// `None`: nothing comes yet.
    pub(super) fn next_followed(
        &mut self,
        log: &Log,
        limit: Option<usize>,
    ) -> Option<Option<usize>> {
        let is_stored = self.at < self.end || self.passed < self.bad;
        if is_stored {
            let follows = self.manner == Manner::Follows;
            self.manner = Manner::Ends;
            let at = self.next(log);
            if follows {
                self.manner = Manner::Follows;
            }
            if at.is_some() || !follows {
                return Some(at);
            }
        }
        if Some(self.at) == limit {
            return Some(None);
        }
        // What is stored since ends it when it cannot be decoded.
        if log.bad.get(self.passed) == Some(&self.at) {
            return Some(None);
        }
        if self.at == log.end() {
            return None;
        }
        self.at += 1;
        Some(Some(self.at - 1))
    }
}

impl Log {
    /// Stores a line that cannot be decoded, among whole lines: of a line that it
    /// tears neither half may show its place.
    pub(super) fn corrupt(&mut self) {
        let is_between = self.is_between_lines(self.end()) && !self.has_open_line();
        let is_file = self.store != Store::Journal && !self.emptied;
        if is_between && is_file && !self.ends_badly() && self.end() > self.base {
            self.bad.push(self.end());
        }
    }

    /// Whether a bad line was deleted with what stood before it.
    fn is_gone(&self, bad: usize) -> bool {
        self.base > 0 && bad <= self.base
    }

    /// A read of `tail`, from now on.
    pub(super) fn read(&self, tail: Tail) -> Snap {
        let mut left = match tail {
            Tail::All => usize::MAX,
            Tail::Last(want) => (want as usize).saturating_sub(self.short),
        };
        let (mut at, mut passed) = (self.end(), self.bad.len());
        while left > 0 {
            let bad = passed.checked_sub(1).map(|before| self.bad[before]);
            match bad.filter(|bad| *bad == at && !self.is_gone(*bad)) {
                Some(_) => passed -= 1,
                None if at > self.base => at -= 1,
                None => break,
            }
            left -= 1;
        }
        Snap {
            base: self.base,
            at,
            end: self.end(),
            passed,
            bad: self.bad.len(),
            manner: self.manner,
        }
    }

    /// The last record that this brings.
    pub(super) fn last_of(&self, mut snap: Snap) -> Option<usize> {
        std::iter::from_fn(|| snap.next(self)).last()
    }

    /// Whether nothing stands behind the last bad line.
    pub(super) fn ends_badly(&self) -> bool {
        self.bad.last() == Some(&self.end())
    }
}

impl Driver {
    /// What a read has leapt over is told once it is known, and does not come.
    pub(super) fn leapt(&mut self, gap: &Gap) {
        if self.log.manner == Manner::Leaps {
            let is_late = gap.cause == GapCause::LogCorrupt && gap.place.is_some();
            self.paths.leaps += u64::from(is_late);
            for bad in &self.log.bad {
                let end = self.log.end().min(bad + LEAP);
                self.skipped.extend(*bad..end);
            }
        }
    }

    /// A gap is told only of a line that is there. `goes_on`: with what is behind
    /// it; otherwise nothing is yet.
    pub(super) fn corrupt_gap(&mut self, goes_on: bool, before: Position) {
        let at = self.at(before);
        let start = match self.reading {
            Reading::Snapshot { start, .. } => start,
            // Behind a bad line that was the last one.
            Reading::Lease { snap, .. } => snap.at - 1,
            _ => self.log.end(),
        };
        let behind = at.map_or(0, |at| at + 1);
        // One may be stored while another is looked for.
        let is_bad = |bad: &usize| *bad >= behind;
        // Retention may take both while it is looked for, and an engine that says
        // again and again that it cannot read is believed.
        let is_deleted = at.is_some_and(|at| at < self.log.base);
        assert!(
            self.log.bad.iter().any(is_bad) || is_deleted || self.reported,
            "a gap at {at:?}, but none of {:?} is bad",
            self.log.bad
        );
        if goes_on {
            self.paths.corrupt += 1;
            self.segments.last_mut().expect("oriented").end = Some(behind);
            self.segments.push(Segment {
                start,
                wanted: start,
                end: None,
            });
        }
    }
}

/// Reads a log of whole lines; nothing is lost but in gaps, and nothing comes twice.
fn read(stored: &[Op], ops: &[Op]) -> Driver {
    let mut log = Log::new(Store::Files);
    log.lines_only = true;
    stored.iter().for_each(|op| op.write_to(&mut log));
    let mut driver = Driver::new(log, 0);
    ops.iter().for_each(|op| driver.apply(op));
    driver.finish();
    hands_on_every_line_once(&driver).expect("every line comes once, or is in a gap");
    driver
}

fn lines(count: usize) -> Op {
    Op::Write(vec![Write::line(Stream::Stdout); count])
}

#[test]
fn a_second_bad_line_is_got_over_while_more_is_written() {
    let (all, some) = (Op::Deliver(400), Op::Deliver(1));
    let ops = [
        lines(1),
        Op::Corrupt,
        lines(2),
        all,
        Op::Corrupt,
        some,
        lines(1),
    ];
    assert!(read(&[], &ops).paths.corrupt > 0, "void");
}

#[test]
fn what_is_written_meanwhile_does_not_push_a_place_out_of_its_window() {
    let span = |lines| Op::Span(Stream::Stdout, lines, false);
    let all = || Op::Deliver(400);
    let broken = [Op::Elapse, Op::Break, Op::Deliver(8), lines(2), Op::Elapse];
    let ops = [vec![lines(6), all(), lines(2)], broken.to_vec()].concat();
    let rest = [span(16), all(), lines(10)];
    let driver = read(&[span(82), Op::Corrupt], &[&ops[..], &rest[..]].concat());
    assert_eq!(driver.paths.corrupt, 0);
}

#[test]
fn a_lease_that_begins_before_a_bad_line_is_not_opened_again_as_wide() {
    let stored = [lines(3), Op::Corrupt, lines(64)];
    let ops = [
        lines(1),
        Op::Deliver(400),
        Op::Elapse,
        Op::Stall,
        Op::Elapse,
    ];
    assert!(read(&stored, &ops).requests < 100);
}

#[test]
fn parts_like_the_first_one_read_are_themselves() {
    let part = || Op::Write(vec![Write::part(Stream::Stderr)]);
    let mut driver = Driver::new(Log::new(Store::Files), 0);
    let ops = [part(), part(), Op::Deliver(400)];
    ops.iter().for_each(|op| driver.apply(op));
    driver.finish();
    assert_eq!(driver.paths.gaps, 0);
}

/// The next lease begins before it, passes over what it hides, and brings what is
/// behind that although its anchor has not come again.
#[test]
fn what_a_lease_brings_that_passed_over_a_bad_line_does_not_come_again() {
    let mut log = Log::new(Store::Files);
    (log.lines_only, log.manner) = (true, Manner::Follows);
    let mut driver = Driver::new(log, 0);
    let run = [Op::Burst(Stream::Stdout, 63), Op::Exit, Op::Break];
    let behind = [Op::Deliver(400), Op::Start, Op::Corrupt, Op::Deliver(400)];
    let rest = [lines(1), Op::Deliver(1), Op::Elapse, lines(1), lines(1)];
    let ops = run.iter().chain(&behind).chain(&rest);
    ops.for_each(|op| driver.apply(op));
    driver.finish();
    hands_on_every_line_once(&driver).expect("every line comes once, or is in a gap");
}

#[test]
fn what_the_first_read_of_a_log_leaps_over_is_told() {
    let mut log = Log::new(Store::Files);
    (log.lines_only, log.manner) = (true, Manner::Leaps);
    let mut driver = Driver::new(log, 0);
    let ops = [Op::Deliver(2), Op::Stall, lines(1), Op::Corrupt, lines(4)];
    ops.iter().for_each(|op| driver.apply(op));
    driver.finish();
    hands_on_every_line_once(&driver).expect("every line comes once, or is in a gap");
    assert_eq!(driver.paths.leaps, 1);
}
