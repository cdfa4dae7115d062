//! Tasks that cannot forget their heartbeat.
//!
//! A task is made of turns, and the supervisor asks for them: a turn that ends
//! with proof is the only heartbeat there is. The watchdog replaces whatever makes
//! no progress; what a dead generation still tries to publish is refused by its
//! revoked permit. Nothing here knows of logs or Docker.

mod backoff;
mod breaker;
mod canary;
mod deed;
mod panics;
mod permit;
mod run;
#[cfg(all(test, feature = "schedules"))]
mod schedules;
mod status;
#[cfg(test)]
mod strike;
#[cfg(test)]
mod stuck;
pub(crate) mod sync;
mod task;
#[cfg(test)]
mod tests;
mod timings;
mod watchdog;

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, OnceLock, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use std::{process, thread};

use futures_util::FutureExt;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::AbortHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{error, warn};

pub use backoff::Backoff;
pub use breaker::Breaker;
pub use permit::{Fenced, Permit};
pub use status::{Reason, State, Status, TERMINATIONS, Termination};
#[cfg(test)]
pub(crate) use strike::Blow;
pub use task::{Failure, Kind, Spec, Task, Turn, Work};
pub use timings::{Timings, Violation, Wishes};

use canary::{Aviary, Listener};
use deed::Deed;
use permit::Revoke;
use run::{Body, Voice};
use sync::atomic::{AtomicBool, AtomicU64, Ordering};
use sync::{Mutex, MutexGuard};
use watchdog::{Action, Moment, Outcome, TaskId, Watchdog};

/// More generations than this that cannot be aborted are a fault of the process.
const ZOMBIES: u64 = 3;

/// Runs tasks and replaces those that make no progress. Clones are the same one.
#[derive(Clone)]
pub struct Supervisor(Arc<Shared>);

/// A task that was started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Started(TaskId);

pub(crate) struct Shared {
    inner: Mutex<Inner>,
    timings: Timings,
    epoch: Instant,
    tracker: TaskTracker,
    changed: watch::Sender<u64>,
    /// When the watchdog last looked, ms since the epoch; read without the lock.
    looked: AtomicU64,
    zombies: AtomicU64,
    canaries: Aviary,
    over: AtomicBool,
    #[cfg(test)]
    faults: strike::Faults,
}

struct Inner {
    watchdog: Watchdog,
    bodies: HashMap<TaskId, (Handle, Body)>,
    runs: HashMap<u64, Run>,
}

/// What a generation is held by.
#[derive(Clone)]
struct Run(Arc<Held>);

struct Held {
    revoke: Revoke,
    cancel: CancellationToken,
    /// Set once it is spawned.
    abort: OnceLock<AbortHandle>,
}

impl Supervisor {
    /// A supervisor whose tasks `tracker` counts. Nothing is watched before
    /// [`Supervisor::watch`].
    pub fn new(timings: Timings, tracker: TaskTracker) -> Self {
        panics::note_places();
        let epoch = Instant::now();
        Self(Arc::new(Shared {
            inner: Mutex::new(Inner {
                watchdog: Watchdog::new(timings, fastrand::u64(..)),
                bodies: HashMap::new(),
                runs: HashMap::new(),
            }),
            timings,
            epoch,
            canaries: Aviary::new(epoch, timings.canary),
            tracker,
            changed: watch::Sender::new(0),
            looked: AtomicU64::new(0),
            zombies: AtomicU64::new(0),
            over: AtomicBool::new(false),
            #[cfg(test)]
            faults: strike::Faults::default(),
        }))
    }

    /// The times it goes by.
    pub fn timings(&self) -> Timings {
        self.0.timings
    }

