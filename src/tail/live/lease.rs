//! Reading through a lease: how wide it overlaps, when it is trusted, how long it
//! lives.

use std::time::Duration;

use super::super::anchor::{Finder, index};
use super::super::{Delivery, Next, WIDEN, WINDOW};
use super::{Live, Phase, SEEK_SILENCE};
use crate::docker::{Record, Tail};

/// Widest overlap a lease is opened with.
const MAX_OVERLAP: u32 = 4_096;
const MAX_SEEK_SILENCE: Duration = Duration::from_secs(4);
/// A probe saw a record that the lease has not brought: it gets so much longer.
const STALL: Duration = Duration::from_secs(1);

impl Live {
    /// A record of a lease behind the anchor. A stream that goes back or repeats
    /// is not trusted: file order decides.
    pub(super) fn on_new_record(&mut self, record: Record, out: &mut Vec<Delivery>) -> Next {
        let goes_back = match self.tracker.last_of(record.stream) {
            Some(last) => {
                let repeats = last.ends_line && !self.settings.dialect.stamps_repeat;
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
        let open = self.joiner.open_lines()[slot];
        let breaks_line = open.is_some_and(|time| time != record.time);
        if goes_back {
            out.push(Delivery::Replaced);
            return self.resync();
        }
        if (breaks_line && self.doubt.is_possible()) || self.doubt.is_before(&record) {
            return self.resync();
        }
        self.doubt.take(&record, &self.tracker, &self.joiner);
        self.deliver(record, out);
        let left = match self.phase {
            Phase::Read { left, .. } => left,
            _ => None,
        };
        let left = left.and_then(|left| left.checked_sub(1));
        self.phase = Phase::Read {
            fresh: true,
            suspect: false,
            left,
        };
        match self.doubt.is_full() {
            true => self.resync(),
            false => Next::More,
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

    /// Opens a lease that overlaps what was read.
    pub(super) fn open(&mut self, now: Duration) -> Next {
        (self.ended, self.stopped) = (false, false);
        (self.stalled, self.drained) = (false, false);
        let Some(anchor) = self.tracker.anchor() else {
            // Nothing was stored when last looked at: all there is is new.
            self.read(None, now);
            return Next::Lease(Tail::All);
        };
        let phase = Phase::Seek {
            finder: Finder::new(anchor, false),
            left: self.overlap,
        };
        self.enter(phase, Some(now + self.seek_silence));
        Next::Lease(Tail::Last(self.overlap))
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
        self.seek_silence = SEEK_SILENCE;
    }

    pub(super) fn lifetime(&mut self) -> Duration {
        self.settings.rotation.mul_f64(0.9 + 0.2 * self.rng.f64())
    }

    /// More was written than the lease overlaps, or the engine is slow.
    pub(super) fn missed(&mut self) -> Next {
        self.overlap = (self.overlap * WIDEN).min(MAX_OVERLAP);
        self.seek_silence = (self.seek_silence * 2).min(MAX_SEEK_SILENCE);
        self.resync()
    }
}
