//! Reading through a lease: how wide it overlaps, when it is trusted, how long it
//! lives.

use std::time::Duration;

use super::super::anchor::{Anchor, index};
use super::super::line::{Dialect, Entry};
use super::super::{Delivery, Next, Verified, WINDOW};
use super::{Live, Phase, SEEK_SILENCE};
use crate::docker::{Record, RecordRef, Tail};

/// Widest overlap a lease is opened with.
const MAX_OVERLAP: u32 = 4_096;
/// Parts of an open line that are known again: more than are kept of any line.
const MAX_PARTS: usize = 256;
const MAX_SEEK_SILENCE: Duration = Duration::from_secs(4);
/// A probe saw a record that the lease has not brought: it gets so much longer.
const STALL: Duration = Duration::from_secs(1);

impl Live {
    /// A record of a lease before what is to come. What was stored as it was opened
    /// comes in file order, as a snapshot does.
    pub(super) fn on_known_record(
        &mut self,
        record: &Record,
        now: Duration,
        out: &mut Vec<Delivery>,
    ) -> Next {
        let Phase::Seek { search, left } = &mut self.phase else {
            return Next::More;
        };
        let asked = search.is_hasty().then_some(*left);
        let is_over = spend(left, self.settings.dialect, record);
        let (left, found, at) = (*left, search.is_at(record), search.at);
        if !found && asked.is_some_and(|asked| self.begins_late(asked, record)) {
            return self.resync();
        }
        if !found {
            self.deadline = Some(now + self.seek_silence);
            return if is_over { self.missed() } else { Next::More };
        }
        match self.doubt.walk(at) {
            Some(_) if is_over => return self.missed(),
            Some(walk) => {
                let walk = Box::new(walk);
                self.enter(Phase::Compare { walk, left }, Some(now + self.seek_silence));
            }
            None => self.read_on(left, now, out),
        }
        Next::More
    }

    /// Whether a read of the last records, so many were `asked` for, begins behind the
    /// last verified one: `first` was brought since. How much wider it has to be is
    /// known then, and the rest of it need not be read.
    pub(super) fn begins_late(&mut self, asked: u32, first: &Record) -> bool {
        let Some(place) = self.doubt.place_of(first) else {
            return false;
        };
        let expected = asked.saturating_sub(self.pending());
        self.between = expected.saturating_add(place).min(MAX_OVERLAP);
        true
    }

    /// A record of a lease that was not verified, or had been skipped.
    pub(super) fn on_doubtful_record(
        &mut self,
        record: Record,
        now: Duration,
        out: &mut Vec<Delivery>,
    ) -> Next {
        let Phase::Compare { walk, left } = &mut self.phase else {
            return Next::More;
        };
        let is_over = spend(left, self.settings.dialect, &record);
        let left = *left;
        walk.step(record, &mut self.doubt, self.taken, out);
        if self.doubt.pending() > 0 {
            if is_over {
                return self.missed();
            }
            self.deadline = Some(now + self.seek_silence);
        } else if let Phase::Compare { walk, .. } =
            std::mem::replace(&mut self.phase, Phase::Resting)
        {
            self.adopt(*walk);
            self.read_on(left, now, out);
        }
        Next::More
    }

    /// Of the records that may have been stored before the lease was opened, so many
    /// are still to come.
    fn read_on(&mut self, left: u32, now: Duration, out: &mut Vec<Delivery>) {
        if left == 0 {
            out.push(Delivery::Verified);
        }
        self.read(Some(left), now);
    }

    /// A record of a lease behind the anchor. A stream that goes back or repeats
    /// is not trusted: file order decides.
    pub(super) fn on_new_record(
        &mut self,
        record: Record,
        now: Duration,
        out: &mut Vec<Delivery>,
    ) -> Next {
        if let Some(next) = self.distrusted(&record, out) {
            return next;
        }
        let counted = self.settings.dialect.counted(&record);
        self.deliver(record, out);
        self.read_one(counted, now, out)
    }

    /// Whether `record` is a line of its own and most likely a new one: if so, it is
    /// [`Live::take_line`]'s.
    #[inline]
    pub(crate) fn takes_line(&self, record: &RecordRef<'_>) -> bool {
        matches!(self.phase, Phase::Read { .. }) && self.joiner.is_line(record)
    }

