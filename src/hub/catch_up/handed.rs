//! What a subscriber was handed over by its catch-up, and what it holds that by.

use super::Piece;
use crate::hub::unit::{Content, Unit};
use crate::supervisor::{Started, Supervisor, Work};
use crate::tail::{From, Gap};

/// How far a catch-up has come.
#[derive(Debug, Clone)]
pub(in crate::hub) struct Handed {
    /// What is still to be read.
    pub(super) from: From,
    /// Whether it was told where the stretch starts.
    pub(super) located: bool,
    /// The last piece, if it was a gap. Its end is the place before it.
    pub(super) told: Option<Gap>,
    /// Whether that was all.
    pub(super) over: bool,
    /// What of it was not counted yet.
    work: Work,
}

impl Handed {
    /// Nothing yet of a stretch that starts `from` there.
    pub(in crate::hub) fn nothing(from: From) -> Self {
        Self {
            from,
            located: false,
            told: None,
            over: false,
            work: Work::default(),
        }
    }

    /// What was handed over since this was last asked for.
    pub(super) fn take_work(&mut self) -> Work {
        std::mem::take(&mut self.work)
    }

    /// Notes what is handed over.
    pub(super) fn note(&mut self, piece: &Piece) {
        match piece {
            Piece::Located(start) => (self.from, self.located) = (From::After(*start), true),
            Piece::Unit(unit) => {
                self.from = From::After(unit.after);
                self.told = match &unit.content {
                    Content::Gap(gap) => Some(gap.clone()),
                    _ => None,
                };
                count(unit, &mut self.work);
            }
            Piece::Done(_) | Piece::Ended(_) => self.over = true,
        }
    }
}

/// A catch-up that runs. It ends, and with it its connection, when this is dropped.
#[derive(Debug)]
pub(in crate::hub) struct Held {
    supervisor: Supervisor,
    task: Started,
    /// Whether it has nothing more to do.
    over: bool,
}

impl Held {
    pub(in crate::hub) fn new(supervisor: Supervisor, task: Started) -> Self {
        Self {
            supervisor,
            task,
            over: false,
        }
    }

    /// All was handed over: it ends by itself.
    pub(in crate::hub) fn let_end(&mut self) {
        self.over = true;
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        match self.over {
            true => self.supervisor.release(self.task),
            false => self.supervisor.stop(self.task),
        }
    }
}

fn count(unit: &Unit, work: &mut Work) {
    if let Content::Entries(batch) | Content::Late(batch, _) = &unit.content {
        work.data = true;
        work.entries += batch.count() as u64;
        let lines = batch.entries().map(|(_, line)| line.len() as u64);
        work.bytes += lines.sum::<u64>();
    }
}
