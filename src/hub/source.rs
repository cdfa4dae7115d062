//! What logs are read with.

use std::sync::Arc;

use tokio::sync::watch;
use tokio::time::sleep;

use super::pack::Packer;
use crate::docker::{Container, Engine, Inventory, Reach};
use crate::supervisor::Backoff;
use crate::tail::{Cursor, GapCause};

/// What a reader reads with.
#[derive(Debug, Clone)]
pub(crate) struct Source {
    pub(crate) engine: Engine,
    pub(crate) reach: watch::Receiver<Reach>,
    pub(crate) inventory: watch::Receiver<Arc<Inventory>>,
}

impl Source {
    /// What packs a container's entries. A deletion before they begin means `cause`.
    pub(crate) fn packer(&self, container: &Container, cause: GapCause) -> Packer {
        let inventory = self.inventory.borrow();
        let engine = inventory.engine.as_ref();
        let tag = engine.map_or(0, |engine| Cursor::tag(&engine.id));
        Packer::new(container, tag, cause)
    }

    /// Waits before the next attempt: out of step with others, and not at all
    /// while the engine is known to be away.
    pub(crate) async fn pause(&mut self, backoff: &mut Backoff) {
        sleep(backoff.next_delay()).await;
        // An error means that the service ends.
        if self.reach.wait_for(Reach::is_here).await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}