    /// [`Live::on_new_record`] of one that is a line of its own, which is handed on
    /// as it is.
    #[inline]
    pub(crate) fn take_line<'a>(
        &mut self,
        record: &RecordRef<'a>,
        now: Duration,
        out: &mut Vec<Delivery>,
    ) -> (Option<Entry<&'a [u8]>>, Next) {
        if let Some(next) = self.distrusted(record, out) {
            return (None, next);
        }
        self.note(record);
        let line = self.joiner.line(record);
        let counted = self.settings.dialect.counted(record);
        (Some(line), self.read_one(counted, now, out))
    }

    /// A record is delivered.
    #[inline]
    pub(super) fn note<P: AsRef<[u8]>>(&mut self, record: &Record<P>) {
        self.stopped = false;
        self.taken += 1;
        self.doubt.count(record);
        let anchor = self.tracker.push(record);
        self.note_part(anchor);
    }

    /// What is done if file order has to decide; what does is not delivered.
    #[inline]
    fn distrusted<P: AsRef<[u8]>>(
        &mut self,
        record: &Record<P>,
        out: &mut Vec<Delivery>,
    ) -> Option<Next> {
        let dialect = self.settings.dialect;
        let loose = dialect.stamps_are_loose;
        let goes_back = match self.tracker.last_of(record.stream) {
            Some(last) => {
                let repeats = last.ends_line && !loose;
                record.time < last.time || (record.time == last.time && repeats)
            }
            // A stream without a record where the log was joined may have some
            // further back.
            None => self
                .tracker
                .anchor()
                .is_some_and(|newest| record.time <= newest.time),
        };
        // A line that another follows without its end: was the end skipped?
        let slot = index(record.stream);
        let open = self.joiner.open_line(slot);
        let breaks_line = !loose && open.is_some_and(|time| time != record.time);
        if goes_back {
            out.push(Delivery::Replaced);
            return Some(self.resync());
        }
        // Equal parts are legal, and a stream that goes back within the line brings
        // them, too.
        let is_again = open == Some(record.time) && self.has_part(record);
        if is_again && self.doubt.is_possible() {
            return Some(self.resync());
        }
        if (breaks_line && self.doubt.is_possible()) || self.doubt.is_before(record) {
            return Some(self.resync());
        }
        self.doubt.take(record, &self.tracker, &self.joiner);
        None
    }

    /// One more was read of the lease.
    #[inline]
    fn read_one(&mut self, counted: u32, now: Duration, out: &mut Vec<Delivery>) -> Next {
        let left = match self.phase {
            Phase::Read { left, .. } => left,
            _ => None,
        };
        let left = left.map(|left| left.saturating_sub(counted));
        if left == Some(0) {
            out.push(Delivery::Verified);
        }
        let left = left.filter(|left| *left > 0);
        self.phase = Phase::Read {
            fresh: true,
            suspect: false,
            left,
        };
        match self.doubt.is_full() {
            true => self.rotate(now),
            false => Next::More,
        }
    }

    fn has_part<P: AsRef<[u8]>>(&self, record: &Record<P>) -> bool {
        !record.ends_line() && self.parts[index(record.stream)].contains(&record.hash())
    }

    /// Remembers the parts of the line that is open on a stream.
    pub(super) fn note_part(&mut self, anchor: Anchor) {
        let parts = &mut self.parts[index(anchor.stream)];
        if anchor.ends_line || anchor.ordinal == 0 {
            parts.clear();
        }
        if !anchor.ends_line && parts.len() < MAX_PARTS {
            parts.push(anchor.hash);
        }
    }

    pub(super) fn on_probed(
        &mut self,
        last: Option<&Record>,
        now: Duration,
        out: &mut Vec<Delivery>,
    ) -> Next {
        if let Phase::Read {
            fresh: false, left, ..
        } = self.phase
        {
            let healthy = match (last, self.tracker.anchor()) {
                (Some(last), Some(anchor)) => anchor.is_like(last),
                (None, None) => true,
                _ => false,
            };
            if healthy {
                out.push(Delivery::Verified);
            } else {
                self.enter(
                    Phase::Read {
                        fresh: false,
                        suspect: true,
                        left,
                    },
                    Some(now + STALL),
                );
            }
        }
        Next::More
    }

    /// Drops the lease for another, which brings again what is in doubt.
    pub(super) fn rotate(&mut self, now: Duration) -> Next {
        match self.doubt.verified() {
            Some(Verified { anchor: None, .. }) => self.resync(),
            _ => self.open(now),
        }
    }

    /// Opens a lease that overlaps what was read, back to the last verified record.
    pub(super) fn open(&mut self, now: Duration) -> Next {
        (self.ended, self.stopped) = (false, false);
        (self.stalled, self.drained, self.words) = (false, false, None);
        if self.spins > 0 {
            return self.open_bell(now);
        }
        let Some(anchor) = self.tracker.anchor() else {
            // Nothing was stored when last looked at: all there is is new.
            self.read(None, now);
            return Next::Lease(Tail::All);
        };
        // No other lease shows the place of a record among the log's first.
        let whole = self.unplaced == Some(anchor);
        let (left, tail) = match self.overlap.max(self.window()) {
            _ if whole => (u32::MAX, Tail::All),
            left => (left, Tail::Last(left)),
        };
        let search = self.search(anchor, whole);
        self.enter(Phase::Seek { search, left }, Some(now + self.seek_silence));
        Next::Lease(tail)
    }

    pub(super) fn read(&mut self, left: Option<u32>, now: Duration) {
        let left = left.filter(|left| *left > 0);
        let phase = Phase::Read {
            fresh: false,
            suspect: false,
            left,
        };
        let until = now + self.lifetime();
        self.enter(phase, Some(until));
        self.overlap = (self.overlap / 2).max(WINDOW);
        self.between = (self.between / 2).min(left.unwrap_or(0));
        self.seek_silence = SEEK_SILENCE;
    }

    pub(super) fn lifetime(&mut self) -> Duration {
        self.settings.rotation.mul_f64(0.9 + 0.2 * self.rng.f64())
    }

    /// More was written than the lease overlaps, or the engine is slow.
    pub(super) fn missed(&mut self) -> Next {
        self.overlap = (self.overlap * 2).min(MAX_OVERLAP);
        self.seek_silence = (self.seek_silence * 2).min(MAX_SEEK_SILENCE);
        self.resync()
    }
}

