//! The engine's events: hints of what to look at.

use std::collections::BTreeMap;
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
    /// By container, and whether events may be missing.
    hints: Mutex<(BTreeMap<ContainerId, Hint>, bool)>,
    wake: Notify,
    /// How often the engine has answered the keeper.
    answers: AtomicU64,
}

impl Seen {
    fn add(&self, event: Event) {
        let Event {
            starts,
            time,
            container,
        } = event;
        let mut hints = self.hints();
        let before = hints.0.remove(&container.id);
        let hint = Hint {
            started: starts || before.is_some_and(|before| before.started),
            time,
            container,
        };
        hints.0.insert(hint.container.id, hint);
        // Too many to look at one by one: a list is cheaper.
        if hints.0.len() > MAX_HINTS {
            warn!("more containers change than can be looked at; listing them");
            *hints = (BTreeMap::new(), true);
        }
        drop(hints);
        self.0.wake.notify_one();
    }

    /// Events may be missing.
    fn doubt(&self) {
        self.hints().1 = true;
        self.0.wake.notify_one();
    }

    pub(super) fn take_doubt(&self) -> bool {
        std::mem::take(&mut self.hints().1)
    }

    pub(super) fn take(&self) -> Option<Hint> {
        self.hints().0.pop_first().map(|(_, hint)| hint)
    }

    /// Gives back a hint that could not be looked at, unless there is a newer one.
    pub(super) fn give_back(&self, hint: Hint) {
        let mut hints = self.hints();
        match hints.0.get_mut(&hint.container.id) {
            Some(newer) => newer.started |= hint.started,
            None => drop(hints.0.insert(hint.container.id, hint)),
        }
    }

    /// Containers that are known to be gone: what was told of them before is over.
    pub(super) fn forget<'a>(&self, gone: impl Iterator<Item = &'a ContainerId>) {
        let mut hints = self.hints();
        gone.for_each(|id| drop(hints.0.remove(id)));
    }

    /// The engine has answered the keeper.
    pub(super) fn answered(&self) {
        self.0.answers.fetch_add(1, Ordering::Relaxed);
    }

    /// Resolves once there may be something to look at.
    pub(super) async fn wake(&self) {
        self.0.wake.notified().await;
    }

    fn hints(&self) -> MutexGuard<'_, (BTreeMap<ContainerId, Hint>, bool)> {
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
