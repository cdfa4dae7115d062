//! The machines against a model of the engine's log.
//!
//! A script of writes and mishaps runs; what comes out is compared with what the
//! log says without any machine. A skip inside a lease leaves out whole lines.

mod beginnings;
mod driver;
mod files;
mod gaps;
mod history;
mod journal;
mod last_words;
mod live;
mod log;
mod op;
mod page;
mod paths;
mod reading;
mod regressions;
mod resume;
mod traffic;
mod validator;
mod write;

use proptest::prelude::*;
use proptest::test_runner::{Config, RngSeed, TestRunner};

use self::log::{Line, Log, Span, Store};
use self::op::Op;
use self::reading::lines;
use super::Delivery;
use crate::docker::Stream;

type Verdict = Result<(), TestCaseError>;

/// The same cases in every run; `PROPTEST_CASES` asks for more. How many there
/// were.
fn check<S: Strategy>(cases: u32, strategy: &S, test: impl Fn(S::Value) -> Verdict) -> u64 {
    let asked_for = std::env::var_os("PROPTEST_CASES").map(|_| Config::default().cases);
    let cases = asked_for.unwrap_or(cases);
    let mut runner = TestRunner::new(Config {
        cases,
        rng_seed: RngSeed::Fixed(0x7075_6c73),
        failure_persistence: None,
        max_shrink_iters: 20_000,
        ..Config::default()
    });
    if let Err(error) = runner.run(strategy, test) {
        panic!("{error}");
    }
    cases.into()
}

/// A run of 100,000 histories takes each path 1,000 times at least.
const HISTORIES_PER_PATH: u64 = 100;

/// Prints how often paths were taken; a run that left one out proves nothing.
#[expect(clippy::print_stdout, reason = "the counts are a part of the result")]
fn took_each_path(histories: u64, reached: &impl std::fmt::Debug, least: u64) {
    println!("{histories} histories: {reached:?}");
    assert!(least >= histories / HISTORIES_PER_PATH, "void: {reached:?}");
}

/// A log that was written before anybody read it.
fn written(store: Store, before: &[Op]) -> Log {
    let mut log = Log::new(store);
    before.iter().for_each(|op| op.write_to(&mut log));
    log
}

/// Each stream's lines in order, and all whole ones in file order. A run's last
/// words may come once it is over or once the next one speaks.
fn same(delivered: &[Delivery], expected: Vec<Span>) -> Verdict {
    let delivered = &lines(delivered);
    let expected: Vec<_> = expected.into_iter().map(|span| span.line).collect();
    let expected = &expected;
    for stream in [Stream::Stdout, Stream::Stderr, Stream::Tty] {
        equal(delivered, expected, |line| line.stream == stream)?;
    }
    equal(delivered, expected, |line| !line.unterminated)
}

fn equal(delivered: &[Line], expected: &[Line], wanted: impl Fn(&&Line) -> bool) -> Verdict {
    let delivered: Vec<_> = delivered.iter().filter(&wanted).collect();
    let expected: Vec<_> = expected.iter().filter(&wanted).collect();
    let at = (0..).find(|at| delivered.get(*at) != expected.get(*at) || *at == expected.len());
    let at = at.unwrap_or(0);
    prop_assert_eq!(delivered.get(at), expected.get(at), "line {}", at);
    Ok(())
}
