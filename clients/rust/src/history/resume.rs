//! What must come again after a resume.

use std::collections::VecDeque;

use super::chain::{ByDigest, Digests};
use super::entry::{Gap, Held};

/// An entry that had come from behind the cursor.
#[derive(Debug, Clone, Copy)]
struct Due {
    unique: u64,
    time: i64,
    /// The lowest time of those around its place, if it was passed over before.
    low: Option<i64>,
}

/// An entry that was passed over: an engine's skip, unless it comes late or a gap
/// says so.
#[derive(Debug, Clone, Copy)]
struct Owed {
    due: Due,
    /// Times around its place: a gap that tells of it reaches into them. Streams
    /// are stamped apart, so its own may lie outside.
    around: (i64, i64),
    /// Entries that the chain held when it was found to be passed over.
    place: usize,
    /// Counts them all.
    nth: u64,
}

/// Entries that had come from behind the cursor.
#[derive(Debug, Clone, Default)]
pub(super) struct Replay {
    /// Those that had come in time, in their order.
    expected: VecDeque<Due>,
    /// Of these, the ones that have not come again.
    waiting: Digests,
    owed: ByDigest<Owed>,
    passed: u64,
    /// Times since the last that came again, and of that.
    around: Option<(i64, i64)>,
    /// A gap came, and nothing yet from behind it.
    in_gap: bool,
}

impl Replay {
    /// A chain that holds `place` entries, and a gap behind the last of them or
    /// not, is resumed; `again` came from behind.
    pub(super) fn resume(&mut self, place: usize, in_gap: bool, again: &[Held]) {
        let mut back = self.owed.values().filter(|owed| owed.place >= place);
        let mut back: Vec<_> = back.by_ref().copied().collect();
        back.sort_by_key(|owed| owed.nth);
        let mut back = back.into_iter().peekable();
        let mut expected = VecDeque::new();
        for (nth, held) in again.iter().enumerate() {
            while let Some(owed) = back.next_if(|owed| owed.place <= place + nth) {
                expected.push_back(owed.due);
            }
            if !held.late() {
                expected.push_back(Due {
                    unique: held.unique,
                    time: held.time,
                    low: None,
                });
            }
        }
        expected.extend(back.map(|owed| owed.due));
        self.waiting.extend(expected.iter().map(|due| due.unique));
        self.owed.retain(|_, owed| owed.place < place);
        expected.append(&mut self.expected);
        self.expected = expected;
        self.around = None;
        self.in_gap = in_gap;
    }

    /// An entry came as the chain held `place` others, the newest of that time.
    /// False: it came in time, but behind one that it had stood before.
    pub(super) fn entry(&mut self, place: usize, newest: Option<i64>, held: &Held) -> bool {
        let passed = self.owed.remove(&held.unique).is_some();
        let waited = self.waiting.remove(&held.unique);
        if held.late() || self.expected.is_empty() {
            return held.late() || !passed;
        }
        let newest = newest.unwrap_or(held.time);
        let (low, high) = self.around.unwrap_or((newest, newest));
        let (low, high) = (low.min(held.time), high.max(held.time));
        if !waited {
            self.around = Some((low, high));
            return !passed;
        }
        self.around = Some((held.time, held.time));
        while let Some(due) = self.expected.pop_front() {
            if due.unique == held.unique {
                break;
            }
            // One that came late is not waited for.
            if self.waiting.remove(&due.unique) && !self.in_gap {
                self.passed += 1;
                let low = due.low.unwrap_or(low).min(low);
                let owed = Owed {
                    due: Due {
                        low: Some(low),
                        ..due
                    },
                    around: (low, high),
                    place,
                    nth: self.passed,
                };
                self.owed.insert(due.unique, owed);
            }
        }
        self.in_gap = false;
        true
    }

    /// A gap came.
    pub(super) fn gap(&mut self, gap: &Gap) {
        self.in_gap |= !gap.skip;
        if !gap.reaches_back() {
            return;
        }
        let tells_of = |owed: &Owed| gap.reaches(owed.around.0, owed.around.1);
        self.owed
            .retain(|_, owed| !gap.spans(owed.due.time) && !tells_of(owed));
        if !gap.skip {
            let times = [gap.after_time, gap.before_time];
            let within = |due: &&Due| gap.spans(due.time) && !times.contains(&Some(due.time));
            for due in self.expected.iter().filter(within) {
                self.waiting.remove(&due.unique);
            }
            return;
        }
        // The last ones may have been skipped, too.
        let mut before = self.around.map(|(low, _)| low);
        for due in &self.expected {
            let low = due.low.or(before).unwrap_or(due.time);
            if gap.spans(due.time) || gap.reaches(low, due.time.max(low)) {
                self.waiting.remove(&due.unique);
            }
            before = Some(due.time);
        }
    }

    /// How many are missing: passed over for good, or behind what is verified.
    pub(super) fn lost(&self, is_final: impl Fn(i64) -> bool, verified: Option<i64>) -> usize {
        let passed = self.owed.values().filter(|owed| is_final(owed.due.time));
        let due = |due: &&Due| {
            self.waiting.contains(&due.unique) && verified >= Some(due.time) && !self.in_gap
        };
        passed.count() + self.expected.iter().filter(due).count()
    }
}
