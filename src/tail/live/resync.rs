//! Looking at what is stored: where the last record read is, what is new behind
//! it, and whether leases skipped any before it.

use std::time::Duration;

use super::super::anchor::{Anchor, Finder, Tracker};
use super::super::bounds::{Behind, between};
use super::super::doubt::{Skips, Walk, stored_at_most};
use super::super::line::Joiner;
use super::super::{Delivery, Gap, GapCause, Next, Verified, WIDEN, WINDOW, flush};
use super::{Live, Phase};
use crate::docker::{Record, Tail};

/// One snapshot of a resync.
#[derive(Debug)]
pub(super) enum Pass {
    Find(Search),
    /// What was brought is compared with what is stored, behind the last verified
    /// record.
    Compare(Box<Walk>),
    /// The same, where that is gone: from the oldest record on, if it has not been
    /// deleted meanwhile. `whole`: none had been before it; otherwise none of them
    /// is stamped behind `before`.
    CompareAll {
        oldest: Anchor,
        whole: bool,
        before: Option<i64>,
    },
    /// Nothing had been read: looks whether the log still has its beginning. As long
    /// as it holds less than the engine keeps, nothing was deleted.
    Begin {
        first: Option<Anchor>,
        stored: u64,
    },
    /// It has, if this is still its first record: all is new from there on.
    From(Anchor),
    Deliver,
    /// The anchor is gone: all that is left is new.
    Gap,
}

/// Looks for the last verified record.
#[derive(Debug, Clone, Copy)]
pub(super) struct Search {
    /// `None`: that is the log's beginning.
    base: Option<Finder>,
    /// The last record read.
    pub(super) at: Finder,
    at_seen: bool,
    /// The first record of the snapshot.
    oldest: Option<Anchor>,
    /// The records from there on, up to the last one read.
    stored: Behind,
    /// Bytes on disk, at most, of what the snapshot brought.
    bytes: u64,
    /// Left where its first record shows that it begins behind the last verified one.
    hasty: bool,
}

impl Search {
    pub(super) fn is_at(&mut self, record: &Record) -> bool {
        self.oldest
            .get_or_insert_with(|| Tracker::default().push(record));
        if !self.at_seen {
            self.stored.push(record);
        }
        self.bytes = self.bytes.saturating_add(stored_at_most(record));
        self.at_seen |= self.at.is_at(record);
        self.base.as_mut().is_some_and(|base| base.is_at(record))
    }

    /// Whether the next record is the first one, and shows whether to go on.
    pub(super) fn is_hasty(&self) -> bool {
        self.hasty && self.oldest.is_none()
    }

    /// Whether one of the two may be there, and its place could not be proven.
    fn saw_likeness(&self) -> bool {
        self.at.saw_likeness() || self.base.is_some_and(|base| base.saw_likeness())
    }
}

impl Live {
    /// A record of a snapshot.
    pub(super) fn on_stored(&mut self, record: Record, out: &mut Vec<Delivery>) -> Next {
        let Phase::Resync { tail, seen, pass } = &mut self.phase else {
            return Next::More;
        };
        *seen = seen.saturating_add(self.settings.dialect.counted(&record));
        match pass {
            Pass::Find(search) => {
                let is_hasty = search.is_hasty();
                if search.is_at(&record) {
                    *pass = match self.doubt.walk(search.at) {
                        Some(walk) => Pass::Compare(Box::new(walk)),
                        None => Pass::Deliver,
                    };
                } else if let (true, Tail::Last(asked)) = (is_hasty, *tail)
                    && self.begins_late(asked, &record)
                {
                    return self.find_patiently();
                }
            }
            Pass::Compare(walk) => {
                walk.step(record, &mut self.doubt, self.taken, out);
                self.compared();
            }
            Pass::CompareAll {
                oldest,
                whole,
                before,
            } if oldest.is_like(&record) => {
                if !*whole {
                    let before = *before;
                    self.tell_skip(before, out);
                }
                self.compare_all(record, out);
            }
            Pass::CompareAll { .. } => return self.find(Tail::All),
            Pass::Begin { first, stored } => {
                first.get_or_insert_with(|| Tracker::default().push(&record));
                *stored = stored.saturating_add(stored_at_most(&record));
                if *stored >= self.settings.kept {
                    return self.snapshot(Tail::All, Pass::Gap);
                }
            }
            Pass::From(first) if !first.is_like(&record) => return self.find(Tail::All),
            Pass::From(_) => {
                *pass = Pass::Deliver;
                self.deliver_stored(record, out);
            }
            Pass::Deliver => self.deliver_stored(record, out),
            Pass::Gap => {
                *pass = Pass::Deliver;
                self.gap(Some(record.time), out);
                self.deliver_stored(record, out);
            }
        }
        Next::More
    }

