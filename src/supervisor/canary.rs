//! Canaries: tasks that do nothing but show that their runtime runs.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::sync::Mutex;
use super::sync::atomic::{AtomicU64, Ordering};
use super::task::{Failure, Task, Turn};

/// When each canary sang last. No lock of theirs is held while anything waits.
#[derive(Debug)]
pub(super) struct Aviary {
    epoch: Instant,
    /// How often one sings.
    interval: Duration,
    /// ms since the epoch.
    songs: Mutex<Vec<Arc<AtomicU64>>>,
}

impl Aviary {
    pub(super) fn new(epoch: Instant, interval: Duration) -> Self {
        Self {
            epoch,
            interval,
            songs: Mutex::default(),
        }
    }

    /// What makes one more canary.
    pub(super) fn hatch(&self) -> impl Fn() -> Canary + Send + Sync + use<> {
        let (epoch, interval) = (self.epoch, self.interval);
        let song = Arc::new(AtomicU64::new(0));
        sing(epoch, &song);
        let mut songs = self.songs.lock().unwrap_or_else(PoisonError::into_inner);
        songs.push(Arc::clone(&song));
        move || Canary {
            epoch,
            interval,
            song: Arc::clone(&song),
        }
    }

    /// The longest silence of any.
    pub(super) fn silence(&self) -> Duration {
        let songs = self.songs.lock().unwrap_or_else(PoisonError::into_inner);
        let oldest = songs.iter().map(|song| song.load(Ordering::Acquire)).min();
        oldest.map_or(Duration::ZERO, |song| {
            let silence = self.epoch.elapsed();
            silence.saturating_sub(Duration::from_millis(song))
        })
    }
}

fn sing(epoch: Instant, song: &AtomicU64) {
    let now = epoch.elapsed().as_millis();
    song.store(u64::try_from(now).unwrap_or(u64::MAX), Ordering::Release);
}

pub(super) struct Canary {
    epoch: Instant,
    interval: Duration,
    song: Arc<AtomicU64>,
}

/// That a runtime ran a turn.
pub(super) struct Sung(());

impl Task for Canary {
    type Proof = Sung;

    async fn turn(&mut self) -> Result<Turn<Sung>, Failure> {
        sleep(self.interval).await;
        sing(self.epoch, &self.song);
        Ok(Turn::Progress(Sung(())))
    }
}

/// Tells a runtime that is stuck from a machine that slept: only silence that was
/// listened to counts.
#[derive(Debug)]
pub(super) struct Listener {
    /// Silence that is none yet, and the most that counts at once.
    breath: Duration,
    limit: Duration,
    heard: Duration,
}

impl Listener {
    /// Of canaries that sing once an `interval`; one that is silent for `limit` is
    /// stuck.
    pub(super) fn new(interval: Duration, limit: Duration) -> Self {
        Self {
            breath: 2 * interval,
            limit,
            heard: Duration::ZERO,
        }
    }

    /// Listened for `listened`, and the longest silence is `silence`; whether one is
    /// stuck.
    pub(super) fn hears(&mut self, listened: Duration, silence: Duration) -> bool {
        self.heard = match silence > self.breath {
            true => self.heard + listened.min(self.breath),
            false => Duration::ZERO,
        };
        self.heard >= self.limit
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_silence_that_was_listened_to_counts() {
        let second = Duration::from_secs(1);
        let mut listener = Listener::new(second, 40 * second);
        let mut stuck = |listened, silence| listener.hears(listened * second, silence * second);
        assert!(!stuck(3_600, 3_600), "the machine slept");
        assert!((1..38).all(|n| !stuck(1, 3_600 + n)));
        assert!(stuck(1, 3_638));
        assert!(!stuck(1, 0), "it sang");
    }
}
