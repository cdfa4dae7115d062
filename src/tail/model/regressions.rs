//! What the scripts found, each as the shortest script that shows it.

use super::driver::Driver;
use super::live::hands_on_every_line_once;
use super::log::{Log, MS, Store};
use super::op::Op;
use super::reading::{Reading, Start, lines};
use super::same;
use super::write::Write;
use crate::docker::{Stream, Tail};
use crate::tail::{Delivery, From, Gap, GapCause, Until};

const OUT: Stream = Stream::Stdout;
const ERR: Stream = Stream::Stderr;

fn log(ops: &[Op]) -> Log {
    let mut log = Log::new(Store::Files);
    ops.iter().for_each(|op| op.write_to(&mut log));
    log
}

fn writes(writes: &[Write]) -> Op {
    Op::Write(writes.to_vec())
}

/// Live over what is stored, then over these.
fn live(stored: &[Op], ops: &[Op]) -> Driver {
    let mut driver = Driver::new(log(stored), 0);
    driver.settle();
    ops.iter().for_each(|op| driver.apply(op));
    driver
}

fn finish(mut driver: Driver) {
    driver.finish();
    hands_on_every_line_once(&driver).unwrap();
}

/// History from `start` up to the record at `target`; the snapshots it took.
fn history(log: &Log, start: Start, target: Option<usize>) -> Vec<Tail> {
    let until = target.and_then(|at| log.position(at).anchor);
    let until = until.map_or(Until::End, Until::Anchor);
    let mut reading = Reading::new(start.from(log), until, log);
    reading.run(log);
    same(&reading.delivered, start.answer(log, target, log.end())).unwrap();
    let mut behind = Reading::new(From::After(reading.history.position()), Until::End, log);
    behind.run(log);
    let at = target.map_or(log.end(), |at| at + 1);
    let rest = log.lines_over(0..log.end()).into_iter();
    same(
        &behind.delivered,
        rest.filter(|span| span.over >= at).collect(),
    )
    .unwrap();
    reading.tails
}

fn gaps(delivered: &[Delivery]) -> Vec<&Gap> {
    let gaps = delivered.iter().filter_map(|delivery| match delivery {
        Delivery::Gap(gap) => Some(gap),
        _ => None,
    });
    gaps.collect()
}

/// A lease behind these leaves out what `skipped` writes and brings the rest;
/// all up to there is deleted.
fn skipped_and_deleted(stored: &[Op], skipped: &[Write], rest: &[Op]) -> Driver {
    let mut driver = live(stored, &[writes(skipped)]);
    rest.iter().for_each(|op| driver.apply(op));
    let records = skipped.len();
    driver.skip(&|_| records - 1);
    assert_eq!(driver.skipped.len(), records);
    driver.apply(&Op::Deliver(400));
    let behind = driver.skipped.iter().max().map_or(0, |last| last + 1);
    driver.log.delete(behind);
    assert_eq!(driver.log.base, behind);
    driver
}

#[test]
fn the_times_of_a_skips_gap_hold_a_line_stamped_before_the_last_verified_one() {
    let stored = [Op::Burst(OUT, 64), writes(&[Write::line(ERR)])];
    let part = || Write::part(OUT);
    let skipped = [part().held(500 * MS), part(), part(), Write::line(OUT)];
    finish(skipped_and_deleted(&stored, &skipped, &[Op::Burst(OUT, 9)]));
}

#[test]
fn the_times_of_a_skips_gap_hold_a_line_stamped_behind_what_is_left() {
    let skipped = [Write::line(OUT).after(2_000 * MS)];
    let late = || Write::line(ERR).held(500 * MS);
    let rest = [writes(&[late(), late()])];
    finish(skipped_and_deleted(&[Op::Burst(OUT, 3)], &skipped, &rest));
}

