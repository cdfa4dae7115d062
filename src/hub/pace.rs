//! When entries leave: at once after an idle moment, together under load.
//!
//! Every departure costs each subscriber a wake-up and a write, which is more than
//! the entries in it do.

use std::collections::BTreeMap;
use std::sync::LazyLock;
use std::time::Duration;

use tokio::time::Instant;

/// How long entries are held back under load, unless a subscriber asks otherwise.
pub const MAX_LATENCY: Duration = Duration::from_millis(20);

/// Where the times begin at which entries of all logs leave together: who reads
/// several is woken once for all of them.
static EPOCH: LazyLock<Instant> = LazyLock::new(Instant::now);

/// The first behind `instant` of the times that all of this period have in common,
/// each so much behind; no later than a period.
fn common_time(instant: Instant, period: Duration, behind: Duration) -> Option<Instant> {
    let epoch = *EPOCH + behind;
    let past = instant.saturating_duration_since(epoch);
    let times = past.as_nanos().checked_div(period.as_nanos())?;
    let next = period.saturating_mul(u32::try_from(times).ok()?.checked_add(1)?);
    Some((epoch + next).min(instant + period))
}

/// When a rest of at most `longest` ends: many that rest wake together.
pub(crate) fn end_of_rest(longest: Duration) -> Instant {
    let now = Instant::now();
    common_time(now, longest, Duration::ZERO).unwrap_or(now + longest)
}

/// When something left last.
#[derive(Debug, Clone, Copy, Default)]
pub struct Pace {
    left: Option<Instant>,
    /// How far its times are behind those common to all.
    behind: Duration,
}

impl Pace {
    /// From now on it is so far behind the common times.
    pub fn stay_behind(&mut self, behind: Duration) {
        self.behind = behind;
    }

    /// When what is there now may leave; `None`: at once. That is the next time
    /// common to all of this latency, and no later than it allows.
    pub fn due(&self, now: Instant, latency: Duration) -> Option<Instant> {
        let due = common_time(self.left?, latency, self.behind)?;
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
    fn the_first_leaves_at_once_and_the_next_before_the_latency_has_passed() {
        let (start, latency) = (*EPOCH + latency() * 9, latency());
        let mut pace = Pace::default();
        assert_eq!(pace.due(start, latency), None);
        for after in [0, 1, 7, 19].map(Duration::from_millis) {
            pace.left(start + after);
            assert_eq!(pace.due(start + after, latency), Some(start + latency));
        }
        assert_eq!(pace.due(start + latency, latency), None);
        assert_eq!(pace.due(start, Duration::ZERO), None);
    }

    #[test]
    fn logs_of_one_latency_leave_together_whenever_each_left_last() {
        let now = *EPOCH + latency() * 3;
        let due = |after: u64| {
            let mut pace = Pace::default();
            pace.left(now + Duration::from_millis(after));
            pace.due(now + Duration::from_millis(19), latency())
        };
        assert!(due(0).is_some());
        assert!((1..19).all(|after| due(after) == due(0)));
    }

    #[test]
    fn who_stays_behind_leaves_after_the_others_and_no_less_often() {
        let (now, behind) = (*EPOCH + latency() * 3, Duration::from_millis(1));
        let mut pace = Pace::default();
        pace.stay_behind(behind);
        assert_eq!(
            pace.due(now, latency()),
            None,
            "at once after an idle moment"
        );
        pace.left(now);
        assert_eq!(pace.due(now, latency()), Some(now + behind));
        pace.left(now + behind);
        assert_eq!(
            pace.due(now + latency(), latency()),
            Some(now + behind + latency())
        );
    }

    #[tokio::test(start_paused = true)]
    async fn who_rests_for_long_wakes_with_the_others() {
        let (rest, mut ends) = (latency() * 100, Vec::new());
        for _ in 0..7 {
            tokio::time::advance(rest / 10).await;
            let end = end_of_rest(rest);
            assert!(end > Instant::now() && end <= Instant::now() + rest);
            ends.push(end);
        }
        ends.dedup();
        assert!(ends.len() <= 2, "7 rests begun within one end together");
    }

    fn latency() -> Duration {
        Duration::from_millis(20)
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
