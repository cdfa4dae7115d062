//! A lease leaves out whole files, as engines do while they rotate.

use super::driver::{Driver, Reading};

impl Driver {
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
