//! The logs that are being read: one reader each, whatever the subscribers.

use std::collections::HashMap;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::AbortHandle;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::debug;

use super::budget::{ALL_RINGS_BYTES, Budget};
use super::log::{Log, ring_bytes};
use super::reader::{Reader, Source};
use super::slots::{Slot, Slots};
use crate::docker::{Container, ContainerId, Engine, Inventory, Reach};
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
    reading: Reading,
    tasks: Tasks,
    slots: Arc<Slots>,
    budget: Arc<Budget>,
    logs: Mutex<HashMap<ContainerId, Attended>>,
}

#[derive(Debug)]
struct Attended {
    log: Arc<Log>,
    subscribers: watch::Sender<usize>,
}

/// A subscriber's hold on a log: while it lives, the log is read.
#[derive(Debug)]
pub(crate) struct Attendance {
    log: Arc<Log>,
    subscribers: watch::Sender<usize>,
    latency: Duration,
}

impl Attendance {
    fn new(log: Arc<Log>, subscribers: watch::Sender<usize>, latency: Duration) -> Self {
        subscribers.send_modify(|count| *count += 1);
        log.join(latency);
        Self {
            log,
            subscribers,
            latency,
        }
    }

    pub(crate) fn log(&self) -> &Log {
        &self.log
    }
}

impl Drop for Attendance {
    fn drop(&mut self) {
        self.log.leave(self.latency);
        self.subscribers.send_modify(|count| *count -= 1);
    }
}

impl Registry {
    /// A registry that reads through `engine`.
    pub fn new(
        engine: Engine,
        reach: watch::Receiver<Reach>,
        inventory: watch::Receiver<Arc<Inventory>>,
        reading: Reading,
        tasks: Tasks,
    ) -> Self {
        Self {
            source: Source {
                engine,
                reach,
                inventory,
            },
            reading,
            tasks,
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

    /// Whether the engine answers, now and later.
    pub fn reach(&self) -> watch::Receiver<Reach> {
        self.source.reach.clone()
    }

    /// How many subscriptions follow a container.
    pub fn subscribers(&self, id: &ContainerId) -> usize {
        self.logs()
            .get(id)
            .map_or(0, |attended| *attended.subscribers.borrow())
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
        let mut logs = self.logs();
        let attended = logs.entry(container.id).or_insert_with(|| {
            let attended = Attended {
                log: Log::new(ring_bytes(self.reading.max_line), &self.budget),
                subscribers: watch::Sender::new(0),
            };
            let task = Arc::clone(self).read(
                Arc::clone(container),
                Arc::clone(&attended.log),
                attended.subscribers.subscribe(),
            );
            self.spawn(task);
            attended
        });
        let (log, subscribers) = (Arc::clone(&attended.log), attended.subscribers.clone());
        Attendance::new(log, subscribers, latency)
    }

    /// Reads a log for as long as anybody wants it, and a little longer.
    async fn read(
        self: Arc<Self>,
        container: Arc<Container>,
        log: Arc<Log>,
        mut subscribers: watch::Receiver<usize>,
    ) {
        let id = container.id;
        let settings = self.settings_for(&container);
        debug!(container = %id, "log opened");
        let reader = Reader::run(self.source(), container, Arc::clone(&log), settings);
        let mut reader = std::pin::pin!(reader);
        loop {
            tokio::select! {
                () = &mut reader => break self.forget(&id, &log),
                () = unwanted(&mut subscribers, self.reading.linger) => {
                    // Under the lock nobody can take hold of it meanwhile.
                    let mut logs = self.logs();
                    if *subscribers.borrow() == 0 {
                        logs.remove(&id);
                        break;
                    }
                }
            }
        }
        debug!(container = %id, "log closed");
    }

    fn forget(&self, id: &ContainerId, log: &Arc<Log>) {
        let mut logs = self.logs();
        if logs
            .get(id)
            .is_some_and(|attended| Arc::ptr_eq(&attended.log, log))
        {
            logs.remove(id);
        }
    }

    fn logs(&self) -> MutexGuard<'_, HashMap<ContainerId, Attended>> {
        self.logs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Resolves once there has been no subscriber for `linger`.
async fn unwanted(subscribers: &mut watch::Receiver<usize>, linger: Duration) {
    loop {
        // An error means that the entry is gone: nobody can want it any more.
        if subscribers.wait_for(|count| *count == 0).await.is_err() {
            return;
        }
        tokio::select! {
            () = sleep(linger) => return,
            _wanted = subscribers.wait_for(|count| *count > 0) => {}
        }
    }
}
