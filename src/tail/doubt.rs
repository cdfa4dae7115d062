//! What a lease brought and no snapshot has confirmed yet.
//!
//! A live stream of the engine can skip whole files while they rotate, in
//! silence. It hides at least a file's bytes, which take time to write, so it
//! shows as a pause between stamps. From the first such pause on, records are
//! remembered; a snapshot since then says which were skipped. What was brought is
//! a part of it in the same order, since a lease that goes back is dropped.

use std::collections::{HashSet, VecDeque};

use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::anchor::{Anchor, Finder, Tracker, index};
use super::bounds::{earliest_behind, latest_before};
use super::line::{Entry, Joiner};
use super::{Delivery, Gap, GapCause, Verified};
use crate::docker::Record;

/// Records remembered at most; then they are verified at once.
pub(crate) const MOST: usize = 4_096;
/// The same while nothing is verified: then it takes two reads of all of them.
const FEW: usize = 64;
/// Bytes per second that no log is written faster than.
const FASTEST: u64 = 8_000_000_000;
/// Bytes on disk that a record takes at most beyond those of its payload, and for
/// each of them (`\u00XX` in JSON).
const RECORD_COST: u64 = 256;
const BYTE_COST: u64 = 6;

/// Bytes that a record takes on disk at most.
pub(crate) fn stored_at_most<P: AsRef<[u8]>>(record: &Record<P>) -> u64 {
    record.bytes().len() as u64 * BYTE_COST + RECORD_COST
}

/// Where an engine's live stream can skip records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Skips {
    /// The log never rotates.
    #[default]
    Never,
    /// Files of this many bytes or more. Source: moby `loggerutils/follow.go`
    /// reads a file to its end before it goes on to the newest.
    Files(u64),
    /// Anywhere: engines before 23, and others than Docker's.
    Anywhere,
}

/// Records delivered behind the last pause that may hide a skip.
#[derive(Debug, Default)]
pub(crate) struct Doubt {
    skips: Skips,
    /// The place before the first of them.
    base: Option<Base>,
    ids: VecDeque<u64>,
    /// How late any before the last of them can be stamped, if that is known.
    latest: Option<i64>,
    newest: Option<i64>,
    /// Bytes that can be stored before the log's first file is full.
    unrotated: u64,
}

#[derive(Debug, Clone)]
struct Base {
    tracker: Tracker,
    joiner: Joiner,
}

impl Doubt {
    pub(crate) fn new(skips: Skips) -> Self {
        Self {
            skips,
            ..Self::default()
        }
    }

    /// Whether a skip is possible at all.
    pub(crate) fn is_possible(&self) -> bool {
        self.skips != Skips::Never
    }

    /// The log is known from its first record on.
    pub(crate) fn known_from_start(&mut self) {
        if let Skips::Files(bytes) = self.skips {
            self.unrotated = bytes;
        }
    }

    /// A record read, from a lease or not.
    pub(crate) fn count<P: AsRef<[u8]>>(&mut self, record: &Record<P>) {
        self.unrotated = self.unrotated.saturating_sub(stored_at_most(record));
        self.newest = self.newest.max(Some(record.time));
    }

    /// A record that a lease brings behind what `tracker` and `joiner` have
    /// taken.
    pub(crate) fn take<P: AsRef<[u8]>>(
        &mut self,
        record: &Record<P>,
        tracker: &Tracker,
        joiner: &Joiner,
    ) {
        if self.base.is_none() {
            if !self.may_hide(record.time) {
                return;
            }
            self.base = Some(Base {
                tracker: *tracker,
                joiner: joiner.clone(),
            });
        }
        self.ids.push_back(id(record));
        let begins = tracker
            .last_of(record.stream)
            .is_some_and(|last| joiner.dialect().begins_line(&last, record));
        self.latest = begins.then(|| latest_before(record));
    }

    fn may_hide(&self, time: i64) -> bool {
        match self.skips {
            Skips::Never => false,
            Skips::Anywhere => true,
            Skips::Files(_) if self.unrotated > 0 => false,
            Skips::Files(bytes) => {
                let pause = bytes.saturating_mul(1_000_000_000) / FASTEST;
                let since = |newest: i64| time.saturating_sub(newest);
                let passed = self.newest.map_or(i64::MAX, since);
                // A clock set back in a skip could hide its pause.
                passed < 0 || passed.unsigned_abs() >= pause
            }
        }
    }

