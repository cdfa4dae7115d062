//! Time as the watchdog counts it: without the machine's own pauses.

use std::time::Duration;

/// Counts time since the process began, less the time in which nothing ran. A
/// suspended machine would else wake to a mass kill: no task had its chance.
#[derive(Debug, Default)]
pub(super) struct Clock {
    last: Duration,
    lost: Duration,
}

impl Clock {
    /// Reads it. Read at least every `look`; what takes twice as long was a pause.
    pub(super) fn read(&mut self, now: Duration, look: Duration) -> Duration {
        let gap = now.saturating_sub(self.last);
        self.last = self.last.max(now);
        if gap > 2 * look {
            self.lost += gap - look;
        }
        self.last - self.lost
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_slept_through_does_not_count() {
        let (mut clock, look) = (Clock::default(), Duration::from_secs(1));
        let mut read = |seconds| clock.read(Duration::from_secs(seconds), look).as_secs();
        assert_eq!([read(1), read(3), read(2)], [1, 3, 3]);
        // Ten minutes; the look that was due counts.
        assert_eq!([read(603), read(604)], [4, 5]);
    }
}