    /// Starts a task on a runtime; a restart calls `make` again. A task of that
    /// name that still runs is not run twice: this one begins once it has ended.
    /// With a breaker, one that is blocked is not asked again while that is open.
    pub fn start<T: Task + 'static>(
        &self,
        spec: Spec,
        runtime: &Handle,
        breaker: Option<Breaker>,
        make: impl Fn(Permit) -> T + Send + Sync + 'static,
    ) -> Started {
        let body = run::body(breaker, make);
        let (started, _replaced) = {
            let mut inner = self.0.inner();
            let id = inner.watchdog.start(spec);
            let replaced = inner.bodies.insert(id, (runtime.clone(), body));
            (Started(id), replaced)
        };
        self.0.tick();
        started
    }

    /// Stops a task: its permit is revoked when this returns.
    pub fn stop(&self, started: Started) {
        let deed = {
            let mut inner = self.0.inner();
            let action = inner.watchdog.stop(started.0, self.0.now());
            action.and_then(|action| self.0.deed(&mut inner, action))
        };
        deed.into_iter().for_each(Deed::perform);
        self.0.tick();
    }

    /// Starts a task at once that waits for its next start, or is over. One that runs
    /// goes on.
    pub fn hurry(&self, started: Started) {
        self.0.inner().watchdog.hurry(started.0);
        self.0.tick();
    }

    /// Lets a task do what it is at, and forgets it behind that. One that failed for
    /// good is told until then.
    pub fn release(&self, started: Started) {
        let now = self.0.now();
        self.0.inner().watchdog.release(started.0, now);
        self.0.tick();
    }

    /// Treats the present generation of a task as if one of its turns hung: for
    /// whoever tests what survives that. Whether there is such a task.
    pub fn condemn(&self, name: &str) -> bool {
        let deed = {
            let mut inner = self.0.inner();
            let action = inner.watchdog.condemn(name, self.0.now());
            action.and_then(|action| self.0.deed(&mut inner, action))
        };
        let found = deed.is_some();
        deed.into_iter().for_each(Deed::perform);
        found
    }

    /// Stops all tasks, and starts no more.
    pub fn stop_all(&self) {
        self.0.over.store(true, Ordering::Release);
        let runs: Vec<_> = self.0.inner().runs.values().cloned().collect();
        runs.into_iter().for_each(|run| Deed::Cancel(run).perform());
    }

    /// Every task.
    pub fn statuses(&self) -> Vec<Status> {
        self.0.inner().watchdog.statuses(self.0.now())
    }

    /// Told of each change of a state, a generation or a termination.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.0.changed.subscribe()
    }

    /// Keeps a task on a runtime that shows that it runs.
    pub fn keep_canary(&self, name: &str, runtime: &Handle) {
        let spec = Spec {
            name: format!("canary/{name}"),
            kind: Kind::Canary,
            container: None,
        };
        let hatch = self.0.canaries.hatch();
        self.start(spec, runtime, None, move |_permit| hatch());
    }

    /// Whether watchdog and runtimes do their part, and no more tasks than tolerable
    /// could not be aborted. Takes no lock that a task or the watchdog holds, so that
    /// a deadlock is seen.
    pub fn is_alive(&self) -> bool {
        let looked = Duration::from_millis(self.0.looked.load(Ordering::Acquire));
        let blind = self.0.epoch.elapsed().saturating_sub(looked);
        let haunted = self.0.zombies.load(Ordering::Acquire) > ZOMBIES;
        let limit = self.0.timings.silence;
        blind < limit && self.0.canaries.silence() < limit && !haunted
    }

    /// Looks at what is due; how long nothing will be.
    pub fn look(&self) -> Duration {
        #[cfg(test)]
        self.0.faults.look();
        self.0.tick();
        let now = self.0.now();
        let since = u64::try_from(now.at.as_millis()).unwrap_or(u64::MAX);
        self.0.looked.store(since, Ordering::Release);
        self.0.inner().watchdog.idle(now)
    }

    /// Watches on a thread of its own until [`Supervisor::stop_all`].
    ///
    /// # Errors
    /// The thread cannot be made.
    pub fn watch(&self) -> std::io::Result<()> {
        let watched = self.clone();
        let watch = move || {
            let timings = watched.0.timings;
            let mut listener = Listener::new(timings.canary, timings.stuck);
            let mut last = Instant::now();
            while !watched.0.over.load(Ordering::Acquire) {
                let (idle, silence) = (watched.look(), watched.0.canaries.silence());
                if listener.hears(last.elapsed(), silence) {
                    error!(
                        ?silence,
                        "a runtime is stuck; clients resume by their cursors"
                    );
                    process::exit(SOFTWARE);
                }
                last = Instant::now();
                // Something due at once is due again a moment later.
                thread::sleep(idle.max(SHORTEST));
            }
        };
        thread::Builder::new()
            .name("watchdog".to_owned())
            .spawn(watch)?;
        Ok(())
    }
}

