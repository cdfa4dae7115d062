//! Lines that a run left open, where history ends and live goes on; and other lines
//! of which a window may lack the beginning. What the scripts found.

use super::log::{Line, Log, MS, Store};
use super::op::Op;
use super::reading::{Reading, Start, lines};
use super::write::Write;
use super::written;
use crate::docker::Stream;
use crate::tail::{Delivery, From, OpenLines, Until};

const OUT: Stream = Stream::Stdout;
const ERR: Stream = Stream::Stderr;

/// Reads up to the log's end, where the log's own reader has these lines open.
fn joined(log: &Log, start: Start, open: OpenLines) -> Vec<Line> {
    let last = log.position(log.end() - 1).anchor.map(Until::Anchor);
    let mut reading = Reading::new(start.from(log), last.expect("it is not empty"), log);
    reading.run(log);
    reading.history.flush(open, &mut reading.delivered);
    lines(&reading.delivered)
}

/// Words on stderr as a run ends; the next one is within a line on stdout.
fn run_over() -> (Log, OpenLines) {
    let words = Op::Write(vec![Write::part(ERR), Write::part(ERR)]);
    let part = Op::Write(vec![Write::part(OUT).after(5_000 * MS)]);
    let before = [Op::Burst(OUT, 9), words, Op::Exit, Op::Start, part];
    let log = written(Store::Files, &before);
    let open = log.position(log.end() - 1).open;
    (log, [open[0], None, None])
}

fn words(lines: &[Line]) -> Vec<&[u8]> {
    let words = lines.iter().filter(|line| line.unterminated);
    words.map(|line| &line.text[..]).collect()
}

#[test]
fn last_words_come_to_who_joins_while_the_next_run_is_within_a_line() {
    let (log, open) = run_over();
    for start in [Start::Beginning, Start::After(3), Start::After(9)] {
        assert_eq!(words(&joined(&log, start, open)), [b"xx"]);
    }
    // The reader has them open as well: they come from there.
    let both = log.position(log.end() - 1).open;
    assert!(words(&joined(&log, Start::Beginning, both)).is_empty());
}

#[test]
fn last_words_before_the_lines_wanted_do_not_come_at_the_join() {
    let (log, open) = run_over();
    assert_eq!(joined(&log, Start::Lines(0), open), []);
    let behind = log.records[10].time + 1;
    assert_eq!(joined(&log, Start::Since(behind), open), []);
    assert_eq!(
        words(&joined(&log, Start::Since(behind - 1), open)),
        [b"xx"]
    );
}

#[test]
fn last_words_begun_before_the_window_come_whole() {
    let span = Op::Span(ERR, 35, false);
    let log = written(Store::Files, &[span, Op::Burst(OUT, 2), Op::Exit]);
    let lines = joined(&log, Start::Lines(1), OpenLines::default());
    assert_eq!(words(&lines), [b"xx"]);
}

/// Where stamps are loose, that of a line whose beginning is not read says nothing.
#[test]
fn a_line_begun_before_an_instant_and_the_window_is_not_the_first_behind_it() {
    let begun = Op::Write(vec![Write::part(ERR)]);
    let ended = Op::Write(vec![Write::line(ERR).after(1_700 * MS)]);
    let log = written(Store::Journal, &[begun, Op::Burst(OUT, 64), ended]);
    let instant = log.records[0].time + 1_000 * MS + 1;
    let mut reading = Reading::new(Start::Since(instant).from(&log), Until::End, &log);
    reading.run(&log);
    assert_eq!(lines(&reading.delivered), []);
}

#[test]
fn long_last_lines_that_only_the_whole_log_holds_are_read_once_more() {
    let parts = |stream, count| Op::Write(vec![Write::part(stream); count]);
    let log = written(
        Store::Files,
        &[
            Op::Span(ERR, 125, false),
            Op::Fat(67),
            Op::Span(ERR, 15, false),
            parts(OUT, 3),
            parts(ERR, 1),
            parts(OUT, 2),
            Op::Span(OUT, 33, false),
            Op::Span(OUT, 35, false),
            parts(OUT, 7),
        ],
    );
    let start = Start::Lines(60);
    let target = log.position(210).anchor.map_or(Until::End, Until::Anchor);
    let mut reading = Reading::new(start.from(&log), target, &log);
    reading.run(&log);
    assert_eq!(lines(&reading.delivered).len(), 60);
}

/// The clock was set back behind its beginning.
#[test]
fn the_times_of_a_gap_hold_a_line_that_was_open_before_it() {
    let mut log = written(Store::Files, &[Op::Write(vec![Write::part(ERR)]), Op::Exit]);
    log.step_back(3_600_000 * MS);
    [Op::Start, Op::Burst(OUT, 1)]
        .iter()
        .for_each(|op| op.write_to(&mut log));
    let position = log.position(log.end() - 1);
    assert!(position.open[1].is_some(), "void");
    log.base = log.end();
    Op::Burst(OUT, 1).write_to(&mut log);
    let mut reading = Reading::new(From::After(position), Until::End, &log);
    reading.run(&log);
    let Delivery::Gap(gap) = &reading.delivered[0] else {
        panic!("{:?}", reading.delivered);
    };
    assert!(gap.after <= position.open[1] && position.open[1] <= gap.before);
}