    /// Whether a lease that may have skipped brings `record` although it has
    /// brought newer ones: it may have gone back into what it skipped, or the
    /// stamps of two streams cross, which is rare. File order decides.
    pub(crate) fn is_before<P>(&self, record: &Record<P>) -> bool {
        !self.is_empty() && Some(record.time) < self.newest
    }

    /// File order is known up to a record of this stamp, whatever came before: the
    /// clock may have been set back.
    pub(crate) fn ordered_up_to(&mut self, time: i64) {
        self.newest = Some(time);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.base.is_none()
    }

    pub(crate) fn is_full(&self) -> bool {
        let most = match &self.base {
            Some(base) if base.tracker.anchor().is_none() => FEW,
            _ => MOST,
        };
        self.ids.len() >= most
    }

    /// How many of those in doubt came before `record`, if it is one of them.
    pub(crate) fn place_of(&self, record: &Record) -> Option<u32> {
        let id = id(record);
        let place = self.ids.iter().position(|brought| *brought == id)?;
        u32::try_from(place).ok()
    }

    /// Records not compared yet.
    pub(crate) fn pending(&self) -> usize {
        self.ids.len()
    }

    /// What precedes the doubtful records; `None`: nothing is doubtful.
    pub(crate) fn verified(&self) -> Option<Verified> {
        let base = self.base.as_ref()?;
        Some(verified(base, self.ids.len()))
    }

    /// Nothing skipped behind the base is stamped earlier; `None`: that is not known.
    pub(crate) fn earliest(&self) -> Option<i64> {
        let base = self.base.as_ref()?;
        let anchor = base.tracker.anchor()?;
        Some(earliest_behind(anchor, base.joiner.open_lines()))
    }

    /// Nothing skipped before the last record brought is stamped later; `None`:
    /// that is not known.
    pub(crate) fn latest(&self) -> Option<i64> {
        self.latest
    }

    pub(crate) fn clear(&mut self) {
        (self.base, self.latest) = (None, None);
        self.ids.clear();
    }

    /// Begins the comparison with a snapshot, behind the base; `at` looks for the last record brought.
    pub(crate) fn walk(&self, at: Finder) -> Option<Walk> {
        let base = self.base.clone()?;
        Some(Walk::new(base, at))
    }

    /// The comparison was cut short: what it has delivered is delivered.
    pub(crate) fn interrupted(&mut self, walk: Walk) {
        for (id, _, known) in walk.since_base.into_iter().rev() {
            if known {
                self.ids.push_front(id);
            }
        }
        self.base = Some(walk.base);
    }
}

/// A comparison of what was brought with a snapshot.
#[derive(Debug)]
pub(crate) struct Walk {
    pub(crate) tracker: Tracker,
    pub(crate) joiner: Joiner,
    /// The last place where no line was open, and what was seen since: a record,
    /// its stream and whether it is delivered.
    base: Base,
    since_base: Vec<(u64, usize, bool)>,
    /// How many of them are delivered.
    delivered: usize,
    /// Of each stream's open line: whether records of it had been skipped, and
    /// whether the last one had not.
    lines: [(bool, bool); 3],
    /// Whether others like those skipped were brought, and stamps do not tell them
    /// apart.
    alike: [bool; 3],
    members: Option<HashSet<u64>>,
    at: Finder,
}

impl Walk {
    /// In a log whose oldest record is behind the base.
    pub(crate) fn from_start(joiner: Joiner, at: Anchor) -> Self {
        let tracker = Tracker::default();
        Self::new(Base { tracker, joiner }, Finder::new(at, true))
    }

    fn new(base: Base, at: Finder) -> Self {
        Self {
            tracker: base.tracker,
            joiner: base.joiner.clone(),
            base,
            since_base: Vec::new(),
            delivered: 0,
            lines: [(false, true); 3],
            alike: [false; 3],
            members: None,
            at,
        }
    }

