//! Whether the engine answers, asked often enough for health to be true.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Interval, MissedTickBehavior, interval};
use tracing::{info, warn};

use super::engine::{Engine, EngineError};
use super::verified::Verified;
use crate::supervisor::{Breaker, Failure, Task, Turn};

/// Two failures in a row, each at most 1 s late, are seen within 5 s.
pub(crate) const INTERVAL: Duration = Duration::from_millis(1_500);
pub(crate) const FAILURES: u32 = 2;

/// What the last pings say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reach {
    /// The engine answers.
    Here,
    /// It does not, and why; at first: it has not been asked.
    Away(String),
}

impl Reach {
    /// Whether the engine answers.
    pub fn is_here(&self) -> bool {
        *self == Reach::Here
    }
}

/// Pings; says in one line each when the engine is lost and found. It alone asks an
/// engine that is away: what it finds opens and closes everybody's breaker.
#[derive(Debug)]
pub struct Probe {
    engine: Engine,
    endpoint: String,
    reach: watch::Sender<Reach>,
    breaker: Breaker,
    ticks: Interval,
    failures: u32,
    told: bool,
}

impl Probe {
    /// A probe of the engine at `endpoint`, which is for people.
    pub fn new(
        engine: Engine,
        endpoint: String,
        reach: watch::Sender<Reach>,
        breaker: Breaker,
    ) -> Self {
        let mut ticks = interval(INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self {
            engine,
            endpoint,
            reach,
            breaker,
            ticks,
            failures: 0,
            told: false,
        }
    }

    fn lose(&mut self, error: &EngineError) {
        let (endpoint, cause) = (&self.endpoint, error.to_string());
        if !std::mem::replace(&mut self.told, true) {
            warn!(
                %endpoint,
                %cause,
                "no container engine answers; retrying (point elsewhere with --engine, DOCKER_HOST or a docker context)"
            );
        }
        let away = Reach::Away(cause);
        self.reach.send_if_modified(|now| replace(now, away));
        self.breaker.probed(false);
    }
}

impl Task for Probe {
    type Proof = Verified;

    async fn turn(&mut self) -> Result<Turn<Verified>, Failure> {
        self.ticks.tick().await;
        let Err(error) = self.engine.ping().await else {
            (self.failures, self.told) = (0, false);
            if self.reach.send_if_modified(|now| replace(now, Reach::Here)) {
                info!(endpoint = %self.endpoint, "container engine answers");
            }
            self.breaker.probed(true);
            return Ok(Turn::Progress(Verified::seen()));
        };
        self.failures += 1;
        // Before the first answer there is nothing to be patient about.
        if self.failures >= FAILURES || !self.reach.borrow().is_here() {
            self.lose(&error);
        }
        // That the engine is away is no fault of whoever finds it out.
        Ok(Turn::Waiting)
    }
}

fn replace(now: &mut Reach, next: Reach) -> bool {
    let changed = *now != next;
    *now = next;
    changed
}