#[test]
fn the_times_of_a_skips_gap_hold_its_lines_where_the_clock_is_set_back_behind_them() {
    let stored = [Op::Burst(OUT, 3)];
    let skipped = [Write::line(OUT).after(60_000 * MS)];
    let mut driver = skipped_and_deleted(&stored, &skipped, &[Op::Burst(OUT, 1)]);
    driver.apply(&Op::Step);
    driver.apply(&Op::Burst(OUT, 3));
    let time = driver.skipped.iter().map(|at| driver.log.records[*at].time);
    let time = time.max();
    // Nothing is left from before the step.
    let mut gone = driver.log.clone();
    gone.delete(gone.end() - 3);
    let told = told_at_resume(&driver, &gone);
    assert_eq!(told.len(), 2);
    assert!(told[0].after.is_none_or(|after| Some(after) <= time));
    assert!(told[0].before.is_none_or(|before| time <= Some(before)));
    finish(driver);
}

#[test]
fn a_gap_of_a_deleted_place_tells_a_skip_before_it_apart() {
    let stored = [Op::Burst(OUT, 3)];
    let skipped = [Write::line(OUT), Write::line(OUT)];
    let mut driver = skipped_and_deleted(&stored, &skipped, &[Op::Burst(OUT, 9)]);
    let place = driver.live.position().anchor;
    let last = place.map(|place| place.time);
    driver.apply(&Op::Burst(OUT, 9));
    driver.log.delete(driver.log.end() - 4);
    driver.elapse();
    driver.settle();
    let [skip, gone] = gaps(&driver.delivered)[..] else {
        panic!("{:?}", gaps(&driver.delivered));
    };
    assert_eq!(skip.cause, GapCause::EngineSkip);
    let times = driver.skipped.iter().map(|at| driver.log.records[*at].time);
    assert!(
        times
            .clone()
            .all(|time| skip.after <= Some(time) && Some(time) <= skip.before)
    );
    assert_eq!(skip.place, Some(1), "before all that came");
    assert_eq!((gone.cause, gone.after), (GapCause::RotatedOut, last));
    let first_left = driver.log.records[driver.log.base].time;
    assert_eq!(gone.before, Some(first_left));
    finish(driver);
}

/// What a client is told that resumes at the reader's place.
fn told_at_resume(driver: &Driver, log: &Log) -> Vec<Gap> {
    let from = From::After(driver.live.position());
    let mut back = Reading::new(from, Until::End, log);
    back.run(log);
    gaps(&back.delivered).into_iter().cloned().collect()
}

#[test]
fn a_resume_at_a_deleted_place_tells_a_skip_before_it_apart() {
    let skipped = [Write::line(OUT)];
    let mut driver = skipped_and_deleted(&[Op::Burst(OUT, 3)], &skipped, &[Op::Burst(OUT, 9)]);
    driver.apply(&Op::Burst(OUT, 9));
    driver.log.delete(driver.log.end() - 4);
    let told = told_at_resume(&driver, &driver.log);
    let [skip, gone] = &told[..] else {
        panic!("{told:?}");
    };
    let skipped = driver.skipped.iter().map(|at| driver.log.records[*at].time);
    let place = driver.live.position().anchor.map(|at| at.time);
    assert_eq!(skip.cause, GapCause::EngineSkip);
    assert!(skipped.clone().all(|time| skip.after <= Some(time)));
    assert!(
        skip.before
            .is_none_or(|before| skipped.max() <= Some(before))
    );
    assert_eq!((gone.cause, gone.after), (GapCause::RotatedOut, place));
}

#[test]
fn a_resume_behind_a_skip_of_a_logs_first_lines_that_are_deleted_tells_it() {
    let mut driver = live(&[], &[Op::Burst(OUT, 10), Op::Deliver(1)]);
    driver.skip(&|_| 0);
    driver.apply(&Op::Deliver(100));
    // As many are left as were delivered.
    driver.log.delete(1);
    driver.skipped = [0].into();
    let told = told_at_resume(&driver, &driver.log);
    assert!(
        matches!(&told[..], [gap] if gap.cause == GapCause::EngineSkip),
        "{told:?}"
    );
}

