//! Records of which a window does not show enough: they are read again.

use super::super::anchor::index;
use super::pass::Stage;
use super::{From, History};
use crate::docker::Record;

impl History {
    /// Whether `record` may be the target and the window does not show whether
    /// it is: what is wanted from here on is read again. Before the stretch it
    /// does not matter.
    pub(super) fn doubts_target(&mut self, record: &Record) -> bool {
        if !self.pass.target.is_some_and(|t| t.is_in_doubt(record)) {
            return false;
        }
        match self.pass.stage {
            Stage::Find { .. } | Stage::Recount { .. } | Stage::Size => return false,
            Stage::Deliver => (self.from, self.ours) = (From::After(self.position()), true),
            _ => {}
        }
        true
    }

    /// Whether `record` belongs to a line that may have begun before the window,
    /// which no position that was looked for knows of: it is read again as one
    /// that was open here.
    pub(super) fn doubts_line(&mut self, record: &Record) -> bool {
        let is_delivered = match (&self.pass.stage, self.from) {
            (Stage::Deliver, From::Since(_)) => true,
            (Stage::Since { instant, .. }, _) if self.dialect.stamps_are_loose => {
                // Its first part may be stamped before the instant.
                let line = self.pass.joiner.open_line(index(record.stream));
                let is_next = record.ends_line() && line.unwrap_or(record.time) >= *instant;
                return is_next && self.pass.torn_line(record).is_some();
            }
            _ => false,
        };
        let line = self.pass.torn_line(record).filter(|_| is_delivered);
        let Some(line) = line else {
            return false;
        };
        let mut position = self.position();
        position.open[index(record.stream)] = Some(line);
        (self.from, self.ours) = (From::After(position), true);
        true
    }
}