/// Exit status of a process one of whose runtimes is stuck; `EX_SOFTWARE` of
/// sysexits.h.
const SOFTWARE: i32 = 70;
/// The watchdog rests at least so long between two looks.
const SHORTEST: Duration = Duration::from_millis(5);

impl Shared {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        // Nothing of a task's own runs under it.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> Moment {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH);
        let wall = wall.unwrap_or_default().as_nanos();
        Moment {
            at: self.epoch.elapsed(),
            wall: i64::try_from(wall).unwrap_or(i64::MAX),
        }
    }

    /// Tells the watchdog something that leads to no action at once.
    fn tell<R>(&self, what: impl FnOnce(&mut Watchdog, Moment) -> R) -> R {
        let mut inner = self.inner();
        let result = what(&mut inner.watchdog, self.now());
        self.announce(&inner.watchdog);
        result
    }

    fn ended(self: &Arc<Self>, id: TaskId, generation: u64, outcome: Outcome) {
        if let Outcome::Panicked(message) = &outcome {
            warn!(generation, %message, "task panicked");
        }
        {
            let mut inner = self.inner();
            inner.runs.remove(&generation);
            inner.watchdog.ended(id, generation, outcome, self.now());
        }
        self.tick();
    }

    fn tick(self: &Arc<Self>) {
        // What a body holds may ask the supervisor as it goes: not under the lock.
        let (deeds, _forgotten): (Vec<_>, Vec<_>) = {
            let mut inner = self.inner();
            let actions = inner.watchdog.tick(self.now());
            let zombies = inner.watchdog.zombies() as u64;
            self.zombies.store(zombies, Ordering::Release);
            self.announce(&inner.watchdog);
            let Inner {
                watchdog, bodies, ..
            } = &mut *inner;
            let forgotten = match bodies.len() > watchdog.len() {
                true => bodies.extract_if(|id, _| !watchdog.knows(*id)).collect(),
                false => Vec::new(),
            };
            let deeds = actions
                .into_iter()
                .filter_map(|action| self.deed(&mut inner, action));
            (deeds.collect(), forgotten)
        };
        deeds.into_iter().for_each(Deed::perform);
    }

    /// What an action comes to. A permit is revoked here, under the lock.
    fn deed(self: &Arc<Self>, inner: &mut Inner, action: Action) -> Option<Deed> {
        match action {
            Action::Start(id, generation) if !self.over.load(Ordering::Acquire) => {
                let (runtime, body) = inner.bodies.get(&id)?;
                let (permit, revoke) = Permit::new(generation);
                let cancel = CancellationToken::new();
                let voice = Voice::new(Arc::clone(self), id, generation, cancel.clone());
                let run = Run(Arc::new(Held {
                    revoke,
                    cancel,
                    abort: OnceLock::new(),
                }));
                let future = self.tracker.track_future(body(permit, voice)).boxed();
                let deed = Deed::Spawn(runtime.clone(), future, run.clone());
                inner.runs.insert(generation, run);
                Some(deed)
            }
            Action::Start(..) => None,
            Action::Cancel(generation) => {
                let run = inner.runs.get(&generation)?.clone();
                run.0.revoke.revoke();
                Some(Deed::Cancel(run))
            }
            Action::Abort(generation) => Some(Deed::Abort(inner.runs.get(&generation)?.clone())),
        }
    }

    fn announce(&self, watchdog: &Watchdog) {
        let version = watchdog.version();
        self.changed
            .send_if_modified(|told| std::mem::replace(told, version) != version);
    }
}

impl fmt::Debug for Supervisor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Supervisor").finish_non_exhaustive()
    }
}
