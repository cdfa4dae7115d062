//! What a stream does, beside its members.

use tokio::sync::watch;

use crate::docker::{ContainerId, Reach, Stream as Source, now};
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
    pub(crate) fn passes(&self, entry: &crate::tail::Entry) -> bool {
        let wanted = self.streams.is_empty() || self.streams.contains(&entry.stream);
        wanted && self.until.is_none_or(|until| entry.time <= until)
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
