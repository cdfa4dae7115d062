//! What the scripts found in logs whose stamps are loose, each as the shortest script
//! that shows it.

use super::driver::{Driver, Reading};
use super::live::hands_on_every_line_once;
use super::log::{MS, Store};
use super::op::Op;
use super::reading::{Reading as Stretch, Start};
use super::write::Write;
use super::{same, written};
use crate::docker::{Stream, Tail};
use crate::tail::Until;

const OUT: Stream = Stream::Stdout;

fn burst(lines: usize) -> Op {
    Op::Write(vec![Write::line(OUT).after(0); lines])
}

/// The place of such a line among its likes is shown by the whole log alone.
#[test]
fn a_quiet_log_of_one_stamp_is_not_opened_again_and_again() {
    let mut driver = Driver::new(written(Store::Journal, &[burst(3)]), 0);
    driver.settle();
    (0..4).for_each(|_| driver.elapse());
    driver.apply(&Op::Deliver(100));
    let opened = driver.paths.rotations;
    for _ in 0..20 {
        driver.elapse();
        driver.apply(&Op::Deliver(100));
    }
    assert_eq!(driver.paths.rotations, opened);
    assert!(matches!(driver.reading, Reading::Lease { .. }));
    driver.apply(&burst(2));
    driver.finish();
    hands_on_every_line_once(&driver).unwrap();
}

/// Its parts have stamps of their own, and the first one stands before the window.
#[test]
fn the_last_lines_come_whole_though_no_stamp_tells_where_they_began() {
    let later = |write: Write| write.after(20 * MS);
    let begun = vec![Write::line(OUT), later(Write::part(OUT))];
    let parts = vec![later(Write::part(OUT)); 30];
    let between = vec![later(Write::line(Stream::Stderr)); 3];
    let ended = vec![later(Write::line(OUT))];
    let ops = [begun, parts, between, ended].map(Op::Write);
    let log = written(Store::Journal, &ops);
    let start = Start::Lines(1);
    let mut reading = Stretch::new(start.from(&log), Until::End, &log);
    reading.run(&log);
    same(&reading.delivered, start.answer(&log, None, log.end())).unwrap();
    assert!(reading.tails.len() > 1, "{:?}", reading.tails);
}

/// A line on a stream that is silent otherwise.
#[test]
fn a_lone_line_behind_many_is_placed_by_a_short_window() {
    let many = Op::Burst(OUT, 3_000);
    let lone = Op::Burst(Stream::Stderr, 1);
    let mut driver = Driver::new(written(Store::Journal, &[many]), 0);
    driver.settle();
    driver.apply(&lone);
    driver.apply(&Op::Deliver(100));
    driver.elapse();
    driver.apply(&Op::Deliver(100));
    assert_eq!(driver.paths.widened, 0);
    let log = &driver.log;
    let start = Start::After(log.end() - 1);
    let mut reading = Stretch::new(start.from(log), Until::End, log);
    reading.run(log);
    assert_eq!(reading.tails, [Tail::Last(64)]);
    driver.finish();
    hands_on_every_line_once(&driver).unwrap();
}

/// Part and lines have one stamp and one text: which of them came cannot be told.
#[test]
fn what_was_skipped_among_its_likes_is_a_gap_and_nothing_comes_twice() {
    let before = [Op::Span(OUT, 4, false), Op::Burst(Stream::Stderr, 72)];
    let mut driver = Driver::new(written(Store::Journal, &before), 0);
    let soon = |write: Write, nanos| write.after(nanos);
    let part = || Op::Write(vec![soon(Write::part(OUT), 0)]);
    driver.apply(&Op::Write(vec![soon(Write::line(OUT), 0)]));
    driver.apply(&Op::Deliver(400));
    driver.apply(&Op::Write(vec![
        soon(Write::part(OUT), 33_116),
        soon(Write::line(OUT), 1_966_884),
        soon(Write::line(OUT), 0),
    ]));
    driver.apply(&part());
    driver.skip(&|records| records / 4);
    driver.apply(&part());
    driver.finish();
    hands_on_every_line_once(&driver).unwrap();
}

#[test]
fn a_gap_among_likes_is_not_certain() {
    let before = [Op::Span(OUT, 4, false), Op::Burst(Stream::Stderr, 72)];
    let mut driver = Driver::new(written(Store::Journal, &before), 0);
    let part = |later| Write::part(OUT).after(later);
    let line = |later| Write::line(OUT).after(later);
    let yy = Write {
        text: b"yy",
        ..line(0)
    };
    driver.apply(&Op::Write(vec![line(0)]));
    driver.apply(&Op::Deliver(400));
    let parts = [123_537_021, 640_962, 5_855_133].map(part);
    let writes = [&parts[..], &[line(1_966_884), yy]].concat();
    driver.apply(&Op::Write(writes));
    driver.apply(&Op::Write(vec![line(0), part(0)]));
    driver.skip(&|records| records * 4_286 / 10_000);
    driver.apply(&Op::Burst(OUT, 20));
    driver.go_back(&|_| 0, false);
    driver.finish();
    hands_on_every_line_once(&driver).unwrap();
}
