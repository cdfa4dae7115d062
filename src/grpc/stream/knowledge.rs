//! Up to when a stream knows of every container.

use std::sync::Arc;

use tokio::sync::broadcast::error::TryRecvError;
use tokio::sync::watch;

use crate::docker::{Change, Changes, Inventory};
use crate::grpc::request::Plan;
use crate::hub::Registry;
use crate::tail::From;

/// What a stream was told of the inventory. Its cursors carry that instant: whoever
/// resumes from them reads whatever wrote since and was not a member.
pub(crate) struct Knowledge {
    inventory: watch::Receiver<Arc<Inventory>>,
    changes: Changes,
    /// The last change that was handled, or stood in the first inventory.
    revision: u64,
    /// That of the inventory as it was looked at: all up to it can be heard.
    known: u64,
    /// When the last list was asked for whose containers were all handled.
    listed: i64,
    /// Whoever joins owes nothing from before this.
    floor: i64,
}

/// What comes next of the changes.
pub(super) enum Heard {
    Change(Arc<Change>),
    Nothing,
    /// Some were missed.
    Behind,
}

impl Knowledge {
    /// That of a stream opened with `inventory`. `changes`: followed since before it
    /// was read.
    pub(crate) fn new(
        registry: &Registry,
        changes: Changes,
        plan: &Plan,
        inventory: &Inventory,
    ) -> Self {
        Self {
            inventory: registry.inventory_changes(),
            changes,
            revision: inventory.revision,
            known: inventory.revision,
            listed: inventory.listed,
            floor: match plan.joining() {
                From::Since(instant) => instant,
                _ => i64::MIN,
            },
        }
    }

    /// What cursors of the stream say.
    pub(crate) fn issued(&self) -> i64 {
        self.listed.max(self.floor)
    }

    pub(super) fn listed(&self) -> i64 {
        self.listed
    }

    /// Resolves once there is more to hear. Cancel safe.
    pub(super) async fn changed(&mut self) {
        if self.inventory.changed().await.is_err() {
            // The service ends.
            std::future::pending::<()>().await;
        }
    }

    /// Whether the inventory was written since it was looked at.
    pub(super) fn has_news(&self) -> bool {
        self.inventory.has_changed().unwrap_or(false)
    }

    /// The inventory's list; what is in it can be heard from now on.
    pub(super) fn look(&mut self) -> i64 {
        let inventory = self.inventory.borrow_and_update();
        self.known = inventory.revision;
        inventory.listed
    }

    /// The next change that was not known.
    pub(super) fn next(&mut self) -> Heard {
        loop {
            match self.changes.try_recv() {
                Ok(change) if change.revision > self.revision => {
                    self.revision = change.revision;
                    return Heard::Change(change);
                }
                Ok(_known) => {}
                Err(TryRecvError::Lagged(_)) => return Heard::Behind,
                // Not all of them were told.
                Err(TryRecvError::Empty) if self.revision < self.known => return Heard::Behind,
                Err(TryRecvError::Empty | TryRecvError::Closed) => return Heard::Nothing,
            }
        }
    }

    /// All that stands in the list of that time was heard.
    pub(super) fn settled(&mut self, listed: i64) {
        self.listed = listed;
    }
}
