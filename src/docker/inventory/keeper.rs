//! What keeps the inventory up to date.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{BoxFuture, FutureExt, join_all};
use futures_util::stream::{FuturesUnordered, StreamExt};
use tokio::time::{Instant, timeout_at};
use tracing::debug;

use super::feed::{Hint, Seen, WAIT};
use super::{Inventory, Ledger};
use crate::docker::container::{Container, ContainerId};
use crate::docker::engine::{Engine, EngineError, Identity};
use crate::docker::listed::Listed;
use crate::docker::timestamp::now;
use crate::docker::verified::Verified;
use crate::supervisor::{Failure, Permit, Task, Turn};

const RELIST: Duration = Duration::from_secs(30);
/// Of so many lists one looks at every container, whatever it says of them.
const THOROUGH: u32 = 20;
/// Looks under way at once. One that hangs holds up no other container's.
const INSPECTIONS: usize = 8;

/// Keeps the inventory. It alone writes it; of one container in the order in which it
/// asks, and a list while nothing else is asked for.
#[derive(Debug)]
pub struct Keeper {
    engine: Engine,
    ledger: Ledger,
    seen: Seen,
    permit: Permit,
    identity: Option<Arc<Identity>>,
    /// What events spoke of, while it is being looked at.
    looks: FuturesUnordered<BoxFuture<'static, Looked>>,
    listing: Option<Listing>,
    /// When the last list that was read to its end was asked for.
    listed: Option<Instant>,
    /// How many there were since one that looked at every container.
    lists: u32,
    relist: Instant,
}

type Looked = (Hint, Result<Container, EngineError>);

/// A list some of whose containers are still to be looked at.
#[derive(Debug)]
struct Listing {
    asked: (i64, Instant),
    ids: Vec<ContainerId>,
    containers: BTreeMap<ContainerId, Arc<Container>>,
}

impl Keeper {
    /// A keeper of what stands in `ledger`, hurried by what is `seen`.
    pub fn new(engine: Engine, ledger: Ledger, seen: Seen, permit: Permit) -> Self {
        // The one before may have gone while it looked.
        seen.give_back();
        Self {
            engine,
            ledger,
            seen,
            permit,
            identity: None,
            looks: FuturesUnordered::new(),
            listing: None,
            listed: None,
            lists: 0,
            relist: Instant::now(),
        }
    }

    /// A list covers events; events could starve it.
    fn is_list_due(&self) -> bool {
        self.seen.is_in_doubt() || self.relist <= Instant::now()
    }

    /// Looks at what events spoke of, some at a time, until one look is done; `None`:
    /// they spoke of nothing.
    async fn look(&mut self) -> Result<Option<Verified>, EngineError> {
        loop {
            let more = !self.is_list_due();
            while more && self.looks.len() < INSPECTIONS {
                let Some(hint) = self.seen.take() else { break };
                let engine = self.engine.clone();
                let look = async move {
                    let found = engine.inspect(&hint.container.id).await;
                    (hint, found)
                };
                self.looks.push(look.boxed());
            }
            let room = more && self.looks.len() < INSPECTIONS;
            tokio::select! {
                // First, as what wakes where nothing is under way is for the turn.
                biased;
                looked = self.looks.next() => match looked {
                    Some((hint, found)) => return self.looked(&hint, found).map(Some),
                    None => return Ok(None),
                },
                () = self.seen.wake(), if room => {}
            }
        }
    }

    fn looked(
        &self,
        hint: &Hint,
        found: Result<Container, EngineError>,
    ) -> Result<Verified, EngineError> {
        let found = match found {
            Ok(container) => Some(container),
            Err(EngineError::NotFound | EngineError::Removing) => None,
            Err(error) => return Err(error),
        };
        let id = hint.container.id;
        if !self.permit.is_revoked() {
            let told_gone = self.ledger.looked(&id, found, hint);
            self.seen.looked(&id);
            if told_gone && !hint.removed {
                self.seen.forget([&id]);
            }
        }
        Ok(Verified::seen())
    }

    /// Lists all, and keeps what is known of those that are as they were.
    async fn list(&mut self, identity: &Arc<Identity>) -> Result<(), EngineError> {
        let (asked, known) = ((now(), Instant::now()), self.ledger.now());
        // What comes to be doubted from here on asks for another.
        self.seen.settle();
        let mut all = self.engine.list().await?;
        all.retain(|listed| !listed.hidden);
        let same = known.engine.as_ref() == Some(identity) && self.lists < THOROUGH;
        let ago = self.listed.filter(|_| same).map(|listed| listed.elapsed());
        let still = |listed: &Listed| {
            let known = known.containers.get(&listed.id)?;
            ago.filter(|ago| listed.is_still(known, *ago))?;
            Some((listed.id, Arc::clone(known)))
        };
        self.lists = ago.map_or(0, |_| self.lists) + 1;
        let containers: BTreeMap<_, _> = all.iter().filter_map(still).collect();
        let ids = all.into_iter().map(|listed| listed.id);
        self.listing = Some(Listing {
            asked,
            ids: ids.filter(|id| !containers.contains_key(id)).collect(),
            containers,
        });
        self.relist = Instant::now() + RELIST;
        Ok(())
    }

    /// Looks at a few more of those listed; writes the list behind the last.
    async fn look_at_listed(
        &mut self,
        mut listing: Listing,
        identity: &Arc<Identity>,
    ) -> Result<(), EngineError> {
        let known = self.ledger.now();
        listing.look(&self.engine, &known).await?;
        if !listing.ids.is_empty() {
            self.listing = Some(listing);
            return Ok(());
        }
        if !self.permit.is_revoked() {
            // What is heard of them later is not that they came and went unseen.
            let is_gone = |id: &&ContainerId| !listing.containers.contains_key(*id);
            let ran = self.seen.forget(known.containers.keys().filter(is_gone));
            let (asked, at) = listing.asked;
            self.ledger
                .listed(identity, listing.containers, asked, &ran);
            self.listed = Some(at);
            if self.seen.take_overflow() {
                self.ledger.lose();
            }
        }
        Ok(())
    }

    /// The next request that is due; `None`: there is none.
    async fn step(&mut self) -> Result<Option<Verified>, EngineError> {
        let Some(identity) = self.identity.clone() else {
            self.identity = Some(Arc::new(self.engine.identify().await?));
            self.relist = Instant::now();
            return Ok(Some(Verified::seen()));
        };
        match self.listing.take() {
            Some(listing) => self.look_at_listed(listing, &identity).await?,
            None if self.is_list_due() && self.looks.is_empty() => self.list(&identity).await?,
            None => return self.look().await,
        }
        Ok(Some(Verified::seen()))
    }

    /// Drops what is under way: the engine may come back as another one.
    fn give_up(&mut self) {
        self.looks.clear();
        self.seen.give_back();
        (self.identity, self.listing) = (None, None);
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
                self.give_up();
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
