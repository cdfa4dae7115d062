//! One container's log as subscribers see it: a ring of the newest units.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use super::lifecycle::Lifecycle;
use super::unit::Unit;
use crate::tail::Position;

/// Bytes a ring keeps. A subscriber that falls further behind reads from the
/// engine again.
pub(crate) const RING_BYTES: usize = 4 * 1024 * 1024;
/// Units handed to a subscriber at once.
const TAKE: usize = 64;

/// Why a log will bring nothing more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ended {
    /// The engine removed the container.
    Removed,
    /// The container's log driver cannot be read; the engine's words.
    Unreadable(String),
}

/// A container's log. One reader publishes, any number of subscribers read.
#[derive(Debug)]
pub struct Log {
    state: Mutex<State>,
    /// Counts publications, to wake subscribers.
    changed: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct State {
    units: VecDeque<Arc<Unit>>,
    bytes: usize,
    /// Sequence number of the oldest unit kept.
    first: u64,
    /// Behind the newest unit; `None` until the reader knows where it is.
    position: Option<Position>,
    /// Of the container, behind the newest unit.
    lifecycle: Lifecycle,
    /// Records the reader has taken.
    taken: u64,
    ended: Option<Ended>,
}

/// Where a log stands: a subscriber that starts at `seq` gets everything
/// behind `position`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) seq: u64,
    pub(crate) position: Position,
    pub(crate) lifecycle: Lifecycle,
    /// Records the reader has taken there.
    pub(crate) taken: u64,
}

/// What a subscriber finds at its place.
#[derive(Debug)]
pub(crate) enum Read {
    Units(Vec<Arc<Unit>>),
    /// The ring has dropped what stood there.
    Behind,
    /// Nothing yet.
    Empty,
    Ended(Ended),
}

impl Log {
    pub(crate) fn new() -> Self {
        Self {
            state: Mutex::default(),
            changed: watch::Sender::new(0),
        }
    }

    /// A receiver that is told of every change from now on.
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// Where the log stands; `None` until its reader knows.
    pub(crate) fn head(&self) -> Option<Head> {
        let state = self.state();
        Some(Head {
            seq: state.first + state.units.len() as u64,
            position: state.position?,
            lifecycle: state.lifecycle,
            taken: state.taken,
        })
    }

    /// Why it ended, if it did.
    pub(crate) fn ended(&self) -> Option<Ended> {
        self.state().ended.clone()
    }

    /// Says whether the container runs as its log is opened.
    pub(crate) fn opened(&self, running: bool) {
        self.state().lifecycle = Lifecycle::of(running);
    }

    /// Appends units and moves the position, together.
    /// `taken`: records read behind it.
    pub(crate) fn publish(&self, units: Vec<Unit>, position: Position, taken: u64) {
        {
            let mut state = self.state();
            state.taken = taken;
            state.position = Some(position);
            for unit in units {
                state.lifecycle.note(&unit.content);
                state.bytes += unit.cost();
                state.units.push_back(Arc::new(unit));
            }
            state.trim();
        }
        self.changed.send_modify(|count| *count += 1);
    }

    /// Says that nothing more will come.
    pub(crate) fn end(&self, ended: Ended) {
        self.state().ended = Some(ended);
        self.changed.send_modify(|count| *count += 1);
    }

    /// What stands at `seq` and behind it.
    pub(crate) fn read(&self, seq: u64) -> Read {
        let state = self.state();
        let Some(skip) = seq.checked_sub(state.first) else {
            return Read::Behind;
        };
        let skip = usize::try_from(skip).unwrap_or(usize::MAX);
        let units: Vec<_> = state
            .units
            .iter()
            .skip(skip)
            .take(TAKE)
            .map(Arc::clone)
            .collect();
        match (units.is_empty(), &state.ended) {
            (false, _) => Read::Units(units),
            (true, Some(ended)) => Read::Ended(ended.clone()),
            (true, None) => Read::Empty,
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Every critical section leaves the state whole, so a panic in one of
        // them (of an allocation, say) poisons nothing.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn trim(&mut self) {
        // The newest unit stays, whatever its size.
        while self.bytes > RING_BYTES && self.units.len() > 1 {
            if let Some(unit) = self.units.pop_front() {
                self.bytes -= unit.cost();
                self.first += 1;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::unit::Content;
    use super::*;

    fn unit() -> Unit {
        Unit {
            content: Content::LeaseReplaced,
            after: Position::default(),
        }
    }

    #[test]
    fn a_subscriber_behind_the_ring_is_told_and_one_inside_is_served() {
        let log = Log::new();
        assert!(log.head().is_none());
        let many = RING_BYTES / unit().cost() + 10;
        log.publish((0..many).map(|_| unit()).collect(), Position::default(), 0);
        assert!(matches!(log.read(0), Read::Behind));
        let head = log.head().unwrap();
        assert_eq!(head.seq, many as u64);
        assert!(matches!(log.read(head.seq), Read::Empty));
        assert!(matches!(log.read(head.seq - 3), Read::Units(units) if units.len() == 3));
    }

    #[test]
    fn what_was_published_is_read_before_the_end() {
        let log = Log::new();
        log.publish(vec![unit()], Position::default(), 0);
        log.end(Ended::Removed);
        assert!(matches!(log.read(0), Read::Units(_)));
        assert!(matches!(log.read(1), Read::Ended(Ended::Removed)));
    }
}
