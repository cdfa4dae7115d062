//! A reader's place among those that look at what is stored.

use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, sleep_until, timeout};

use crate::hub::slots::Resyncs;
use crate::hub::source::SILENCE;

/// A place, or the way to one.
pub(super) enum Place {
    Unwanted,
    /// In the queue, over any number of turns.
    Queued(BoxFuture<'static, Option<OwnedSemaphorePermit>>),
    Held {
        _permit: Option<OwnedSemaphorePermit>,
        /// Unless something comes.
        until: Instant,
    },
}

impl Place {
    /// Whether there is a place, after a wait in the queue of at most `patience`. Who
    /// has only come there does not wait, so that the task is seen to.
    pub(super) async fn is_taken(&mut self, resyncs: &Resyncs, patience: Duration) -> bool {
        let patience = match self {
            Self::Held { .. } => return true,
            Self::Queued(_) => patience,
            Self::Unwanted => {
                *self = Self::Queued(resyncs.place());
                Duration::ZERO
            }
        };
        let Self::Queued(place) = self else {
            return false;
        };
        let Ok(permit) = timeout(patience, place).await else {
            return false;
        };
        *self = Self::Held {
            _permit: permit,
            until: Instant::now() + SILENCE,
        };
        true
    }

    /// Something came.
    pub(super) fn moves(&mut self) {
        if let Self::Held { until, .. } = self {
            *until = Instant::now() + SILENCE;
        }
    }

    /// Leaves place and queue.
    pub(super) fn leave(&mut self) {
        *self = Self::Unwanted;
    }

    /// Resolves once a place was held in silence for too long. Cancel safe.
    pub(super) async fn is_silent(&mut self) {
        match self {
            Self::Held { until, .. } => sleep_until(*until).await,
            _ => std::future::pending().await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hub::slots::RESYNCS;

    const TURN: Duration = Duration::from_secs(1);

    /// Readers that hold every place.
    async fn holders(resyncs: &Resyncs) -> Vec<Place> {
        let mut holders = Vec::new();
        for _ in 0..RESYNCS {
            let mut place = Place::Unwanted;
            assert!(place.is_taken(resyncs, TURN).await);
            holders.push(place);
        }
        holders
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_keeps_the_order_of_coming_over_its_turns() {
        let resyncs = Resyncs::new();
        let mut holders = holders(&resyncs).await;
        let mut waiting = [Place::Unwanted, Place::Unwanted];
        let began = Instant::now();
        assert!(!waiting[0].is_taken(&resyncs, TURN).await);
        assert_eq!(Instant::now(), began, "it says at once that it waits");
        for place in [1, 0, 1] {
            assert!(!waiting[place].is_taken(&resyncs, TURN).await);
        }
        holders[0].leave();
        assert!(!waiting[1].is_taken(&resyncs, TURN).await, "not its turn");
        assert!(waiting[0].is_taken(&resyncs, TURN).await);
        waiting[0].leave();
        assert!(waiting[1].is_taken(&resyncs, TURN).await);
    }

    #[tokio::test(start_paused = true)]
    async fn who_leaves_the_queue_is_in_nobodys_way() {
        let resyncs = Resyncs::new();
        let mut holders = holders(&resyncs).await;
        let mut waiting = [Place::Unwanted, Place::Unwanted];
        for place in &mut waiting {
            assert!(!place.is_taken(&resyncs, TURN).await);
        }
        waiting[0].leave();
        holders[0].leave();
        assert!(waiting[1].is_taken(&resyncs, TURN).await);
    }

    #[tokio::test(start_paused = true)]
    async fn a_place_is_held_for_as_long_as_something_comes() {
        let mut place = Place::Unwanted;
        assert!(place.is_taken(&Resyncs::new(), TURN).await);
        let began = Instant::now();
        for _ in 0..3 {
            let silent = timeout(SILENCE / 2, place.is_silent()).await;
            assert!(silent.is_err());
            place.moves();
        }
        place.is_silent().await;
        assert_eq!(Instant::now() - began, SILENCE * 5 / 2);
    }
}