#[test]
fn a_resume_within_a_line_that_is_deleted_tells_it() {
    let stored = [writes(&[Write::part(ERR)]), Op::Burst(OUT, 9)];
    let mut driver = live(&stored, &[]);
    driver.apply(&writes(&[Write::line(ERR)]));
    let line = driver.log.records[0].time;
    driver.log.delete(5);
    driver.log.base = 5;
    let told = told_at_resume(&driver, &driver.log);
    let [gap] = &told[..] else { panic!("{told:?}") };
    assert_eq!((gap.after, gap.before), (Some(line), Some(line)));
    // So does one whose place is deleted as well.
    driver.log.base = driver.log.end() - 1;
    let told = told_at_resume(&driver, &driver.log);
    let [gap] = &told[..] else { panic!("{told:?}") };
    assert_eq!(gap.after, Some(line));
}

/// What was delivered late, or not yet, is told apart wherever a client stops.
#[test]
fn a_position_within_a_comparison_reports_what_is_still_missing() {
    let mut driver = live(&[Op::Burst(OUT, 3)], &[Op::Burst(OUT, 10), Op::Deliver(4)]);
    driver.skip(&|_| 4);
    driver.apply(&Op::Deliver(100));
    let skipped = driver.skipped.len();
    assert_eq!(skipped, 5);
    driver.elapse();
    let late = |driver: &Driver| {
        let late = |delivery: &&Delivery| matches!(delivery, Delivery::Late(..));
        driver.delivered.iter().filter(late).count()
    };
    while late(&driver) < skipped {
        driver.apply(&Op::Deliver(1));
        let from = From::After(driver.live.position());
        let mut back = Reading::new(from, Until::End, &driver.log);
        back.run(&driver.log);
        let gaps = back.delivered.iter().filter_map(|delivery| match delivery {
            Delivery::Gap(gap) => Some(gap.missing),
            _ => None,
        });
        let missing = (skipped - late(&driver)) as u64;
        let expected = Some(Some(missing)).filter(|_| missing > 0);
        assert_eq!(gaps.collect::<Vec<_>>(), Vec::from_iter(expected));
        assert!(lines(&back.delivered).is_empty());
    }
    finish(driver);
}

#[test]
fn a_lease_that_goes_back_into_what_it_skipped_repeats_nothing() {
    let line = writes(&[Write::part(OUT), Write::line(OUT)]);
    let skipping = [Op::Burst(ERR, 20), Op::Deliver(3), Op::Burst(ERR, 64), line];
    let mut driver = live(&[], &skipping);
    driver.skip(&|records| records * 9_639 / 10_000);
    driver.apply(&Op::Deliver(2));
    driver.apply(&writes(&[Write::part(OUT)]));
    driver.go_back(&|records| records * 349 / 10_000, false);
    finish(driver);
}

#[test]
fn a_lease_that_goes_back_into_what_was_repaired_repeats_nothing() {
    let line = writes(&[Write::part(OUT), Write::line(OUT)]);
    let skipping = [Op::Deliver(400), Op::Burst(ERR, 81), line];
    let mut driver = live(&[Op::Span(OUT, 1, true)], &skipping);
    driver.skip(&|records| records * 9_639 / 10_000);
    driver.apply(&Op::Deliver(1));
    driver.elapse();
    driver.apply(&Op::Deliver(400));
    driver.go_back(&|records| records * 349 / 10_000, false);
    finish(driver);
}

#[test]
fn what_is_written_between_the_last_snapshot_and_the_exit_is_read() {
    let last_words = writes(&[Write::line(OUT), Write::part(OUT)]);
    // The cut leads to a snapshot of an empty log, then to the question.
    let ops = [Op::Break, Op::Deliver(1), last_words, Op::Exit];
    finish(live(&[], &ops));
}

#[test]
fn a_lease_that_goes_back_to_a_stream_not_seen_when_joined_is_replaced() {
    let stored = [writes(&[Write::line(ERR)]), Op::Burst(OUT, 5_000)];
    let mut driver = live(&stored, &[writes(&[Write::line(OUT)]), Op::Deliver(100)]);
    driver.go_back(&|_| 0, false);
    assert_eq!(driver.paths.replaced, 1);
    finish(driver);
}

