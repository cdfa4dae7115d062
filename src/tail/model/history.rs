//! `History` against the straightforward answer.

use std::cell::Cell;

use proptest::prelude::*;
use proptest::sample::Index;

use super::log::{Log, MS, Span, Store, stores};
use super::op::{Op, past};
use super::reading::{Reading, Start, lines, starts};
use super::write::writes;
use super::{Verdict, check, equal, same, written};
use crate::docker::{Stream, Tail};
use crate::tail::{Delivery, From, Until};

/// A log, a stretch of it, and what happens while that is read.
#[derive(Debug, Clone)]
struct Case {
    store: Store,
    before: Vec<Op>,
    deleted: Option<Index>,
    start: (u32, Index, i64),
    target: Option<Index>,
    meanwhile: Vec<Op>,
}

fn cases() -> impl Strategy<Value = Case> {
    let indices = any::<Index>;
    let deleted = prop::option::weighted(0.8, indices());
    let target = prop::option::weighted(0.6, indices());
    let meanwhile = prop_oneof![
        2 => prop::collection::vec(writes(), 1..8).prop_map(Op::Write),
        1 => (20..160_usize).prop_map(|lines| Op::Burst(Stream::Stdout, lines)),
        6 => (1..80_usize).prop_map(Op::Deliver),
        1 => Just(Op::Break),
    ];
    let meanwhile = prop::collection::vec(meanwhile, 0..20);
    let log = (stores(), past(), deleted);
    (log, starts(), target, meanwhile).prop_map(
        |((store, before, deleted), start, target, meanwhile)| Case {
            store,
            before,
            deleted,
            start,
            target,
            meanwhile,
        },
    )
}

impl Case {
    /// The log, the stretch's start and its target.
    fn begin(&self) -> Option<(Log, Start, Option<usize>)> {
        let mut log = written(self.store, &self.before);
        if log.end() == 0 {
            return None;
        }
        if let Some(deleted) = self.deleted {
            log.delete(deleted.index(log.end()));
        }
        log.running = true;
        let start = Start::pick(self.start, &log);
        let target = self.target.map(|target| target.index(log.end()));
        Some((log, start, target))
    }
}

fn until(target: Option<usize>, log: &Log) -> Until {
    match target.and_then(|at| log.position(at).anchor) {
        Some(anchor) => Until::Anchor(anchor),
        None => Until::End,
    }
}

fn read_between(reading: &mut Reading, log: &mut Log, meanwhile: &[Op]) {
    for op in meanwhile {
        match op {
            Op::Deliver(records) => {
                let _left = (0..*records).find(|_| !reading.pump(log));
            }
            Op::Break => reading.fail(log),
            _ => op.write_to(log),
        }
    }
    reading.run(log);
}

/// How often history went which way.
#[derive(Debug, Default, Clone, Copy)]
struct Ways {
    widened: u64,
    whole: u64,
    gaps: u64,
}

#[test]
fn history_hands_on_exactly_the_stretch_asked_for() {
    let ways = Cell::new(Ways::default());
    check(2_000, &cases(), |case| {
        let Some((mut log, start, target)) = case.begin() else {
            return Ok(());
        };
        let mut reading = Reading::new(start.from(&log), until(target, &log), &log);
        let meanwhile = case.meanwhile.iter().filter(|op| {
            // Without a target, the last lines are those of any of its reads.
            !matches!((start, target), (Start::Lines(_), None)) || matches!(op, Op::Deliver(_))
        });
        let meanwhile: Vec<_> = meanwhile.cloned().collect();
        read_between(&mut reading, &mut log, &meanwhile);
        let met = target.filter(|target| *target >= log.base);
        let expected = start.answer(&log, met, reading.end);
        if let (Start::Lines(lines), true) = (start, meanwhile.is_empty()) {
            costs_what_it_brings(&reading, &log, lines, &expected)?;
        }
        same(&reading.delivered, expected)?;
        let gaps = reading.delivered.iter();
        let gaps = gaps.filter(|d| matches!(d, Delivery::Gap(_))).count();
        let gone = matches!(start, Start::After(at) if at < log.base);
        let torn = match start {
            Start::After(at) if !gone => log.torn_at(at),
            _ => 0,
        };
        let told = usize::from(gone) + torn;
        // A read that breaks within a line has to find its beginning again.
        let broken = meanwhile.iter().any(|op| matches!(op, Op::Break));
        prop_assert!(gaps == told || broken && gaps > told, "{} {}", gaps, told);
        let mut reached = ways.get();
        reached.gaps += u64::from(gone);
        reached.widened += u64::from(reading.tails.len() > 1);
        reached.whole += u64::from(reading.tails.contains(&Tail::All));
        ways.set(reached);
        Ok(())
    });
    let reached = ways.get();
    let least = reached.widened.min(reached.whole).min(reached.gaps);
    assert!(least >= 200, "{reached:?}");
}

