//! Which run of a container its lines belong to.
//!
//! A log goes on behind a restart without a mark, and by the time the engine is
//! asked another run may have written. So what is read after a lease's end is
//! held until the answer is there, and parted at the moment the new run began.

use super::pack::Packer;
use super::unit::{Change, Content};
use crate::docker::Container;
use crate::tail::{Delivery, Entry, Position};

/// Bytes held at most. Beyond, lines go out before the change is known.
const HELD_BYTES: usize = 1024 * 1024;

/// The runs told so far, and what is held until the next is known.
#[derive(Debug)]
pub(crate) struct Runs {
    /// Beginning of the last run told, ns since the Unix epoch.
    started: Option<i64>,
    /// Whether its end has not been told.
    running: bool,
    held: Vec<Held>,
    bytes: usize,
}

#[derive(Debug)]
struct Held {
    before: Position,
    deliveries: Vec<Delivery>,
    after: Position,
}

impl Runs {
    /// Behind what was told: when the last run began, and whether it runs still.
    pub(crate) fn told((started, running): (Option<i64>, bool)) -> Self {
        Self {
            started,
            running,
            held: Vec::new(),
            bytes: 0,
        }
    }

    /// Whether it has begun a run that has not been told; that may be over.
    pub(crate) fn is_new(&self, container: &Container) -> bool {
        container.started.is_some() && container.started != self.started
    }

    /// Keeps what one event brought until [`Runs::tell`].
    pub(crate) fn hold(
        &mut self,
        before: Position,
        mut deliveries: Vec<Delivery>,
        after: Position,
        packer: &mut Packer,
    ) {
        // By the time this goes out another request may have been made.
        deliveries.retain(|delivery| *delivery != Delivery::Verified);
        let cost = |delivery: &Delivery| match delivery {
            Delivery::Entry(entry) | Delivery::Late(entry, _) => entry_cost(entry),
            _ => size_of::<Delivery>(),
        };
        if deliveries.is_empty() {
            return;
        }
        self.bytes += deliveries.iter().map(cost).sum::<usize>();
        self.held.push(Held {
            before,
            deliveries,
            after,
        });
        if self.bytes > HELD_BYTES {
            self.release(packer);
        }
    }

    /// Hands on what was held, with the change between the runs where the engine
    /// says it was.
    pub(crate) fn tell(&mut self, now: &Container, at: Position, packer: &mut Packer) {
        let begun = now.started.filter(|_| now.started != self.started);
        let Some(begun) = begun else {
            self.release(packer);
            return;
        };
        let border = border(begun, now.finished);
        let of_new_run = |delivery: &Delivery| match delivery {
            Delivery::Entry(entry) => entry.time >= border,
            _ => false,
        };
        let mut told = false;
        for mut held in std::mem::take(&mut self.held) {
            let part = held
                .deliveries
                .iter()
                .position(of_new_run)
                .filter(|_| !told);
            if let Some(part) = part {
                let rest = held.deliveries.split_off(part);
                packer.push(&mut held.deliveries, held.before);
                self.change(begun, held.before, packer);
                (told, held.deliveries) = (true, rest);
            }
            packer.push(&mut held.deliveries, held.after);
        }
        self.bytes = 0;
        if !told {
            self.change(begun, at, packer);
        }
    }

    /// The container does not run, and all it wrote has been read.
    pub(crate) fn end(&mut self, now: &Container, at: Position, packer: &mut Packer) {
        self.release(packer);
        if std::mem::take(&mut self.running) {
            let exited = Change::Exited(now.finished, now.exit_code);
            packer.content(Content::Changed(exited), at);
        }
        packer.content(Content::Settled, at);
    }

    /// Whether anything is held.
    pub(crate) fn is_holding(&self) -> bool {
        !self.held.is_empty()
    }

    /// Hands on what was held.
    pub(crate) fn release(&mut self, packer: &mut Packer) {
        for mut held in std::mem::take(&mut self.held) {
            packer.push(&mut held.deliveries, held.after);
        }
        self.bytes = 0;
    }

    fn change(&mut self, begun: i64, at: Position, packer: &mut Packer) {
        if std::mem::replace(&mut self.running, true) {
            // Its end was missed: neither moment nor code are known any more.
            packer.content(Content::Changed(Change::Exited(None, None)), at);
        }
        packer.content(Content::Changed(Change::Started(Some(begun))), at);
        self.started = Some(begun);
    }
}

fn entry_cost(entry: &Entry) -> usize {
    size_of::<Entry>() + entry.line.len()
}

/// The engine stamps a run's beginning after the process was started, and its end
/// before its last output was read: what lies in the middle parts the two.
fn border(begun: i64, finished: Option<i64>) -> i64 {
    let last = finished.filter(|finished| *finished < begun);
    last.map_or(begun, |finished| finished + (begun - finished) / 2)
}
