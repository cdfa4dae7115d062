//! What containers write day in, day out, and what it costs to verify that.

use std::cell::Cell;

use proptest::prelude::*;
use proptest::sample::Index;

use super::driver::Driver;
use super::live::hands_on_every_line_once;
use super::log::{Log, Store};
use super::op::Op;
use super::write::{Write, writes};
use super::{check, took_each_path, written};
use crate::docker::Stream;
use crate::tail::WINDOW;

/// One life of a lease: what is written and brought before it is rotated.
#[derive(Debug, Clone)]
struct Round {
    lines: Vec<Write>,
    burst: usize,
    /// The lease brings so many, then leaves out what follows.
    skip: Option<(usize, Index)>,
    deleted: Option<Index>,
    /// Written between two leases.
    between: Vec<Write>,
    /// The same: more than a lease overlaps, but no more than what is in doubt.
    many: usize,
}

/// Without mishaps no stamps cross, which makes a reader look at the file, and no
/// part is left open on a quiet stream, which makes any lease wider.
fn rounds(mishaps: bool) -> impl Strategy<Value = Vec<Round>> {
    let write = move || writes().prop_map(move |write| if mishaps { write } else { write.plain() });
    let lines = || prop::collection::vec(write(), 0..12);
    let burst = prop_oneof![3 => Just(0), 1 => 0..400_usize];
    let skip = prop::option::weighted(0.3, (1..12_usize, any::<Index>()));
    let deleted = prop::option::weighted(0.1, any::<Index>());
    let few = prop::collection::vec(write(), 0..3);
    let many = prop_oneof![4 => Just(0), 1 => 0..400_usize];
    let round = (lines(), burst, skip, deleted, (few, many));
    let round = round.prop_map(
        move |(lines, burst, skip, deleted, (between, many))| Round {
            lines,
            burst,
            skip: skip.filter(|_| mishaps),
            deleted: deleted.filter(|_| mishaps),
            between,
            many,
        },
    );
    prop::collection::vec(round, 1..24)
}

/// A log of more lines than a lease overlaps, and a reader of it.
fn joined(seed: u64) -> Driver {
    let lines = WINDOW as usize + 20;
    let stored = [
        Op::Burst(Stream::Stderr, 1),
        Op::Burst(Stream::Stdout, lines),
    ];
    let mut driver = Driver::new(written(Store::Files, &stored), seed);
    driver.settle();
    driver
}

fn live(driver: &mut Driver, round: &Round) {
    driver.apply(&Op::Write(round.lines.clone()));
    driver.apply(&Op::Burst(Stream::Stdout, round.burst));
    if let Some((brought, until)) = round.skip {
        driver.apply(&Op::Deliver(brought));
        driver.apply(&Op::Skip(until));
    }
    driver.apply(&Op::Deliver(5_000));
    if let Some(until) = round.deleted {
        driver.apply(&Op::Delete(until));
    }
    driver.apply(&Op::Write(round.between.clone()));
    let doubtful = driver.live.position().verified.map_or(0, |v| v.count);
    let many = round.many.min(doubtful as usize);
    driver.apply(&Op::Burst(Stream::Stdout, many));
    driver.elapse();
    driver.apply(&Op::Deliver(5_000));
}

/// Beyond what every lease overlaps, nothing is read more than twice: a lease brings
/// what is to be verified, and no snapshot is taken.
#[test]
fn verifying_reads_at_most_as_many_records_again_as_were_delivered() {
    let (verified, again) = (Cell::new(0), Cell::new(0));
    let histories = check(1_500, &(rounds(false), any::<u64>()), |(rounds, seed)| {
        let mut driver = joined(seed);
        rounds.iter().for_each(|round| live(&mut driver, round));
        driver.settle();
        let reads = driver.paths.rotations + driver.paths.resyncs;
        let (taken, overlap) = (driver.live.taken(), reads * u64::from(WINDOW));
        let beyond = driver.again.saturating_sub(overlap);
        prop_assert!(
            beyond <= taken,
            "{} again of {taken}, {reads} reads",
            driver.again
        );
        verified.set(verified.get() + taken);
        again.set(again.get() + beyond);
        driver.finish();
        hands_on_every_line_once(&driver)
    });
    let counts = [("delivered", verified.get()), ("again", again.get())];
    took_each_path(histories, &counts, again.get());
}

