//! `Live` among mishaps, and what subscribers make of it.

use std::cell::Cell;

use proptest::prelude::*;

use super::driver::{Driver, Segment};
use super::log::{Line, Log, Span, Store, stores};
use super::op::{Op, op, past};
use super::paths::Paths;
use super::reading::{Reading, Start, lines, starts};
use super::{Verdict, check, same, took_each_path, validator, written};
use crate::tail::anchor::index;
use crate::tail::{Delivery, From, Position, Until};

pub(super) const OPS: usize = 60;

pub(super) fn scripts() -> impl Strategy<Value = (Store, Vec<Op>, Vec<Op>)> {
    (stores(), past(), prop::collection::vec(op(), 1..OPS))
}

pub(super) fn hands_on_every_line_once(driver: &Driver) -> Verdict {
    validator::holds(driver)?;
    let ends = |delivery: &Delivery| matches!(delivery, Delivery::Gap(gap) if gap.place.is_none());
    let parts = driver.delivered.split(ends);
    prop_assert_eq!(parts.clone().count(), driver.segments.len());
    for (part, Segment { start, wanted, end }) in parts.zip(&driver.segments) {
        let range = *start..end.unwrap_or(driver.log.end());
        let expected = driver.log.lines_behind(range, *wanted);
        let (late, timely): (Vec<_>, Vec<_>) = part
            .iter()
            .cloned()
            .partition(|delivery| matches!(delivery, Delivery::Late(..)));
        let expected = without_late(driver, &late, &timely, expected, part)?;
        same(&timely, expected)?;
    }
    Ok(())
}

/// What is to come in time: late lines come once and had been skipped, and a
/// skipped line that came neither way lies in a gap.
fn without_late(
    driver: &Driver,
    late: &[Delivery],
    timely: &[Delivery],
    mut expected: Vec<Span>,
    part: &[Delivery],
) -> Result<Vec<Span>, TestCaseError> {
    let skipped = |span: &Span| (span.first..=span.last).any(|at| driver.skipped.contains(&at));
    for line in lines(late) {
        // Retention may have left only its end.
        let is_it = |span: &Span| {
            let stored = &span.line;
            let same = (stored.stream, stored.time) == (line.stream, line.time);
            same && stored.text.ends_with(&line.text) && skipped(span)
        };
        let at = expected.iter().position(is_it);
        let Some(at) = at else {
            return Err(TestCaseError::fail(format!(
                "late, but not skipped: {line:?}"
            )));
        };
        expected.remove(at);
    }
    let timely = lines(timely);
    // A journal may hold equal lines.
    let came = |line: &Line| timely.iter().filter(|came| *came == line).count();
    let is_missing = |expected: &[Span], at: usize| {
        let line = &expected[at].line;
        let stored = || expected.iter().filter(|span| span.line == *line).count();
        skipped(&expected[at]) && stored() > came(line)
    };
    let all = expected.len();
    for at in (0..all).rev() {
        if is_missing(&expected, at) {
            expected.remove(at);
        }
    }
    let missing = all - expected.len();
    let told = part
        .iter()
        .any(|delivery| matches!(delivery, Delivery::Gap(_)));
    let ended = driver.segments.len() > 1;
    prop_assert!(
        missing == 0 || told || ended,
        "skipped, and nobody was told"
    );
    Ok(expected)
}

/// Cycling idle leases leaks memory in the engine; reading again and again is
/// worse.
fn costs_probes_only(driver: &mut Driver) -> Verdict {
    let mut requests = || {
        for _ in 0..6 {
            driver.elapse();
            driver.apply(&Op::Deliver(100_000));
        }
        (driver.paths.resyncs, driver.paths.rotations)
    };
    let (first, second) = (requests(), requests());
    prop_assert_eq!(first, second, "{:?} {:?}", driver.live, driver.log.end());
    Ok(())
}

