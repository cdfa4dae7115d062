//! Delays between attempts: full jitter, doubling, capped.

use std::time::Duration;

/// Delays of one series of attempts.
#[derive(Debug, Clone, Copy)]
pub struct Backoff {
    first: Duration,
    cap: Duration,
    attempts: u32,
}

impl Default for Backoff {
    /// From 250 ms to 30 s.
    fn default() -> Self {
        Self::new(Duration::from_millis(250), Duration::from_secs(30))
    }
}

impl Backoff {
    /// Delays below a bound that doubles from `first` to `cap`.
    pub const fn new(first: Duration, cap: Duration) -> Self {
        Self {
            first,
            cap,
            attempts: 0,
        }
    }

    /// The next delay, at random below its bound: what failed together does not
    /// come back together.
    pub fn next_delay(&mut self) -> Duration {
        self.draw(&mut fastrand::Rng::new())
    }

    /// The same, with randomness that can be repeated.
    pub fn draw(&mut self, rng: &mut fastrand::Rng) -> Duration {
        let doubled = self.first.saturating_mul(1 << self.attempts.min(16));
        self.attempts = self.attempts.saturating_add(1);
        doubled.min(self.cap).mul_f64(rng.f64())
    }

    /// How many delays there were since it began or was reset.
    pub fn attempts(&self) -> u32 {
        self.attempts
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
    fn no_delay_passes_its_bound_and_success_starts_over() {
        let (first, cap) = (Duration::from_millis(250), Duration::from_secs(30));
        let mut rng = fastrand::Rng::with_seed(1);
        let mut longest = [Duration::ZERO; 100];
        for _ in 0..1_000 {
            let mut backoff = Backoff::default();
            for (attempt, longest) in longest.iter_mut().enumerate() {
                assert_eq!(backoff.attempts() as usize, attempt);
                *longest = backoff.draw(&mut rng).max(*longest);
            }
            backoff.reset();
            assert!(backoff.draw(&mut rng) <= first);
        }
        // Full jitter fills its bounds.
        for (attempt, longest) in longest.into_iter().enumerate() {
            let bound = first.saturating_mul(1 << attempt.min(16)).min(cap);
            assert!(
                longest <= bound && longest > bound.mul_f64(0.95),
                "{attempt}"
            );
        }
    }
}
