//! Getting on behind records that the engine cannot decode.
//!
//! Such a record hides others from a read, but from none that begins behind it. So
//! the end of a read counts only if that is proven to be the log's (see
//! [`ends`](super::super::ends)). If it is not, the largest number of last records
//! that come in full is looked for; what was read last is among them, or what is
//! missing before them is a gap.

use std::time::Duration;

use super::super::anchor::{Anchor, Tracker};
use super::super::bounds::{between, earliest_behind};
use super::super::ends::Proof;
use super::super::windows::Windows;
use super::super::{Delivery, Gap, GapCause, INVERSION, MAX_ORIENTATION, Next, WINDOW, flush};
use super::resync::{Pass, Search};
use super::{Live, Phase};
use crate::docker::{Record, Tail};

/// Searches before one without the last record read is believed: more may be
/// written than they take, or retention be faster than they are.
const ROUNDS: u32 = 3;

/// What follows the end of a read that is the log's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Then {
    /// All is read.
    Sync,
    /// What was read last is gone.
    Lost,
    /// What is verified is gone: see [`Pass::CompareAll`].
    Compare {
        oldest: Anchor,
        whole: bool,
        before: Option<i64>,
    },
    /// The place is known where reading begins.
    Begin,
}

impl Live {
    /// A snapshot has ended. What follows hangs on whether the log ends there.
    pub(super) fn ended_at(&mut self, then: Then, now: Duration, out: &mut Vec<Delivery>) -> Next {
        // Where the log's end is not found, nothing can be held against it; and only
        // Docker's own files are known to hide records.
        let is_trusted = self.spins > 0 || self.settings.dialect.stamps_are_loose;
        self.bad.is_covered |= is_trusted;
        if is_trusted || self.bad.brought.is_full() {
            return self.go_on(then, now, out);
        }
        let (proof, tail) = Proof::new(std::mem::take(&mut self.bad.brought));
        self.snapshot(tail, Pass::Prove(Box::new(proof), then))
    }

    /// As many records as a read brought were read again.
    pub(super) fn proved(
        &mut self,
        proof: &Proof,
        then: Then,
        now: Duration,
        out: &mut Vec<Delivery>,
    ) -> Next {
        let stored_since = proof.stored_since();
        if stored_since.is_some() {
            self.bad.reach = proof.want();
        }
        match (stored_since, then) {
            (Some(0), _) | (Some(_), Then::Lost | Then::Compare { .. }) => {
                self.go_on(then, now, out)
            }
            (Some(_), Then::Begin) => self.orient_anew(),
            (Some(_), Then::Sync) => self.resync(),
            (None, _) => self.search_of(proof.of().hidden(), then, out),
        }
    }

    /// A record of a read on the way behind a bad one.
    pub(super) fn on_searched(&mut self, record: Record, out: &mut Vec<Delivery>) -> Next {
        let Phase::Resync { pass, .. } = &mut self.phase else {
            return Next::More;
        };
        match pass {
            Pass::Prove(proof, _) => proof.take(&record),
            Pass::Whole { first, most } => {
                let (first, most) = (*first, *most);
                if first != self.bad.brought.first() {
                    return self.begins_before(most, first);
                }
                if self.tracker.anchor().is_none() {
                    return self.find(Tail::All);
                }
                self.deliver_behind_gap(record, out);
            }
            Pass::Behind { first } => {
                let first = *first;
                return self.on_first_behind(record, first, out);
            }
            _ => {}
        }
        Next::More
    }

    fn go_on(&mut self, then: Then, now: Duration, out: &mut Vec<Delivery>) -> Next {
        match then {
            // An earlier read may have left some out, and was cut.
            Then::Sync if self.uncovered() > 0 && !self.bad.is_covered => {
                self.search_behind(0, then)
            }
            Then::Sync => {
                self.bad.before = None;
                self.synced(now, out)
            }
            Then::Lost => self.snapshot(Tail::All, Pass::Gap),
            Then::Compare {
                oldest,
                whole,
                before,
            } => {
                let pass = Pass::CompareAll {
                    oldest,
                    whole,
                    before,
                };
                self.snapshot(Tail::All, pass)
            }
            Then::Begin => self.begin(now, out),
        }
    }

    fn search_of(&mut self, guess: u32, then: Then, out: &mut Vec<Delivery>) -> Next {
        let then = match then {
            // What leases brought cannot be compared any more.
            Then::Compare { .. } => {
                self.tell_skip(self.doubt.latest(), out);
                self.doubt.clear();
                Then::Sync
            }
            then => then,
        };
        self.search_behind(guess, then)
    }

