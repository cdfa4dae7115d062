//! Whether a log that nobody reads can be read: asked rarely, and more rarely the
//! more it costs the engine.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep_until, timeout_at};
use tracing::debug;

use super::pace::end_of_rest;
use crate::docker::{Container, Engine, EngineError, Tail, Verified};
use crate::supervisor::Turn;

/// A probe may take so small a part of the time: the last record of a compressed log
/// costs an old engine 0.1 s of its CPU.
const BUDGET: u32 = 10_000;
/// Whatever it costs, a probe comes at least so often.
pub(crate) const LONGEST_REST: Duration = Duration::from_secs(3_600);
/// How much longer than needed one may rest, so that those of many logs part.
const JITTER: f64 = 0.1;

/// Asks for the last record now and then.
#[derive(Debug)]
pub(super) struct Prober {
    engine: Engine,
    container: Arc<Container>,
    /// Shortest time between two probes.
    interval: Duration,
    /// Longest wait of a turn.
    patience: Duration,
    due: Instant,
    /// What the last one took.
    cost: Duration,
}

/// What a turn came to.
#[derive(Debug)]
pub(super) enum Probed {
    Turn(Turn<Verified>),
    /// The log's driver cannot be read; the engine's words.
    Unreadable(String),
}

impl Prober {
    /// A prober whose first probe is due at some moment of one interval: many that
    /// start together do not ask together.
    pub(super) fn new(
        engine: Engine,
        container: Arc<Container>,
        interval: Duration,
        patience: Duration,
    ) -> Self {
        Self {
            engine,
            container,
            interval,
            patience,
            due: some_time_within(interval),
            cost: Duration::MAX,
        }
    }

    /// Until the next probe is due.
    pub(super) fn rest(&self) -> Duration {
        self.due.saturating_duration_since(Instant::now())
    }

    /// Waits for the next probe, or makes it.
    pub(super) async fn turn(&mut self) -> Probed {
        if self.rest() > self.patience {
            sleep_until(end_of_rest(self.patience)).await;
            return Probed::Turn(Turn::Idle);
        }
        sleep_until(self.due).await;
        let (id, tty, asked) = (self.container.id, self.container.tty, Instant::now());
        let last = self.engine.snapshot(&id, tty, Tail::Last(1)).last();
        // The whole of it, too, is a turn that waits no longer than others.
        let answer = timeout_at(asked + self.patience, last).await;
        let late = || EngineError::Unavailable("the last record took too long".to_owned());
        match answer.unwrap_or_else(|_| Err(late())) {
            Ok((_, proof)) => {
                self.due = Instant::now() + self.pause(asked.elapsed());
                Probed::Turn(Turn::Progress(proof))
            }
            Err(EngineError::Unreadable(words)) => Probed::Unreadable(words),
            // The list knows better whether it is gone, and ends this then.
            Err(EngineError::NotFound | EngineError::Removing) => {
                self.due = Instant::now() + self.interval;
                Probed::Turn(Turn::Waiting)
            }
            Err(error) => {
                debug!(container = %id, %error, "probe failed");
                // All that failed together would come back together.
                self.due = some_time_within(self.interval);
                Probed::Turn(Turn::Blocked(error.to_string()))
            }
        }
    }

    /// How long to rest behind a probe that took so long. One that was slow once says
    /// little of what it costs: of two the quicker counts.
    fn pause(&mut self, took: Duration) -> Duration {
        let cost = took.min(std::mem::replace(&mut self.cost, took));
        let least = cost.saturating_mul(BUDGET).max(self.interval);
        let jitter = 1.0 + JITTER * fastrand::f64();
        least
            .min(LONGEST_REST.div_f64(1.0 + JITTER))
            .mul_f64(jitter)
    }
}

fn some_time_within(interval: Duration) -> Instant {
    Instant::now() + interval.mul_f64(fastrand::f64())
}
