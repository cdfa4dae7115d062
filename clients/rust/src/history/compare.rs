//! A chain held against the lines there were.

use std::ops::Range;

use super::chain::Chain;
use super::entry::{Gap, Held, HeldGap};
use super::report::{Findings, Rule, at};
use super::truth::{Truth, Written, key};

/// A chain beside the lines there were.
struct Comparison<'a> {
    chain: &'a Chain,
    truth: &'a Truth,
    /// Digest and number of each line, sorted.
    index: Vec<(u64, usize)>,
    /// Of each line, the place of the entry that brought it.
    brought: Vec<Option<usize>>,
    /// Highest number in order so far, and of each stream.
    last: Option<usize>,
    last_of: [Option<usize>; 4],
    /// Lines of which only a part came, beside a gap.
    torn: u64,
}

/// Holds a chain against the lines there were.
pub(super) fn compare(chain: &Chain, truth: &Truth, findings: &mut Findings) {
    let keyed = truth.lines.iter().enumerate().map(|(nth, written)| {
        let time = written.time.filter(|_| !truth.untimed);
        (key(written.line, time), nth)
    });
    let mut index: Vec<_> = keyed.collect();
    index.sort_unstable();
    let mut comparison = Comparison {
        chain,
        truth,
        index,
        brought: vec![None; truth.len()],
        last: None,
        last_of: [None; 4],
        torn: 0,
    };
    comparison.place_entries(findings);
    if !chain.is_filtered() {
        comparison.cover(findings);
    }
}

