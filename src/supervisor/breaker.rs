//! What all tasks that use one engine share: whether it is worth asking.
//!
//! Without it a restart of the engine would be everybody's own failure. Failures
//! open it; then one prober asks, and everybody else waits for its answer.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

/// Outcomes count together for so long.
const WINDOW: Duration = Duration::from_secs(5);
/// As many failures open it at least, and this share of all outcomes.
const LEAST: usize = 3;
const SHARE: usize = 3;
/// Outcomes kept.
const KEPT: usize = 256;

/// Whether the engine is worth asking. Clones are the same breaker; it begins
/// open.
#[derive(Debug, Clone)]
pub struct Breaker {
    closed: Arc<watch::Sender<bool>>,
    outcomes: Arc<Mutex<VecDeque<(Instant, bool)>>>,
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
    pub fn note(&self, answered: bool, now: Instant) {
        let mut outcomes = self.outcomes.lock().unwrap_or_else(PoisonError::into_inner);
        let is_old = |(at, _): &(Instant, bool)| now.duration_since(*at) > WINDOW;
        while outcomes.front().is_some_and(is_old) || outcomes.len() >= KEPT {
            outcomes.pop_front();
        }
        outcomes.push_back((now, answered));
        let failures = outcomes.iter().filter(|(_, answered)| !answered).count();
        if failures >= LEAST && failures * SHARE >= outcomes.len() {
            self.set(false);
        }
    }

    /// What the prober found: alone it closes it again.
    pub fn probed(&self, answers: bool) {
        if answers && !self.is_closed() {
            // What failed before says nothing of the engine that is back.
            let mut outcomes = self.outcomes.lock().unwrap_or_else(PoisonError::into_inner);
            outcomes.clear();
        }
        self.set(answers);
    }

    fn set(&self, closed: bool) {
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
    fn a_third_of_what_is_asked_opens_it_and_the_prober_alone_closes_it() {
        let (breaker, start) = (Breaker::default(), Instant::now());
        assert!(!breaker.is_closed(), "nobody has asked yet");
        breaker.probed(true);
        (0..7).for_each(|n| breaker.note(true, at(start, n)));
        (0..3).for_each(|n| breaker.note(false, at(start, 10 + n)));
        assert!(breaker.is_closed(), "three of ten");
        breaker.note(false, at(start, 20));
        assert!(!breaker.is_closed(), "four of eleven");
        (0..99).for_each(|n| breaker.note(true, at(start, 30 + n)));
        assert!(!breaker.is_closed(), "the prober decides");
        breaker.probed(true);
        breaker.note(false, at(start, 200));
        assert!(breaker.is_closed(), "what was before is forgotten");
    }

    #[test]
    fn rare_failures_never_add_up() {
        let (breaker, start) = (Breaker::default(), Instant::now());
        breaker.probed(true);
        for n in 0..100 {
            breaker.note(false, at(start, n * 2_600));
            assert!(breaker.is_closed());
        }
    }
}
