//! Waits for what may not be there: then they never end.

use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use tokio::time::{Instant, sleep_until};

use super::Chunks;
use crate::docker::Chunk;

pub(super) async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

pub(super) async fn chunk(reading: &mut Option<Chunks>) -> Option<Chunk> {
    match reading {
        Some(reading) => reading.next().await,
        None => std::future::pending().await,
    }
}

pub(super) async fn answer<T>(probe: &mut Option<BoxFuture<'static, T>>) -> T {
    match probe {
        Some(probe) => probe.await,
        None => std::future::pending().await,
    }
}
