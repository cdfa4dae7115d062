//! What a stream does at a time, whatever its members bring.

use futures_util::{FutureExt, StreamExt};
use tokio::time::Instant;

use super::{PROGRESS, Writer};
use crate::grpc::outlet::{End, Step};

/// Taken at once of what has gathered, so that nothing else waits for long.
const GATHERED: usize = 1_024;

/// When something is due that no member brings.
pub(super) struct Times {
    /// What was asked for ends.
    pub(super) until: Option<Instant>,
    /// An engine that is away is not waited for any longer.
    pub(super) lost: Option<Instant>,
    pub(super) progress: Instant,
}

impl Writer {
    /// Some time has come that is not the end.
    pub(super) async fn on_time(&mut self, progress: &mut Instant) -> Step {
        if *progress <= Instant::now() {
            *progress = Instant::now() + PROGRESS;
            if let Some(end) = self.progress().await? {
                return Ok(Some(end));
            }
        }
        self.gathered().await
    }

    /// When the next of its times comes.
    pub(super) fn due(&self, times: &Times) -> Option<Instant> {
        let until = times.until.filter(|_| self.members.are_live());
        let ends = [self.outlet.expiry(), times.lost, until];
        let others = [Some(times.progress), self.outlet.due()];
        ends.into_iter().chain(others).flatten().min()
    }

    /// Whether its time is over.
    pub(super) fn is_over(&self, times: &Times) -> Option<End> {
        let now = Instant::now();
        let is_past = |at: Option<Instant>| at.is_some_and(|at| at <= now);
        if is_past(self.outlet.expiry()) {
            return Some(End::DEADLINE);
        }
        if is_past(times.lost) {
            return Some(End::ENGINE_LOST);
        }
        (is_past(times.until) && self.members.are_live()).then_some(End::COMPLETED)
    }

    /// Takes what members have brought meanwhile; what has waited for it leaves.
    async fn gathered(&mut self) -> Step {
        self.outlet.take_gathered();
        for _ in 0..GATHERED {
            let Some(Some(brought)) = self.items.next().now_or_never() else {
                break;
            };
            if let Some(end) = self.brought(brought).await? {
                return Ok(Some(end));
            }
        }
        self.outlet.took_gathered().await
    }
}
