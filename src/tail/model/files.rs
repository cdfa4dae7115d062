//! What becomes of log files: a lease leaves some out, retention deletes some.

use proptest::sample::Index;

use super::driver::{Driver, Reading};

impl Driver {
    /// Behind an empty log there is no anchor, and behind a deleted one the gap is
    /// open: what is deleted before its first read leaves no trace of its own.
    pub(super) fn delete(&mut self, until: Index) {
        let position = self.live.position();
        let read = self.live.is_oriented().then(|| self.at(position)).flatten();
        let in_gap = read.is_some_and(|read| read < self.log.base);
        if position.anchor.is_some() && !in_gap {
            let retained = self.log.end() - self.log.base;
            self.log.delete(self.log.base + until.index(retained + 1));
        }
    }

    /// Whole lines only: a line that was begun or ended in a skip is torn.
    pub(super) fn skip(&mut self, to: &dyn Fn(usize) -> usize) {
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
        if whole(*at) && whole(to) {
            self.skipped.extend(*at..to);
            *at = to;
        }
    }
}
