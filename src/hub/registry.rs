//! The logs that are being read: one reader each, whatever the subscribers.

use std::collections::HashMap;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::debug;

use super::budget::{ALL_RINGS_BYTES, Budget};
use super::log::{Log, ring_bytes};
use super::reader::Reader;
use super::slots::{Slot, Slots};
use super::source::Source;
use crate::docker::{Changes, Container, ContainerId, Engine, Inventory, Ledger, Reach};
use crate::supervisor::{Breaker, Kind, Spec, Started, Supervisor};
use crate::tail::{Dialect, Settings, Skips};

/// Opening a log must cost no more than a few short tails: most containers write
/// one stream, and looking further for the other would cost them all.
const ORIENTATION: u32 = 64;

/// How logs are read and kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reading {
    /// Life of a lease.
    pub rotation: Duration,
    /// How long a log is read on after its last subscriber has left.
    pub linger: Duration,
    /// Bytes of a line that are kept.
    pub max_line: usize,
}

/// Where tasks run, who counts them, and what stops them.
#[derive(Debug, Clone)]
pub struct Tasks {
    /// Runtime of everything that talks to the engine.
    pub runtime: Handle,
    /// Counts them.
    pub tracker: TaskTracker,
    /// Stops them.
    pub stop: CancellationToken,
}

impl Tasks {
    /// Runs a task until it ends or all are stopped.
    pub fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) -> AbortHandle {
        let stop = self.stop.clone();
        let task = async move {
            // Stopped or ended: both are fine here.
            let _stopped = stop.run_until_cancelled(task).await;
        };
        self.tracker.spawn_on(task, &self.runtime).abort_handle()
    }
}

/// Owner of all logs and of the tasks that read them.
#[derive(Debug)]
pub struct Registry {
    source: Source,
    ledger: Ledger,
    reading: Reading,
    tasks: Tasks,
    supervisor: Supervisor,
    breaker: Breaker,
    /// Longest wait of a reader's turn.
    patience: Duration,
    slots: Arc<Slots>,
    budget: Arc<Budget>,
    logs: Mutex<HashMap<ContainerId, Attended>>,
}

#[derive(Debug)]
struct Attended {
    log: Arc<Log>,
    reader: Started,
    subscribers: usize,
    /// When the last one left.
    left: Instant,
}

/// A subscriber's hold on a log: while it lives, the log is read.
#[derive(Debug)]
pub(crate) struct Attendance {
    registry: Arc<Registry>,
    id: ContainerId,
    log: Arc<Log>,
    latency: Duration,
}

impl Attendance {
    pub(crate) fn log(&self) -> &Log {
        &self.log
    }
}

impl Drop for Attendance {
    fn drop(&mut self) {
        self.log.leave(self.latency);
        self.registry.leave(self.id, &self.log);
    }
}

impl Registry {
    /// A registry that reads through `engine`.
    pub fn new(
        engine: Engine,
        reach: watch::Receiver<Reach>,
        ledger: Ledger,
        reading: Reading,
        tasks: Tasks,
        (supervisor, breaker): (Supervisor, Breaker),
    ) -> Self {
        Self {
            source: Source {
                engine,
                reach,
                inventory: ledger.inventory(),
            },
            ledger,
            reading,
            tasks,
            patience: supervisor.timings().read,
            supervisor,
            breaker,
            slots: Slots::new(),
            budget: Arc::new(Budget::new(ALL_RINGS_BYTES)),
            logs: Mutex::default(),
        }
    }

    /// The containers as last seen.
    pub fn inventory(&self) -> Arc<Inventory> {
        Arc::clone(&self.source.inventory.borrow())
    }

    /// Whether logs can be read: the engine answers and was listed.
    pub fn is_ready(&self) -> bool {
        let listed = self.source.inventory.borrow().engine.is_some();
        listed && self.source.reach.borrow().is_here()
    }

    /// The containers, now and later.
    pub fn inventory_changes(&self) -> watch::Receiver<Arc<Inventory>> {
        self.source.inventory.clone()
    }

    /// Every change of a container from now on.
    pub fn container_changes(&self) -> Changes {
        self.ledger.changes()
    }

    /// Whether the engine answers, now and later.
    pub fn reach(&self) -> watch::Receiver<Reach> {
        self.source.reach.clone()
    }

    /// How many subscriptions follow a container.
    pub fn subscribers(&self, id: &ContainerId) -> usize {
        let logs = self.logs();
        logs.get(id).map_or(0, |attended| attended.subscribers)
    }

