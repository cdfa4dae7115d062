//! The clients' validator judges what the machines hand on, as it would judge a
//! server.

use proptest::prelude::*;
use pulsetail_client::history::{Chain, Entry, Gap, Least, Line, Rules, Truth, Verdict as Outcome};
use pulsetail_client::proto;

use super::Verdict;
use super::driver::{Driver, Segment};
use super::log::{Log, Span, Store};
use super::op::Op;
use super::written;
use crate::docker::Stream;
use crate::tail::{Delivery, GapCause};

/// Lines that were wanted, to the last: each came in its place, came late, or lies
/// in a gap.
pub(super) fn holds(driver: &Driver) -> Verdict {
    let mut chain = Chain::new(Rules::default());
    driver.delivered.iter().for_each(|d| tell(&mut chain, d));
    covers(&chain, driver)
}

/// The same of a chain that was resumed.
pub(super) fn covers(chain: &Chain, driver: &Driver) -> Verdict {
    let log = &driver.log;
    let Some(Segment { start, wanted, .. }) = driver.segments.first() else {
        return Ok(());
    };
    let mut truth = Truth::new().from_first().to_last();
    for span in log.lines_behind(*start..log.end(), *wanted) {
        let line = Line {
            stream: stream(span.line.stream),
            time: Some(span.line.time),
            bytes: &span.line.text,
            unterminated: span.line.unterminated,
        };
        truth.push_parts(&line, &cuts(log, &span));
    }
    let report = chain.judge(Some(&truth));
    let violated = report.verdict(&Least::default()) == Outcome::Violated;
    prop_assert!(!violated, "{}", report);
    Ok(())
}

pub(super) fn tell(chain: &mut Chain, delivery: &Delivery) {
    match delivery {
        Delivery::Entry(entry) => chain.entry(&received(entry, false)),
        Delivery::Late(entry, _) => chain.entry(&received(entry, true)),
        Delivery::Gap(gap) => chain.gap(Gap {
            skip: gap.cause == GapCause::EngineSkip,
            after_time: gap.after,
            before_time: gap.before,
            certain: gap.certain,
            missing_entries: gap.missing,
        }),
        Delivery::Verified | Delivery::Replaced | Delivery::At(_) => {}
    }
}

fn received(entry: &crate::tail::Entry, late: bool) -> Entry<'_> {
    Entry {
        stream: stream(entry.stream),
        time: entry.time,
        ordinal: entry.ordinal,
        bytes: &entry.line,
        unterminated: entry.unterminated,
        truncated_bytes: entry.truncated_bytes,
        late,
    }
}

fn stream(stream: Stream) -> proto::Stream {
    match stream {
        Stream::Stdout => proto::Stream::Stdout,
        Stream::Stderr => proto::Stream::Stderr,
        Stream::Tty => proto::Stream::Tty,
    }
}

/// Where the records of a line begin, but for the first.
fn cuts(log: &Log, span: &Span) -> Vec<usize> {
    let line = log.line_of(span.last);
    let of_line = (span.first..span.last).filter(|at| log.line_of(*at) == line);
    let mut end = 0;
    let ends = of_line.map(|at| {
        end += log.records[at].payload.len();
        end
    });
    ends.collect()
}

#[test]
fn what_is_tampered_with_is_told() {
    let finished = || {
        let mut driver = Driver::new(written(Store::Files, &[Op::Burst(Stream::Stdout, 3)]), 0);
        driver.settle();
        driver.apply(&Op::Burst(Stream::Stdout, 20));
        driver.finish();
        driver
    };
    holds(&finished()).unwrap();
    let tampered = |tamper: fn(&mut Vec<Delivery>, usize)| {
        let mut driver = finished();
        let entry = |delivery: &Delivery| matches!(delivery, Delivery::Entry(_));
        let first = driver.delivered.iter().position(entry);
        tamper(&mut driver.delivered, first.expect("there are lines") + 5);
        holds(&driver).is_err()
    };
    assert!(tampered(|delivered, at| drop(delivered.remove(at))));
    assert!(tampered(|delivered, at| delivered.swap(at, at + 1)));
    assert!(tampered(
        |delivered, at| delivered.insert(at, delivered[at].clone())
    ));
}
