//! Whether a log still has the beginning that a stretch starts at: as long as it holds
//! less than its engine keeps, nothing was deleted.

use super::super::anchor::{Anchor, Finder};
use super::super::doubt::stored_at_most;
use super::super::{Next, Position};
use super::pass::Stage;
use super::{From, History};
use crate::docker::{Record, Tail};

impl History {
    /// Nothing had been read before: what the log began with may be deleted.
    pub(super) fn on_first_records(&mut self, record: &Record) -> Next {
        let Stage::Begin { first, stored } = &mut self.pass.stage else {
            return Next::More;
        };
        first.get_or_insert_with(|| self.pass.tracker.push(record));
        *stored = stored.saturating_add(stored_at_most(record));
        match *stored >= self.kept {
            true => self.begin(None),
            false => Next::More,
        }
    }

    /// From the log's first record, if it is known to be the first there was.
    pub(super) fn begin(&mut self, beginning: Option<Anchor>) -> Next {
        let from = match self.from {
            From::After(position) => position,
            _ => Position::default(),
        };
        let stage = match (from.anchor, beginning) {
            (Some(anchor), _) => return self.find_behind(beginning, from, anchor, Tail::All),
            (None, Some(first)) => Stage::Recount {
                finder: Finder::new(first, true),
                skip: 0,
            },
            (None, None) => Stage::gap_behind(from, None, None),
        };
        self.read(Tail::All, stage)
    }
}