/// Counts a record of a lease's overlap; whether the overlap is behind it.
fn spend(left: &mut u32, dialect: Dialect, record: &Record) -> bool {
    let counted = dialect.counted(record);
    // Where lines are counted, one that is open comes behind all of them.
    let is_over = dialect.tail_counts_lines && *left < counted;
    *left = left.saturating_sub(counted);
    is_over || (!dialect.tail_counts_lines && *left == 0)
}

#[cfg(test)]
mod tests {
    use super::super::Settings;
    use super::*;
    use crate::tail::{Event, Skips};

    fn live() -> Live {
        let settings = Settings {
            rotation: Duration::from_secs(10),
            max_line: 1,
            dialect: Dialect::default(),
            skips: Skips::Never,
            kept: 0,
            orientation: WINDOW,
            seed: 7,
        };
        Live::new(settings).0
    }

    #[test]
    fn a_lease_behind_a_miss_overlaps_twice_as_much() {
        let (mut live, now, mut out) = (live(), Duration::ZERO, Vec::new());
        let record = Event::Record(Record {
            stream: crate::docker::Stream::Tty,
            time: 1,
            payload: bytes::Bytes::from_static(b"x\n"),
        });
        for overlap in [WINDOW, 2 * WINDOW, 4 * WINDOW] {
            live.on(record.clone(), now, &mut out);
            let opened = live.on(Event::End, now, &mut out);
            assert_eq!(opened, Next::Lease(Tail::Last(overlap)));
            assert_eq!(live.missed(), Next::Snapshot(Tail::Last(WINDOW)));
        }
    }

    #[test]
    fn leases_live_up_to_a_tenth_longer_or_shorter_each_by_itself() {
        let mut live = live();
        let lives: Vec<_> = (0..1_000).map(|_| live.lifetime()).collect();
        let (shortest, longest) = (lives.iter().min(), lives.iter().max());
        let around = |from: u64, to: u64| Duration::from_millis(from)..Duration::from_millis(to);
        assert!(shortest.is_some_and(|life| around(9_000, 9_100).contains(life)));
        assert!(longest.is_some_and(|life| around(10_900, 11_001).contains(life)));
    }
}