    fn deliver_stored(&mut self, record: Record, out: &mut Vec<Delivery>) {
        let time = record.time;
        self.deliver(record, out);
        self.doubt.ordered_up_to(time);
    }

    pub(super) fn on_stored_end(&mut self, now: Duration, out: &mut Vec<Delivery>) -> Next {
        let Phase::Resync { tail, seen, pass } = &self.phase else {
            return Next::More;
        };
        match pass {
            Pass::Deliver | Pass::Begin { first: None, .. } => {}
            Pass::Begin {
                first: Some(first), ..
            } => {
                let first = *first;
                return self.snapshot(Tail::All, Pass::From(first));
            }
            Pass::From(_) => return self.find(Tail::All),
            Pass::Find(search) => {
                let (tail, seen, search) = (*tail, *seen, *search);
                return self.not_found(tail, seen, search);
            }
            // What was brought has no end in the log.
            Pass::Compare(_) => {
                self.tell_skip(self.doubt.latest(), out);
                self.doubt.clear();
            }
            Pass::Gap | Pass::CompareAll { .. } => self.gap(None, out),
        }
        self.synced(now, out)
    }

    /// Looks at what is stored, from the last verified record on. Whether a log's
    /// beginning is still there only the whole of it can tell.
    pub(super) fn resync(&mut self) -> Next {
        match std::mem::replace(&mut self.phase, Phase::Resting) {
            Phase::Compare { walk, .. }
            | Phase::Resync {
                pass: Pass::Compare(walk),
                ..
            } => self.doubt.interrupted(*walk),
            _ => {}
        }
        // All of it is one of the whole reads where its end is not found, too.
        let end = self.end_of_log(self.window());
        match self.doubt.verified() {
            Some(Verified { anchor: None, .. }) => self.find(Tail::All),
            _ => self.find(end),
        }
    }

    /// How far back the last verified record is, and some that may come meanwhile.
    pub(super) fn window(&self) -> u32 {
        let meanwhile = WINDOW + self.between;
        meanwhile.saturating_add(self.pending())
    }

    pub(super) fn pending(&self) -> u32 {
        u32::try_from(self.doubt.pending()).unwrap_or(u32::MAX)
    }

    fn find(&mut self, tail: Tail) -> Next {
        let whole = tail == Tail::All;
        let Some(at) = self.tracker.anchor() else {
            let pass = match self.settings.skips {
                Skips::Never => Pass::Deliver,
                _ => Pass::Begin {
                    first: None,
                    stored: 0,
                },
            };
            return self.snapshot(Tail::All, pass);
        };
        let search = self.search(at, whole);
        self.snapshot(tail, Pass::Find(search))
    }

    /// A look that is read to its end: what is looked for may be deleted.
    fn find_patiently(&mut self) -> Next {
        let next = self.find(Tail::Last(self.window()));
        if let Phase::Resync {
            pass: Pass::Find(search),
            ..
        } = &mut self.phase
        {
            search.hasty = false;
        }
        next
    }

    /// Looks for what is verified before `at`, the last record read.
    pub(super) fn search(&self, at: Anchor, whole: bool) -> Search {
        let base = match self.doubt.verified() {
            Some(verified) => verified.anchor,
            None => Some(at),
        };
        let dialect = self.settings.dialect;
        Search {
            base: base.map(|base| Finder::new(base, whole).among(dialect)),
            at: Finder::new(at, whole).among(dialect),
            at_seen: false,
            oldest: None,
            stored: Behind::default(),
            bytes: 0,
            hasty: !whole && base.is_some(),
        }
    }