#[test]
fn live_hands_on_every_line_once_whatever_happens_to_its_reads() {
    let paths = Cell::new(Paths::default());
    let histories = check(
        12_000,
        &(scripts(), any::<u64>()),
        |((store, before, script), seed)| {
            let mut driver = Driver::new(written(store, &before), seed);
            script.iter().for_each(|op| driver.apply(op));
            driver.settle();
            let anchor = driver.live.position().anchor;
            // Where it cannot be probed all is read again.
            let is_emptied = script.iter().any(|op| matches!(op, Op::Empty));
            let is_probed = driver.log.running && !is_emptied;
            if is_probed && anchor.is_none_or(|anchor| anchor.ends_line) {
                costs_probes_only(&mut driver)?;
            }
            driver.finish();
            paths.set(paths.get() + driver.paths);
            hands_on_every_line_once(&driver)
        },
    );
    let reached = paths.get();
    took_each_path(histories, &reached, reached.least());
}

/// What history hands on up to this place of the reader, with the last words that the
/// reader has told by then; how many there were.
fn up_to(
    past: &mut Reading,
    log: &Log,
    start: Start,
    (at, place): (usize, Position),
) -> Result<u64, TestCaseError> {
    let mut expected = start.answer_from(log, Some(at), (past.oldest, past.end));
    let mut words = 0;
    if past.history.position().anchor == place.anchor {
        past.history.flush(place.open, &mut past.delivered);
        let told = lines(&past.delivered);
        for (span, is_due) in start.left_open(log, at, place.open, &expected) {
            words += 1;
            if is_due || told.contains(&span.line) {
                expected.push(span);
            }
        }
    }
    same(&past.delivered, expected)?;
    Ok(words)
}

/// A subscriber joins: the past up to where the log is read, then what is read
/// from there on. Another comes back with that place as its cursor.
#[test]
fn history_and_live_make_one_sequence() {
    let (in_a_line, words) = (Cell::new(0), Cell::new(0));
    let joins = (scripts(), starts(), 0..OPS, any::<u64>());
    check(
        2_000,
        &joins,
        |((store, before, mut script), start, joint, seed)| {
            script.retain(|op| !matches!(op, Op::Delete(_) | Op::Empty | Op::Step | Op::Skip(_)));
            let mut driver = Driver::new(written(store, &before), seed);
            let rest = script.split_off(joint.min(script.len()));
            script.iter().for_each(|op| driver.apply(op));
            let position = driver.live.position();
            // Before that a position means nothing.
            if !driver.live.is_oriented() {
                return Ok(());
            }
            let Some(at) = driver.at(position) else {
                return Ok(());
            };
            let Some(anchor) = position.anchor else {
                return Ok(());
            };
            let start = Start::pick(start, &driver.log);
            let live = driver.delivered.len();
            let mut past =
                Reading::new(start.from(&driver.log), Until::Anchor(anchor), &driver.log);
            let mut back = Reading::new(From::After(position), Until::End, &driver.log);
            back.run(&driver.log);
            for op in &rest {
                driver.apply(op);
                let _left = (0..3).find(|_| !past.pump(&driver.log));
            }
            driver.finish();
            past.run(&driver.log);
            // A line that a run left open and that is not open here was handed on
            // when the run was over.
            let is_new = |span: &Span| {
                let open = position.open[index(span.line.stream)];
                span.first > at || open == Some(span.line.time)
            };
            words.set(words.get() + up_to(&mut past, &driver.log, start, (at, position))?);
            let mut expected = driver.log.lines_behind(0..driver.log.end(), at + 1);
            expected.retain(is_new);
            same(&driver.delivered[live..], expected)?;
            let mut expected = driver.log.lines_over(0..back.end);
            expected.retain(|span| span.over > at && is_new(span));
            in_a_line.set(in_a_line.get() + u64::from(position.open != [None; 3]));
            same(&back.delivered, expected)
        },
    );
    let reached = (in_a_line.get(), words.get());
    assert!(reached.0 >= 200 && reached.1 >= 50, "{reached:?}");
}
