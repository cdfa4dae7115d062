//! The engine's containers, kept in memory and up to date.
//!
//! Events make it quick, a list every 30 s makes it right: the engine drops
//! events in silence. Whoever needs a container reads it here; a client's text is
//! matched against this list and goes no further.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::future::join_all;
use futures_util::stream::{BoxStream, StreamExt};
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tracing::{debug, info};

use super::container::{Container, ContainerId};
use super::engine::{Engine, EngineError, Event, Identity};
use super::timestamp::now;
use super::verified::Verified;
use crate::supervisor::{Failure, Permit, Task, Turn};

const RELIST: Duration = Duration::from_secs(30);
/// Inspections under way at once, which are a turn.
const INSPECTIONS: usize = 8;
/// Hints kept; beyond, all is listed.
const MAX_HINTS: usize = 1_000;
/// Longest wait of a turn.
const WAIT: Duration = Duration::from_secs(10);
/// Shortest id prefix that names a container; the engine's own limit is 1.
const MIN_PREFIX: usize = 4;

/// What is known of the engine and its containers.
#[derive(Debug, Clone, Default)]
pub struct Inventory {
    /// Who the engine is; `None` until the first list is complete.
    pub engine: Option<Arc<Identity>>,
    /// Every container by id.
    pub containers: BTreeMap<ContainerId, Arc<Container>>,
    /// When the last list was asked for, ns since the Unix epoch, our clock.
    pub listed: i64,
}

/// Why a name names no container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FindError {
    /// None has it.
    Missing,
    /// Several ids start with it: the names of some of them.
    Ambiguous(Vec<String>),
}

impl Inventory {
    /// The container of this exact name, id or unique id prefix (4 or more).
    ///
    /// # Errors
    /// None, or several.
    pub fn find(&self, text: &str) -> Result<&Arc<Container>, FindError> {
        if let Some(named) = self.containers.values().find(|c| c.name == text) {
            return Ok(named);
        }
        if text.len() < MIN_PREFIX || text.len() > 64 {
            return Err(FindError::Missing);
        }
        let starts = |c: &&Arc<Container>| c.id.to_string().starts_with(text);
        let mut found = self.containers.values().filter(starts);
        match (found.next(), found.next()) {
            (None, _) => Err(FindError::Missing),
            (Some(only), None) => Ok(only),
            (Some(first), Some(second)) => Err(FindError::Ambiguous(
                [first, second].map(|c| c.name.clone()).to_vec(),
            )),
        }
    }
}

/// Containers of which the engine's events spoke, on their way from the [`Feed`] to
/// the [`Keeper`]. Clones are the same.
#[derive(Debug, Clone, Default)]
pub struct Seen(Arc<Hints>);

#[derive(Debug, Default)]
struct Hints {
    hints: Mutex<(BTreeSet<ContainerId>, bool)>,
    wake: Notify,
}

impl Seen {
    fn add(&self, id: ContainerId) {
        let mut hints = self.hints();
        hints.0.insert(id);
        // Too many to look at one by one: a list is cheaper.
        if hints.0.len() > MAX_HINTS {
            *hints = (BTreeSet::new(), true);
        }
        drop(hints);
        self.0.wake.notify_one();
    }

    /// Events may be missing.
    fn doubt(&self) {
        self.hints().1 = true;
        self.0.wake.notify_one();
    }

    fn take_doubt(&self) -> bool {
        std::mem::take(&mut self.hints().1)
    }

    fn take(&self) -> Option<ContainerId> {
        self.hints().0.pop_first()
    }

    fn hints(&self) -> MutexGuard<'_, (BTreeSet<ContainerId>, bool)> {
        self.0.hints.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Keeps the inventory. It alone writes it, in the order in which it asks.
#[derive(Debug)]
pub struct Keeper {
    engine: Engine,
    inventory: watch::Sender<Arc<Inventory>>,
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
    /// A keeper of `inventory`, hurried by what is `seen`.
    pub fn new(
        engine: Engine,
        inventory: watch::Sender<Arc<Inventory>>,
        seen: Seen,
        permit: Permit,
    ) -> Self {
        Self {
            engine,
            inventory,
            seen,
            permit,
            identity: None,
            listing: None,
            relist: Instant::now(),
        }
    }