#[test]
fn what_a_lease_skipped_is_found_by_the_next_one() {
    let late = Cell::new(0);
    let histories = check(1_500, &(rounds(true), any::<u64>()), |(rounds, seed)| {
        let mut driver = joined(seed);
        rounds.iter().for_each(|round| live(&mut driver, round));
        driver.finish();
        late.set(late.get() + driver.paths.late_by_lease);
        hands_on_every_line_once(&driver)
    });
    took_each_path(histories, &("late by lease", late.get()), late.get());
}

/// Where even the log's beginning is in doubt, it takes two reads of all there is.
#[test]
fn a_log_joined_at_its_beginning_is_verified_while_it_is_short() {
    let mut driver = Driver::new(Log::new(Store::Files), 0);
    driver.settle();
    driver.apply(&Op::Burst(Stream::Stdout, 1_000));
    driver.apply(&Op::Deliver(5_000));
    driver.elapse();
    driver.settle();
    let (taken, reads) = (driver.live.taken(), driver.paths.resyncs);
    assert_eq!((taken, reads), (1_000, 2));
    let most = taken + 2 * u64::from(WINDOW);
    assert!(driver.again <= most, "{} again", driver.again);
    driver.finish();
    hands_on_every_line_once(&driver).unwrap();
}

/// What began behind the last verified record is not read on.
#[test]
fn a_read_that_begins_too_late_costs_one_record() {
    let mut driver = joined(0);
    let (window, many) = (u64::from(WINDOW), 1_000);
    let before = driver.again;
    driver.apply(&Op::Burst(Stream::Stdout, many));
    driver.apply(&Op::Deliver(5_000));
    let meanwhile = 100;
    driver.apply(&Op::Burst(Stream::Stdout, meanwhile));
    driver.elapse();
    driver.apply(&Op::Deliver(5_000));
    let paths = driver.paths;
    assert_eq!((paths.rotations, paths.resyncs), (3, 1));
    // That, then a look at what is in doubt, and a lease behind it.
    let lease = window + meanwhile as u64;
    let read = 1 + (window + many as u64) + lease;
    assert_eq!(driver.again - before, read);
    driver.finish();
    hands_on_every_line_once(&driver).unwrap();
}

#[test]
fn where_a_little_more_came_than_expected_the_next_look_is_twice_as_wide() {
    let mut driver = joined(0);
    let (before, window) = (driver.again, u64::from(WINDOW));
    let more = WINDOW as usize + 30;
    driver.apply(&Op::Burst(Stream::Stdout, more));
    driver.apply(&Op::Break);
    driver.settle();
    // A look in vain, one that is, and a lease.
    let read = window + (2 * window - more as u64) + window;
    assert_eq!(driver.again - before, read);
    driver.finish();
    hands_on_every_line_once(&driver).unwrap();
}

#[test]
fn where_the_last_verified_record_is_deleted_no_look_after_the_other_begins_too_late() {
    let mut driver = joined(0);
    driver.apply(&Op::Burst(Stream::Stdout, 1_000));
    driver.apply(&Op::Deliver(5_000));
    driver.log.delete(driver.log.end() - 500);
    driver.elapse();
    driver.settle();
    // One is left at its first record, one is read to its end, one compares.
    assert_eq!((driver.paths.skip_gaps, driver.paths.resyncs), (1, 3));
    driver.finish();
    hands_on_every_line_once(&driver).unwrap();
}
