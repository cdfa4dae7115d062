//! Whether the engine answers, asked often enough for health to be true.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval};
use tracing::{info, warn};

use super::engine::{Engine, EngineError};

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

/// Pings until dropped; says in one line each when the engine is lost and found.
pub async fn probe(engine: Engine, endpoint: String, reach: watch::Sender<Reach>) {
    let mut ticks = interval(INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut failures, mut told) = (0, false);
    loop {
        ticks.tick().await;
        match engine.ping().await {
            Ok(()) => {
                (failures, told) = (0, false);
                if reach.send_if_modified(|now| replace(now, Reach::Here)) {
                    info!(%endpoint, "container engine answers");
                }
            }
            Err(error) => {
                failures += 1;
                // Before the first answer there is nothing to be patient about.
                if failures >= FAILURES || !reach.borrow().is_here() {
                    lose(&reach, &endpoint, &error, &mut told);
                }
            }
        }
    }
}

fn lose(reach: &watch::Sender<Reach>, endpoint: &str, error: &EngineError, told: &mut bool) {
    let cause = error.to_string();
    if !*told {
        warn!(
            %endpoint,
            %cause,
            "no container engine answers; retrying (point elsewhere with --engine, DOCKER_HOST or a docker context)"
        );
        *told = true;
    }
    reach.send_if_modified(|now| replace(now, Reach::Away(cause)));
}

fn replace(now: &mut Reach, next: Reach) -> bool {
    let changed = *now != next;
    *now = next;
    changed
}
