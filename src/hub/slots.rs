//! Reads of the engine, limited and taking turns.
//!
//! A live reader whose stream broke looks at what is stored, which costs the engine
//! what it reads: few do at a time, each in its turn. The rest is about reads for
//! one subscriber each.
//!
//! A catch-up can cost the engine as much as it reads. Few read at a time, each a
//! turn of bounded size, so that a short one does not wait for long ones. A
//! subscriber that takes nothing holds no turn, and gives its read up to those who
//! wait for one.

use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::supervisor::sync::atomic::{AtomicUsize, Ordering};

/// Reads that are open at once.
const READS: usize = 32;
/// Reads under way at once.
const TURNS: usize = 8;
/// Bytes of a turn.
const TURN_BYTES: usize = 256 * 1024;

/// Looks of live readers at what is stored that are under way at once.
pub(crate) const RESYNCS: usize = 4;

/// The places for them, in the order of asking. Clones are the same.
#[derive(Debug, Clone)]
pub(crate) struct Resyncs(Arc<Semaphore>);

impl Resyncs {
    pub(crate) fn new() -> Self {
        Self(Arc::new(Semaphore::new(RESYNCS)))
    }

    /// A place, behind all who asked before; it is free once this is dropped.
    pub(crate) fn place(&self) -> BoxFuture<'static, Option<OwnedSemaphorePermit>> {
        // It is never closed.
        Arc::clone(&self.0).acquire_owned().map(Result::ok).boxed()
    }
}

#[derive(Debug)]
pub(crate) struct Slots {
    reads: Arc<Semaphore>,
    turns: Arc<Semaphore>,
    /// How many wait for a read.
    waiting: AtomicUsize,
}

impl Slots {
    pub(crate) fn new() -> Arc<Self> {
        Self::of(READS, TURNS)
    }

    /// So many reads that are open, and so many that are under way.
    pub(super) fn of(reads: usize, turns: usize) -> Arc<Self> {
        Arc::new(Self {
            reads: Arc::new(Semaphore::new(reads)),
            turns: Arc::new(Semaphore::new(turns)),
            waiting: AtomicUsize::new(0),
        })
    }
}

/// One subscriber's place among them.
pub(crate) struct Slot {
    slots: Arc<Slots>,
    read: Place,
    turn: Place,
    /// Bytes of this turn.
    bytes: usize,
}

type Wait = BoxFuture<'static, Option<OwnedSemaphorePermit>>;

/// A place in the line for one of few, or one of them.
enum Place {
    None,
    Waiting(Wait),
    /// Given back when it is dropped.
    Taken {
        _permit: Option<OwnedSemaphorePermit>,
    },
}

impl Place {
    /// Waits for it. Whoever stops waiting keeps its place in the line.
    async fn take(&mut self, wait: impl FnOnce() -> Wait) {
        if let Place::None = self {
            *self = Place::Waiting(wait());
        }
        if let Place::Waiting(place) = self {
            let permit = place.await;
            *self = Place::Taken { _permit: permit };
        }
    }
}

impl Slot {
    pub(crate) fn new(slots: Arc<Slots>) -> Self {
        Self {
            slots,
            read: Place::None,
            turn: Place::None,
            bytes: 0,
        }
    }

    /// Waits until it may read, behind all who waited before. Cancel safe: who waits
    /// again goes on from its place.
    pub(crate) async fn take(&mut self) {
        let slots = &self.slots;
        // Neither semaphore is ever closed.
        let read = || {
            let (reads, waiting) = (Arc::clone(&slots.reads), Waiting::among(slots));
            let wait = async move {
                let read = reads.acquire_owned().await.ok();
                drop(waiting);
                read
            };
            wait.boxed()
        };
        let turn = || {
            let turns = Arc::clone(&slots.turns);
            async move { turns.acquire_owned().await.ok() }.boxed()
        };
        self.read.take(read).await;
        self.turn.take(turn).await;
    }

    /// Counts what was read; ends what is a whole turn.
    pub(crate) fn spend(&mut self, bytes: usize) {
        self.bytes += bytes;
        if self.bytes >= TURN_BYTES {
            self.pause();
        }
    }

    /// Ends the turn; the read stays open.
    pub(crate) fn pause(&mut self) {
        (self.turn, self.bytes) = (Place::None, 0);
    }

    /// Ends the turn and the read.
    pub(crate) fn give_up(&mut self) {
        self.pause();
        self.read = Place::None;
    }

    /// Whether others wait for a read.
    pub(crate) fn is_wanted(&self) -> bool {
        self.slots.waiting.load(Ordering::Relaxed) > 0
    }
}

/// Counts one who waits, for as long as it does.
struct Waiting(Arc<Slots>);

impl Waiting {
    fn among(slots: &Arc<Slots>) -> Self {
        slots.waiting.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(slots))
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(slots: &Arc<Slots>, count: usize) -> Vec<Slot> {
        let mut all: Vec<_> = (0..count).map(|_| Slot::new(Arc::clone(slots))).collect();
        for slot in &mut all {
            slot.take().now_or_never().expect("there is room");
        }
        all
    }

    #[test]
    fn a_turn_that_was_paused_goes_to_who_waits() {
        let slots = Slots::new();
        let mut all = taken(&slots, TURNS);
        let mut late = Slot::new(Arc::clone(&slots));
        assert!(late.take().now_or_never().is_none());
        all[0].pause();
        assert!(late.take().now_or_never().is_some());
        assert!(all[0].take().now_or_never().is_none());
    }

    #[test]
    fn a_long_read_lets_a_waiting_one_go_first() {
        let slots = Slots::new();
        let mut all = taken(&slots, TURNS);
        let mut late = Slot::new(Arc::clone(&slots));
        assert!(late.take().now_or_never().is_none());
        all[0].spend(TURN_BYTES - 1);
        assert!(all[0].take().now_or_never().is_some());
        assert!(late.take().now_or_never().is_none());
        all[0].spend(1);
        assert!(all[0].take().now_or_never().is_none());
        assert!(late.take().now_or_never().is_some());
    }

    #[test]
    fn who_stops_waiting_for_a_moment_keeps_its_place() {
        let slots = Slots::new();
        let mut all = taken(&slots, TURNS);
        let [mut first, mut second] = [(); 2].map(|()| Slot::new(Arc::clone(&slots)));
        for _ in 0..3 {
            assert!(first.take().now_or_never().is_none());
            assert!(second.take().now_or_never().is_none());
        }
        all[0].pause();
        assert!(second.take().now_or_never().is_none(), "it came second");
        assert!(first.take().now_or_never().is_some());
        // Whoever gives up leaves its place to the next.
        all[1].pause();
        second.give_up();
        assert!(all[1].take().now_or_never().is_some());
    }

    #[test]
    fn reads_are_limited_and_one_that_is_given_up_is_free() {
        let slots = Slots::new();
        let mut all = Vec::new();
        for _ in 0..READS {
            let mut slot = taken(&slots, 1).remove(0);
            slot.pause();
            all.push(slot);
        }
        let mut late = Slot::new(Arc::clone(&slots));
        assert!(!all[0].is_wanted());
        assert!(late.take().now_or_never().is_none());
        assert!(all[0].is_wanted());
        all[0].give_up();
        assert!(late.take().now_or_never().is_some());
        assert!(!all[1].is_wanted());
    }
}
