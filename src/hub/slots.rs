//! Reads of the engine for one subscriber each, limited and taking turns.
//!
//! A catch-up can cost the engine as much as it reads. Few read at a time, each a
//! turn of bounded size, so that a short one does not wait for long ones. A
//! subscriber that takes nothing holds no turn, and gives its read up to those who
//! wait for one.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Reads that are open at once.
const READS: usize = 32;
/// Reads under way at once.
const TURNS: usize = 8;
/// Bytes of a turn.
const TURN_BYTES: usize = 256 * 1024;

#[derive(Debug)]
pub(crate) struct Slots {
    reads: Arc<Semaphore>,
    turns: Arc<Semaphore>,
    /// How many wait for a read.
    waiting: AtomicUsize,
}

impl Slots {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            reads: Arc::new(Semaphore::new(READS)),
            turns: Arc::new(Semaphore::new(TURNS)),
            waiting: AtomicUsize::new(0),
        })
    }
}

/// One subscriber's place among them.
#[derive(Debug)]
pub(crate) struct Slot {
    slots: Arc<Slots>,
    read: Option<OwnedSemaphorePermit>,
    turn: Option<OwnedSemaphorePermit>,
    /// Bytes of this turn.
    bytes: usize,
}

impl Slot {
    pub(crate) fn new(slots: Arc<Slots>) -> Self {
        Self {
            slots,
            read: None,
            turn: None,
            bytes: 0,
        }
    }

    /// Waits until it may read, behind all who waited before.
    pub(crate) async fn take(&mut self) {
        // Neither semaphore is ever closed.
        if self.read.is_none() {
            let reads = Arc::clone(&self.slots.reads);
            let waiting = Waiting::of(&self.slots.waiting);
            self.read = reads.acquire_owned().await.ok();
            drop(waiting);
        }
        if self.turn.is_none() {
            self.turn = Arc::clone(&self.slots.turns).acquire_owned().await.ok();
            self.bytes = 0;
        }
    }

    /// Counts what was read; lets others go first where that was a turn.
    pub(crate) async fn spend(&mut self, bytes: usize) {
        self.bytes += bytes;
        if self.bytes >= TURN_BYTES {
            self.pause();
            self.take().await;
        }
    }

    /// Ends the turn; the read stays open.
    pub(crate) fn pause(&mut self) {
        self.turn = None;
    }

    /// Ends the turn and the read.
    pub(crate) fn give_up(&mut self) {
        (self.turn, self.read) = (None, None);
    }

    /// Whether others wait for a read.
    pub(crate) fn is_wanted(&self) -> bool {
        self.slots.waiting.load(Ordering::Relaxed) > 0
    }
}

/// Counts one who waits, for as long as it does.
struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn of(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;

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
        let mut waiting = Box::pin(late.take());
        assert!(waiting.as_mut().now_or_never().is_none());
        assert!(all[0].spend(TURN_BYTES - 1).now_or_never().is_some());
        assert!(waiting.as_mut().now_or_never().is_none());
        assert!(all[0].spend(1).now_or_never().is_none());
        assert!(waiting.as_mut().now_or_never().is_some());
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
        let mut waiting = Box::pin(late.take());
        assert!(!all[0].is_wanted());
        assert!(waiting.as_mut().now_or_never().is_none());
        assert!(all[0].is_wanted());
        all[0].give_up();
        assert!(waiting.as_mut().now_or_never().is_some());
        assert!(!all[1].is_wanted());
    }
}