    fn not_found(&mut self, tail: Tail, seen: u32, search: Search) -> Next {
        match (tail, search.oldest.filter(|_| search.at_seen)) {
            // What was brought is in the window; only the skipped is missing.
            (Tail::Last(want), Some(_)) if seen >= want => {
                self.find(Tail::Last(want.saturating_mul(2)))
            }
            (Tail::Last(want), None) if seen >= want => {
                let wider = if want < 8 * WINDOW { 2 } else { WIDEN };
                self.find(Tail::Last(want.saturating_mul(wider)))
            }
            (Tail::Last(_), _) if search.saw_likeness() => {
                self.unplaced = self.tracker.anchor();
                self.find(Tail::All)
            }
            // It brought less than it was asked for, which is no proof.
            (Tail::Last(_), None) => self.find(Tail::All),
            (_, Some(oldest)) => {
                let from_start = self.doubt.verified().is_some_and(|v| v.anchor.is_none());
                let pass = Pass::CompareAll {
                    oldest,
                    whole: from_start && search.bytes < self.settings.kept,
                    before: search.stored.latest_before().or(self.doubt.latest()),
                };
                self.snapshot(Tail::All, pass)
            }
            (_, None) => self.snapshot(Tail::All, Pass::Gap),
        }
    }

    fn snapshot(&mut self, tail: Tail, pass: Pass) -> Next {
        let phase = Phase::Resync {
            tail,
            seen: 0,
            pass,
        };
        self.enter(phase, None);
        Next::Snapshot(tail)
    }

    /// The last verified record is gone: from the oldest record on.
    fn compare_all(&mut self, first: Record, out: &mut Vec<Delivery>) {
        let Some(at) = self.tracker.anchor() else {
            return;
        };
        let joiner = Joiner::new(self.settings.max_line, self.settings.dialect);
        let mut walk = Box::new(Walk::from_start(joiner, at));
        walk.step(first, &mut self.doubt, self.taken, out);
        if let Phase::Resync { pass, .. } = &mut self.phase {
            *pass = Pass::Compare(walk);
        }
        self.compared();
    }

    /// Says that records may have been skipped behind the last verified one, none
    /// of them stamped behind `before`.
    fn tell_skip(&self, before: Option<i64>, out: &mut Vec<Delivery>) {
        let (after, before) = between(self.doubt.earliest(), before);
        let mut gap = Gap::possible(GapCause::EngineSkip, after, before);
        gap.place = Some((self.taken + 1).saturating_sub(self.doubt.pending() as u64));
        out.push(Delivery::Gap(gap));
    }

    /// Behind the last record brought, what is stored is new.
    fn compared(&mut self) {
        if self.doubt.pending() > 0 {
            return;
        }
        if let Phase::Resync { pass, .. } = &mut self.phase
            && let Pass::Compare(walk) = std::mem::replace(pass, Pass::Deliver)
        {
            self.adopt(*walk);
        }
    }

    /// All that was brought is verified.
    pub(super) fn adopt(&mut self, walk: Walk) {
        self.tracker.adopt(&walk.tracker);
        // Otherwise ours knows more: beginnings that are deleted meanwhile.
        if walk.mends_open_line() {
            self.joiner = walk.joiner;
        }
        self.doubt.clear();
        if let Some(at) = self.tracker.anchor() {
            self.doubt.ordered_up_to(at.time);
        }
    }

    fn gap(&mut self, before: Option<i64>, out: &mut Vec<Delivery>) {
        // A line whose beginning is known and whose end is gone.
        flush(&mut self.joiner, self.tracker.anchor(), out);
        let last = self.tracker.anchor();
        if !self.doubt.is_empty() {
            self.tell_skip(self.doubt.latest(), out);
        }
        self.tracker = Tracker::default();
        self.doubt.clear();
        let cause = match self.settings.skips {
            // The engine never deletes anything of such a log.
            Skips::Never => GapCause::LogTruncated,
            // The engine finds the end of what it rotates itself.
            _ if self.spins > 0 => GapCause::LogTruncated,
            _ if self.stalled => GapCause::Stall,
            _ => GapCause::RotatedOut,
        };
        let after = last.map(|anchor| anchor.time);
        let gap = Gap::gone(cause, (after, before), self.words.clone());
        out.push(Delivery::Gap(gap));
    }
}
