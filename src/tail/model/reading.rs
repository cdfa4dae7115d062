//! Does to the model what `History` asks, and knows the answer without it.

use std::ops::Range;

use proptest::prelude::*;
use proptest::sample::Index;

use super::driver::settings;
use super::log::{Line, Log, MS, Span};
use crate::docker::Tail;
use crate::tail::anchor::index;
use crate::tail::{Delivery, Event, From, History, Next, OpenLines, Until};

/// Requests that suffice for any stretch.
const ENOUGH: usize = 60;

/// One stretch being read.
pub(super) struct Reading {
    pub(super) history: History,
    pub(super) delivered: Vec<Delivery>,
    /// Every snapshot asked for.
    pub(super) tails: Vec<Tail>,
    /// What was stored when the last one was.
    pub(super) end: usize,
    /// The oldest record that any of them brought.
    pub(super) oldest: usize,
    left: Option<Range<usize>>,
}

impl Reading {
    pub(super) fn new(from: From, until: Until, log: &Log) -> Self {
        let (history, next) = History::new(from, until, &settings(0, log.dialect()));
        let mut reading = Self {
            history,
            delivered: Vec::new(),
            tails: Vec::new(),
            end: 0,
            oldest: usize::MAX,
            left: None,
        };
        reading.follow(next, log);
        reading
    }

    /// One event; `false`: all is read.
    pub(super) fn pump(&mut self, log: &Log) -> bool {
        let Some(left) = &mut self.left else {
            return false;
        };
        let event = match left.next() {
            Some(at) => Event::Record(log.records[at].clone()),
            None => Event::End,
        };
        self.feed(event, log);
        true
    }

    pub(super) fn fail(&mut self, log: &Log) {
        if self.left.is_some() {
            self.feed(Event::Broken, log);
        }
    }

    pub(super) fn run(&mut self, log: &Log) {
        let last = self.tails.len() + ENOUGH;
        while self.pump(log) {
            assert!(self.tails.len() < last, "reads and reads: {:?}", self.tails);
        }
    }

    fn feed(&mut self, event: Event, log: &Log) {
        let next = self.history.on(event, &mut self.delivered);
        self.follow(next, log);
    }

    fn follow(&mut self, next: Next, log: &Log) {
        match next {
            Next::More => {}
            Next::Snapshot(tail) => {
                self.tails.push(tail);
                let window = log.window(tail);
                self.oldest = self.oldest.min(window.start);
                self.left = Some(window);
                self.end = log.end();
            }
            Next::Done => self.left = None,
            other => panic!("{other:?} is no business of a history"),
        }
    }
}

/// Where a stretch begins, in the model's terms.
#[derive(Debug, Clone, Copy)]
pub(super) enum Start {
    Beginning,
    /// Behind the record at this index.
    After(usize),
    Since(i64),
    Lines(u32),
}

pub(super) fn starts() -> impl Strategy<Value = (u32, Index, i64)> {
    let near = prop_oneof![-1..2_i64, -2_000 * MS..2_000 * MS];
    (0..300_u32, any::<Index>(), near)
}

impl Start {
    /// One of a log that is not empty. The record may be deleted.
    pub(super) fn pick((kind, record, near): (u32, Index, i64), log: &Log) -> Self {
        let at = record.index(log.end());
        match kind {
            0..10 => Start::Beginning,
            10..140 => Start::After(at),
            140..200 => Start::Since(log.records[at].time + near),
            200..260 => Start::Lines(kind - 200),
            _ => Start::Lines((kind - 260) * 8),
        }
    }

    pub(super) fn from(self, log: &Log) -> From {
        match self {
            Start::Beginning => From::Beginning,
            Start::After(at) => From::After(log.position(at)),
            Start::Since(instant) => From::Since(instant),
            Start::Lines(lines) => From::Lines(lines),
        }
    }

    /// The lines of the stretch. `target`: index of the last record wanted.
    pub(super) fn answer(self, log: &Log, target: Option<usize>, end: usize) -> Vec<Span> {
        self.answer_from(log, target, (0, end))
    }

    /// The same where no record before `oldest` was read: words that a run had left
    /// before it are not told, though a later record shows that they are over. Their
    /// place is that of their last part, which is before the stretch.
    pub(super) fn answer_from(
        self,
        log: &Log,
        target: Option<usize>,
        (oldest, end): (usize, usize),
    ) -> Vec<Span> {
        let until = target.map_or(end, |at| at + 1);
        let is_read = |span: &Span| !span.line.unterminated || span.last >= oldest;
        let spans = |until| {
            let mut spans = log.lines_over(log.base..until);
            spans.retain(is_read);
            spans
        };
        match self {
            Start::Beginning => spans(until),
            // A target before the start is never met.
            Start::After(at) if at < log.base => spans(until),
            Start::After(at) if until <= at => behind(spans(end), at),
            Start::After(at) => behind(spans(until), at),
            Start::Since(instant) => {
                let before = |span: &Span| span.line.time < instant;
                spans(until).into_iter().skip_while(before).collect()
            }
            Start::Lines(lines) => {
                let mut spans = spans(until);
                spans.drain(..spans.len().saturating_sub(lines as usize));
                spans
            }
        }
    }
}

impl Start {
    /// What runs had left open at the record `at` and whoever reads on from there has
    /// had, and whether it is due: where it ended before the others of the stretch it
    /// may come.
    pub(super) fn left_open(
        self,
        log: &Log,
        at: usize,
        open: OpenLines,
        stretch: &[Span],
    ) -> Vec<(Span, bool)> {
        let left = log.lines_behind(log.base..at + 1, at + 1).into_iter();
        let left =
            left.filter(|span| span.line.unterminated && open[index(span.line.stream)].is_none());
        let first = stretch.iter().map(|span| span.last).min();
        let due = |span: &Span| match self {
            Start::Beginning | Start::After(_) => true,
            Start::Lines(0) => false,
            Start::Lines(_) => first.is_none_or(|first| span.last > first),
            Start::Since(instant) => {
                span.line.time >= instant || first.is_some_and(|first| span.last > first)
            }
        };
        left.map(|span| (span.clone(), due(&span))).collect()
    }
}

fn behind(mut spans: Vec<Span>, at: usize) -> Vec<Span> {
    spans.retain(|span| span.over > at);
    spans
}

/// The lines delivered; gaps are told apart by the caller.
pub(super) fn lines(deliveries: &[Delivery]) -> Vec<Line> {
    let entries = deliveries.iter().filter_map(|delivery| match delivery {
        Delivery::Entry(entry) | Delivery::Late(entry, _) => Some(entry),
        _ => None,
    });
    let line = |entry: &crate::tail::Entry| Line {
        stream: entry.stream,
        time: entry.time,
        text: entry.line.to_vec(),
        unterminated: entry.unterminated,
    };
    entries.map(line).collect()
}
