//! The engine's containers, kept in memory and up to date.
//!
//! Events make it quick, a list every 30 s makes it right: the engine drops
//! events in silence. Whoever needs a container reads it here; a client's text is
//! matched against this list and goes no further.

use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::{self, StreamExt};
use tokio::sync::watch;
use tokio::time::{interval, sleep};
use tracing::{debug, info};

use super::container::{Container, ContainerId};
use super::engine::{Engine, EngineError, Event, Identity};
use super::probe::Reach;
use super::timestamp::now;
use crate::supervisor::Backoff;

const RELIST: Duration = Duration::from_secs(30);
/// Inspections under way at once.
const INSPECTIONS: usize = 8;
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

/// Keeps the inventory until dropped.
pub async fn keep(
    engine: Engine,
    mut reach: watch::Receiver<Reach>,
    inventory: watch::Sender<Arc<Inventory>>,
) {
    let mut backoff = Backoff::default();
    loop {
        if reach.wait_for(Reach::is_here).await.is_err() {
            return;
        }
        let Err(error) = attend(&engine, &inventory, &mut backoff).await;
        debug!(%error, "container inventory interrupted");
        sleep(backoff.next_delay()).await;
    }
}

/// Lists, then follows events and relists until something fails.
async fn attend(
    engine: &Engine,
    inventory: &watch::Sender<Arc<Inventory>>,
    backoff: &mut Backoff,
) -> Result<std::convert::Infallible, EngineError> {
    let identity = Arc::new(engine.identify().await?);
    // Before the list, so that nothing happens between the two unseen.
    let mut events = pin!(engine.events());
    let mut relist = interval(RELIST);
    loop {
        tokio::select! {
            // A relist covers events; events could starve it.
            biased;
            _ = relist.tick() => {
                let known = Arc::clone(&inventory.borrow());
                let asked = now();
                let containers = list(engine, &known.containers).await?;
                publish(inventory, &identity, containers, asked);
                backoff.reset();
            }
            event = events.next() => {
                let ended = || EngineError::Unavailable("the engine ended its events".to_owned());
                let Event(id) = event.ok_or_else(ended)??;
                refresh(engine, inventory, &id).await?;
            }
        }
    }
}

async fn list(
    engine: &Engine,
    known: &BTreeMap<ContainerId, Arc<Container>>,
) -> Result<BTreeMap<ContainerId, Arc<Container>>, EngineError> {
    let ids = engine.list().await?;
    let mut answers = stream::iter(ids)
        .map(|id| async move { (id, engine.inspect(&id).await) })
        .buffer_unordered(INSPECTIONS);
    let mut containers = BTreeMap::new();
    while let Some((id, answer)) = answers.next().await {
        match answer {
            Ok(container) => {
                // What did not change stays the same allocation.
                let kept = known.get(&id).filter(|old| ***old == container);
                let container = kept.map_or_else(|| Arc::new(container), Arc::clone);
                containers.insert(id, container);
            }
            Err(EngineError::NotFound | EngineError::Removing) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(containers)
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
