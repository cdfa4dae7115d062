//! The engine's events: hints of what to look at.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::stream::{BoxStream, StreamExt};
use tokio::sync::{Notify, watch};
use tokio::time::{sleep, timeout};
use tracing::warn;

use super::Inventory;
use crate::docker::container::{Container, ContainerId};
use crate::docker::engine::{Engine, EngineError, Event};
use crate::docker::verified::Verified;
use crate::supervisor::{Failure, Task, Turn};

/// Hints kept; beyond, all is listed.
const MAX_HINTS: usize = 8_192;
/// Longest wait of a turn.
pub(super) const WAIT: Duration = Duration::from_secs(10);

/// What events have told of a container since it was last looked at.
#[derive(Debug, Clone)]
pub(super) struct Hint {
    /// Whether a run of it began.
    pub(super) started: bool,
    /// Whether nothing more will be told of it.
    pub(super) removed: bool,
    /// When the newest was, ns since the Unix epoch, the engine's clock.
    pub(super) time: Option<i64>,
    /// The container as the newest describes it.
    pub(super) container: Container,
}

/// Containers of which the engine's events spoke, on their way from the [`Feed`] to
/// the [`Keeper`](super::Keeper). Clones are the same.
#[derive(Debug, Clone, Default)]
pub struct Seen(Arc<Hints>);

#[derive(Debug, Default)]
struct Hints {
    hints: Mutex<Told>,
    wake: Notify,
    /// How often the engine has answered the keeper.
    answers: AtomicU64,
}

/// What was told and not yet looked at.
#[derive(Debug, Default)]
struct Told {
    waiting: BTreeMap<ContainerId, Hint>,
    /// Those that are being looked at: they outlive who does it.
    looking: BTreeMap<ContainerId, Hint>,
    /// Known to be gone before events told so: what they tell of these is the past.
    gone: BTreeSet<ContainerId>,
    /// Events may be missing.
    doubt: bool,
    /// There were too many: what came and went since is not told.
    overflowed: bool,
}

impl Told {
    /// Gives back what was not looked at to its end.
    fn give_back(&mut self) {
        for (id, hint) in std::mem::take(&mut self.looking) {
            match self.waiting.get_mut(&id) {
                Some(newer) => newer.started |= hint.started,
                None => drop(self.waiting.insert(id, hint)),
            }
        }
    }
}

impl Seen {
    fn add(&self, event: Event) {
        let Event {
            starts,
            removes,
            time,
            container,
        } = event;
        let mut told = self.told();
        if told.gone.contains(&container.id) {
            if removes {
                told.gone.remove(&container.id);
            }
            return;
        }
        let before = told.waiting.remove(&container.id);
        let hint = Hint {
            started: starts || before.is_some_and(|before| before.started),
            removed: removes,
            time,
            container,
        };
        told.waiting.insert(hint.container.id, hint);
        // Too many to look at one by one: a list is cheaper.
        if told.waiting.len() > MAX_HINTS {
            warn!("more containers change than can be looked at; listing them");
            told.waiting.clear();
            (told.doubt, told.overflowed) = (true, true);
        }
        drop(told);
        self.0.wake.notify_one();
    }

    /// Events are followed anew: some may be missing, and none will come of before.
    fn doubt(&self) {
        let mut told = self.told();
        told.doubt = true;
        told.gone.clear();
        drop(told);
        self.0.wake.notify_one();
    }

    pub(super) fn is_in_doubt(&self) -> bool {
        self.told().doubt
    }

    /// Whether more was told than could be looked at, since this was asked last.
    pub(super) fn take_overflow(&self) -> bool {
        std::mem::take(&mut self.told().overflowed)
    }

    /// What comes to be listed is in doubt no more.
    pub(super) fn settle(&self) {
        self.told().doubt = false;
    }

    /// The next hint to look at, of a container that nobody is looking at.
    pub(super) fn take(&self) -> Option<Hint> {
        let told = &mut *self.told();
        let is_free = |id: &&ContainerId| !told.looking.contains_key(*id);
        let id = *told.waiting.keys().find(is_free)?;
        let hint = told.waiting.remove(&id)?;
        told.looking.insert(id, hint.clone());
        Some(hint)
    }

    /// A hint that was taken was looked at.
    pub(super) fn looked(&self, id: &ContainerId) {
        self.told().looking.remove(id);
    }

    /// Whoever looked has given up: what it looked at is still to be looked at.
    pub(super) fn give_back(&self) {
        self.told().give_back();
    }

    /// Containers that are known to be gone: whatever events tell of them, now or
    /// later, was before. Those that ran since they were looked at.
    pub(super) fn forget<'a>(
        &self,
        gone: impl IntoIterator<Item = &'a ContainerId>,
    ) -> BTreeSet<ContainerId> {
        let (mut told, mut ran) = (self.told(), BTreeSet::new());
        for id in gone {
            let last = told.waiting.remove(id);
            if last.as_ref().is_some_and(|hint| hint.started) {
                ran.insert(*id);
            }
            if last.is_none_or(|hint| !hint.removed) {
                told.gone.insert(*id);
            }
            // The engine drops events, the last of a container among them.
            if told.gone.len() > MAX_HINTS {
                told.gone.pop_first();
            }
        }
        ran
    }

    /// The engine has answered the keeper.
    pub(super) fn answered(&self) {
        self.0.answers.fetch_add(1, Ordering::Relaxed);
    }

    /// Resolves once there may be something to look at.
    pub(super) async fn wake(&self) {
        self.0.wake.notified().await;
    }

    fn told(&self) -> MutexGuard<'_, Told> {
        self.0.hints.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Follows the engine's events.
pub struct Feed {
    engine: Engine,
    inventory: watch::Receiver<Arc<Inventory>>,
    seen: Seen,
    events: Option<BoxStream<'static, Result<Event, EngineError>>>,
    answers: u64,
}

impl Feed {
    /// A feed of what is `seen`.
    pub fn new(engine: Engine, inventory: watch::Receiver<Arc<Inventory>>, seen: Seen) -> Self {
        Self {
            engine,
            inventory,
            seen,
            events: None,
            answers: 0,
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
            return Ok(Turn::Waiting);
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
                Ok(event) => {
                    self.seen.add(event);
                    return Ok(Turn::Progress(Verified::seen()));
                }
                Err(error) => {
                    self.events = None;
                    return Ok(Turn::Blocked(error.to_string()));
                }
            },
            // An engine without events is silent: the list, read again, covers what
            // they may have missed. A long one is read in many answers.
            () = sleep(WAIT) => {}
        }
        let answers = self.seen.0.answers.load(Ordering::Relaxed);
        Ok(
            match std::mem::replace(&mut self.answers, answers) < answers {
                true => Turn::Progress(Verified::seen()),
                false => Turn::Idle,
            },
        )
    }
}
