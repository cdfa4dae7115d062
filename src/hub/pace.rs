//! When entries leave: at once after an idle moment, together under load.
//!
//! Every departure costs each subscriber a wake-up and a write, which is more than
//! the entries in it do.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

/// How long entries are held back under load, unless a subscriber asks otherwise.
pub const MAX_LATENCY: Duration = Duration::from_millis(20);

/// When something left last.
#[derive(Debug, Clone, Copy, Default)]
pub struct Pace {
    left: Option<Instant>,
}

impl Pace {
    /// When what is there now may leave; `None`: at once.
    pub fn due(&self, now: Instant, latency: Duration) -> Option<Instant> {
        let due = self.left? + latency;
        (due > now).then_some(due)
    }

    /// Something left.
    pub fn left(&mut self, now: Instant) {
        self.left = Some(now);
    }
}

/// What a log's subscribers ask for.
#[derive(Debug, Default)]
pub(crate) struct Latencies(BTreeMap<Duration, usize>);

impl Latencies {
    pub(crate) fn add(&mut self, latency: Duration) {
        *self.0.entry(latency).or_default() += 1;
    }

    pub(crate) fn remove(&mut self, latency: Duration) {
        if let Some(count) = self.0.get_mut(&latency) {
            *count -= 1;
            if *count == 0 {
                self.0.remove(&latency);
            }
        }
    }

    /// The shortest: what is shared leaves for all of them.
    pub(crate) fn shortest(&self) -> Duration {
        self.0.keys().next().copied().unwrap_or(MAX_LATENCY)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_leaves_at_once_and_the_next_when_the_latency_has_passed() {
        let (start, latency) = (Instant::now(), Duration::from_millis(20));
        let mut pace = Pace::default();
        assert_eq!(pace.due(start, latency), None);
        pace.left(start);
        let soon = start + Duration::from_millis(1);
        assert_eq!(pace.due(soon, latency), Some(start + latency));
        assert_eq!(pace.due(start + latency, latency), None);
        assert_eq!(pace.due(soon, Duration::ZERO), None);
    }

    #[test]
    fn the_shortest_latency_of_those_who_are_there_holds() {
        let mut latencies = Latencies::default();
        assert_eq!(latencies.shortest(), MAX_LATENCY);
        let [short, long] = [1, 500].map(Duration::from_millis);
        for latency in [long, short, short] {
            latencies.add(latency);
        }
        latencies.remove(short);
        assert_eq!(latencies.shortest(), short);
        latencies.remove(short);
        assert_eq!(latencies.shortest(), long);
    }
}
