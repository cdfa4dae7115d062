//! What keeps the inventory up to date.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::{Instant, timeout_at};
use tracing::debug;

use super::feed::{Seen, WAIT};
use super::{Inventory, Ledger};
use crate::docker::container::{Container, ContainerId};
use crate::docker::engine::{Engine, EngineError, Identity};
use crate::docker::timestamp::now;
use crate::docker::verified::Verified;
use crate::supervisor::{Failure, Permit, Task, Turn};

const RELIST: Duration = Duration::from_secs(30);
/// Inspections under way at once, which are a turn.
const INSPECTIONS: usize = 8;

/// Keeps the inventory. It alone writes it, in the order in which it asks.
#[derive(Debug)]
pub struct Keeper {
    engine: Engine,
    ledger: Ledger,
    seen: Seen,
    permit: Permit,
    identity: Option<Arc<Identity>>,
    listing: Option<Listing>,
    relist: Instant,
}

/// A list whose containers are being looked at.
#[derive(Debug)]
struct Listing {
    asked: i64,
    ids: Vec<ContainerId>,
    containers: BTreeMap<ContainerId, Arc<Container>>,
}

impl Keeper {
    /// A keeper of what stands in `ledger`, hurried by what is `seen`.
    pub fn new(engine: Engine, ledger: Ledger, seen: Seen, permit: Permit) -> Self {
        Self {
            engine,
            ledger,
            seen,
            permit,
            identity: None,
            listing: None,
            relist: Instant::now(),
        }
    }

    /// Looks at what events spoke of; `None`: of nothing.
    async fn look_at_next(&mut self) -> Result<Option<Verified>, EngineError> {
        let Some(hint) = self.seen.take() else {
            return Ok(None);
        };
        let id = hint.container.id;
        let found = match self.engine.inspect(&id).await {
            Ok(container) => Some(container),
            Err(EngineError::NotFound) => None,
            Err(EngineError::Removing) => return Ok(Some(Verified::seen())),
            Err(error) => {
                self.seen.give_back(hint);
                return Err(error);
            }
        };
        if !self.permit.is_revoked() {
            self.ledger.looked(&id, found, &hint);
        }
        Ok(Some(Verified::seen()))
    }

    /// The next request that is due; `None`: there is none.
    async fn step(&mut self) -> Result<Option<Verified>, EngineError> {
        let Some(identity) = self.identity.clone() else {
            self.identity = Some(Arc::new(self.engine.identify().await?));
            self.relist = Instant::now();
            return Ok(Some(Verified::seen()));
        };
        if let Some(listing) = &mut self.listing {
            let known = self.ledger.now();
            listing.look(&self.engine, &known).await?;
            if let Some(listing) = self.listing.take_if(|listing| listing.ids.is_empty())
                && !self.permit.is_revoked()
            {
                // What events told of them was before: it is not that they came and
                // went unseen.
                let is_gone = |id: &&ContainerId| !listing.containers.contains_key(*id);
                self.seen.forget(known.containers.keys().filter(is_gone));
                self.ledger
                    .listed(&identity, listing.containers, listing.asked);
            }
            return Ok(Some(Verified::seen()));
        }
        // A relist covers events; events could starve it.
        if self.seen.take_doubt() || self.relist <= Instant::now() {
            let asked = now();
            let ids = self.engine.list().await?;
            let containers = BTreeMap::new();
            self.listing = Some(Listing {
                asked,
                ids,
                containers,
            });
            self.relist = Instant::now() + RELIST;
            return Ok(Some(Verified::seen()));
        }
        self.look_at_next().await
    }
}

impl Task for Keeper {
    type Proof = Verified;

    async fn turn(&mut self) -> Result<Turn<Verified>, Failure> {
        match self.step().await {
            Ok(Some(proof)) => {
                self.seen.answered();
                Ok(Turn::Progress(proof))
            }
            Ok(None) => {
                let hint = self.seen.wake();
                let _either = timeout_at(self.relist.min(Instant::now() + WAIT), hint).await;
                Ok(Turn::Idle)
            }
            Err(error) => {
                debug!(%error, "container inventory interrupted");
                // It may come back as another engine.
                (self.identity, self.listing) = (None, None);
                Ok(Turn::Blocked(error.to_string()))
            }
        }
    }
}

impl Listing {
    /// Looks at the next few.
    async fn look(&mut self, engine: &Engine, known: &Inventory) -> Result<(), EngineError> {
        let next = self
            .ids
            .split_off(self.ids.len().saturating_sub(INSPECTIONS));
        let look = async |id| (id, engine.inspect(&id).await);
        for (id, answer) in join_all(next.into_iter().map(look)).await {
            match answer {
                Ok(container) if container.is_hidden() => {}
                Ok(container) => {
                    // What did not change stays the same allocation.
                    let old = known.containers.get(&id);
                    let kept = old.filter(|old| ***old == container);
                    let container = kept.map_or_else(|| Arc::new(container), Arc::clone);
                    self.containers.insert(id, container);
                }
                Err(EngineError::NotFound | EngineError::Removing) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}
