//! Sees to it that each running container has its task.

use std::sync::Arc;

use tokio::sync::watch;
use tokio::time::timeout;

use super::registry::Registry;
use crate::docker::Inventory;
use crate::supervisor::{Failure, Task, Turn};

/// Holds the tasks of containers against the list of them.
#[derive(Debug)]
pub struct Roster {
    registry: Arc<Registry>,
    inventory: watch::Receiver<Arc<Inventory>>,
}

/// That a list was held against the tasks.
#[derive(Debug)]
pub struct Held(());

impl Roster {
    /// A roster of `registry`'s tasks.
    pub fn new(registry: Arc<Registry>) -> Self {
        let mut inventory = registry.inventory_changes();
        // What was there before is news to this one.
        inventory.mark_changed();
        Self {
            registry,
            inventory,
        }
    }
}

impl Task for Roster {
    type Proof = Held;

    async fn turn(&mut self) -> Result<Turn<Held>, Failure> {
        match timeout(self.registry.patience(), self.inventory.changed()).await {
            Ok(Ok(())) => {
                let inventory = Arc::clone(&self.inventory.borrow_and_update());
                self.registry.attend_to(&inventory);
                Ok(Turn::Progress(Held(())))
            }
            // The service ends.
            Ok(Err(_)) => std::future::pending().await,
            // Whoever keeps the list is watched itself.
            Err(_) => Ok(Turn::Waiting),
        }
    }
}