    /// How many logs are being read.
    pub fn open_logs(&self) -> usize {
        self.logs().len()
    }

    /// The longest line kept, in bytes.
    pub fn max_line(&self) -> usize {
        self.reading.max_line
    }

    pub(crate) fn source(&self) -> Source {
        self.source.clone()
    }

    pub(crate) fn slot(&self) -> Slot {
        Slot::new(Arc::clone(&self.slots))
    }

    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) -> AbortHandle {
        self.tasks.spawn(task)
    }

    pub(crate) fn settings_for(&self, container: &Container) -> Settings {
        let inventory = self.source.inventory.borrow();
        let engine = inventory.engine.as_ref();
        let major = engine.map_or(0, |engine| engine.major());
        // Before 23 a stream can lose its place anywhere as files rotate.
        let is_exact = engine.is_some_and(|engine| engine.kind == "docker" && major >= 23);
        let skips = match (container.files.bytes, is_exact) {
            (0, _) if container.log_driver == "json-file" => Skips::Never,
            (0, _) | (_, false) => Skips::Anywhere,
            (bytes, true) => Skips::Files(bytes),
        };
        Settings {
            rotation: self.reading.rotation,
            max_line: self.reading.max_line,
            orientation: ORIENTATION,
            skips,
            kept: container.files.kept(),
            dialect: Dialect::of(&container.log_driver, major),
            seed: fastrand::u64(..),
        }
    }

    /// Takes hold of a container's log; the first to do so starts its reader.
    /// `latency`: how long its entries may wait for others.
    pub(crate) fn attend(
        self: &Arc<Self>,
        container: &Arc<Container>,
        latency: Duration,
    ) -> Attendance {
        let id = container.id;
        let mut logs = self.logs();
        // One that has ended has nothing for who comes now.
        let found = logs.remove(&id).filter(|found| found.log.ended().is_none());
        let attended = found.unwrap_or_else(|| self.open(container));
        let attended = logs.entry(id).or_insert(attended);
        attended.subscribers += 1;
        attended.log.join(latency);
        Attendance {
            registry: Arc::clone(self),
            id,
            log: Arc::clone(&attended.log),
            latency,
        }
    }

    fn open(self: &Arc<Self>, container: &Arc<Container>) -> Attended {
        let log = Log::new(ring_bytes(self.reading.max_line), &self.budget);
        let spec = Spec {
            name: format!("container/{}", container.id),
            kind: Kind::Container,
            container: Some(container.id.to_string()),
        };
        let (source, container) = (self.source(), Arc::clone(container));
        let (settings, patience) = (self.settings_for(&container), self.patience);
        let (read, breaker) = (Arc::clone(&log), Some(self.breaker.clone()));
        debug!(container = %container.id, "log opened");
        let runtime = &self.tasks.runtime;
        let reader = self
            .supervisor
            .start(spec, runtime, breaker, move |permit| {
                let container = Arc::clone(&container);
                let settings = Settings {
                    seed: fastrand::u64(..),
                    ..settings
                };
                let log = (Arc::clone(&read), permit);
                Reader::new(source.clone(), container, log, settings, patience)
            });
        Attended {
            log,
            reader,
            subscribers: 0,
            left: Instant::now(),
        }
    }

    /// A subscriber left. Without any a log is read on for a little.
    fn leave(self: &Arc<Self>, id: ContainerId, log: &Arc<Log>) {
        let mut logs = self.logs();
        let is_its = |attended: &&mut Attended| Arc::ptr_eq(&attended.log, log);
        let Some(attended) = logs.get_mut(&id).filter(is_its) else {
            return;
        };
        attended.subscribers -= 1;
        attended.left = Instant::now();
        if attended.subscribers == 0 {
            let registry = Arc::clone(self);
            self.tasks.spawn(async move {
                sleep(registry.reading.linger).await;
                registry.close(&id);
            });
        }
    }

    /// Ends the reading of a log that nobody has wanted for so long.
    fn close(&self, id: &ContainerId) {
        // Under the lock nobody can take hold of it meanwhile.
        let mut logs = self.logs();
        let linger = self.reading.linger;
        let unwanted =
            |attended: &&Attended| attended.subscribers == 0 && attended.left.elapsed() >= linger;
        if logs.get(id).filter(unwanted).is_some()
            && let Some(attended) = logs.remove(id)
        {
            self.supervisor.stop(attended.reader);
            debug!(container = %id, "log closed");
        }
    }

    fn logs(&self) -> MutexGuard<'_, HashMap<ContainerId, Attended>> {
        self.logs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
