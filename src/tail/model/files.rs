//! What becomes of log files: a lease leaves some out or goes back in them, retention
//! deletes some.

use proptest::sample::Index;

use super::driver::{Driver, Reading};
use super::log::{Log, Store};
use crate::tail::Event;

impl Driver {
    /// Behind a deleted anchor the gap is open: what is deleted before its first read
    /// leaves no trace of its own.
    pub(super) fn delete(&mut self, until: Index) {
        let retained = self.log.end() - self.log.base;
        if self.may_delete() {
            self.log.delete(self.log.base + until.index(retained + 1));
        } else if self.has_read_nothing() && retained > 0 {
            // An engine keeps what it stored last.
            self.log.delete(self.log.base + until.index(retained));
        }
    }

    /// Of an empty log, and a lease is there that brings what comes. What is deleted
    /// between a look at an empty log and the lease behind it leaves no trace.
    fn has_read_nothing(&self) -> bool {
        let unread = self.live.position().anchor.is_none();
        self.live.is_oriented() && unread && matches!(self.reading, Reading::Lease { .. })
    }

    /// Somebody else empties the log's file.
    pub(super) fn empty(&mut self) {
        if self.may_delete() {
            self.log.empty();
            self.stall();
        }
    }

    fn may_delete(&self) -> bool {
        let position = self.live.position();
        let read = self.live.is_oriented().then(|| self.at(position)).flatten();
        let in_gap = read.is_some_and(|read| read < self.log.base);
        position.anchor.is_some() && !in_gap
    }

    /// Whole lines only: a line that was begun or ended in a skip is torn.
    pub(super) fn skip(&mut self, to: &dyn Fn(usize) -> usize) {
        self.skip_where(to, &|_, _| true);
    }

    /// The same, but nothing from among records of one stamp where that is all there is
    /// to tell them apart: no reader can say which of them it has read.
    pub(super) fn skip_stamps(&mut self, to: &dyn Fn(usize) -> usize) {
        self.skip_where(to, &|log, at| {
            let time = |at: usize| log.records.get(at).map(|record| record.time);
            log.store != Store::Journal || time(at - 1) != time(at)
        });
    }

    fn skip_where(&mut self, to: &dyn Fn(usize) -> usize, may: &dyn Fn(&Log, usize) -> bool) {
        let oriented = self.live.is_oriented();
        let read = oriented.then(|| self.at(self.live.position())).flatten();
        let end = self.log.end();
        let Reading::Lease {
            at,
            limit: None,
            stalled: false,
            ..
        } = &mut self.reading
        else {
            return;
        };
        if *at == 0 || *at >= end || read.is_none_or(|read| read + 1 != *at) {
            return;
        }
        let to = *at + 1 + to(end - *at);
        let whole = |at: usize| self.log.position(at - 1).open == [None; 3];
        let may = |at: usize| may(&self.log, at);
        if whole(*at) && whole(to) && may(*at) && may(to) {
            self.skipped.extend(*at..to);
            *at = to;
        }
    }

    /// Only what the guard can see: a record that is not behind the last one of
    /// its stream, or of the log, and no part in a line.
    pub(super) fn go_back(&mut self, to: &dyn Fn(usize) -> usize, once: bool) {
        let oriented = self.live.is_oriented();
        let read = oriented.then(|| self.at(self.live.position())).flatten();
        let Reading::Lease {
            base,
            stored,
            at,
            stalled: false,
            ..
        } = &mut self.reading
        else {
            return;
        };
        if *at < *stored {
            return;
        }
        let Some(newest) = self.log.records[*base..*at].last() else {
            return;
        };
        let back = *base + to(*at - *base);
        let record = &self.log.records[back];
        // A repeat of the last one read is none to see where stamps are loose.
        let read_before = (0..*at).rev().filter(|at| !self.skipped.contains(at));
        let mut read_before = read_before.map(|at| &self.log.records[at]);
        let Some(last) = read_before.find(|r| r.stream == record.stream) else {
            return;
        };
        let loose = self.log.dialect().stamps_are_loose;
        let repeats = record.time == last.time && last.ends_line() && !loose;
        let seen = record.time <= newest.time && (record.time < last.time || repeats);
        let between = [back, *at]
            .into_iter()
            .all(|at| self.log.is_between_lines(at));
        if seen && between {
            // Before the anchor has come, what is repeated alone makes a skip.
            match once {
                true if read.is_none_or(|read| read + 1 != *at) => return,
                true => {}
                false => *at = back + 1,
            }
            self.feed(Event::Record(self.log.records[back].clone()));
        }
    }
}
