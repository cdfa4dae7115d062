//! `Paging` against the straightforward answer: all pages together are the log as
//! it was at the first.

use std::cell::Cell;
use std::ops::Range;

use proptest::prelude::*;
use proptest::sample::Index;

use super::driver::MAX_LINE;
use super::log::{Line, Log, MS, Span, Store, stores};
use super::op::{Op, past};
use super::write::writes;
use super::{Verdict, check, written};
use crate::docker::{Stream, Tail};
use crate::tail::anchor::index;
use crate::tail::{Border, Entry, Event, Next, Page, Paging, Query};

/// Requests that suffice for any page.
const ENOUGH: usize = 30;

/// A log, what is asked of it, and what happens between the pages.
#[derive(Debug, Clone)]
struct Case {
    store: Store,
    before: Vec<Op>,
    deleted: Option<Index>,
    size: usize,
    bytes: usize,
    since: Option<(Index, i64)>,
    until: Option<(Index, i64)>,
    streams: Vec<Stream>,
    between: Vec<Op>,
}

fn cases() -> impl Strategy<Value = Case> {
    let near = || {
        (
            any::<Index>(),
            prop_oneof![-1..2_i64, -2_000 * MS..2_000 * MS],
        )
    };
    let between = prop_oneof![
        4 => prop::collection::vec(writes(), 1..8).prop_map(Op::Write),
        2 => (20..160_usize).prop_map(|lines| Op::Burst(Stream::Stdout, lines)),
        1 => Just(Op::Exit),
        1 => Just(Op::Start),
        1 => Just(Op::Break),
        1 => any::<Index>().prop_map(Op::Delete),
    ];
    let streams = prop_oneof![
        2 => Just(vec![]),
        1 => Just(vec![Stream::Stderr, Stream::Tty]),
        1 => Just(vec![Stream::Stdout]),
    ];
    let log = (
        stores(),
        past(),
        prop::option::weighted(0.3, any::<Index>()),
    );
    let bounds = (
        prop_oneof![3 => 1..5_usize, 1 => 5..60_usize],
        prop_oneof![1 => 1..1_000_usize, 3 => Just(1 << 20)],
    );
    let times = (
        prop::option::weighted(0.3, near()),
        prop::option::weighted(0.2, near()),
    );
    let between = prop::collection::vec(between, 0..20);
    (log, bounds, times, streams, between).prop_map(
        |((store, before, deleted), (size, bytes), (since, until), streams, between)| Case {
            store,
            before,
            deleted,
            size,
            bytes,
            since,
            until,
            streams,
            between,
        },
    )
}

impl Case {
    fn begin(&self) -> Option<(Log, Query)> {
        let mut log = written(self.store, &self.before);
        if log.end() == 0 {
            return None;
        }
        if let Some(deleted) = self.deleted {
            log.delete(deleted.index(log.end()));
        }
        let at = |(near, by): (Index, i64)| log.records[near.index(log.end())].time + by;
        let query = Query {
            filter: None,
            size: self.size,
            bytes: self.bytes,
            since: self.since.map(at),
            until: self.until.map(at),
            streams: self.streams.clone(),
            stopped: !log.running,
        };
        Some((log, query))
    }
}

/// What there is to list, in order; and last words, which may come on the page on
/// which their parts are.
fn answer(log: &Log, query: &Query) -> (Vec<Line>, Vec<Line>) {
    let mut spans = log.lines_over(log.base..log.end());
    if !log.running {
        // The last words of a run, in the order of the streams.
        let whole = |span: &Span| spans.iter().any(|over| over.first == span.first);
        let all = log.lines(log.base..log.end());
        let mut rest: Vec<_> = all.into_iter().filter(|span| !whole(span)).collect();
        rest.sort_by_key(|span| index(span.line.stream));
        spans.extend(rest);
    }
    let lines = spans.into_iter().map(|span| span.line);
    let lines = lines.skip_while(|line| query.since.is_some_and(|since| line.time < since));
    let wanted = |line: &Line| {
        let stream = query.streams.is_empty() || query.streams.contains(&line.stream);
        stream && query.until.is_none_or(|until| line.time <= until)
    };
    let lines: Vec<_> = lines.filter(wanted).collect();
    let words = lines
        .iter()
        .filter(|line| line.unterminated)
        .cloned()
        .collect();
    (lines, words)
}

fn line(entry: &Entry) -> Line {
    Line {
        stream: entry.stream,
        time: entry.time,
        text: entry.line.to_vec(),
        unterminated: entry.unterminated,
    }
}