    /// Looks for the largest number of last records that come in full: `guess`, or
    /// any.
    pub(super) fn search_behind(&mut self, guess: u32, then: Then) -> Next {
        self.bad.is_whole = false;
        let (windows, first) = Windows::first(guess);
        self.bad.windows = windows;
        self.snapshot(Tail::Last(first), Pass::Window(then))
    }

    /// One of them was read.
    pub(super) fn on_window(
        &mut self,
        (tail, seen): (Tail, u32),
        then: Then,
        now: Duration,
        out: &mut Vec<Delivery>,
    ) -> Next {
        if let Tail::Last(want) = tail {
            self.bad.windows.note(want, seen);
            if self.bad.windows.full() == want {
                self.bad.first = self.bad.brought.first();
            }
        }
        if let Some(next) = self.bad.windows.next() {
            return self.snapshot(Tail::Last(next), Pass::Window(then));
        }
        let most = self.bad.windows.full();
        match then {
            _ if most == 0 => self.only_bad(then, now, out),
            Then::Begin => {
                (self.bad.reach, self.bad.is_near) = (most, true);
                self.orient(most)
            }
            _ => self.look_in(most),
        }
    }

    /// Looks for the last record read in the last `most` ones.
    fn look_in(&mut self, most: u32) -> Next {
        let Some(at) = self.tracker.anchor() else {
            let first = self.bad.first;
            return self.snapshot(Tail::All, Pass::Whole { first, most });
        };
        (self.bad.most, self.bad.is_near, self.bad.is_covered) = (Some(most), true, false);
        // Places were counted from the first of them on.
        let search = self.search(at, true);
        self.snapshot(Tail::Last(most), Pass::Find(search))
    }

    /// The last record read is there: what comes is new.
    pub(super) fn found_last(&mut self, out: &mut Vec<Delivery>) {
        if self.bad.most.take().is_none() {
            if self.uncovered() == 0 {
                let at = self.tracker.anchor();
                self.bad.before = at.map(|at| (at, self.taken));
                self.bad.is_covered = true;
            }
            return;
        }
        let before = self.bad.before.take();
        self.bad.hole = false;
        self.bad.reach = self.bad.brought.seen();
        let is_told = |taken: u64| self.bad.is_covered || taken == self.taken;
        if let Some((before, taken)) = before.filter(|(_, taken)| !is_told(*taken)) {
            let latest = |at: Anchor| at.time.saturating_add(INVERSION);
            let mut gap = self.unreadable(self.tracker.anchor().map(latest));
            let earliest = earliest_behind(before, [None; 3]);
            (gap.after, gap.before) = between(Some(earliest), gap.before);
            gap.place = Some(taken + 1);
            out.push(Delivery::Gap(gap));
        }
    }

    /// Records delivered by reads that may have left some out.
    pub(super) fn uncovered(&self) -> u32 {
        let before = self.bad.before.map_or(self.taken, |(_, taken)| taken);
        let uncovered = u32::try_from(self.taken - before).unwrap_or(u32::MAX);
        // More are not worth reading again.
        if uncovered > MAX_ORIENTATION {
            0
        } else {
            uncovered
        }
    }

    /// What is looked for was not found in a read; `None`: that says nothing yet.
    pub(super) fn not_in_largest(
        &mut self,
        search: &Search,
        out: &mut Vec<Delivery>,
    ) -> Option<Next> {
        let most = self.bad.most.take()?;
        if search.at_seen() {
            // Only what leases brought cannot be compared any more.
            self.tell_skip(self.doubt.latest(), out);
            self.doubt.clear();
            return Some(self.look_in(most));
        }
        let first = self.bad.brought.first();
        Some(self.snapshot(Tail::All, Pass::Whole { first, most }))
    }

    /// The log begins before the last `most` records: they are the largest number that
    /// comes in full, unless more was stored meanwhile.
    pub(super) fn begins_before(&mut self, most: u32, first: Option<u64>) -> Next {
        if self.bad.believed == most || self.bad.rounds >= ROUNDS {
            return self.read_behind(most, first);
        }
        self.bad.believed = most;
        self.bad.rounds += 1;
        self.search_behind(most, Then::Lost)
    }