impl Comparison<'_> {
    /// Finds each entry's line: those in time first, for a late one may be equal.
    fn place_entries(&mut self, findings: &mut Findings) {
        for late in [false, true] {
            for place in 0..self.chain.held.len() {
                match self.chain.held[place].late() {
                    is_late if is_late != late => {}
                    true => drop(self.take(place, None, findings)),
                    false => self.place_in_time(place, findings),
                }
            }
        }
    }

    fn place_in_time(&mut self, place: usize, findings: &mut Findings) {
        let stream = self.chain.held[place].stream();
        let unterminated = self.chain.held[place].unterminated();
        // A run's last words are in order among their stream's lines alone.
        let floor = match unterminated {
            true => self.last_of[stream],
            false => self.last.max(self.last_of[stream]),
        };
        let Some(nth) = self.take(place, floor, findings) else {
            return;
        };
        if floor.is_some_and(|floor| nth < floor) {
            let before = self.told(floor.unwrap_or(nth));
            findings.add(Rule::Ordered, place, || {
                format!("{} came behind {before}", self.told(nth))
            });
            return;
        }
        self.last_of[stream] = Some(nth);
        if !unterminated {
            self.last = Some(nth);
        }
    }

    /// The number of an entry's line, at best behind `floor`.
    fn take(
        &mut self,
        place: usize,
        floor: Option<usize>,
        findings: &mut Findings,
    ) -> Option<usize> {
        let held = &self.chain.held[place];
        if let Some((cut, left)) = self.chain.truncated.get(&place) {
            return self.truncated(place, *cut, *left, findings);
        }
        let time = Some(held.time).filter(|_| !self.truth.untimed);
        let key = key(held.line(), time);
        let from = self.index.partition_point(|(other, _)| *other < key);
        let alike = self.index[from..]
            .iter()
            .take_while(|(other, _)| *other == key);
        let free = alike.clone().map(|(_, nth)| *nth);
        let mut free = free.filter(|nth| self.brought[*nth].is_none());
        let behind = |nth: &usize| floor.is_none_or(|floor| *nth > floor);
        let nth = free.clone().find(behind).or_else(|| free.next());
        let known = alike.count() > 0;
        let nth = nth.or_else(|| self.end(place, key).filter(|_| !known));
        if let Some(nth) = nth {
            self.brought[nth] = Some(place);
            return Some(nth);
        }
        let (stream, time) = (held.stream(), at(held.time));
        if known {
            findings.add(Rule::Unique, place, || {
                format!("came more often than it was written: {time}, stream {stream}")
            });
        } else if self.begin(place, key) {
            self.torn += 1;
        } else if !self.is_older(place) {
            findings.add(Rule::Whole, place, || {
                format!("no such line was written: {time}, stream {stream}")
            });
        }
        None
    }

    /// The number of the line that a truncated entry is the head of.
    fn truncated(
        &mut self,
        place: usize,
        cut: u64,
        left: u64,
        findings: &mut Findings,
    ) -> Option<usize> {
        let held = &self.chain.held[place];
        let nth = self.truth.truncated(held, cut, left);
        let nth = nth.filter(|nth| self.brought[*nth].is_none());
        match nth {
            Some(nth) => self.brought[nth] = Some(place),
            None if self.is_older(place) => {}
            None => findings.add(Rule::Whole, place, || {
                format!("no line begins with these {left} bytes and has {cut} more")
            }),
        }
        nth
    }

    /// The line that this entry is the lone end of.
    fn end(&mut self, place: usize, key: u64) -> Option<usize> {
        let held = &self.chain.held[place];
        let free = |nth: &usize| self.brought[*nth].is_none();
        let nth = self.truth.ends.get(&key).copied().filter(free)?;
        // Its beginning is gone: with a gap, before the chain, or skipped.
        let before = self.chain.held[..place].iter();
        let of_stream = |other: &Held| !other.late() && other.stream() == held.stream();
        let before = before.rev().position(of_stream).map(|back| place - back);
        let gap =
            |gap: &HeldGap| before.is_none_or(|before| gap.place >= before) && gap.place <= place;
        let may = before.is_none() || held.late() || self.chain.gaps.iter().any(gap);
        self.torn += u64::from(may);
        Some(nth).filter(|_| may)
    }

    /// Whether this is a line's beginning before a gap that took the rest.
    fn begin(&self, place: usize, key: u64) -> bool {
        let stream = self.chain.held[place].stream();
        let mut behind = (place + 1..).zip(&self.chain.held[place + 1..]);
        let next = behind.find(|(_, other)| !other.late() && other.stream() == stream);
        let next = next.map_or(self.chain.held.len(), |(next, _)| next);
        let between = |gap: &HeldGap| (place + 1..=next).contains(&gap.place);
        self.truth.begins.contains(&key) && self.chain.gaps.iter().any(between)
    }

    /// Whether an entry is from before the lines that are still stored.
    fn is_older(&self, place: usize) -> bool {
        let first = self.truth.lines.first().and_then(|line| line.time);
        let held = &self.chain.held[place];
        self.truth.stored && (self.last.is_none() || first.is_some_and(|first| held.time <= first))
    }

    fn told(&self, nth: usize) -> String {
        let Written { time, stream, .. } = self.truth.lines[nth];
        let time = time.map_or_else(String::new, |time| format!(", {}", at(time)));
        format!("line {nth} ({}{time})", stream.as_str_name())
    }

    /// What did not come lies in gaps, and gaps say how much.
    fn cover(&self, findings: &mut Findings) {
        let mut groups = Groups::of(self.chain.gaps.len());
        for missing in self.missing() {
            let (mut uncovered, mut first) = (0, None);
            let neighbours = self.neighbours(&missing);
            for nth in missing.clone().filter(|nth| self.brought[*nth].is_none()) {
                let gaps = self.gaps_over(nth, &neighbours);
                groups.line(&gaps);
                let time = self.truth.lines[nth].time.or(neighbours.end.1);
                if gaps.is_empty() && self.chain.is_final(time.unwrap_or(i64::MAX)) {
                    uncovered += 1;
                    first = first.or(Some(nth));
                }
            }
            if let Some(first) = first {
                findings.add(Rule::Covered, neighbours.end.0, || {
                    format!("did not come: {uncovered}, from {} on", self.told(first))
                });
            }
        }
        if !self.truth.stored {
            self.count(&groups.joined(), findings);
        }
    }

    /// Runs of lines between two of those that came in time.
    fn missing(&self) -> Vec<Range<usize>> {
        let in_time = |nth: &usize| self.is_mark(*nth);
        let marks: Vec<_> = (0..self.brought.len()).filter(in_time).collect();
        let first = if self.truth.from_first {
            0
        } else {
            marks.first().copied().unwrap_or(0)
        };
        let end = if self.truth.to_last {
            self.brought.len()
        } else {
            marks.last().copied().unwrap_or(0)
        };
        let mut runs = Vec::new();
        let mut from = first;
        for mark in marks.into_iter().chain([end]) {
            if from < mark {
                runs.push(from..mark);
            }
            from = mark + 1;
        }
        runs.retain(|run| self.brought[run.clone()].contains(&None));
        runs
    }

    /// Whether a line came in time and has its place among all.
    fn is_mark(&self, nth: usize) -> bool {
        let place = self.brought[nth].filter(|_| !self.truth.lines[nth].unterminated);
        place.is_some_and(|place| !self.chain.held[place].late())
    }

    /// Between which places a run would have come, and their times.
    fn neighbours(&self, run: &Range<usize>) -> Range<(usize, Option<i64>)> {
        let before = run.start.checked_sub(1).and_then(|nth| self.brought[nth]);
        let behind = self.brought.get(run.end).copied().flatten();
        let time = |place: usize| self.chain.held[place].time;
        let start = before.map_or((0, None), |place| (place + 1, Some(time(place))));
        let all = (self.chain.held.len(), None);
        start..behind.map_or(all, |place| (place, Some(time(place))))
    }

    /// The gaps that a line may lie in. Where the clock is set, times cannot say.
    fn gaps_over(&self, nth: usize, neighbours: &Range<(usize, Option<i64>)>) -> Vec<usize> {
        let (start, end) = (neighbours.start, neighbours.end);
        let time = self.truth.lines[nth].time;
        let between = |gap: &Gap| match (start.1, end.1) {
            (Some(a), Some(b)) => gap.spans(a) && gap.spans(b),
            _ => false,
        };
        let over = |held: &HeldGap| {
            let here = (start.0..=end.0).contains(&held.place);
            let spans = self.chain.clock_may_step()
                || time.is_some_and(|time| held.gap.spans(time))
                || between(&held.gap);
            here || held.gap.reaches_back() && held.place >= start.0 && spans
        };
        let gaps = self.chain.gaps.iter().enumerate();
        gaps.filter(|(_, gap)| over(gap))
            .map(|(nth, _)| nth)
            .collect()
    }

    /// Gaps that lines may lie in alike have to be right together.
    fn count(&self, groups: &[(Vec<usize>, u64)], findings: &mut Findings) {
        for (group, missing) in groups {
            let gaps: Vec<_> = group.iter().map(|gap| self.chain.gaps[*gap]).collect();
            if !gaps.iter().all(|held| self.is_inside(held.place)) {
                continue;
            }
            let counts = gaps.iter().map(|held| held.gap.missing_entries);
            let told: u64 = counts.clone().flatten().sum();
            let uncounted = |held: &&HeldGap| held.gap.missing_entries.is_none();
            let certain = gaps.iter().filter(uncounted).any(|held| held.gap.certain);
            let least = told + u64::from(certain);
            let all_told = gaps.iter().find(uncounted).is_none();
            if least > missing + self.torn || all_told && told + self.torn < *missing {
                let place = gaps.first().map_or(0, |held| held.place);
                findings.add(Rule::Covered, place, || {
                    let gaps: Vec<_> = gaps.iter().map(|held| held.gap).collect();
                    format!("missing: {missing}, in {gaps:?}")
                });
            }
        }
    }

    /// Whether the lines on both sides of a place are known to have been wanted.
    fn is_inside(&self, place: usize) -> bool {
        let in_time = |held: &Held| !held.late();
        let (before, behind) = self.chain.held.split_at(place);
        (self.truth.from_first || before.iter().any(in_time))
            && (self.truth.to_last || behind.iter().any(in_time))
    }
}

