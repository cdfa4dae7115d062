//! Delays between attempts: full jitter, doubling, capped.

use std::time::Duration;

const FIRST: Duration = Duration::from_millis(250);
const CAP: Duration = Duration::from_secs(30);

/// Delays of one series of attempts.
#[derive(Debug, Clone, Copy, Default)]
pub struct Backoff {
    attempts: u32,
}

impl Backoff {
    /// The next delay, at random below a bound that doubles from 250 ms to 30 s:
    /// what failed together does not come back together.
    pub fn next_delay(&mut self) -> Duration {
        let bound = FIRST.saturating_mul(1 << self.attempts.min(16)).min(CAP);
        self.attempts += 1;
        bound.mul_f64(fastrand::f64())
    }

    /// An attempt succeeded.
    pub fn reset(&mut self) {
        self.attempts = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_delay_passes_the_cap_and_success_starts_over() {
        let mut backoff = Backoff::default();
        assert!((0..100).all(|_| backoff.next_delay() <= CAP));
        backoff.reset();
        assert!(backoff.next_delay() <= FIRST);
    }
}
