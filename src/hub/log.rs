//! One container's log as subscribers see it: a ring of the newest units.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use super::budget::Budget;
pub use super::lifecycle::Ended;
use super::lifecycle::Lifecycle;
use super::pace::Latencies;
use super::unit::{Change, Content, UNIT_BYTES, Unit};
use crate::supervisor::sync::atomic::{AtomicUsize, Ordering};
use crate::supervisor::sync::{MutexGuard, others_first};
use crate::supervisor::{Fenced, Permit};
use crate::tail::Position;

/// Bytes a ring keeps at least. A subscriber that falls further behind reads from
/// the engine again.
const RING_BYTES: usize = 4 * 1024 * 1024;
/// Units handed to a subscriber at once, and the bytes at which they are enough:
/// it keeps them alive.
const TAKE: usize = 64;
const TAKE_BYTES: usize = 2 * UNIT_BYTES;

/// Bytes a ring keeps of lines of at most `max_line` bytes.
pub(crate) fn ring_bytes(max_line: usize) -> usize {
    RING_BYTES.max(2 * max_line)
}

/// A container's log. One reader publishes, any number of subscribers read. It
/// outlives its readers: what a dead one has published stays, what it still tries
/// to is refused, and the next one begins a new ring.
#[derive(Debug)]
pub struct Log {
    state: Fenced<State>,
    /// Counts publications, to wake subscribers.
    changed: watch::Sender<u64>,
    /// Most bytes of the ring.
    limit: usize,
    /// Bytes of the ring, as last seen under the lock.
    bytes: AtomicUsize,
    budget: Arc<Budget>,
}

#[derive(Debug, Default)]
struct State {
    units: VecDeque<Arc<Unit>>,
    bytes: usize,
    /// Sequence number of the oldest unit kept.
    first: u64,
    /// That of the first unit of the present reader's ring.
    begun: u64,
    /// Generation of the last reader that published.
    reader: u64,
    /// Where its ring begins, if that is the log's beginning.
    root: Option<Head>,
    /// Behind the newest unit; `None` until the reader knows where it is.
    position: Option<Position>,
    /// Of the container, behind the newest unit.
    lifecycle: Lifecycle,
    /// Beginning of the last run told, ns since the Unix epoch.
    started: Option<i64>,
    /// Records the reader has taken.
    taken: u64,
    ended: Option<Ended>,
    /// What the subscribers ask for.
    latencies: Latencies,
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
    /// Another reader has begun since: what it missed is not in its ring.
    Restarted,
    /// Nothing yet.
    Empty,
    Ended(Ended),
}

impl Log {
    /// A log whose ring keeps at most `limit` bytes, and shares `budget`.
    pub(crate) fn new(limit: usize, budget: &Arc<Budget>) -> Arc<Self> {
        let log = Arc::new(Self {
            state: Fenced::default(),
            changed: watch::Sender::new(0),
            limit,
            bytes: AtomicUsize::new(0),
            budget: Arc::clone(budget),
        });
        budget.add(&log);
        log
    }

    /// Bytes its ring keeps now.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Drops the oldest units until `bytes` are free, or the ring is empty; how
    /// many were.
    pub(crate) fn evict(&self, bytes: usize) -> usize {
        let mut state = self.state();
        let before = state.bytes;
        state.trim(before.saturating_sub(bytes));
        self.account(before, state.bytes);
        before - state.bytes
    }

