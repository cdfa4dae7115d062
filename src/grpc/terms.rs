//! What a stream does, beside its members.

use tokio::sync::watch;

use super::body::Parts;
use crate::docker::{ContainerId, Reach, Stream as Source, now};
use crate::hub::Batch;
use crate::tail::{Cursor, Position};

/// What a stream does, beside its members.
#[derive(Debug)]
pub(crate) struct Terms {
    pub(crate) follow: bool,
    pub(crate) until: Option<i64>,
    pub(crate) streams: Vec<Source>,
    pub(crate) until_exit: bool,
    pub(crate) engine: u64,
    pub(crate) reach: watch::Receiver<Reach>,
}

impl Terms {
    /// The entries of a batch that were asked for, and how many they are.
    pub(crate) fn select(&self, batch: &Batch) -> Option<(Parts, usize)> {
        if self.streams.is_empty() && self.until.is_none() {
            return Some((vec![batch.framed().clone()], batch.len()));
        }
        batch.select(|span, _line| {
            let wanted = self.streams.is_empty() || self.streams.contains(&span.stream);
            wanted && self.until.is_none_or(|until| span.time <= until)
        })
    }

    pub(crate) fn cursor(&self, id: &ContainerId, position: Position) -> String {
        cursor(self.engine, *id, position)
    }
}

/// A cursor issued now.
pub(crate) fn cursor(engine: u64, container: ContainerId, position: Position) -> String {
    let issued = now();
    Cursor {
        engine,
        container,
        issued,
        position,
    }
    .encode()
}
