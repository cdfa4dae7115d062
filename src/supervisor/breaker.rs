//! What all tasks that use one engine share: whether it is worth asking.
//!
//! Without it a restart of the engine would be everybody's own failure. Failures
//! open it; then one prober asks, and everybody else waits for its answer.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use super::sync::{Mutex, MutexGuard, others_first};

/// Outcomes count together for so long.
const WINDOW: Duration = Duration::from_secs(5);
/// As many tasks that failed open it at least, and this share of all that asked:
/// what one container has is not the engine's.
const LEAST: usize = 3;
const SHARE: usize = 3;
/// Outcomes kept before old ones are looked for.
const TIDY: usize = 1_000;

/// Whether the engine is worth asking. Clones are the same breaker; it begins
/// open.
#[derive(Debug, Clone)]
pub struct Breaker {
    closed: Arc<watch::Sender<bool>>,
    /// The last one of each task.
    outcomes: Arc<Mutex<HashMap<u64, (Instant, bool)>>>,
}

impl Default for Breaker {
    fn default() -> Self {
        Self {
            closed: Arc::new(watch::Sender::new(false)),
            outcomes: Arc::default(),
        }
    }
}

impl Breaker {
    /// Whether the engine is worth asking.
    pub fn is_closed(&self) -> bool {
        *self.closed.borrow()
    }

    /// Resolves once it is.
    pub async fn closed(&self) {
        let mut changes = self.closed.subscribe();
        // The sender lives in `self`.
        let _alive = changes.wait_for(|closed| *closed).await;
    }

    /// A task asked the engine, and got its answer or not.
    pub fn note(&self, task: u64, answered: bool, now: Instant) {
        let mut outcomes = self.outcomes();
        outcomes.insert(task, (now, answered));
        if answered && outcomes.len() < TIDY {
            return;
        }
        outcomes.retain(|_, (at, _)| now.duration_since(*at) <= WINDOW);
        let failures = outcomes.values().filter(|(_, answered)| !answered).count();
        if failures >= LEAST && failures * SHARE >= outcomes.len() {
            self.set(false);
        }
    }

    /// What the prober found: alone it closes it again.
    pub fn probed(&self, answers: bool) {
        // Held on to, so that nobody opens it in between for what is forgotten.
        let mut outcomes = self.outcomes();
        if answers && !self.is_closed() {
            // What failed before says nothing of the engine that is back.
            outcomes.clear();
        }
        self.set(answers);
    }

    fn outcomes(&self) -> MutexGuard<'_, HashMap<u64, (Instant, bool)>> {
        self.outcomes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, closed: bool) {
        others_first();
        let change = |now: &mut bool| std::mem::replace(now, closed) != closed;
        self.closed.send_if_modified(change);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(start: Instant, milliseconds: u64) -> Instant {
        start + Duration::from_millis(milliseconds)
    }

    #[test]
    fn a_third_of_those_who_ask_opens_it_and_the_prober_alone_closes_it() {
        let (breaker, start) = (Breaker::default(), Instant::now());
        assert!(!breaker.is_closed(), "nobody has asked yet");
        breaker.probed(true);
        (0..10).for_each(|task| breaker.note(task, true, start));
        (0..3).for_each(|task| breaker.note(task, false, at(start, 10)));
        assert!(breaker.is_closed(), "three of ten");
        breaker.note(3, false, at(start, 20));
        assert!(!breaker.is_closed(), "four of ten");
        (0..10).for_each(|task| breaker.note(task, true, at(start, 30)));
        assert!(!breaker.is_closed(), "the prober decides");
        breaker.probed(true);
        (0..2).for_each(|task| breaker.note(task, false, at(start, 40)));
        assert!(breaker.is_closed(), "what was before is forgotten");
    }

    #[test]
    fn neither_one_tasks_failures_nor_rare_ones_add_up() {
        let (breaker, start) = (Breaker::default(), Instant::now());
        breaker.probed(true);
        (0..100).for_each(|n| breaker.note(1, false, at(start, n)));
        assert!(breaker.is_closed(), "its own fault");
        for n in 0..100 {
            breaker.note(n, false, at(start, n * 2_600));
            assert!(breaker.is_closed(), "{n}");
        }
    }
}