    fn account(&self, before: usize, after: usize) {
        self.bytes.store(after, Ordering::Relaxed);
        match after >= before {
            true => self.budget.take(after - before),
            false => self.budget.give_back(before - after),
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

    /// Where everything stands that was ever written; `None`: not here alone.
    pub(crate) fn root(&self) -> Option<Head> {
        let state = self.state();
        // Of its ring nothing may have been dropped.
        state.root.filter(|root| root.seq == state.first)
    }

    /// A subscriber came that lets its entries wait so long.
    pub(crate) fn join(&self, latency: Duration) {
        self.state().latencies.add(latency);
    }

    /// It left.
    pub(crate) fn leave(&self, latency: Duration) {
        self.state().latencies.remove(latency);
    }

    /// How long entries may wait for others before they are published.
    pub(crate) fn latency(&self) -> Duration {
        self.state().latencies.shortest()
    }

    /// Why it ended, if it did.
    pub(crate) fn ended(&self) -> Option<Ended> {
        self.state().ended.clone()
    }

    /// Says that the container runs, since when, as its log is opened. What another
    /// reader has told before holds: beginning of the last run, and whether it runs.
    pub(crate) fn opened(&self, running: bool, started: Option<i64>) -> (Option<i64>, bool) {
        let mut state = self.state();
        if state.position.is_none() {
            state.lifecycle = Lifecycle::of(running);
            state.started = started;
        }
        (state.started, state.lifecycle.running)
    }

    /// Appends units and moves the position, together; not without a permit.
    /// `taken`: records read behind it.
    pub(crate) fn publish(
        &self,
        permit: &Permit,
        units: Vec<Unit>,
        position: Position,
        taken: u64,
    ) {
        {
            let Some(mut state) = self.state.enter(permit) else {
                return;
            };
            let before = state.bytes;
            state.read_by(permit.generation(), position, taken);
            state.taken = taken;
            state.position = Some(position);
            for unit in units {
                state.push(unit);
            }
            state.trim(self.limit);
            self.account(before, state.bytes);
        }
        self.budget.enforce();
        self.changed.send_modify(|count| *count += 1);
    }

    /// Says that nothing more will come; not without a permit.
    pub(crate) fn end(&self, permit: &Permit, ended: Ended) {
        if let Some(mut state) = self.state.enter(permit) {
            state.ended = Some(ended);
        }
        self.changed.send_modify(|count| *count += 1);
    }

    /// What stands at `seq` and behind it.
    pub(crate) fn read(&self, seq: u64) -> Read {
        let state = self.state();
        if seq < state.begun {
            return Read::Restarted;
        }
        let Some(skip) = seq.checked_sub(state.first) else {
            return Read::Behind;
        };
        let skip = usize::try_from(skip).unwrap_or(usize::MAX);
        let mut bytes = 0;
        let more = |unit: &&Arc<Unit>| {
            let room = bytes < TAKE_BYTES;
            bytes += unit.cost();
            room
        };
        let units = state.units.iter().skip(skip).take(TAKE).take_while(more);
        let units: Vec<_> = units.map(Arc::clone).collect();
        match (units.is_empty(), &state.ended) {
            (false, _) => Read::Units(units),
            (true, Some(ended)) => Read::Ended(ended.clone()),
            (true, None) => Read::Empty,
        }
    }

    /// The same, once something stands there. `changes` are this log's. Cancel safe.
    pub(crate) async fn next(&self, changes: &mut watch::Receiver<u64>, seq: u64) -> Read {
        loop {
            // Marked before the look: what comes after it wakes the wait.
            others_first();
            changes.mark_unchanged();
            match self.read(seq) {
                Read::Empty => {
                    others_first();
                    // The sender lives in `self`.
                    let _alive = changes.changed().await;
                }
                found => return found,
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.get()
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        self.budget.give_back(self.bytes());
    }
}

impl State {
    /// A new reader begins a new ring, one number behind the old: whoever stands
    /// there goes on from its own position, which may be before the reader's.
    fn read_by(&mut self, generation: u64, position: Position, taken: u64) {
        if std::mem::replace(&mut self.reader, generation) == generation {
            return;
        }
        if self.position.is_some() {
            self.first += self.units.len() as u64 + 1;
            self.begun = self.first;
            (self.bytes, self.units) = (0, VecDeque::new());
        }
        self.root = position.anchor.is_none().then_some(Head {
            seq: self.first,
            position,
            lifecycle: self.lifecycle,
            taken,
        });
    }

    fn push(&mut self, unit: Unit) {
        if let Content::Changed(Change::Started(Some(begun))) = &unit.content {
            self.started = Some(*begun);
        }
        self.lifecycle.note(&unit.content);
        self.bytes += unit.cost();
        self.units.push_back(Arc::new(unit));
    }

    fn trim(&mut self, limit: usize) {
        while self.bytes > limit
            && let Some(unit) = self.units.pop_front()
        {
            self.bytes -= unit.cost();
            self.first += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::unit::tests::batch_of;
    use super::*;

    fn log() -> Arc<Log> {
        Log::new(RING_BYTES, &Arc::new(Budget::new(usize::MAX)))
    }

    /// Of a reader that was started as the `generation`th.
    fn permit(generation: u64) -> Permit {
        Permit::granted(generation)
    }

    fn unit() -> Unit {
        Unit {
            content: Content::LeaseReplaced,
            after: Position::default(),
        }
    }

    #[test]
    fn a_subscriber_behind_the_ring_is_told_and_one_inside_is_served() {
        let log = log();
        assert!(log.head().is_none());
        let many = RING_BYTES / unit().cost() + 10;
        log.publish(
            &permit(1),
            (0..many).map(|_| unit()).collect(),
            Position::default(),
            0,
        );
        assert!(matches!(log.read(0), Read::Behind));
        let head = log.head().unwrap();
        assert_eq!(head.seq, many as u64);
        assert!(matches!(log.read(head.seq), Read::Empty));
        assert!(matches!(log.read(head.seq - 3), Read::Units(units) if units.len() == 3));
    }

    #[test]
    fn what_is_taken_at_once_is_little() {
        let log = log();
        let units = (0..100).map(|_| batch_of(UNIT_BYTES)).collect();
        log.publish(&permit(1), units, Position::default(), 0);
        let newest = log.head().unwrap().seq;
        assert!(matches!(log.read(newest - 9), Read::Units(units) if units.len() == 2));
    }

    #[test]
    fn what_was_published_is_read_before_the_end() {
        let log = log();
        log.publish(&permit(1), vec![unit()], Position::default(), 0);
        log.end(&permit(1), Ended::Removed);
        assert!(matches!(log.read(0), Read::Units(_)));
        assert!(matches!(log.read(1), Read::Ended(Ended::Removed)));
    }

    #[test]
    fn a_new_reader_begins_a_new_ring_and_what_was_told_holds() {
        let log = log();
        assert_eq!(log.opened(true, Some(7)), (Some(7), true));
        let start = Content::Changed(Change::Started(Some(9)));
        let after = Position::default();
        let units = vec![
            unit(),
            Unit {
                content: start,
                after,
            },
        ];
        log.publish(&permit(1), units, Position::default(), 0);
        assert_eq!(log.opened(false, Some(11)), (Some(9), true));
        assert_eq!(log.root().unwrap().seq, 0);
        log.publish(&permit(2), vec![unit()], Position::default(), 0);
        assert_eq!(log.root().unwrap().seq, 3);
        log.evict(1);
        assert!(log.root().is_none(), "its beginning was dropped");
        log.publish(&permit(2), vec![unit()], Position::default(), 0);
        // Neither behind nor inside the old ring does the new one go on.
        (0..=2).for_each(|seq| assert!(matches!(log.read(seq), Read::Restarted), "{seq}"));
        assert!(matches!(log.read(4), Read::Units(units) if units.len() == 1));
        assert_eq!((log.head().unwrap().seq, log.bytes()), (5, unit().cost()));
    }
}