    /// Delivers the last `most` records, the first of which is `first`.
    pub(super) fn read_behind(&mut self, most: u32, first: Option<u64>) -> Next {
        self.snapshot(Tail::Last(most), Pass::Behind { first })
    }

    /// The first record behind a bad one. `first`: the one that it shall be.
    pub(super) fn on_first_behind(
        &mut self,
        record: Record,
        first: Option<u64>,
        out: &mut Vec<Delivery>,
    ) -> Next {
        if first.is_some() && first != self.bad.brought.first() && self.bad.rounds < ROUNDS {
            // More was stored meanwhile, and has pushed it out.
            self.bad.rounds += 1;
            let most = self.bad.windows.full();
            return self.search_behind(most.saturating_add(1), Then::Lost);
        }
        if let Phase::Resync { pass, .. } = &mut self.phase {
            *pass = Pass::Deliver;
        }
        self.cross(record.time, out);
        self.deliver_stored(record, out);
        Next::More
    }

    /// Nothing can be read behind a bad record.
    pub(super) fn only_bad(&mut self, then: Then, now: Duration, out: &mut Vec<Delivery>) -> Next {
        if self.words.is_some() {
            // Not that either: the engine reads nothing at all.
            return self.on_broken();
        }
        if !self.bad.hole && self.bad.rounds == 0 {
            // Or all was deleted meanwhile.
            self.bad.rounds = 1;
            return match then {
                Then::Begin => self.orient(WINDOW),
                _ => self.find(Tail::Last(self.first_window())),
            };
        }
        self.bad.hole = true;
        match then {
            Then::Begin => self.begin(now, out),
            _ => self.synced(now, out),
        }
    }

    /// Tells of a bad record behind the last one read, before one of this stamp.
    pub(super) fn tell_hole(&mut self, before: Option<i64>, out: &mut Vec<Delivery>) {
        if !std::mem::take(&mut self.bad.hole) {
            return;
        }
        match before {
            Some(before) => self.cross(before, out),
            None => {
                flush(&mut self.joiner, self.tracker.anchor(), out);
                out.push(Delivery::Gap(self.unreadable(None)));
            }
        }
    }

    /// Goes on behind a bad record, with one of this stamp.
    fn cross(&mut self, before: i64, out: &mut Vec<Delivery>) {
        flush(&mut self.joiner, self.tracker.anchor(), out);
        if !self.doubt.is_empty() {
            self.tell_skip(self.doubt.latest(), out);
        }
        out.push(Delivery::Gap(self.unreadable(Some(before))));
        self.tracker = Tracker::default();
        self.doubt.clear();
        self.bad.forget();
        self.bad.is_near = true;
    }

    /// The gap of records that cannot be decoded, or stand behind one.
    fn unreadable(&self, before: Option<i64>) -> Gap {
        Gap {
            words: self.words.clone(),
            ..Gap::possible(GapCause::LogCorrupt, self.missing_after(), before)
        }
    }

    /// No record that is missing before what comes is stamped earlier.
    pub(super) fn missing_after(&self) -> Option<i64> {
        match self.bad.before.filter(|_| self.uncovered() > 0) {
            // The read that came up to here may have left some out before.
            Some((before, _)) => Some(earliest_behind(before, [None; 3])),
            None => self.tracker.anchor().map(|anchor| anchor.time),
        }
    }

    /// The engine said in a read that it cannot go on. The first time it may have
    /// stumbled; then that is the read's end.
    pub(super) fn on_failed(
        &mut self,
        words: String,
        now: Duration,
        out: &mut Vec<Delivery>,
    ) -> Next {
        let is_again = self.words.replace(words).is_some();
        if !is_again || self.spins > 0 || self.settings.dialect.stamps_are_loose {
            return self.on_broken();
        }
        match &self.phase {
            Phase::Orient { .. } => self.ended_at(Then::Begin, now, out),
            Phase::Resync { pass, .. } => match pass {
                Pass::Prove(proof, then) => {
                    let (guess, then) = (proof.of().hidden(), *then);
                    self.search_of(guess, then, out)
                }
                // That nothing came says nothing.
                Pass::Find(_) if self.bad.brought.seen() == 0 => self.search_behind(0, Then::Lost),
                Pass::Whole { first, most } => {
                    let (first, most) = (*first, *most);
                    self.begins_before(most, first)
                }
                Pass::Find(_) | Pass::Deliver | Pass::Window(_) => self.on_stored_end(now, out),
                _ => self.on_broken(),
            },
            _ => self.on_broken(),
        }
    }
}
