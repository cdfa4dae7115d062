//! What logs are read with.

use std::sync::Arc;

use tokio::sync::watch;
use tokio::time::sleep;

use super::pack::{Issue, Packer};
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
    /// `issued`: up to when their reader knows containers; `None`: it is told of new
    /// ones.
    pub(crate) fn packer(
        &self,
        container: &Container,
        issued: Option<i64>,
        cause: GapCause,
    ) -> Packer {
        let inventory = self.inventory.borrow();
        let engine = inventory.engine.as_ref();
        let tag = engine.map_or(0, |engine| Cursor::tag(&engine.id));
        let listed = || Issue::Listed(self.inventory.clone());
        Packer::new(container, tag, issued.map_or_else(listed, Issue::At), cause)
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