#[test]
fn a_line_open_on_a_stream_that_was_quiet_when_joined_comes_whole() {
    let stored = [writes(&[Write::part(ERR)]), Op::Burst(OUT, 300)];
    let end = writes(&[Write::part(ERR), Write::line(ERR)]);
    finish(live(&stored, &[end, Op::Deliver(100)]));
}

#[test]
fn a_line_joined_behind_its_beginning_is_found_by_its_end() {
    let stored = [writes(&[Write::line(ERR)]), Op::Span(ERR, 63, true)];
    let driver = live(&stored, &[Op::Break, Op::Burst(OUT, 100)]);
    assert_eq!(driver.paths.gaps, 0);
    finish(driver);
}

#[test]
fn the_last_lines_end_at_a_target_further_back_than_they_are() {
    let log = log(&[Op::Burst(OUT, 400)]);
    history(&log, Start::Lines(3), Some(100));
}

#[test]
fn a_target_in_a_line_of_a_quiet_stream_is_met() {
    let log = log(&[
        writes(&[Write::line(OUT)]),
        Op::Span(ERR, 100, false),
        Op::Burst(OUT, 9),
    ]);
    let target = log.end() - 10;
    for start in [
        Start::Lines(3),
        Start::After(90),
        Start::Since(log.records[90].time),
    ] {
        history(&log, start, Some(target));
    }
}

#[test]
fn a_line_that_spans_the_window_is_one_of_the_last_lines_and_whole() {
    history(&log(&[Op::Span(ERR, 40, true)]), Start::Lines(1), None);
    history(
        &log(&[Op::Span(ERR, 40, true), Op::Burst(OUT, 2)]),
        Start::Lines(3),
        None,
    );
}

#[test]
fn a_line_begun_before_an_instant_and_ended_behind_it_is_whole() {
    let late = Write::line(OUT).after(5_000 * MS);
    let log = log(&[
        writes(&[Write::part(ERR)]),
        Op::Burst(OUT, 100),
        writes(&[late, Write::line(ERR)]),
    ]);
    let late = log.records[101].time;
    let tails = history(&log, Start::Since(late), None);
    assert!(tails.contains(&Tail::Last(512)), "{tails:?}");
}

#[test]
fn a_stretch_that_ends_in_an_open_line_goes_on_behind_it() {
    let log = log(&[Op::Span(ERR, 148, false)]);
    history(&log, Start::Lines(0), None);
    history(&log, Start::Since(log.records[148].time + 1), None);
}

#[test]
fn long_last_lines_before_a_far_target_are_read_again_once() {
    let log = log(&[Op::Fat(145), Op::Burst(OUT, 400)]);
    let tails = history(&log, Start::Lines(70), Some(144));
    assert!(tails.len() < 8, "{tails:?}");
}

#[test]
fn a_cut_while_a_stretch_is_delivered_repeats_nothing() {
    let log = log(&[Op::Burst(OUT, 100)]);
    let mut reading = Reading::new(From::Beginning, Until::End, &log);
    (0..50).for_each(|_| assert!(reading.pump(&log)));
    reading.fail(&log);
    reading.run(&log);
    assert_eq!(lines(&reading.delivered).len(), 100);
}

/// An engine whose files rotate while it is read.
#[test]
fn a_tail_that_brings_less_than_is_stored_is_not_the_whole_log() {
    let mut driver = live(&[Op::Burst(OUT, 2_000)], &[]);
    driver.apply(&Op::Burst(OUT, 600));
    driver.log.short = 1;
    driver.apply(&Op::Break);
    (0..10).for_each(|_| driver.apply(&Op::Deliver(400)));
    driver.log.short = 0;
    let gap = |delivery: &Delivery| matches!(delivery, Delivery::Gap(_));
    driver.settle();
    assert!(!driver.delivered.iter().any(gap));
    finish(driver);

    let mut log = log(&[Op::Burst(OUT, 2_000)]);
    log.short = 1;
    let from = From::After(log.position(1_400));
    let mut reading = Reading::new(from, Until::End, &log);
    reading.run(&log);
    assert!(!reading.delivered.iter().any(gap));
    assert_eq!(lines(&reading.delivered).len(), 599);
}
