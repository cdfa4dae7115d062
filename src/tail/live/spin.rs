//! Reading a log whose end the engine does not find.
//!
//! Where somebody else has cut a log's file, dockerd from 23 on looks for its last
//! records for ever, at the cost of a core, and a follow of it is deaf. A read of
//! all that is stored still works. So all is read, once per rotation, until the
//! end is looked for again; meanwhile there is no other request for it.

use std::time::Duration;

use super::{Live, Phase};
use crate::docker::Tail;
use crate::tail::Next;

/// So many times all is read before the log's end is looked for again: the file
/// may have rotated.
const WHOLE_READS: u32 = 32;

impl Live {
    /// Nothing comes of the log's end.
    pub(super) fn on_silent(&mut self) -> Next {
        match self.phase {
            Phase::Orient { seen: 0, want, .. } if want < u32::MAX => {
                self.spins = WHOLE_READS;
                self.orient(u32::MAX)
            }
            Phase::Resync {
                tail: Tail::Last(_),
                seen: 0,
                ..
            }
            | Phase::Read { fresh: false, .. } => {
                self.spins = WHOLE_READS;
                self.resync()
            }
            _ => Next::More,
        }
    }

    /// What is read to find the last `window` records.
    pub(super) fn end_of_log(&mut self, window: u32) -> Tail {
        match self.spins {
            0 => Tail::Last(window),
            _ => {
                self.spins -= 1;
                Tail::All
            }
        }
    }

    /// A lease without a record, whose own come without any before them.
    pub(super) fn open_bell(&mut self, now: Duration) -> Next {
        let until = now + self.lifetime();
        self.enter(Phase::Bell, Some(until));
        Next::Lease(Tail::Last(0))
    }

    /// The follow is not deaf: the end is looked for soon.
    pub(super) fn on_bell(&mut self) -> Next {
        self.spins = self.spins.min(1);
        Next::More
    }
}