/// More than a count holds: the lines are counted first, then read again.
#[test]
fn history_hands_on_the_last_lines_however_long_they_are() {
    let twice = Cell::new(0);
    let long = (
        past(),
        64..200_usize,
        past(),
        60..220_u32,
        any::<Option<Index>>(),
    );
    check(
        800,
        &long,
        |(mut before, fat, mut behind, wanted, target)| {
            // An earlier run's last words before the window count once they are
            // seen, so without them.
            before.retain(|op| !matches!(op, Op::Exit));
            behind.retain(|op| !matches!(op, Op::Exit));
            let mut log = written(Store::Files, &before);
            log.running = true;
            Op::Fat(fat).write_to(&mut log);
            behind.iter().for_each(|op| op.write_to(&mut log));
            let target = target.map(|target| target.index(log.end()));
            let start = Start::Lines(wanted);
            let mut reading = Reading::new(start.from(&log), until(target, &log), &log);
            reading.run(&log);
            let expected = start.answer(&log, target, log.end());
            let bytes = expected
                .iter()
                .map(|span| span.line.text.len())
                .sum::<usize>();
            twice.set(twice.get() + u64::from(bytes > 256 * 1024));
            same(&reading.delivered, expected)
        },
    );
    assert!(twice.get() >= 200, "{}", twice.get());
}

/// The newest lines cost what they are, wherever the target is.
fn costs_what_it_brings(reading: &Reading, log: &Log, lines: u32, expected: &[Span]) -> Verdict {
    let first = expected.iter().map(|span| span.first).min();
    let whole = expected.len() < lines as usize;
    let first = first.filter(|_| !whole).unwrap_or(log.base);
    // Behind a line of another second its stream's next ones are whole.
    let second = log.records[first].time - 1_000 * MS;
    let older = |at: &usize| log.records[*at].time < second;
    let proof = (log.base..first).rev().find(older).unwrap_or(log.base);
    let needed = log.end() - proof.min(first) + lines as usize + 16;
    for tail in &reading.tails {
        let read = match tail {
            Tail::Last(want) => (*want as usize).min(log.end() - log.base),
            Tail::All => log.end() - log.base,
        };
        prop_assert!(read <= 8 * needed, "{:?} for {}", tail, needed);
    }
    Ok(())
}

/// Wherever a stretch is cut, the rest is behind its position.
#[test]
fn history_goes_on_where_it_was_cut() {
    check(2_000, &(cases(), any::<Index>()), |(case, cut)| {
        let Some((log, start, target)) = case.begin() else {
            return Ok(());
        };
        let (from, until) = (start.from(&log), until(target, &log));
        let mut uncut = Reading::new(from, until, &log);
        let mut first = Reading::new(from, until, &log);
        uncut.run(&log);
        let _left = (0..cut.index(2 * log.end())).find(|_| !first.pump(&log));
        let mut delivered = first.delivered;
        let rest = match first.history.start() {
            None => from,
            Some(_) => From::After(first.history.position()),
        };
        let mut rest = Reading::new(rest, until, &log);
        rest.run(&log);
        delivered.append(&mut rest.delivered);
        let (delivered, expected) = (lines(&delivered), lines(&uncut.delivered));
        equal(&delivered, &expected, |_| true)
    });
}