    /// The next request that is due; `None`: there is none.
    async fn step(&mut self) -> Result<Option<Verified>, EngineError> {
        let Some(identity) = self.identity.clone() else {
            self.identity = Some(Arc::new(self.engine.identify().await?));
            self.relist = Instant::now();
            return Ok(Some(Verified::seen()));
        };
        if let Some(listing) = &mut self.listing {
            let known = Arc::clone(&self.inventory.borrow());
            listing.look(&self.engine, &known).await?;
            if let Some(listing) = self.listing.take_if(|listing| listing.ids.is_empty())
                && !self.permit.is_revoked()
            {
                publish(
                    &self.inventory,
                    &identity,
                    listing.containers,
                    listing.asked,
                );
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
        let Some(id) = self.seen.take() else {
            return Ok(None);
        };
        refresh(&self.engine, &self.inventory, &id).await?;
        Ok(Some(Verified::seen()))
    }
}

impl Task for Keeper {
    type Proof = Verified;

    async fn turn(&mut self) -> Result<Turn<Verified>, Failure> {
        match self.step().await {
            Ok(Some(proof)) => Ok(Turn::Progress(proof)),
            Ok(None) => {
                let hint = self.seen.0.wake.notified();
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

/// Follows the engine's events.
pub struct Feed {
    engine: Engine,
    inventory: watch::Receiver<Arc<Inventory>>,
    seen: Seen,
    events: Option<BoxStream<'static, Result<Event, EngineError>>>,
    listed: i64,
}

impl Feed {
    /// A feed of what is `seen`.
    pub fn new(engine: Engine, inventory: watch::Receiver<Arc<Inventory>>, seen: Seen) -> Self {
        Self {
            engine,
            inventory,
            seen,
            events: None,
            listed: 0,
        }
    }
}

impl Task for Feed {
    type Proof = Verified;

    async fn turn(&mut self) -> Result<Turn<Verified>, Failure> {
        // The list is first: with it the API's version is agreed upon.
        let listed = |inventory: &Arc<Inventory>| inventory.engine.is_some();
        if timeout(WAIT, self.inventory.wait_for(listed))
            .await
            .is_err()
        {
            return Ok(Turn::Idle);
        }
        if self.events.is_none() {
            // Nobody has told what happened since it was read.
            self.seen.doubt();
        }
        let events = self
            .events
            .get_or_insert_with(|| self.engine.events().boxed());
        let ended = || EngineError::Unavailable("the engine ended its events".to_owned());
        tokio::select! {
            event = events.next() => match event.unwrap_or_else(|| Err(ended())) {
                Ok(Event(id)) => {
                    self.seen.add(id);
                    return Ok(Turn::Progress(Verified::seen()));
                }
                Err(error) => {
                    self.events = None;
                    return Ok(Turn::Blocked(error.to_string()));
                }
            },
            // An engine without events is silent: the list, read again, covers what
            // they may have missed.
            Ok(()) = self.inventory.changed() => {}
            () = sleep(WAIT) => {}
        }
        let listed = self.inventory.borrow_and_update().listed;
        Ok(match std::mem::replace(&mut self.listed, listed) < listed {
            true => Turn::Progress(Verified::seen()),
            false => Turn::Idle,
        })
    }
}

async fn refresh(
    engine: &Engine,
    inventory: &watch::Sender<Arc<Inventory>>,
    id: &ContainerId,
) -> Result<(), EngineError> {
    let container = match engine.inspect(id).await {
        Ok(container) => Some(Arc::new(container)),
        Err(EngineError::NotFound) => None,
        Err(EngineError::Removing) => return Ok(()),
        Err(error) => return Err(error),
    };
    inventory.send_if_modified(|now| {
        if now.containers.get(id) == container.as_ref() {
            return false;
        }
        let next = Arc::make_mut(now);
        match container {
            Some(container) => next.containers.insert(*id, container),
            None => next.containers.remove(id),
        };
        true
    });
    Ok(())
}

fn publish(
    inventory: &watch::Sender<Arc<Inventory>>,
    identity: &Arc<Identity>,
    containers: BTreeMap<ContainerId, Arc<Container>>,
    listed: i64,
) {
    // Told also when nothing changed: that is known from now on.
    inventory.send_modify(|now| {
        if now.engine.as_ref() != Some(identity) {
            info!(
                kind = identity.kind,
                version = identity.version,
                api_version = identity.api_version,
                containers = containers.len(),
                "container engine identified"
            );
        }
        *now = Arc::new(Inventory {
            engine: Some(Arc::clone(identity)),
            containers,
            listed,
        });
    });
}
