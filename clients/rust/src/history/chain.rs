//! What came of one container, over a subscription and its resumes.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::hash::{BuildHasherDefault, Hasher};

use xxhash_rust::xxh3::xxh3_64;

use super::entry::{Entry, Gap, Held, HeldGap};
use super::report::{Findings, Report, Rule, Traffic, at, shown};
use super::resume::Replay;
use super::truth::Truth;
use super::{Rules, compare};

/// A cursor that the chain was never given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UnknownCursor;

/// A place in a chain: behind so many entries and so many gaps.
#[derive(Debug, Clone, Copy)]
struct Place {
    entries: usize,
    gaps: usize,
}

/// The newest entry of a stream that was in time.
#[derive(Debug, Clone, Copy)]
struct Newest {
    time: i64,
    /// Unknown behind a resume.
    ordinal: Option<u32>,
    /// Its bytes fill the engine's records to the last.
    full: bool,
}

/// Bytes of a record that the engine cuts lines into.
pub(super) const PART: usize = 16 * 1024;

/// Digests are spread already.
#[derive(Debug, Default, Clone)]
pub(super) struct Spread(u64);

impl Hasher for Spread {
    fn write(&mut self, _: &[u8]) {
        unreachable!("only digests are hashed");
    }

    fn write_u64(&mut self, digest: u64) {
        self.0 = digest;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

pub(super) type Digests = HashSet<u64, BuildHasherDefault<Spread>>;
pub(super) type ByDigest<T> = HashMap<u64, T, BuildHasherDefault<Spread>>;

/// What came of one container, over a subscription and its resumes.
#[derive(Debug, Clone)]
pub struct Chain {
    rules: Rules,
    pub(super) held: Vec<Held>,
    seen: Digests,
    pub(super) gaps: Vec<HeldGap>,
    /// Of truncated entries by their place, the bytes cut and left.
    pub(super) truncated: BTreeMap<usize, (u64, u64)>,
    cursors: ByDigest<Place>,
    /// The first of them.
    beginning: String,
    newest: [Option<Newest>; 4],
    replay: Replay,
    verified: Option<i64>,
    findings: Findings,
    /// What only stamps say against it.
    by_time: Findings,
    traffic: Traffic,
    overflowed: bool,
}

impl Chain {
    /// A chain that nothing has come of yet.
    pub fn new(rules: Rules) -> Self {
        Self {
            rules,
            held: Vec::new(),
            seen: Digests::default(),
            gaps: Vec::new(),
            truncated: BTreeMap::new(),
            cursors: ByDigest::default(),
            beginning: String::new(),
            newest: [None; 4],
            replay: Replay::default(),
            verified: None,
            findings: Findings::new(rules.most_violations),
            by_time: Findings::new(rules.most_violations),
            traffic: Traffic::default(),
            overflowed: false,
        }
    }

    /// An entry came.
    pub fn entry(&mut self, entry: &Entry<'_>) {
        self.traffic.entries += 1;
        self.traffic.late += u64::from(entry.late);
        if self.held.len() >= self.rules.most_entries {
            self.overflowed = true;
        }
        if self.overflowed {
            return;
        }
        let behind = self.held.len();
        let told = || {
            format!(
                "{:?} {} {}",
                entry.stream,
                at(entry.time),
                shown(entry.bytes)
            )
        };
        if entry.bytes.contains(&b'\n') {
            self.findings.add(Rule::Whole, behind, || {
                format!("a newline within {}", told())
            });
        }
        let held = Held::of(entry);
        if !self.seen.insert(held.unique) {
            self.findings
                .add(Rule::Unique, behind, || format!("came before: {}", told()));
        }
        if !entry.late {
            self.follows(entry, &told);
        }
        if !self.replay.entry(behind, self.newest(), &held) {
            self.findings.add(Rule::Ordered, behind, || {
                format!("behind one that had come after it: {}", told())
            });
        }
        if entry.truncated_bytes > 0 {
            let cut = (entry.truncated_bytes, entry.bytes.len() as u64);
            self.truncated.insert(behind, cut);
        }
        self.held.push(held);
    }

    /// What a stream's stamps and places say of order and of parts.
    fn follows(&mut self, entry: &Entry<'_>, told: &dyn Fn() -> String) {
        let behind = self.held.len();
        let newest = &mut self.newest[entry.stream as usize & 3];
        let before = newest.replace(Newest {
            time: entry.time,
            ordinal: Some(entry.ordinal),
            full: !entry.bytes.is_empty()
                && entry.bytes.len().is_multiple_of(PART)
                && entry.truncated_bytes == 0,
        });
        let Some(before) = before else { return };
        if entry.time < before.time && !self.rules.clock_steps {
            self.by_time.add(Rule::Ordered, behind, || {
                format!("behind {}: {}", at(before.time), told())
            });
        }
        if entry.time != before.time {
            return;
        }
        if before.full {
            self.findings.add(Rule::Whole, behind, || {
                format!("the rest of a line whose part came before: {}", told())
            });
        }
        let Some(last) = before.ordinal else { return };
        if entry.ordinal < last {
            self.by_time.add(Rule::Ordered, behind, || {
                format!("ordinal {} behind {last}: {}", entry.ordinal, told())
            });
        }
    }

    /// A gap came. Its cursor, if it has one, is told first by
    /// [`cursor`](Self::cursor): it resumes in front of the gap.
    pub fn gap(&mut self, gap: Gap) {
        self.traffic.gaps += 1;
        let (place, backwards) = (self.held.len(), gap.after_time > gap.before_time);
        if backwards && gap.before_time.is_some() && !self.rules.clock_steps {
            self.by_time.add(Rule::Covered, place, || {
                format!("a gap ends before it begins: {gap:?}")
            });
        }
        if gap.missing_entries == Some(0) || gap.missing_entries.is_some() && !gap.certain {
            self.findings.add(Rule::Covered, place, || {
                format!("a gap contradicts itself: {gap:?}")
            });
        }
        self.replay.gap(&gap);
        self.gaps.push(HeldGap { place, gap });
    }

    /// A cursor was given for this place.
    pub fn cursor(&mut self, cursor: &str) {
        if cursor.is_empty() || self.overflowed {
            return;
        }
        if self.cursors.len() >= self.rules.most_entries {
            self.overflowed = true;
            return;
        }
        if self.beginning.is_empty() {
            cursor.clone_into(&mut self.beginning);
        }
        let entries = self.held.len();
        let here = Place {
            entries,
            gaps: self.gaps.len(),
        };
        let place = self
            .cursors
            .entry(xxh3_64(cursor.as_bytes()))
            .or_insert(here);
        let moved = self.held[place.entries.min(entries)..]
            .iter()
            .any(|held| !held.late());
        if moved {
            let earlier = place.entries;
            self.findings.add(Rule::Resumable, entries, || {
                format!("the cursor was given behind {earlier} entries before: {cursor}")
            });
        } else if place.entries < entries {
            *place = here;
        }
    }

    /// Whether the chain was given this cursor, and has not gone back before it.
    pub fn knows(&self, cursor: &str) -> bool {
        self.cursors.contains_key(&xxh3_64(cursor.as_bytes()))
    }

    /// The cursor that the chain begins behind; empty: none was given yet.
    pub fn beginning(&self) -> &str {
        &self.beginning
    }

    /// All that was stored by an instant (ns since the Unix epoch) is delivered
    /// or reported.
    pub fn verified(&mut self, time: i64) {
        self.verified = self.verified.max(Some(time));
    }

    /// All that was stored is delivered or reported: a read ended with OK.
    pub fn completed(&mut self) {
        self.verified = Some(i64::MAX);
    }

    /// The engine's clock was set: stamps go back from now on.
    pub fn clock_stepped(&mut self) {
        self.rules.clock_steps = true;
    }

    /// Only a part of the lines is asked for.
    pub(super) fn set_filtered(&mut self) {
        self.rules.filtered = true;
    }

    /// What is received next was resumed from a cursor. Entries that had come
    /// from behind it must come again.
    ///
    /// # Errors
    /// The cursor is not one of this chain, which is left as it is.
    pub fn resume(&mut self, cursor: &str) -> Result<(), UnknownCursor> {
        let place = self.cursors.get(&xxh3_64(cursor.as_bytes()));
        let place = *place.ok_or(UnknownCursor)?;
        self.traffic.resumes += 1;
        let again = self.held.split_off(place.entries);
        for held in &again {
            self.seen.remove(&held.unique);
        }
        self.gaps.truncate(place.gaps);
        let _handled_again = self.truncated.split_off(&place.entries);
        self.cursors
            .retain(|_, given| given.entries <= place.entries);
        self.newest = [None; 4];
        for stream in 0..4 {
            let of_stream = |held: &&Held| !held.late() && held.stream() == stream;
            let last = self.held.iter().rev().find(of_stream);
            self.newest[stream] = last.map(|held| Newest {
                time: held.time,
                ordinal: None,
                full: false,
            });
        }
        self.verified = None;
        let here = |held: &HeldGap| held.place == place.entries && !held.gap.skip;
        let in_gap = self.gaps.last().is_some_and(here);
        self.replay.resume(place.entries, in_gap, &again);
        Ok(())
    }

    /// Time of the newest entry that came in time.
    fn newest(&self) -> Option<i64> {
        let mut in_time = self.held.iter().rev().filter(|held| !held.late());
        in_time.next().map(|held| held.time)
    }

    /// Whether what is stamped so is final: it cannot come late any more.
    pub(super) fn is_final(&self, time: i64) -> bool {
        !self.rules.provisional || self.verified >= Some(time)
    }

    pub(super) fn clock_may_step(&self) -> bool {
        self.rules.clock_steps
    }

    pub(super) fn is_filtered(&self) -> bool {
        self.rules.filtered
    }

    /// What was wrong so far, held against the lines there were if they are
    /// known.
    pub fn judge(&self, truth: Option<&Truth>) -> Report {
        let mut findings = self.findings.clone();
        if truth.is_none() {
            for violation in &self.by_time.kept {
                findings.add(violation.rule, violation.behind, || violation.what.clone());
            }
            findings.more += self.by_time.more;
        }
        let lost = self.replay.lost(|time| self.is_final(time), self.verified);
        if lost > 0 && !self.rules.filtered {
            findings.add(Rule::Resumable, self.held.len(), || {
                format!("did not come again behind a cursor: {lost}")
            });
        }
        let mut traffic = self.traffic;
        if let Some(truth) = truth {
            traffic.compared = truth.len() as u64;
            compare::compare(self, truth, &mut findings);
        }
        Report {
            traffic,
            violations: findings.kept,
            more_violations: findings.more,
            overflowed: u64::from(self.overflowed),
        }
    }
}