    /// Takes the snapshot's next record; lines that had been skipped come out.
    /// `taken`: number of the last record brought.
    pub(crate) fn step(
        &mut self,
        record: Record,
        doubt: &mut Doubt,
        taken: u64,
        out: &mut Vec<Delivery>,
    ) {
        let (id, slot, time) = (id(&record), index(record.stream), record.time);
        // Equal parts of one line cannot be told apart; the last one can.
        let is_last = self.at.is_at(&record);
        let loose = self.joiner.dialect().stamps_are_loose;
        let brought = loose && self.members(doubt).contains(&id);
        let known = self.is_known(id, doubt) || is_last;
        let alike = brought && !known;
        if is_last {
            doubt.ids.clear();
        }
        let place = taken.saturating_sub(doubt.ids.len() as u64) + u64::from(!known);
        self.tracker.push(&record);
        self.since_base.push((id, slot, known));
        self.delivered += usize::from(known);
        let mut lines = Vec::new();
        self.joiner.push(record, &mut |entry| lines.push(entry));
        for entry in lines {
            // Of two, the first is the one that was open.
            if entry.unterminated && entry.time != time {
                self.emit(entry, slot, place, out);
                continue;
            }
            self.note(slot, known, alike);
            self.emit(entry, slot, place, out);
            (self.lines[slot], self.alike[slot]) = ((false, true), false);
        }
        if self.joiner.open_lines()[slot].is_some() {
            self.note(slot, known, alike);
        }
        if self.joiner.open_lines() == [None; 3] {
            self.since_base.clear();
            self.delivered = 0;
            self.base.tracker = self.tracker;
            self.base.joiner = self.joiner.clone();
        }
    }

    /// What precedes the records that are still in doubt.
    pub(crate) fn verified(&self, doubt: &Doubt) -> Verified {
        verified(&self.base, self.delivered + doubt.ids.len())
    }

    /// Whether records of a line that is still open had been skipped.
    pub(crate) fn mends_open_line(&self) -> bool {
        let open = self.joiner.open_lines();
        (0..3).any(|slot| open[slot].is_some() && self.lines[slot].0)
    }

    fn note(&mut self, slot: usize, known: bool, alike: bool) {
        self.alike[slot] |= alike;
        let (skipped, last_known) = &mut self.lines[slot];
        *skipped |= !known;
        *last_known = known;
    }

    fn emit(&mut self, entry: Entry, slot: usize, place: u64, out: &mut Vec<Delivery>) {
        let (skipped, last_known) = std::mem::replace(&mut self.lines[slot], (false, true));
        let alike = std::mem::take(&mut self.alike[slot]);
        if !skipped {
            return;
        }
        for (_, of, known) in &mut self.since_base {
            if *of == slot && !std::mem::replace(known, true) {
                self.delivered += 1;
            }
        }
        if last_known || alike {
            // It came without its beginning or middle, which is stamped as it is; or
            // it may be the one that came.
            let time = Some(entry.time);
            let mut gap = Gap::possible(GapCause::EngineSkip, time, time);
            (gap.certain, gap.place) = (!alike, Some(place));
            out.push(Delivery::Gap(gap));
        } else {
            out.push(Delivery::Late(entry, place));
        }
    }

    /// What was brought and is in doubt as they are first asked for.
    fn members(&mut self, doubt: &Doubt) -> &HashSet<u64> {
        let ids = || doubt.ids.iter().copied().collect();
        self.members.get_or_insert_with(ids)
    }

    fn is_known(&mut self, id: u64, doubt: &mut Doubt) -> bool {
        if doubt.ids.front() == Some(&id) {
            doubt.ids.pop_front();
            return true;
        }
        if !self.members(doubt).contains(&id) {
            return false;
        }
        let ids = &mut doubt.ids;
        match ids.iter().position(|brought| *brought == id) {
            Some(at) => {
                ids.drain(..=at);
                true
            }
            None => false,
        }
    }
}

fn verified(base: &Base, count: usize) -> Verified {
    Verified {
        anchor: base.tracker.anchor(),
        count: u32::try_from(count).unwrap_or(u32::MAX),
    }
}

/// What tells a record from its neighbours.
fn id<P: AsRef<[u8]>>(record: &Record<P>) -> u64 {
    // Until 2116 no stamp has either of its two highest bits.
    let seed = record.time.cast_unsigned().rotate_left(2) ^ index(record.stream) as u64;
    xxh3_64_with_seed(record.bytes(), seed)
}