/// Reads one page; `breaks`: its first snapshot is cut in the middle.
fn read(log: &Log, query: &Query, upper: Option<Border>, mut breaks: bool) -> (Page, Vec<Tail>) {
    let dialect = log.dialect();
    let (mut paging, mut next) = Paging::new(query.clone(), upper, MAX_LINE, dialect);
    let (mut tails, mut left): (Vec<Tail>, Range<usize>) = (Vec::new(), 0..0);
    loop {
        next = match next {
            Next::Snapshot(tail) => {
                assert!(tails.len() < ENOUGH, "reads and reads: {tails:?}");
                tails.push(tail);
                left = log.window(tail);
                Next::More
            }
            Next::More if breaks && left.len() % 7 == 3 => {
                breaks = false;
                paging.on(Event::Broken)
            }
            Next::More => match left.next() {
                Some(at) => paging.on(Event::Record(log.records[at].clone())),
                None => paging.on(Event::End),
            },
            Next::Ask if log.running => paging.on(Event::Running),
            Next::Ask => paging.on(Event::Stopped),
            Next::Done => return (paging.page().expect("it is done"), tails),
            other => panic!("{other:?} is no business of a page"),
        };
    }
}

/// The cursor of the first page stands behind everything, but for lines that are
/// open and not in the page. Where each part has its own stamp, that of the line
/// may stand before the window.
fn ends_the_log(log: &Log, page: &Page) -> Verdict {
    let end = match log.end() > log.base {
        true => log.position(log.end() - 1),
        false => return Ok(()),
    };
    prop_assert_eq!(page.position.anchor, end.anchor);
    for (told, open) in page.position.open.iter().zip(end.open) {
        let open = open.filter(|_| log.running);
        let is_it = *told == open || log.store == Store::Journal && open.is_some();
        prop_assert!(told.is_none() || is_it, "{:?} of {:?}", told, open);
    }
    Ok(())
}

/// How often pages went which way.
#[derive(Debug, Default, Clone, Copy)]
struct Ways {
    pages: u64,
    widened: u64,
    lost: u64,
    last_words: u64,
}

fn walk(case: &Case, ways: &mut Ways) -> Verdict {
    let Some((mut log, query)) = case.begin() else {
        return Ok(());
    };
    let (mut expected, words) = answer(&log, &query);
    let (mut upper, mut between) = (None, case.between.iter());
    loop {
        let op = between.next();
        let breaks = matches!(op, Some(Op::Break));
        let (page, tails) = read(&log, &query, upper, breaks);
        ways.pages += 1;
        ways.widened += u64::from(tails.len() > 1);
        if upper.is_none() {
            ends_the_log(&log, &page)?;
        }
        prop_assert!(page.entries.len() <= query.size);
        if page.lost {
            ways.lost += 1;
            let edge = upper.expect("the first page has no edge to lose").edge;
            let kept = log.records[log.base..].iter();
            let like = kept.filter(|record| edge.anchor.is_like(record)).count();
            prop_assert_eq!(like, 0, "{:?} is still there", edge);
            prop_assert!(page.entries.is_empty() && page.older.is_none());
            return Ok(());
        }
        let lines: Vec<_> = page.entries.iter().map(line).collect();
        ways.last_words += lines.iter().filter(|line| line.unterminated).count() as u64;
        for line in &lines {
            if words.contains(line) {
                let at = expected.iter().position(|l| l == line);
                prop_assert!(at.is_some(), "twice: {:?}", line);
                expected.remove(at.unwrap_or_default());
            }
        }
        let lines: Vec<_> = lines.into_iter().filter(|l| !words.contains(l)).collect();
        let words: Vec<_> = expected.extract_if(.., |l| words.contains(l)).collect();
        let rest = expected.len().saturating_sub(lines.len());
        prop_assert_eq!(&lines[..], &expected[rest..], "{:?}", tails);
        expected.truncate(rest);
        expected.extend(words);
        match page.older {
            None => break,
            Some(border) => upper = Some(border),
        }
        match op {
            // It takes with it what `since` counts from.
            Some(Op::Delete(_)) if query.since.is_some() || log.store == Store::Journal => {}
            Some(Op::Delete(at)) => {
                let least = log.base;
                log.delete(at.index(log.end()).max(least));
                expected = kept(&log, expected);
            }
            Some(op) => op.write_to(&mut log),
            None => {}
        }
    }
    prop_assert_eq!(expected, Vec::new());
    Ok(())
}

/// What retention left of these lines: what is deleted before it is read is
/// missing, and no page's fault.
fn kept(log: &Log, expected: Vec<Line>) -> Vec<Line> {
    let stored = log.lines(log.base..log.end());
    let left = expected.into_iter().filter_map(|line| {
        let is_it = |span: &&Span| span.line.stream == line.stream && span.line.time == line.time;
        stored.iter().find(is_it).map(|span| span.line.clone())
    });
    left.collect()
}

#[test]
fn all_pages_together_are_the_log_as_it_was_at_the_first() {
    let ways = Cell::new(Ways::default());
    check(2_000, &cases(), |case| {
        let mut taken = ways.get();
        let verdict = walk(&case, &mut taken);
        ways.set(taken);
        verdict
    });
    let Ways {
        pages,
        widened,
        lost,
        last_words,
    } = ways.get();
    let least = [pages / 20, widened, lost, last_words].into_iter().min();
    assert!(least > Some(50), "{:?}", ways.get());
}
