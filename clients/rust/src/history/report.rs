//! What a judgement says.

use std::fmt;

/// A promise of the contract.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Rule {
    /// Entries come in the order of the log.
    Ordered,
    /// No entry comes twice.
    Unique,
    /// Nothing is missing but inside a gap, and gaps tell the truth.
    Covered,
    /// A cursor resumes exactly behind its place.
    Resumable,
    /// Lines come whole, with their bytes, or marked as cut.
    Whole,
    /// Messages come in the contract's order, and its counts agree.
    Counted,
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ordered => "ordered",
            Self::Unique => "unique",
            Self::Covered => "covered",
            Self::Resumable => "resumable",
            Self::Whole => "whole",
            Self::Counted => "counted",
        })
    }
}

/// A promise that was not kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// Which promise.
    pub rule: Rule,
    /// Id of the container; empty = the whole subscription.
    pub container: String,
    /// Entries that the chain had brought before.
    pub behind: usize,
    /// What was wrong, for people. Bytes of lines are escaped and cut.
    pub what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (rule, behind, what) = (self.rule, self.behind, &self.what);
        match self.container.get(..12).unwrap_or(&self.container) {
            "" => write!(f, "not {rule}: {what}"),
            id => write!(f, "not {rule}: {id} behind {behind} entries: {what}"),
        }
    }
}

/// What there was to judge.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Entries received, those that came again after a resume included.
    pub entries: u64,
    /// Of these, how many were marked `late`.
    pub late: u64,
    /// Gaps received.
    pub gaps: u64,
    /// Cursors that were resumed from.
    pub resumes: u64,
    /// Lines of a truth that chains were compared with.
    pub compared: u64,
}

impl Traffic {
    pub(super) fn add(&mut self, other: Self) {
        self.entries += other.entries;
        self.late += other.late;
        self.gaps += other.gaps;
        self.resumes += other.resumes;
        self.compared += other.compared;
    }
}

/// The least traffic that a good verdict can rest on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Least {
    /// Entries received; 1 unless set.
    pub entries: u64,
    /// Gaps received.
    pub gaps: u64,
    /// Cursors resumed from.
    pub resumes: u64,
    /// Lines compared with a truth.
    pub compared: u64,
}

impl Default for Least {
    fn default() -> Self {
        Self {
            entries: 1,
            gaps: 0,
            resumes: 0,
            compared: 0,
        }
    }
}

/// The outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// There was enough to judge, and every promise was kept.
    Valid,
    /// A promise was broken.
    Violated,
    /// Nothing was wrong, but there was too little, or too much, to judge.
    Void,
}

/// A judgement.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// What was judged.
    pub traffic: Traffic,
    /// The first broken promises.
    pub violations: Vec<Violation>,
    /// How many more there are.
    pub more_violations: u64,
    /// Chains that passed [`Rules::most_entries`](super::Rules::most_entries).
    pub overflowed: u64,
}

impl Report {
    /// The outcome, given the least traffic that counts.
    pub fn verdict(&self, least: &Least) -> Verdict {
        if !self.violations.is_empty() {
            Verdict::Violated
        } else if self.overflowed == 0 && self.short_of(least).is_empty() {
            Verdict::Valid
        } else {
            Verdict::Void
        }
    }

    /// What there was too little of, as "had of wanted".
    pub fn short_of(&self, least: &Least) -> Vec<String> {
        let counts = [
            ("entries", self.traffic.entries, least.entries),
            ("gaps", self.traffic.gaps, least.gaps),
            ("resumes", self.traffic.resumes, least.resumes),
            ("lines compared", self.traffic.compared, least.compared),
        ];
        let short = counts.into_iter().filter(|(_, had, wanted)| had < wanted);
        short
            .map(|(what, had, wanted)| format!("{had} {what} of {wanted}"))
            .collect()
    }

    /// Panics with every violation unless the outcome is [`Verdict::Valid`].
    ///
    /// # Panics
    /// As said: it is for tests.
    #[track_caller]
    pub fn assert_valid(&self, least: &Least) {
        let verdict = self.verdict(least);
        assert!(verdict == Verdict::Valid, "{verdict:?}: {self}");
    }

    /// Adds another judgement to this one.
    pub fn add(&mut self, other: Self) {
        self.traffic.add(other.traffic);
        self.violations.extend(other.violations);
        self.more_violations += other.more_violations;
        self.overflowed += other.overflowed;
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let t = &self.traffic;
        write!(
            f,
            "{} entries ({} late), {} gaps, {} resumes, {} lines compared",
            t.entries, t.late, t.gaps, t.resumes, t.compared
        )?;
        for violation in &self.violations {
            write!(f, "\n{violation}")?;
        }
        match self.more_violations {
            0 => Ok(()),
            more => write!(f, "\nand {more} more"),
        }
    }
}

/// Violations as they are found, the first of them with their words.
#[derive(Debug, Clone, Default)]
pub(super) struct Findings {
    pub(super) kept: Vec<Violation>,
    pub(super) more: u64,
    pub(super) most: usize,
}

impl Findings {
    pub(super) fn new(most: usize) -> Self {
        Self {
            most,
            ..Self::default()
        }
    }

    pub(super) fn add(&mut self, rule: Rule, behind: usize, what: impl FnOnce() -> String) {
        // One at least: a verdict rests on it.
        if self.kept.len() >= self.most.max(1) {
            self.more += 1;
            return;
        }
        let (container, what) = (String::new(), what());
        self.kept.push(Violation {
            rule,
            container,
            behind,
            what,
        });
    }
}

/// A line for people: escaped, at most 60 bytes of it.
pub(super) fn shown(bytes: &[u8]) -> String {
    let head = &bytes[..bytes.len().min(60)];
    let more = if head.len() < bytes.len() { "…" } else { "" };
    format!("\"{}{more}\" ({} bytes)", head.escape_ascii(), bytes.len())
}

/// A stamp for people.
pub(super) fn at(time: i64) -> String {
    let (seconds, nanos) = (time.div_euclid(NANOS), time.rem_euclid(NANOS));
    format!("{seconds}.{nanos:09}")
}

const NANOS: i64 = 1_000_000_000;
