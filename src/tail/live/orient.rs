//! Where a log is joined: at its end, which lines are open there.

use std::time::Duration;

use super::super::anchor::{Tracker, index};
use super::super::doubt::Doubt;
use super::super::ends::Brought;
use super::super::line::Joiner;
use super::super::{Delivery, MAX_ORIENTATION, Next, WIDEN, WINDOW, is_whole};
use super::bad::Bad;
use super::corrupt::Then;
use super::{Live, Phase};
use crate::docker::{Stream, Tail};

impl Live {
    pub(super) fn on_orient_end(&mut self, now: Duration, out: &mut Vec<Delivery>) -> Next {
        let Phase::Orient { want, seen, starts } = self.phase else {
            return Next::More;
        };
        let is_enough = want >= self.orientation(starts) || self.bad.is_near;
        match seen < want {
            false if is_enough => self.begin(now, out),
            false => {
                self.bad.orients(self.tracker.anchor());
                self.orient(want * WIDEN)
            }
            true => {
                self.bad.is_whole = is_whole(want, seen);
                match self.bad.is_oriented_at(self.tracker.anchor()) {
                    true => self.begin(now, out),
                    false => self.ended_at(Then::Begin, now, out),
                }
            }
        }
    }

    /// Whether what is read now may show where the log ends.
    #[cfg(test)]
    pub(crate) fn is_joining(&self) -> bool {
        matches!(self.phase, Phase::Orient { .. })
    }

    /// What is stored from here on is delivered.
    pub(super) fn begin(&mut self, now: Duration, out: &mut Vec<Delivery>) -> Next {
        self.oriented = true;
        if self.bad.is_whole {
            self.doubt.known_from_start();
        }
        self.bad.reach = self.bad.reach.max(self.bad.brought.seen());
        out.push(Delivery::Verified);
        self.open(now)
    }

    /// How many records are worth reading to know of every open line: many where
    /// one is seen open and not its start, fewer where a stream was not seen at
    /// all. Only a terminal has no other stream.
    fn orientation(&self, starts: [bool; 3]) -> u32 {
        let streams = match self.tracker.last_of(Stream::Tty) {
            Some(_) => &[Stream::Tty][..],
            None => &[Stream::Stdout, Stream::Stderr],
        };
        let loose = self.settings.dialect.stamps_are_loose;
        let worth = |stream: &Stream| match self.tracker.last_of(*stream) {
            Some(last) if starts[index(*stream)] || last.ends_line && !loose => WINDOW,
            Some(_) => MAX_ORIENTATION,
            None => self.settings.orientation,
        };
        streams.iter().map(worth).max().unwrap_or(WINDOW)
    }

    pub(super) fn orient_anew(&mut self) -> Next {
        self.bad = Bad::default();
        self.orient(WINDOW)
    }

    pub(super) fn orient(&mut self, want: u32) -> Next {
        self.tracker = Tracker::default();
        self.joiner = Joiner::new(self.settings.max_line, self.settings.dialect);
        self.doubt = Doubt::new(self.settings.skips);
        let phase = Phase::Orient {
            want,
            seen: 0,
            starts: [false; 3],
        };
        self.enter(phase, None);
        let tail = match want {
            u32::MAX => Tail::All,
            want => Tail::Last(want),
        };
        self.bad.brought = Brought::by(tail);
        Next::Snapshot(tail)
    }
}
