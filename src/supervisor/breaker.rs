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
/// Outcomes kept at least before old ones are looked for.
const TIDY: usize = 1_000;

/// Whether the engine is worth asking. Clones are the same breaker; it begins
/// open.
#[derive(Debug, Clone)]
pub struct Breaker {
    closed: Arc<watch::Sender<bool>>,
    outcomes: Arc<Mutex<Outcomes>>,
}

#[derive(Debug)]
struct Outcomes {
    /// The last one of each task: when, and whether it was answered.
    last: HashMap<u64, (Instant, bool)>,
    /// So many are kept before old ones are looked for.
    room: usize,
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
        outcomes.last.insert(task, (now, answered));
        if answered && !outcomes.is_full() {
            return;
        }
        outcomes.forget_old(now);
        if outcomes.blame_the_engine() {
            self.set(false);
        }
    }

    /// What the prober found: alone it closes it again.
    pub fn probed(&self, answers: bool) {
        // Held on to, so that nobody opens it in between for what is forgotten.
        let mut outcomes = self.outcomes();
        if answers && !self.is_closed() {
            // What failed before says nothing of the engine that is back.
            outcomes.last.clear();
        }
        self.set(answers);
    }

    fn outcomes(&self) -> MutexGuard<'_, Outcomes> {
        self.outcomes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, closed: bool) {
        others_first();
        let change = |now: &mut bool| std::mem::replace(now, closed) != closed;
        self.closed.send_if_modified(change);
    }
}

impl Default for Outcomes {
    fn default() -> Self {
        Self {
            last: HashMap::new(),
            room: TIDY,
        }
    }
}

impl Outcomes {
    fn is_full(&self) -> bool {
        self.last.len() >= self.room
    }

    fn forget_old(&mut self, now: Instant) {
        self.last
            .retain(|_, (at, _)| now.duration_since(*at) <= WINDOW);
        // As many again: who has a turn must not pay for everybody's.
        self.room = TIDY.max(2 * self.last.len());
    }

    fn blame_the_engine(&self) -> bool {
        let answers = self.last.values().map(|(_, answered)| answered);
        let failures = answers.filter(|answered| !**answered).count();
        failures >= LEAST && failures * SHARE >= self.last.len()
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

    /// With 1,000 containers each turn of each once looked at all of them: 25 % of a core.
    #[test]
    fn many_tasks_are_looked_through_less_often_than_they_come() {
        let (breaker, start) = (Breaker::default(), Instant::now());
        for task in 0..4 * TIDY as u64 {
            breaker.note(task, true, start);
            assert!(!breaker.outcomes().is_full(), "{task}: and so for the next");
        }
        breaker.note(0, false, at(start, 6_000));
        assert_eq!(breaker.outcomes().last.len(), 1, "what is old is forgotten");
        assert_eq!(breaker.outcomes().room, TIDY);
    }
}