/// Gaps that some missing line may lie in alike.
struct Groups {
    /// Of each gap, another of its group, or itself.
    other: Vec<usize>,
    /// Of each gap, the lines whose first gap it is.
    lines: Vec<u64>,
}

impl Groups {
    fn of(gaps: usize) -> Self {
        Self {
            other: (0..gaps).collect(),
            lines: vec![0; gaps],
        }
    }

    /// A missing line lies in one of these gaps.
    fn line(&mut self, gaps: &[usize]) {
        let Some(first) = gaps.first() else { return };
        self.lines[*first] += 1;
        for gap in gaps {
            let (one, other) = (self.head(*first), self.head(*gap));
            self.other[one.max(other)] = one.min(other);
        }
    }

    fn head(&self, mut gap: usize) -> usize {
        while self.other[gap] != gap {
            gap = self.other[gap];
        }
        gap
    }

    /// The groups, each with the number of its lines.
    fn joined(&self) -> Vec<(Vec<usize>, u64)> {
        let mut groups = vec![(Vec::new(), 0); self.other.len()];
        for (gap, lines) in self.lines.iter().enumerate() {
            let (group, all) = &mut groups[self.head(gap)];
            group.push(gap);
            *all += lines;
        }
        groups.retain(|(group, _)| !group.is_empty());
        groups
    }
}
