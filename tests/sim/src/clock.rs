//! The engine's wall clock: a starting time plus what Tokio's clock has counted since, so that virtual time moves it.

use std::time::Duration;

use tokio::time::Instant;

use crate::Timestamp;

pub(crate) struct Clock {
    start: Timestamp,
    started: Instant,
    /// The newest reading, moved along with every step.
    last: Timestamp,
}

impl Clock {
    pub(crate) fn starting_at(start: Timestamp) -> Self {
        Self {
            start,
            started: Instant::now(),
            last: start,
        }
    }

    /// Two readings are never equal, even while Tokio's clock stands still: a stream's stamps grow, as they do in practice.
    pub(crate) fn now(&mut self) -> Timestamp {
        let tick = Duration::from_nanos(1);
        self.last = (self.start + self.started.elapsed()).max(self.last + tick);
        self.last
    }

    pub(crate) fn step_forward(&mut self, by: Duration) {
        self.start = self.start + by;
        self.last = self.last + by;
    }

    pub(crate) fn step_back(&mut self, by: Duration) {
        self.start = self.start - by;
        self.last = self.last - by;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Timestamp = Timestamp::from_secs(1_000);
    const HOUR: Duration = Duration::from_secs(3600);

    #[tokio::test(start_paused = true)]
    async fn virtual_time_moves_the_clock() {
        let mut clock = Clock::starting_at(START);
        tokio::time::advance(HOUR).await;
        assert_eq!(clock.now(), START + HOUR);
    }

    #[tokio::test(start_paused = true)]
    async fn two_readings_at_one_instant_differ() {
        let mut clock = Clock::starting_at(START);
        assert!(clock.now() < clock.now());
    }

    #[tokio::test(start_paused = true)]
    async fn a_step_back_makes_the_next_stamp_older() {
        let mut clock = Clock::starting_at(START);
        let before = clock.now();
        clock.step_back(HOUR);
        let after = clock.now();
        assert!(after < before - HOUR + Duration::from_secs(1));
        clock.step_forward(HOUR);
        assert!(clock.now() > before);
    }
}
