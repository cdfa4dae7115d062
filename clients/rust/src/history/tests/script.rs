//! What a faithful server sends, step by step.

use super::super::{Chain, Entry, Gap, Least, Line, Report, Rule, Rules, Truth, Verdict};
use crate::proto::Stream;

/// An entry that owns its bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Owned {
    pub(super) stream: Stream,
    pub(super) time: i64,
    pub(super) bytes: Vec<u8>,
    pub(super) truncated_bytes: u64,
    pub(super) late: bool,
}

/// What reaches a chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    Entry(Owned),
    Gap(Gap),
    Cursor(String),
    Resume(String),
}

/// Line `nth` of a log: numbered, mostly on stdout, stamps of stderr behind.
pub(super) fn line(nth: usize) -> Owned {
    let err = nth % 5 == 3;
    Owned {
        stream: if err { Stream::Stderr } else { Stream::Stdout },
        time: nth as i64 * 10 - if err { 15 } else { 0 },
        bytes: format!("line {nth}").into_bytes(),
        truncated_bytes: 0,
        late: false,
    }
}

/// The first lines of that log, all of which have to come.
pub(super) fn truth(lines: usize) -> Truth {
    let mut truth = Truth::new().from_first().to_last();
    for nth in 0..lines {
        let line = line(nth);
        truth.push(&Line {
            stream: line.stream,
            time: Some(line.time),
            bytes: &line.bytes,
            unterminated: false,
        });
    }
    truth
}

/// A server that delivers that log.
#[derive(Debug, Clone, Default)]
pub(super) struct Script {
    pub(super) steps: Vec<Step>,
    /// Number of the next line.
    next: usize,
    deleted: Vec<std::ops::Range<usize>>,
    cursors: usize,
    /// Cursors that the client may hold, and the number of the line behind each.
    given: Vec<(String, usize)>,
}

impl Script {
    /// Delivers this many lines, and a cursor behind them.
    pub(super) fn deliver(&mut self, lines: usize) {
        let end = self.next + lines;
        while self.next < end {
            let over = |range: &&std::ops::Range<usize>| range.contains(&self.next);
            match self.deleted.iter().find(over).cloned() {
                Some(range) => {
                    let gap = self.missing(range.end - self.next);
                    self.cursor();
                    self.steps.push(Step::Gap(gap));
                    self.next = range.end;
                }
                None => {
                    self.steps.push(Step::Entry(line(self.next)));
                    self.next += 1;
                }
            }
        }
        self.cursor();
    }

    fn cursor(&mut self) {
        let cursor = format!("cursor {}", self.cursors);
        self.cursors += 1;
        self.given.push((cursor.clone(), self.next));
        self.steps.push(Step::Cursor(cursor));
    }

    fn missing(&self, lines: usize) -> Gap {
        Gap {
            skip: false,
            after_time: self.next.checked_sub(1).map(|nth| line(nth).time),
            before_time: Some(line(self.next + lines).time),
            certain: true,
            missing_entries: Some(lines as u64),
        }
    }

    /// Retention deletes this many lines.
    pub(super) fn delete(&mut self, lines: usize) {
        if self.is_deleted(lines) {
            return;
        }
        self.deleted.push(self.next..self.next + lines);
        self.deliver(lines);
    }

    /// The engine skips this many lines; behind some others they come late.
    pub(super) fn repair(&mut self, lines: usize, behind: usize) {
        if self.is_deleted(lines + behind) {
            return;
        }
        let skipped = self.skip(lines, behind);
        for nth in skipped {
            let late = true;
            self.steps.push(Step::Entry(Owned { late, ..line(nth) }));
        }
        self.cursor();
    }

    /// The engine skips this many lines; behind some others a gap says so.
    pub(super) fn confess(&mut self, lines: usize, behind: usize) {
        if self.is_deleted(lines + behind) {
            return;
        }
        let gap = self.missing(lines);
        let skipped = self.skip(lines, behind);
        self.deleted.push(skipped);
        self.steps.push(Step::Gap(Gap { skip: true, ..gap }));
        self.cursor();
    }

    /// Whether one of the next lines is deleted, or the one behind them.
    fn is_deleted(&self, lines: usize) -> bool {
        let next = self.next..=self.next + lines;
        let over = |range: &std::ops::Range<usize>| next.clone().any(|nth| range.contains(&nth));
        self.deleted.iter().any(over)
    }

    fn skip(&mut self, lines: usize, behind: usize) -> std::ops::Range<usize> {
        let skipped = self.next..self.next + lines;
        let others = skipped.end..skipped.end + behind;
        self.steps
            .extend(others.clone().map(|nth| Step::Entry(line(nth))));
        self.next = others.end;
        skipped
    }

    /// The client resumes from one of the cursors that it holds.
    pub(super) fn resume(&mut self, pick: impl Fn(usize) -> usize) {
        if self.given.is_empty() {
            return;
        }
        let at = pick(self.given.len());
        let (cursor, next) = self.given[at].clone();
        // Those from behind it are never used again.
        self.given.truncate(at + 1);
        self.next = next;
        self.steps.push(Step::Resume(cursor));
    }

    /// Delivers up to this line, so that all is said.
    pub(super) fn finish(&mut self, lines: usize) {
        self.deliver(lines.saturating_sub(self.next));
    }

    /// Number of the next line.
    pub(super) fn next(&self) -> usize {
        self.next
    }
}

/// Feeds a chain.
pub(super) fn chain_of(steps: &[Step], rules: Rules) -> Chain {
    let mut chain = Chain::new(rules);
    for step in steps {
        match step {
            Step::Entry(entry) => chain.entry(&Entry {
                stream: entry.stream,
                time: entry.time,
                ordinal: 0,
                bytes: &entry.bytes,
                unterminated: false,
                truncated_bytes: entry.truncated_bytes,
                late: entry.late,
            }),
            Step::Gap(gap) => chain.gap(*gap),
            Step::Cursor(cursor) => chain.cursor(cursor),
            Step::Resume(cursor) => chain.resume(cursor).expect("it was given"),
        }
    }
    chain
}

pub(super) fn judged(steps: &[Step], truth: Option<&Truth>) -> Report {
    chain_of(steps, Rules::default()).judge(truth)
}

pub(super) fn is_violated(report: &Report) -> bool {
    report.verdict(&Least::default()) == Verdict::Violated
}

pub(super) const LINES: usize = 40;

/// A history of everything: history, a gap, a repair, a confession, a resume.
pub(super) fn faithful() -> Script {
    let mut script = Script::default();
    script.deliver(10);
    script.delete(3);
    script.deliver(4);
    script.repair(2, 3);
    script.confess(2, 3);
    script.resume(|given| given - 1);
    script.finish(LINES);
    script
}

#[track_caller]
pub(super) fn broken(report: &Report, rule: Rule) {
    let told = report.violations.iter().any(|told| told.rule == rule);
    assert!(told, "not {rule} was expected: {report}");
}
